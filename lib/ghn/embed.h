/* Node embeddings: features of every node, the gated graph network, layer norm (ghn2-spec C2 to
 * C4). Private to this folder. */
#ifndef GHN_GHN_EMBED_H
#define GHN_GHN_EMBED_H

#include "base/status.h"
#include "ghn/model_impl.h"
#include "graph/graph.h"

/* Fills ret (n_nodes, hid). */
enum ghn_status ghn__embed(const struct ghn_model *model, const struct ghn_graph *graph, float *ret,
                           struct ghn_err *err) GHN_MUST_CHECK;

#endif
