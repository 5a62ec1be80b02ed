/* What ghn predict asks for, in terms of the request, and its two ways to an answer. */
#ifndef GHN_CLIENT_PREDICT_H
#define GHN_CLIENT_PREDICT_H

#include <stdbool.h>

#include "base/status.h"
#include "output.h"
#include "request.h"

enum cli_form { CLI_SAFETENSORS, CLI_BLOCKS, CLI_REPORT };

/* Predicts with the hypernetwork of a file; writes the bytes that a server with this hypernetwork
 * would answer. `path` is the request's, for errors. */
enum ghn_status cli_predict_here(struct cli_request *request, const char *path,
                                 const char *checkpoint, enum cli_form form,
                                 struct cli_output *output, struct ghn_err *err) GHN_MUST_CHECK;

#endif
