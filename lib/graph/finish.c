/* What every GHN graph must be (ghn2-spec B2, rule 12), and what follows from its nodes: successors
 * and counts. */
#include <stdbool.h>
#include <stdio.h>

#include "graph/distances.h"
#include "graph/graph.h"

/* "node 3 (bn, "layer1.0.bn1.weight")" */
enum { LABEL_MAX = 160 };
static const char *label(const struct ghn_graph *graph, int i, char buf[LABEL_MAX]) {
    const struct ghn_graph_node *node = &graph->nodes[i];
    const char *quote = node->name ? "\"" : "";
    (void)snprintf(buf, LABEL_MAX, "node %d (%s%s%s%.100s%s)", i, ghn_primitive_name(node->op),
                   node->name ? ", " : "", quote, node->name ? node->name : "", quote);
    return buf;
}

static enum ghn_status check_size(const struct ghn_graph *graph, const char *where,
                                  const struct ghn_limits *limits, struct ghn_err *err) {
    if (graph->n_nodes < 1)
        return ghn_fail(err, GHN_DISCONNECTED, where, "the graph has no nodes");
    if (graph->n_nodes > limits->max_graph_nodes)
        return ghn_fail(err, GHN_TOO_LARGE, where, "the graph has %d nodes; at most %d are allowed",
                        graph->n_nodes, limits->max_graph_nodes);
    int64_t n_edges = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        n_edges += graph->nodes[i].n_preds;
    if (n_edges > limits->max_edges)
        return ghn_fail(err, GHN_TOO_LARGE, where,
                        "the graph has %lld edges; at most %d are allowed", (long long)n_edges,
                        limits->max_edges);
    return GHN_OK;
}

/* One input, and nothing but it and pos_enc without predecessors. In an acyclic graph that makes
 * every node reachable from a source; that it is reachable from the input is checked on top. */
static enum ghn_status check_sources(const struct ghn_graph *graph, bool *reachable,
                                     const char *where, struct ghn_err *err) {
    char text[LABEL_MAX];
    int n_inputs = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        const struct ghn_graph_node *node = &graph->nodes[i];
        bool source = node->op == GHN_PRIMITIVE_INPUT || node->op == GHN_PRIMITIVE_POS_ENC;
        reachable[i] = node->op == GHN_PRIMITIVE_INPUT;
        n_inputs += node->op == GHN_PRIMITIVE_INPUT;
        if (n_inputs > 1)
            return ghn_fail(err, GHN_DISCONNECTED, where, "%s is a second input",
                            label(graph, i, text));
        if (source && node->n_preds > 0)
            return ghn_fail(err, GHN_DISCONNECTED, where,
                            "%s has an edge into it, but it is a source", label(graph, i, text));
        for (int j = 0; j < node->n_preds; j++)
            reachable[i] = reachable[i] || reachable[node->preds[j]];
        if (!reachable[i] && !source)
            return ghn_fail(err, GHN_DISCONNECTED, where, "%s cannot be reached from the input",
                            label(graph, i, text));
    }
    if (n_inputs == 0)
        return ghn_fail(err, GHN_DISCONNECTED, where, "the graph has no input node");
    return GHN_OK;
}

static enum ghn_status check_sink(const struct ghn_graph *graph, const char *where,
                                  struct ghn_err *err) {
    char text[LABEL_MAX];
    for (int i = 0; i + 1 < graph->n_nodes; i++)
        if (graph->nodes[i].n_succs == 0)
            return ghn_fail(err, GHN_DISCONNECTED, where,
                            "%s leads nowhere; only the last node, the output, may",
                            label(graph, i, text));
    return GHN_OK;
}

static enum ghn_status fill_succs(struct ghn_graph *graph, struct ghn_graph_node *nodes,
                                  struct ghn_err *err) {
    int n_edges = 0;
    for (int v = 0; v < graph->n_nodes; v++) {
        nodes[v].n_succs = 0;
        n_edges += nodes[v].n_preds;
    }
    int *succs = ghn_arena_array(&graph->arena, (size_t)n_edges, sizeof(int));
    int **end = ghn_calloc((size_t)graph->n_nodes, sizeof(*end));
    if (!succs || !end) {
        ghn_free(end);
        return ghn_fail_memory(err);
    }
    for (int v = 0; v < graph->n_nodes; v++)
        for (int j = 0; j < nodes[v].n_preds; j++)
            nodes[nodes[v].preds[j]].n_succs++;
    for (int u = 0; u < graph->n_nodes; succs += nodes[u++].n_succs)
        nodes[u].succs = end[u] = succs;
    for (int v = 0; v < graph->n_nodes; v++)
        for (int j = 0; j < nodes[v].n_preds; j++)
            *end[nodes[v].preds[j]]++ = v;
    graph->n_edges = n_edges;
    ghn_free(end);
    return GHN_OK;
}

static enum ghn_status fill_distances(struct ghn_graph *graph, struct ghn_err *err) {
    size_t n = (size_t)graph->n_nodes;
    uint8_t *dist = ghn_arena_array(&graph->arena, n, n);
    uint8_t *dist_in = ghn_arena_array(&graph->arena, n, n);
    if (!dist || !dist_in)
        return ghn_fail_memory(err);
    graph->cutoff = GHN_CUTOFF;
    ghn__distances(graph->nodes, graph->n_nodes, graph->cutoff, dist, dist_in);
    ghn__distances_count(dist, n * n, &graph->n_virtual_edges, &graph->distance_sum);
    graph->dist = dist;
    graph->dist_in = dist_in;
    return GHN_OK;
}

enum ghn_status ghn__graph_finish(struct ghn_graph *graph, const char *where,
                                  const struct ghn_limits *limits, struct ghn_err *err) {
    enum ghn_status status = check_size(graph, where, limits, err);
    if (status != GHN_OK)
        return status;
    bool *reachable = ghn_calloc((size_t)graph->n_nodes, sizeof(*reachable));
    status = reachable ? check_sources(graph, reachable, where, err) : ghn_fail_memory(err);
    ghn_free(reachable);
    /* The nodes are this graph's own until it is handed out as immutable. */
    if (status == GHN_OK)
        status = fill_succs(graph, (struct ghn_graph_node *)graph->nodes, err);
    if (status == GHN_OK)
        status = check_sink(graph, where, err);
    if (status == GHN_OK)
        status = fill_distances(graph, err);
    return status;
}

void ghn_graph_free(struct ghn_graph *graph) {
    if (!graph)
        return;
    ghn_arena_done(&graph->arena);
    ghn_free(graph);
}
