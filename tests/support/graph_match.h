/* Comparing GHN graphs up to the order of their nodes. */
#ifndef GHN_TESTS_GRAPH_MATCH_H
#define GHN_TESTS_GRAPH_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "graph/graph.h"

struct match_node {
    const char *op;
    const char *name; /* of the parameter; "" for none */
    struct ghn_shape shape;
};

/* A graph to compare with; edges are one-hop. Nodes may come in any topological order. */
struct match_graph {
    int n_nodes, n_edges;
    const struct match_node *nodes;
    const int (*edges)[2];
};

/* Whether the two graphs are the same up to the order of nodes: each node has a twin of the same
 * operation, parameter name and shape, whose ancestors and descendants are twins in turn (compared
 * by 64-bit hashes). If not, `why` says which node has none. */
bool match_graphs(const struct ghn_graph *graph, const struct match_graph *expected, char *why,
                  size_t n);

#endif
