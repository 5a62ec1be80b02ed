/* Every golden case through the graph form: node embeddings, and every parameter's shape,
 * statistics and sampled values, against the reference implementation's. Prints the worst errors
 * seen, as multiples of the tolerance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ghn/encode.h"
#include "ghn/predict.h"
#include "golden.h"
#include "golden_graph.h"

/* Values agree if they differ by at most this part of the tensor's standard deviation, and of
 * themselves. */
static const double tolerance = 1e-5;

static double worst_value, worst_statistic, worst_embedding;

static void close_to(const char *what, double found, double expected, double scale, double *worst) {
    double error = fabs(found - expected) / (tolerance * scale + tolerance * fabs(expected));
    if (!(error <= 1.0))
        fail_msg("%s is %.9g, not %.9g: %.3g times the tolerance", what, found, expected, error);
    *worst = error > *worst ? error : *worst;
}

static double real_of(const json_t *json, const char *key) {
    const json_t *value = json_object_get(json, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void check_embeddings(const json_t *json, const struct ghn_prediction *prediction, int hid) {
    const json_t *nodes = json_object_get(json, "nodes");
    for (int v = 0; v < prediction->graph->n_nodes; v++) {
        const json_t *node = json_array_get(nodes, (size_t)v);
        const float *e = prediction->embeddings + v * hid;
        double squares = 0.0;
        for (int j = 0; j < hid; j++)
            squares += (double)e[j] * (double)e[j];
        double scale = sqrt(squares / hid);
        close_to("an embedding's norm", sqrt(squares), real_of(node, "embedding_l2"), scale,
                 &worst_embedding);
        const json_t *head = json_object_get(node, "embedding_head");
        for (size_t j = 0; j < json_array_size(head); j++)
            close_to("an embedding's value", (double)e[j],
                     json_number_value(json_array_get(head, j)), scale, &worst_embedding);
    }
}

static void check_statistics(const json_t *param, const float *values, int64_t n) {
    double sum = 0.0, squares = 0.0, deviation = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    double mean = sum / (double)n, std = real_of(param, "std");
    for (int64_t i = 0; i < n; i++)
        deviation += ((double)values[i] - mean) * ((double)values[i] - mean);
    /* The reference adds up in f32, hence the 1e-7 of a value where all are alike. */
    double scale = std + 1e-2 * fabs(mean);
    close_to("mean", mean, real_of(param, "mean"), scale, &worst_statistic);
    close_to("std", sqrt(deviation / (double)n), std, scale, &worst_statistic);
    close_to("l2", sqrt(squares), real_of(param, "l2"), 0.0, &worst_statistic);
}

static void check_param(const json_t *param, const struct ghn_prediction *prediction, int slot) {
    const struct ghn_slot *s = &prediction->graph->slots[slot];
    const json_t *shape = json_object_get(param, "shape"), *idx = json_object_get(param, "idx");
    assert_int_equal(json_array_size(shape), s->shape.ndim);
    for (int d = 0; d < s->shape.ndim; d++)
        assert_int_equal(json_integer_value(json_array_get(shape, (size_t)d)), s->shape.dim[d]);
    assert_int_equal(prediction->outcomes[slot], GHN_PREDICTED);
    float *values = malloc((size_t)s->numel * sizeof(*values));
    ghn_prediction_values(prediction, slot, 0, s->numel, values);
    check_statistics(param, values, s->numel);
    assert_true(json_array_size(idx) > 0);
    for (size_t i = 0; i < json_array_size(idx); i++)
        close_to("a value", (double)values[json_integer_value(json_array_get(idx, i))],
                 json_number_value(json_array_get(json_object_get(param, "val"), i)),
                 real_of(param, "std"), &worst_value);
    free(values);
}

static void check_params(const json_t *json, const struct ghn_prediction *prediction) {
    const json_t *params = json_object_get(json, "params");
    int64_t n_params = 0;
    assert_int_equal(json_object_size(params), prediction->graph->n_slots);
    for (int i = 0; i < prediction->graph->n_slots; i++) {
        const json_t *param = json_object_get(params, prediction->graph->slots[i].name);
        if (!param)
            fail_msg("there is no %s in the reference", prediction->graph->slots[i].name);
        check_param(param, prediction, i);
        n_params += prediction->graph->slots[i].numel;
    }
    assert_int_equal(n_params, json_integer_value(json_object_get(json, "n_params")));
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
    check_params(json, prediction);
    ghn_prediction_free(prediction);
    ghn_graph_free(graph);
    json_decref(json);
}

int main(void) {
    if (!golden_folder())
        return GOLDEN_SKIPPED;
    int failed = golden_run("torchvision", case_agrees) + golden_run("deepnets", case_agrees);
    golden_models_free();
    printf("worst errors, in tolerances: values %.3g, statistics %.3g, embeddings %.3g\n",
           worst_value, worst_statistic, worst_embedding);
    return failed;
}
