/* The GHN graph: a network as the hypernetwork sees it (Knyazev et al. 2021, section 3; the
 * canonical rules are those of ghn2-spec B2). Immutable once made. */
#ifndef GHN_GRAPH_GRAPH_H
#define GHN_GRAPH_GRAPH_H

#include <jansson.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/mem.h"
#include "base/status.h"
#include "tensor/shape.h"

enum ghn_primitive {
#define GHN_PRIMITIVE(symbol, row, name) GHN_PRIMITIVE_##symbol = (row),
#include "graph/primitives.def"
#undef GHN_PRIMITIVE
    GHN_N_PRIMITIVES = 15,
};

/* "conv", "bn" ... */
const char *ghn_primitive_name(enum ghn_primitive primitive);

struct ghn_graph_node {
    enum ghn_primitive op;
    const char *name;       /* the parameter's name; for others a label or NULL */
    struct ghn_shape shape; /* the parameter's own shape (2-D for a linear weight, 1-D for a bias or
                               norm), (1, 1, k, k) for a pool; ndim = 0: none */
    int n_preds;            /* one-hop edges into this node, distinct, in ascending order */
    const int *preds;
    int n_succs; /* and out of it */
    const int *succs;
};

/* What becomes of a tensor of the answer. */
enum ghn_slot_kind {
    GHN_SLOT_WEIGHT,      /* decoded with two or more dimensions (C5, or C8 for the classifier's) */
    GHN_SLOT_NORM_WEIGHT, /* row 0 of the 1-D decoder */
    GHN_SLOT_BIAS,        /* row 1 of the 1-D decoder (every bias, norms' included), or C8 for the
                             classifier's */
    GHN_SLOT_INIT,        /* not predicted: filled by its initialiser */
    GHN_SLOT_OFF_PATH, /* not predicted, and no part of the answer: the output does not depend on it
                        */
};

/* A parameter tensor of the network that was asked for. */
struct ghn_slot {
    const char *name;
    struct ghn_shape shape;
    int64_t numel;
    enum ghn_slot_kind kind;
    int node; /* the graph node whose embedding it is decoded from; -1 if it is not predicted */
    struct ghn_init init; /* of kind INIT */
    const char *why;      /* kind INIT: the reason, as a clause */
};

/* The distance that stands for "no edge". */
enum { GHN_NO_EDGE = 255 };

struct ghn_graph {
    int n_nodes;
    const struct ghn_graph_node *nodes; /* in topological order; the sink is last */
    int n_edges;                        /* one-hop */
    /* Directed shortest-path lengths up to the cutoff (virtual edges, paper equation 4; ghn2-spec
     * B4), n_nodes x n_nodes: dist[u * n_nodes + v] is that from u to v, 1 for a real edge,
     * GHN_NO_EDGE for none, for one beyond the cutoff, and for u = v. dist_in is its transpose:
     * dist_in[v * n_nodes + u]. */
    const uint8_t *dist;
    const uint8_t *dist_in;
    int cutoff;
    int64_t n_virtual_edges; /* pairs with a distance, real edges included */
    int64_t distance_sum;    /* of all of those */
    int n_slots;
    const struct ghn_slot *slots; /* in the order of the network's parameters */
    struct ghn_arena arena;
};

/* Path lengths above this get no edge (paper, section 4.2.1). */
enum { GHN_CUTOFF = 50 };

/* The graph of an architecture by the rules of ghn2-spec B2. Copies what it needs from arch.
 * Errors: DISCONNECTED, TOO_LARGE (limits), NO_MEMORY. The caller frees with ghn_graph_free. */
enum ghn_status ghn_graph_from_arch(const struct ghn_arch *arch, const struct ghn_limits *limits,
                                    struct ghn_graph **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Decodes and checks the graph form, {"nodes": [{"op", "name", "shape"}], "edges": [[u, v], ...]},
 * nodes in topological order. `where` is the path of root in errors. Every node must reach the
 * single sink, and every node but pos_enc be reachable from the input. The caller frees with
 * ghn_graph_free. */
enum ghn_status ghn_graph_from_json(const json_t *root, const char *where,
                                    const struct ghn_limits *limits, struct ghn_graph **ret,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* The graph form of a graph, a new reference; NULL if there is no memory. */
json_t *ghn_graph_to_json(const struct ghn_graph *graph);

/* Frees a graph; NULL is allowed. */
void ghn_graph_free(struct ghn_graph *graph);

/* --- Between the files of this folder --- */

/* Finishes a graph of which nodes (op, name, shape, preds) and slots are set: checks that it is a
 * valid one, fills in succs, n_edges and the distances. */
enum ghn_status ghn__graph_finish(struct ghn_graph *graph, const char *where,
                                  const struct ghn_limits *limits,
                                  struct ghn_err *err) GHN_MUST_CHECK;

#endif
