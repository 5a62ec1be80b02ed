/* The golden networks under the training passes: what a tape holds is what prediction gives, for
 * every checkpoint; and the gradient of the full-size hypernetworks is the plain twin's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "ghn/encode.h"
#include "ghn/hypernet_impl.h"
#include "ghn/predict.h"
#include "ghn/reference.h"
#include "golden.h"
#include "golden_graph.h"

static struct ghn_graph *load_graph(const char *name) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.json", golden_folder(), name);
    json_t *json = golden_load(path);
    struct ghn_graph *graph = golden_graph(json);
    json_decref(json);
    return graph;
}

static struct ghn_model *load_model(const char *name) {
    char path[4096];
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    snprintf(path, sizeof(path), "%s/checkpoints/%s.pt", golden_folder(), name);
    if (ghn_model_load(path, &model, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

static float *room_for(const struct ghn_slot *slot) {
    float *room = malloc((size_t)slot->numel * sizeof(float));
    assert_non_null(room);
    return room;
}

/* --- Forward --- */

static void compare_slot(const struct ghn_tape *tape, const struct ghn_prediction *prediction,
                         int i, int k) {
    const struct ghn_slot *slot = &prediction->graph->slots[k];
    assert_int_equal(ghn_tape_predicts(tape, i, k), prediction->outcomes[k] == GHN_PREDICTED);
    if (!ghn_tape_predicts(tape, i, k))
        return;
    float *found = room_for(slot), *expected = room_for(slot), scale = 0.0f;
    ghn_tape_read(tape, i, k, found);
    ghn_prediction_values(prediction, k, 0, slot->numel, expected);
    for (int64_t j = 0; j < slot->numel; j++)
        scale = fmaxf(scale, fabsf(expected[j]));
    for (int64_t j = 0; j < slot->numel; j++)
        if (!(fabsf(found[j] - expected[j]) <= 1e-5f * scale))
            fail_msg("%s: element %lld is %.9g, expected %.9g (largest %.9g)", slot->name,
                     (long long)j, (double)found[j], (double)expected[j], (double)scale);
    free(found);
    free(expected);
}

static void forward_is_prediction(void **state) {
    (void)state;
    static const char *const checkpoints[] = {"ghn2_cifar10", "ghn2_imagenet", "ghn1_cifar10",
                                              "mlp_cifar10",  "ghn2_small",    "ghn2_small_mlpdec"};
    struct ghn_graph *graphs[] = {load_graph("torchvision/resnet18--ghn2_cifar10"),
                                  load_graph("deepnets/vit_deepnets--ghn2_cifar10"),
                                  load_graph("deepnets/val_1--ghn2_cifar10")};
    struct ghn_tape *tape = NULL;
    assert_int_equal(ghn_tape_new(&tape, NULL), GHN_OK);
    for (int c = 0; c < 6; c++) {
        struct ghn_model *model = load_model(checkpoints[c]);
        struct ghn_hypernet *h = NULL;
        assert_int_equal(ghn_hypernet_from_model(model, &h, NULL), GHN_OK);
        assert_int_equal(
            ghn_hypernet_forward(h, (const struct ghn_graph *const *)graphs, 3, NULL, tape, NULL),
            GHN_OK);
        for (int i = 0; i < 3; i++) {
            struct ghn_prediction *prediction = NULL;
            assert_int_equal(ghn_predict(model, graphs[i], NULL, NULL, &prediction, NULL), GHN_OK);
            for (int k = 0; k < graphs[i]->n_slots; k++)
                compare_slot(tape, prediction, i, k);
            ghn_prediction_free(prediction);
        }
        ghn_hypernet_free(h);
        ghn_model_unref(model);
    }
    ghn_tape_free(tape);
    for (int i = 0; i < 3; i++)
        ghn_graph_free(graphs[i]);
}

/* --- Backward --- */

/* Gives every tensor of the tape's only network a random gradient, and d (all of them one after
 * another) the same. */
static void give_gradients(struct ghn_tape *tape, const struct ghn_graph *graph, double *d) {
    for (int k = 0; k < graph->n_slots; k++) {
        if (!ghn_tape_predicts(tape, 0, k))
            continue;
        float *gradient = room_for(&graph->slots[k]);
        for (int64_t j = 0; j < graph->slots[k].numel; j++) {
            gradient[j] = (float)ghn_rng_normal(7, (uint64_t)k, (uint64_t)j);
            *d++ = (double)gradient[j];
        }
        ghn_tape_fold(tape, 0, k, gradient);
        free(gradient);
    }
}

/* A tensor's gradient may be off by a share of its length: in f32 some ReLUs next to their kinks
 * are on that are off in double. */
static void compare_tensor(const struct ghn_hypernet *h, int t, const double *expected) {
    int64_t first = h->tensors[t] - h->values;
    double error = 0.0, length = 0.0;
    for (int64_t j = first; j < first + h->specs[t].numel; j++) {
        double difference = (double)h->gradient[j] - expected[j];
        error += difference * difference;
        length += expected[j] * expected[j];
    }
    if (!(sqrt(error) <= 2e-4 * sqrt(length)) || length == 0.0)
        fail_msg("%s: an error of length %.3g in a gradient of length %.3g", h->specs[t].name,
                 sqrt(error), sqrt(length));
}

static void check_gradient(const char *checkpoint, const char *network) {
    struct ghn_model *model = load_model(checkpoint);
    struct ghn_graph *graph = load_graph(network);
    struct ghn_hypernet *h = NULL;
    struct ghn_tape *tape = NULL;
    assert_int_equal(ghn_hypernet_from_model(model, &h, NULL), GHN_OK);
    assert_int_equal(ghn_tape_new(&tape, NULL), GHN_OK);
    double *values = calloc((size_t)h->n, sizeof(*values));
    double *expected = calloc((size_t)h->n, sizeof(*expected));
    double *d = calloc((size_t)ghn__reference_n(&h->config, graph), sizeof(*d));
    assert_true(values && expected && d);
    for (int64_t j = 0; j < h->n; j++)
        values[j] = (double)h->values[j];
    const struct ghn_graph *one = graph;
    assert_int_equal(ghn_hypernet_forward(h, &one, 1, NULL, tape, NULL), GHN_OK);
    give_gradients(tape, graph, d);
    assert_int_equal(ghn_hypernet_backward(h, tape, NULL, NULL), GHN_OK);
    assert_int_equal(ghn__reference_backward(&h->config, values, graph, d, expected, NULL), GHN_OK);
    for (int t = 0; t < GHN__N_TENSORS; t++)
        if (h->specs[t].present)
            compare_tensor(h, t, expected);
    free(values);
    free(expected);
    free(d);
    ghn_tape_free(tape);
    ghn_hypernet_free(h);
    ghn_graph_free(graph);
    ghn_model_unref(model);
}

static void gradients_are_the_plain_ones(void **state) {
    (void)state;
    check_gradient("ghn2_cifar10", "deepnets/val_0--ghn2_cifar10");
    check_gradient("ghn2_cifar10", "deepnets/search_3--ghn2_cifar10");
    check_gradient("ghn1_cifar10", "deepnets/bnfree_1--ghn2_cifar10");
    check_gradient("ghn2_small_mlpdec", "deepnets/test_2--ghn2_cifar10");
}

int main(void) {
    if (!golden_folder())
        return GOLDEN_SKIPPED;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_prediction),
        cmocka_unit_test(gradients_are_the_plain_ones),
    };
    return cmocka_run_group_tests_name("golden hypernetworks", tests, NULL, NULL);
}
