/* Shortest paths: the virtual edges of a GHN graph. Private to this folder and its tests. */
#ifndef GHN_GRAPH_DISTANCES_H
#define GHN_GRAPH_DISTANCES_H

#include <stddef.h>
#include <stdint.h>

#include "graph/graph.h"

/* Fills dist and dist_in (each n x n, as struct ghn_graph has them) for nodes in topological order
 * whose preds and succs are set. cutoff < 254. */
void ghn__distances(const struct ghn_graph_node *nodes, int n, int cutoff, uint8_t *dist,
                    uint8_t *dist_in);

/* The number of entries of n_entries distances that are not GHN_NO_EDGE, and their sum. */
void ghn__distances_count(const uint8_t *dist, size_t n_entries, int64_t *ret_n, int64_t *ret_sum);

#endif
