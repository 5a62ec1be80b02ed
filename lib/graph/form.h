/* Requests: which of the three forms of a network (arch, genotype, graph) a JSON object holds, and
 * the way from there to the GHN graph. The one decoder of the daemon and the command line. */
#ifndef GHN_GRAPH_FORM_H
#define GHN_GRAPH_FORM_H

#include <jansson.h>
#include <stdbool.h>

#include "arch/arch.h"
#include "base/status.h"
#include "graph/graph.h"

struct ghn_request_options {
    const struct ghn_limits *limits; /* NULL: ghn_limits_default */
    const char *const *also;         /* further keys that the request may have, NULL-terminated; the
                                        caller decodes them. NULL: none */
    bool allow_bare; /* the root may also be an arch ("format" ...) or a graph ("nodes", "edges")
                        itself, then without further keys */
};

/* Decodes the network of request `root`: an object with exactly one of
 *   "arch":     the arch form,
 *   "genotype": and beside it "net", "input", "num_classes",
 *   "graph":    the graph form,
 * and any of options->also. Other keys are refused (UNKNOWN_FIELD), and so are none of the three
 * (MISSING_FIELD) or several (UNKNOWN_FIELD naming the second). Further errors: those of
 * ghn_arch_from_json, ghn_net_from_json, ghn_net_to_arch, ghn_graph_from_arch and
 * ghn_graph_from_json, with paths from the root.
 *
 * *ret_arch (ret_arch may be NULL) is the architecture, or NULL for the graph form. The caller
 * frees with ghn_graph_free and ghn_arch_free; neither borrows from the other or from root. */
enum ghn_status ghn_graph_from_request(const json_t *root,
                                       const struct ghn_request_options *options,
                                       struct ghn_graph **ret, struct ghn_arch **ret_arch,
                                       struct ghn_err *err) GHN_MUST_CHECK;

#endif
