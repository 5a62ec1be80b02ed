/* Requests to a ghnd server. */
#ifndef GHN_CLIENT_HTTP_H
#define GHN_CLIENT_HTTP_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "output.h"

/* The server that is asked if none is named: $GHN_SERVER, else this machine's port 8080. */
const char *cli_server(const char *option);

struct cli_http {
    const char *server;     /* "http://127.0.0.1:8080", a final slash does no harm */
    const char *path;       /* "/predict" */
    const char *token_file; /* holds the bearer token; NULL: none */
    const char *accept;     /* media type; NULL: any */
    const char *method;     /* NULL: POST with a body, GET without */
    const char *body;       /* JSON; NULL: none */
    /* Idempotency-Key, which makes it safe to send the request again, as is then done where the
     * answer was lost or the server is busy; NULL: none. */
    const char *key;
    long silence;       /* seconds without a byte until it is given up; 0: as long as it takes */
    int64_t last_event; /* Last-Event-ID; 0: none */
    const volatile sig_atomic_t *stop; /* ends the transfer when it is not 0; NULL: nothing does */
    /* Takes the body of a good answer in place of the output; false for enough. NULL: the output
     * takes it. */
    bool (*take)(void *context, const char *data, size_t n);
    void *context;
};

/* Sends the request and writes the body of a good answer (2xx) to output (which may be NULL if take
 * is set). An answer that is none fails with what its problem document says, err->where naming the
 * field at fault, and *ret_code being the HTTP status; without an answer *ret_code is 0, and
 * CLI_HTTP_NOT_SENT where it came to no request. */
enum { CLI_HTTP_NOT_SENT = -1 };
enum ghn_status cli_http_request(const struct cli_http *http, struct cli_output *output,
                                 long *ret_code, struct ghn_err *err) GHN_MUST_CHECK;

/* The same for an answer in JSON, of which the caller gives the reference back; http->take and
 * accept are not looked at. */
enum ghn_status cli_http_json(const struct cli_http *http, json_t **ret, long *ret_code,
                              struct ghn_err *err) GHN_MUST_CHECK;

/* What to do about a failed request, for some status codes (0: no answer); NULL for others. */
const char *cli_http_advice(long code);

#endif
