/* The GHN graphs of small DeepNets-1M networks, node by node (ghn2-spec F1 to F4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "deepnets/deepnets.h"
#include "graph/graph.h"
#include "graph_match.h"

static struct ghn_graph *build(const char *text) {
    struct ghn_net net;
    json_t *root = NULL;
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_json_load(text, strlen(text), NULL, &root, &err);
    if (status == GHN_OK)
        status = ghn_net_from_json(root, "", &net, &err);
    if (status == GHN_OK)
        status = ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err);
    if (status == GHN_OK)
        status = ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err);
    if (status != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    ghn_arch_free(arch);
    json_decref(root);
    return graph;
}

static int count(const struct ghn_graph *graph, enum ghn_primitive op) {
    int n = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        n += graph->nodes[i].op == op;
    return n;
}

static int find(const struct ghn_graph *graph, const char *name) {
    for (int i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].name && strcmp(graph->nodes[i].name, name) == 0)
            return i;
    fail_msg("there is no node %s", name);
    return -1;
}

/* What becomes of a parameter. */
static enum ghn_slot_kind slot_kind(const struct ghn_graph *graph, const char *name) {
    for (int i = 0; i < graph->n_slots; i++)
        if (strcmp(graph->slots[i].name, name) == 0)
            return graph->slots[i].kind;
    fail_msg("there is no parameter %s", name);
    return GHN_SLOT_INIT;
}

/* A node as the fixtures list them, with the nodes before it that it has edges from; -1 ends the
 * list. */
struct row {
    struct match_node node;
    int preds[3];
};

static void assert_graph(const struct ghn_graph *graph, const struct row *rows, int n) {
    struct match_node nodes[32];
    int edges[64][2];
    struct match_graph expected = {.n_nodes = n, .nodes = nodes, .edges = (const int(*)[2])edges};
    assert_true(n <= 32);
    for (int i = 0; i < n; i++) {
        nodes[i] = rows[i].node;
        for (int j = 0; rows[i].preds[j] >= 0; j++) {
            edges[expected.n_edges][0] = rows[i].preds[j];
            edges[expected.n_edges++][1] = i;
        }
    }
    char why[1024] = "";
    if (!match_graphs(graph, &expected, why, sizeof(why)))
        fail_msg("%s", why);
}

