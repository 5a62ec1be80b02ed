/* A request that is worked on here: the network, and what the request asks for besides. */
#ifndef GHN_CLIENT_REQUEST_H
#define GHN_CLIENT_REQUEST_H

#include <jansson.h>

#include "arch/arch.h"
#include "base/status.h"
#include "graph/graph.h"

struct cli_request {
    json_t *root;          /* the request object; a bare arch or graph is wrapped into one */
    struct ghn_arch *arch; /* NULL for the graph form */
    struct ghn_graph *graph;
};

/* Reads a request body, or a bare arch, genotype or graph, from a file or "-"; only root is set. */
enum ghn_status cli_request_read(const char *path, struct cli_request *ret,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Decodes its network, within the default limits; `path` is put before the place in errors. */
enum ghn_status cli_request_decode(struct cli_request *request, const char *path,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* Frees what a request holds; a zeroed one is allowed. */
void cli_request_done(struct cli_request *request);

/* The network's name, "" if it has none; owned by the request. */
const char *cli_request_name(const struct cli_request *request);

#endif
