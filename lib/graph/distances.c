/* In topological order the row of a node follows from those of its successors: the path from u to v
 * is one longer than the shortest from any successor of u. So all pairs take (edges x nodes) byte
 * operations, which vectorise, and no queue. */
#include "graph/distances.h"

#include <string.h>

/* row[i] = min(row[i], from[i] + 1), where GHN_NO_EDGE stays what it is. */
static inline void relax(uint8_t *restrict row, const uint8_t *restrict from, int n) {
    for (int i = 0; i < n; i++) {
        uint8_t d = (uint8_t)(from[i] + (from[i] != GHN_NO_EDGE));
        row[i] = d < row[i] ? d : row[i];
    }
}

static inline void cut(uint8_t *row, int n, uint8_t cutoff) {
    for (int i = 0; i < n; i++)
        row[i] = row[i] > cutoff ? GHN_NO_EDGE : row[i];
}

static inline void fill(const struct ghn_graph_node *nodes, int n, int cutoff, uint8_t *dist,
                        uint8_t *dist_in) {
    size_t size = (size_t)n;
    memset(dist, GHN_NO_EDGE, size * size);
    memset(dist_in, GHN_NO_EDGE, size * size);
    for (int u = n - 1; u >= 0; u--) {
        uint8_t *row = dist + (size_t)u * size;
        for (int j = 0; j < nodes[u].n_succs; j++) {
            int w = nodes[u].succs[j];
            relax(row + w, dist + (size_t)w * size + w, n - w);
        }
        for (int j = 0; j < nodes[u].n_succs; j++)
            row[nodes[u].succs[j]] = 1;
        cut(row + u, n - u, (uint8_t)cutoff);
    }
    for (int v = 0; v < n; v++) {
        uint8_t *row = dist_in + (size_t)v * size;
        for (int j = 0; j < nodes[v].n_preds; j++) {
            int u = nodes[v].preds[j];
            relax(row, dist_in + (size_t)u * size, u);
        }
        for (int j = 0; j < nodes[v].n_preds; j++)
            row[nodes[v].preds[j]] = 1;
        cut(row, v, (uint8_t)cutoff);
    }
}

/* The same loops, compiled for 32 bytes at a time. */
#if defined(__x86_64__)
__attribute__((target("avx2"), flatten)) static void
fill_avx2(const struct ghn_graph_node *nodes, int n, int cutoff, uint8_t *dist, uint8_t *dist_in) {
    fill(nodes, n, cutoff, dist, dist_in);
}
#endif

void ghn__distances(const struct ghn_graph_node *nodes, int n, int cutoff, uint8_t *dist,
                    uint8_t *dist_in) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        fill_avx2(nodes, n, cutoff, dist, dist_in);
        return;
    }
#endif
    fill(nodes, n, cutoff, dist, dist_in);
}

void ghn__distances_count(const uint8_t *dist, size_t n_entries, int64_t *ret_n, int64_t *ret_sum) {
    /* Sums of up to 2^16 bytes fit 32 bits, and 32-bit sums vectorise. */
    int64_t n = 0, sum = 0;
    for (size_t first = 0; first < n_entries; first += 65536) {
        size_t end = n_entries - first < 65536 ? n_entries : first + 65536;
        uint32_t part_n = 0, part_sum = 0;
        for (size_t i = first; i < end; i++) {
            uint32_t is = dist[i] != GHN_NO_EDGE;
            part_n += is;
            part_sum += is ? dist[i] : 0;
        }
        n += part_n;
        sum += part_sum;
    }
    *ret_n = n;
    *ret_sum = sum;
}
