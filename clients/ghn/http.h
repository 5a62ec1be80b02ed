/* Requests to a ghnd server. */
#ifndef GHN_CLIENT_HTTP_H
#define GHN_CLIENT_HTTP_H

#include <stddef.h>

#include "base/status.h"
#include "output.h"

/* The server that is asked if none is named: $GHN_SERVER, else this machine's port 8080. */
const char *cli_server(const char *option);

struct cli_http {
    const char *server;     /* "http://127.0.0.1:8080", a final slash does no harm */
    const char *path;       /* "/predict" */
    const char *token_file; /* holds the bearer token; NULL: none */
    const char *accept;     /* media type; NULL: any */
    const char *body;       /* JSON to POST; NULL: GET */
};

/* Sends the request and writes the body of a good answer (2xx) to output. An answer that is none
 * fails with what its problem document says, err->where naming the field at fault, and *ret_code
 * being the HTTP status; without an answer *ret_code is 0. */
enum ghn_status cli_http_request(const struct cli_http *http, struct cli_output *output,
                                 long *ret_code, struct ghn_err *err) GHN_MUST_CHECK;

#endif
