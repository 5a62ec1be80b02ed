/* Every DeepNets-1M network of the golden data, through the genotype form: its parameters, its
 * graph, which of its parameters are predicted, and as what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deepnets/deepnets.h"
#include "ghn/predict.h"
#include "golden.h"
#include "golden_graph.h"
#include "golden_values.h"
#include "graph/graph.h"
#include "graph_match.h"

static void check(enum ghn_status status, const struct ghn_err *err) {
    if (status != GHN_OK)
        fail_msg("%s at \"%s\": %s", ghn_status_code(status), err->where, err->message);
}

/* The case as a client would send it. */
static struct ghn_arch *build(const json_t *golden) {
    static const char *const keys[][2] = {{"genotype", "genotype"},
                                          {"net", "net_args"},
                                          {"input", "input"},
                                          {"num_classes", "num_classes"}};
    struct ghn_net net;
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    json_t *request = json_object();
    for (int i = 0; i < 4; i++)
        json_object_set(request, keys[i][0], json_object_get(golden, keys[i][1]));
    check(ghn_net_from_json(request, "", &net, &err), &err);
    check(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), &err);
    json_decref(request);
    return arch;
}

static struct ghn_shape shape_of(const json_t *array) {
    struct ghn_shape shape = {.ndim = (int)json_array_size(array)};
    assert_in_range(shape.ndim, 0, GHN_MAX_DIMS);
    for (int i = 0; i < shape.ndim; i++)
        shape.dim[i] = json_integer_value(json_array_get(array, (size_t)i));
    return shape;
}

static void assert_shape(const char *name, const struct ghn_shape *found, const json_t *expected) {
    struct ghn_shape shape = shape_of(expected);
    char a[GHN_SHAPE_TEXT], b[GHN_SHAPE_TEXT];
    if (!ghn_shape_equal(found, &shape))
        fail_msg("%s is %s, expected %s", name, ghn_shape_text(found, a, sizeof(a)),
                 ghn_shape_text(&shape, b, sizeof(b)));
}

/* The parameters are exactly those of the module that PyTorch builds. */
static void check_params(const struct ghn_arch *arch, const json_t *golden) {
    const json_t *all = json_object_get(golden, "all_params");
    if (!all)
        return;
    for (int i = 0; i < arch->n_params; i++) {
        const struct ghn_param *param = &arch->params[i];
        const json_t *shape = json_object_get(all, param->name);
        if (!shape)
            fail_msg("there should be no parameter %s", param->name);
        assert_shape(param->name, &param->shape, shape);
    }
    assert_int_equal(arch->n_params, json_object_size(all));
}

static void check_graph(const struct ghn_graph *graph, const json_t *golden) {
    const json_t *nodes = json_object_get(golden, "nodes");
    const json_t *edges = json_object_get(golden, "edges_1hop");
    struct match_graph expected = {(int)json_array_size(nodes), (int)json_array_size(edges), NULL,
                                   NULL};
    struct match_node *list = calloc((size_t)expected.n_nodes, sizeof(*list));
    int(*pairs)[2] = calloc((size_t)expected.n_edges, sizeof(*pairs));
    assert_true(list && pairs);
    for (int i = 0; i < expected.n_nodes; i++) {
        const json_t *node = json_array_get(nodes, (size_t)i);
        const char *name = json_string_value(json_object_get(node, "name"));
        list[i].op = json_string_value(json_object_get(node, "op"));
        list[i].name = name ? name : "";
        list[i].shape = shape_of(json_object_get(node, "shape"));
    }
    for (int i = 0; i < 2 * expected.n_edges; i++)
        pairs[i / 2][i % 2] = (int)json_integer_value(
            json_array_get(json_array_get(edges, (size_t)i / 2), (size_t)i % 2));
    expected.nodes = list;
    expected.edges = (const int(*)[2])pairs;
    char why[1024] = "";
    if (!match_graphs(graph, &expected, why, sizeof(why)))
        fail_msg("%s", why);
    free(list);
    free(pairs);
    assert_int_equal(graph->n_virtual_edges,
                     json_integer_value(json_object_get(golden, "n_edges")));
    assert_int_equal(graph->distance_sum,
                     json_integer_value(json_object_get(golden, "edge_dist_sum")));
}

/* What is not predicted is off the path: nothing is initialised in this space. */
static void check_slots(const struct ghn_graph *graph, const json_t *golden) {
    const json_t *params = json_object_get(golden, "params");
    for (int i = 0; i < graph->n_slots; i++)
        if (!json_object_get(params, graph->slots[i].name))
            assert_int_equal(graph->slots[i].kind, GHN_SLOT_OFF_PATH);
}

static void genotype(void **state) {
    json_t *golden = golden_load(*state);
    struct ghn_graph *graph = NULL;
    struct ghn_prediction *prediction = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_arch *arch = build(golden);
    check_params(arch, golden);
    check(ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err), &err);
    check_graph(graph, golden);
    check_slots(graph, golden);
    check(ghn_predict(golden_model(golden), graph, NULL, NULL, &prediction, &err), &err);
    golden_check_params(golden, prediction);
    ghn_prediction_free(prediction);
    ghn_graph_free(graph);
    ghn_arch_free(arch);
    json_decref(golden);
}

int main(void) {
    int failed = golden_run("deepnets", genotype);
    golden_models_free();
    golden_print_worst();
    return failed;
}