#define PLAIN(op)                                                                                  \
    {                                                                                              \
        op, "", {                                                                                  \
            0, {                                                                                   \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define VECTOR(op, name, n)                                                                        \
    {                                                                                              \
        op, name, {                                                                                \
            1, {                                                                                   \
                n                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define MATRIX(name, out, in)                                                                      \
    {                                                                                              \
        "conv", name, {                                                                            \
            2, {                                                                                   \
                out, in                                                                            \
            }                                                                                      \
        }                                                                                          \
    }
#define CONV(name, out, in, k)                                                                     \
    {                                                                                              \
        "conv", name, {                                                                            \
            4, {                                                                                   \
                out, in, k, k                                                                      \
            }                                                                                      \
        }                                                                                          \
    }
#define POOL(op)                                                                                   \
    {                                                                                              \
        op, "", {                                                                                  \
            4, {                                                                                   \
                1, 1, 3, 3                                                                         \
            }                                                                                      \
        }                                                                                          \
    }

static void f1_transformer(void **state) {
    (void)state;
    static const struct row rows[] = {
        {PLAIN("input"), {-1}},
        {CONV("stem0.weight", 16, 3, 3), {0, -1}},
        {{"pos_enc", "pos_enc.weight", {4, {1, 16, 11, 11}}}, {-1}},
        {PLAIN("sum"), {1, 2, -1}},
        {VECTOR("ln", "cells.0._ops.1.ln1.weight", 16), {3, -1}},
        {MATRIX("cells.0._ops.1.to_qkv.weight", 48, 16), {4, -1}},
        {PLAIN("msa"), {5, -1}},
        {MATRIX("cells.0._ops.1.to_out.0.weight", 16, 16), {6, -1}},
        {VECTOR("bias", "cells.0._ops.1.to_out.0.bias", 16), {7, -1}},
        {PLAIN("sum"), {3, 8, -1}},
        {VECTOR("ln", "cells.0._ops.1.ln2.weight", 16), {9, -1}},
        {MATRIX("cells.0._ops.1.ff.net.0.weight", 16, 16), {10, -1}},
        {VECTOR("bias", "cells.0._ops.1.ff.net.0.bias", 16), {11, -1}},
        {MATRIX("cells.0._ops.1.ff.net.3.weight", 16, 16), {12, -1}},
        {VECTOR("bias", "cells.0._ops.1.ff.net.3.bias", 16), {13, -1}},
        {PLAIN("sum"), {9, 14, -1}},
        {POOL("avg_pool"), {15, -1}},
        {POOL("avg_pool"), {16, -1}},
        {PLAIN("glob_avg"), {17, -1}},
        {MATRIX("classifier.0.weight", 10, 16), {18, -1}},
        {VECTOR("bias", "classifier.0.bias", 10), {19, -1}},
    };
    struct ghn_graph *graph =
        build("{\"genotype\": {\"normal\": [[\"none\", 0], [\"msa\", 1]], \"normal_concat\": [2], "
              "\"reduce\": [[\"none\", 0], [\"avg_pool_3x3\", 1]], \"reduce_concat\": [2]}, "
              "\"net\": {\"C\": 16, \"n_cells\": 3, \"preproc\": false, \"C_mult\": 1}}");
    assert_graph(graph, rows, 21);
    ghn_graph_free(graph);
}

static void f2_dead_branches(void **state) {
    (void)state;
    static const struct row rows[] = {
        {PLAIN("input"), {-1}},
        {CONV("stem.0.weight", 48, 3, 3), {0, -1}},
        {POOL("max_pool"), {1, -1}},
        {CONV("cells.1.preprocess0.op.1.weight", 32, 48, 1), {2, -1}},
        {CONV("cells.0.preprocess0.op.1.weight", 16, 48, 1), {2, -1}},
        {POOL("max_pool"), {3, -1}},
        {CONV("cells.0._ops.0.op.1.weight", 16, 16, 3), {4, -1}},
        {CONV("cells.1.preprocess1.op.1.weight", 32, 16, 1), {6, -1}},
        {CONV("cells.1._ops.1.conv_1.weight", 16, 32, 1), {7, -1}},
        {CONV("cells.1._ops.1.conv_2.weight", 16, 32, 1), {7, -1}},
        {PLAIN("concat"), {8, 9, -1}},
        {PLAIN("sum"), {5, 10, -1}},
        {CONV("cells.3.preprocess0.conv_1.weight", 32, 32, 1), {11, -1}},
        {CONV("cells.3.preprocess0.conv_2.weight", 32, 32, 1), {11, -1}},
        {PLAIN("concat"), {12, 13, -1}},
        {CONV("cells.3._ops.0.op.1.weight", 64, 64, 3), {14, -1}},
        {MATRIX("classifier.0.weight", 32, 1024), {15, -1}},
        {VECTOR("bias", "classifier.0.bias", 32), {16, -1}},
        {MATRIX("classifier.3.weight", 10, 32), {17, -1}},
        {VECTOR("bias", "classifier.3.bias", 10), {18, -1}},
    };
    struct ghn_graph *graph =
        build("{\"genotype\": {\"normal\": [[\"conv_3x3\", 0], [\"none\", 1]], \"normal_concat\": "
              "[2], \"reduce\": [[\"max_pool_3x3\", 0], [\"skip_connect\", 1]], "
              "\"reduce_concat\": [2]}, \"net\": {\"C\": 16, \"n_cells\": 4, \"norm\": null, "
              "\"stem_pool\": true, \"glob_avg\": false, \"fc_layers\": 2, \"fc_dim\": 32}}");
    assert_graph(graph, rows, 20);
    assert_int_equal(slot_kind(graph, "cells.3.preprocess0.conv_1.weight"), GHN_SLOT_WEIGHT);
    assert_int_equal(slot_kind(graph, "cells.0.preprocess1.op.1.weight"), GHN_SLOT_OFF_PATH);
    assert_int_equal(slot_kind(graph, "cells.2.preprocess0.conv_1.weight"), GHN_SLOT_OFF_PATH);
    assert_int_equal(slot_kind(graph, "cells.2._ops.1.conv_2.weight"), GHN_SLOT_OFF_PATH);
    ghn_graph_free(graph);
}

static void f3_zero_states(void **state) {
    (void)state;
    struct ghn_graph *graph = build(
        "{\"genotype\": {\"normal\": [[\"none\", 0], [\"none\", 1], [\"conv_1x1\", 0], "
        "[\"none\", 1]], \"normal_concat\": [2, 3], \"reduce\": [[\"max_pool_3x3\", 0], "
        "[\"avg_pool_3x3\", 1], [\"skip_connect\", 0], [\"none\", 1]], \"reduce_concat\": [2, 3]}, "
        "\"net\": {\"C\": 16, \"n_cells\": 4, \"C_mult\": 1, \"norm\": \"bnorm\"}}");
    assert_int_equal(graph->n_nodes, 28);
    /* Cell 1's halving and its output, and the halving before cell 3: none for the normal cells. */
    assert_int_equal(count(graph, GHN_PRIMITIVE_CONCAT), 3);
    const struct ghn_graph_node *next = &graph->nodes[find(graph, "cells.1._ops.2.bn.weight")];
    assert_int_equal(next->n_succs, 1);
    next = &graph->nodes[next->succs[0]];
    assert_int_equal(next->op, GHN_PRIMITIVE_CONCAT);
    assert_int_equal(next->n_preds, 2);
    int sum =
        next->preds[0] == find(graph, "cells.1._ops.2.bn.weight") ? next->preds[1] : next->preds[0];
    assert_int_equal(graph->nodes[sum].op, GHN_PRIMITIVE_SUM);
    assert_int_equal(graph->nodes[graph->nodes[sum].preds[0]].op +
                         graph->nodes[graph->nodes[sum].preds[1]].op,
                     GHN_PRIMITIVE_MAX_POOL + GHN_PRIMITIVE_AVG_POOL);
    ghn_graph_free(graph);
}

/* Cell 0 adds a tensor to itself: no node. The stem's sum feeds cell 1 twice and cell 2 once. */
static void f4_identity_sums(void **state) {
    (void)state;
    struct ghn_graph *graph =
        build("{\"genotype\": {\"normal\": [[\"skip_connect\", 0], [\"skip_connect\", 1]], "
              "\"normal_concat\": [2], \"reduce\": [[\"msa\", 0], [\"avg_pool_3x3\", 1]], "
              "\"reduce_concat\": [2]}, "
              "\"net\": {\"C\": 16, \"n_cells\": 4, \"preproc\": false, \"C_mult\": 1}}");
    int ln = find(graph, "cells.1._ops.0.ln1.weight");
    assert_int_equal(graph->nodes[ln].n_preds, 1);
    const struct ghn_graph_node *stem = &graph->nodes[graph->nodes[ln].preds[0]];
    assert_int_equal(stem->op, GHN_PRIMITIVE_SUM);
    assert_int_equal(stem->n_preds, 2);
    int conv = find(graph, "stem0.weight"), pos = find(graph, "pos_enc.weight");
    assert_int_equal(stem->preds[0] + stem->preds[1], conv + pos);
    /* One for the stem, two for each msa, one for each of cells 1 to 3. */
    assert_int_equal(count(graph, GHN_PRIMITIVE_SUM), 1 + 2 * 2 + 3);
    ghn_graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f1_transformer),
        cmocka_unit_test(f2_dead_branches),
        cmocka_unit_test(f3_zero_states),
        cmocka_unit_test(f4_identity_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
