/* What a request's header says, and the rules of HTTP that libmicrohttpd 0.9.75 does not enforce.
 */
#ifndef GHND_GUARD_H
#define GHND_GUARD_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "part.h"
#include "problem.h"

/* The fields of interest; texts are within MHD's memory and NULL where absent. */
struct ghnd_header {
    int n_host, n_origin, n_length, n_transfer, n_type, n_authorization, n_key;
    bool malformed; /* a name or value holds characters that it must not */
    const char *host, *origin;
    const char *length, *transfer, *type, *encoding, *authorization, *request_id;
    const char *key, *last_event; /* Idempotency-Key, Last-Event-ID */
    struct ghnd_condition condition;
    char accept[1024]; /* all Accept fields, joined by commas; what is longer is cut */
};

void ghnd_header_read(struct MHD_Connection *connection, struct ghnd_header *ret);

/* Whether where the request ends can be understood in one way only; false after setting problem. On
 * success *ret_length is the length announced, 0 for none or chunked. */
bool ghnd_guard_framing(const struct ghnd_header *header, const char *version, uint64_t *ret_length,
                        struct ghnd_problem *problem);

/* Why a request's target, before decoding, is refused; NULL if it is not: if it is printable ASCII
 * without an encoded NUL, at which MHD would cut it off, and its query has no more fields than MHD
 * has memory for. */
const char *ghnd_guard_target(const char *target);

/* The path of a decoded target: of http://AUTHORITY/PATH without what is before it. Then
 * *ret_authority and *ret_n are that, which stands in the place of Host; else they stay. */
const char *ghnd_guard_path(const char *target, const char **ret_authority, size_t *ret_n);

/* Whether a request is no web page's, or of a page of the server of those n characters, and not of
 * another one, which has made a browser send it; false after setting problem. */
bool ghnd_guard_origin(const struct ghnd_header *header, const char *authority, size_t n,
                       struct ghnd_problem *problem);

/* Whether `authorization` is "Bearer TOKEN", compared in a time that does not tell how much is
 * right.
 */
bool ghnd_guard_token(const char *authorization, const char *token);

#endif
