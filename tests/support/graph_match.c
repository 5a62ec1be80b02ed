#include "graph_match.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For each node the hash of all that leads to it, of all that follows, and of both. */
struct hashed {
    int n;
    const struct match_node *nodes;
    uint64_t *up, *down, *both;
};

static uint64_t mix(uint64_t h, const void *data, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001B3ULL;
    return h ^ (h >> 29);
}

/* Whether a node is a parameter, so that its name counts; other names are mere labels. */
static bool is_parameter(const char *op) {
    static const char *const list[] = {"conv", "sep_conv", "dil_conv", "bias",
                                       "bn",   "ln",       "pos_enc"};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (strcmp(op, list[i]) == 0)
            return true;
    return false;
}

static uint64_t label(const struct match_node *node) {
    char shape[GHN_SHAPE_TEXT];
    uint64_t h = mix(0xCBF29CE484222325ULL, node->op, strlen(node->op) + 1);
    if (is_parameter(node->op))
        h = mix(h, node->name, strlen(node->name) + 1);
    (void)ghn_shape_text(&node->shape, shape, sizeof(shape));
    return mix(h, shape, strlen(shape));
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The hash of node v from its own label and those at the other end of its edges (end 0: tails, for
 * edges into v; end 1: heads). */
static uint64_t node_hash(const struct match_graph *graph, int v, int end, const uint64_t *hashes) {
    uint64_t *near = calloc((size_t)graph->n_edges + 1, sizeof(*near));
    size_t n = 0;
    for (int e = 0; e < graph->n_edges; e++)
        if (graph->edges[e][1 - end] == v)
            near[n++] = hashes[graph->edges[e][end]];
    qsort(near, n, sizeof(*near), by_value);
    uint64_t h = mix(label(&graph->nodes[v]), near, n * sizeof(*near));
    free(near);
    return h;
}

static struct hashed hash_graph(const struct match_graph *graph) {
    struct hashed h = {graph->n_nodes, graph->nodes, NULL, NULL, NULL};
    size_t n = (size_t)graph->n_nodes + 1;
    h.up = calloc(n, sizeof(*h.up));
    h.down = calloc(n, sizeof(*h.down));
    h.both = calloc(n, sizeof(*h.both));
    for (int v = 0; v < h.n; v++)
        h.up[v] = node_hash(graph, v, 0, h.up);
    for (int v = h.n - 1; v >= 0; v--) {
        h.down[v] = node_hash(graph, v, 1, h.down);
        h.both[v] = mix(h.up[v], &h.down[v], sizeof(h.down[v]));
    }
    return h;
}

static void free_hashed(struct hashed *h) {
    free(h->up);
    free(h->down);
    free(h->both);
}

/* The first node of a that has more twins in a than in b; -1 if there is none. */
static int without_twin(const struct hashed *a, const struct hashed *b, bool by_up_only) {
    const uint64_t *x = by_up_only ? a->up : a->both, *y = by_up_only ? b->up : b->both;
    for (int v = 0; v < a->n; v++) {
        int balance = 0;
        for (int u = 0; u < a->n; u++)
            balance += x[u] == x[v];
        for (int u = 0; u < b->n; u++)
            balance -= y[u] == x[v];
        if (balance > 0)
            return v;
    }
    return -1;
}

static bool compare(const struct hashed *found, const struct hashed *expected, char *why,
                    size_t n) {
    /* What differs is blamed on its first ancestor that does. */
    for (int by_up_only = 1; by_up_only >= 0; by_up_only--) {
        int extra = without_twin(found, expected, by_up_only);
        int missing = without_twin(expected, found, by_up_only);
        if (extra < 0 && missing < 0)
            continue;
        char a[GHN_SHAPE_TEXT] = "", b[GHN_SHAPE_TEXT] = "";
        const struct match_node none = {.op = "nothing", .name = ""};
        const struct match_node *x = extra < 0 ? &none : &found->nodes[extra];
        const struct match_node *y = missing < 0 ? &none : &expected->nodes[missing];
        (void)snprintf(why, n, "found %s \"%s\" %s (node %d), expected %s \"%s\" %s (node %d)",
                       x->op, x->name, ghn_shape_text(&x->shape, a, sizeof(a)), extra, y->op,
                       y->name, ghn_shape_text(&y->shape, b, sizeof(b)), missing);
        return false;
    }
    return true;
}

bool match_graphs(const struct ghn_graph *graph, const struct match_graph *expected, char *why,
                  size_t n) {
    struct match_node *nodes = calloc((size_t)graph->n_nodes + 1, sizeof(*nodes));
    int(*edges)[2] = calloc((size_t)graph->n_edges + 1, sizeof(*edges));
    struct match_graph own = {.n_nodes = graph->n_nodes, .nodes = nodes, .edges = edges};
    for (int v = 0; v < graph->n_nodes; v++) {
        const struct ghn_graph_node *node = &graph->nodes[v];
        nodes[v] = (struct match_node){ghn_primitive_name(node->op), node->name ? node->name : "",
                                       node->shape};
        for (int i = 0; i < node->n_preds; i++) {
            edges[own.n_edges][0] = node->preds[i];
            edges[own.n_edges++][1] = v;
        }
    }
    struct hashed a = hash_graph(&own), b = hash_graph(expected);
    char detail[512] = "";
    bool same = compare(&a, &b, detail, sizeof(detail));
    if (!same)
        (void)snprintf(why, n, "%d nodes and %d edges (expected %d and %d); %s", own.n_nodes,
                       own.n_edges, expected->n_nodes, expected->n_edges, detail);
    free_hashed(&a);
    free_hashed(&b);
    free(nodes);
    free(edges);
    return same;
}
