/* Every golden case through the graph form: node embeddings, and every parameter's shape,
 * statistics and sampled values, against the reference implementation's. Prints the worst errors
 * seen, as multiples of the tolerance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ghn/predict.h"
#include "golden.h"
#include "golden_graph.h"
#include "golden_values.h"

static void check_embeddings(const json_t *json, const struct ghn_prediction *prediction, int hid) {
    const json_t *nodes = json_object_get(json, "nodes");
    for (int v = 0; v < prediction->graph->n_nodes; v++) {
        const json_t *node = json_array_get(nodes, (size_t)v);
        const float *e = prediction->embeddings + v * hid;
        double squares = 0.0;
        for (int j = 0; j < hid; j++)
            squares += (double)e[j] * (double)e[j];
        double scale = sqrt(squares / hid);
        golden_close("an embedding's norm", sqrt(squares), golden_real(node, "embedding_l2"), scale,
                     &golden_worst.embedding);
        const json_t *head = json_object_get(node, "embedding_head");
        for (size_t j = 0; j < json_array_size(head); j++)
            golden_close("an embedding's value", (double)e[j],
                         json_number_value(json_array_get(head, j)), scale,
                         &golden_worst.embedding);
    }
}

static void check_edges(const json_t *json, const struct ghn_graph *graph, bool virtual_edges) {
    /* GHN-1's cases count the real edges alone. */
    int64_t n = virtual_edges ? graph->n_virtual_edges : graph->n_edges;
    int64_t sum = virtual_edges ? graph->distance_sum : graph->n_edges;
    assert_int_equal(n, json_integer_value(json_object_get(json, "n_edges")));
    assert_int_equal(sum, json_integer_value(json_object_get(json, "edge_dist_sum")));
}

static void case_agrees(void **state) {
    json_t *json = golden_load(*state);
    struct ghn_graph *graph = golden_graph(json);
    struct ghn_model *model = golden_model(json);
    struct ghn_prediction *prediction = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    const struct ghn_config *config = ghn_model_config(model);
    if (ghn_predict(model, graph, NULL, NULL, &prediction, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    check_edges(json, graph, config->ve);
    check_embeddings(json, prediction, config->hid);
    golden_check_params(json, prediction);
    ghn_prediction_free(prediction);
    ghn_graph_free(graph);
    json_decref(json);
}

int main(void) {
    if (!golden_folder())
        return GOLDEN_SKIPPED;
    int failed = golden_run("torchvision", case_agrees) + golden_run("deepnets", case_agrees);
    golden_models_free();
    golden_print_worst();
    return failed;
}
