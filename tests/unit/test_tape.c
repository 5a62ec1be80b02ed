/* lib/train: a network's parameters from a tape, and their gradients onto it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ghn/predict.h"
#include "make_arch.h"
#include "train/finetune.h"
#include "train/tape.h"

static const struct ghn_config config = {.hid = 8,
                                         .max_shape = {16, 16, 3, 3},
                                         .num_classes = 5,
                                         .weight_norm = true,
                                         .ve = true,
                                         .layernorm = true};

/* A network with a branch that is off the path; `width` is that of its second convolution. */
static struct ghn_arch *new_arch(int width) {
    static const char form[] =
        "{\"format\": \"ghn-arch/1\", \"input\": {\"name\": \"x\", \"shape\": [3, 8, 8]},"
        " \"nodes\": ["
        "{\"name\": \"wide\", \"op\": \"conv2d\", \"inputs\": [\"x\"],"
        " \"attrs\": {\"out_channels\": 20, \"kernel\": 3}},"
        "{\"name\": \"bn\", \"op\": \"batch_norm2d\", \"inputs\": [\"wide\"]},"
        "{\"name\": \"tall\", \"op\": \"conv2d\", \"inputs\": [\"bn\"],"
        " \"attrs\": {\"out_channels\": %d, \"kernel\": 2}},"
        "{\"name\": \"pool\", \"op\": \"adaptive_avg_pool2d\", \"inputs\": [\"tall\"],"
        " \"attrs\": {\"output_size\": 1}},"
        "{\"name\": \"flat\", \"op\": \"flatten\", \"inputs\": [\"pool\"]},"
        "{\"name\": \"idle\", \"op\": \"linear\", \"inputs\": [\"flat\"],"
        " \"attrs\": {\"out_features\": 3}},"
        "{\"name\": \"fc\", \"op\": \"linear\", \"inputs\": [\"flat\"],"
        " \"attrs\": {\"out_features\": 6}}], \"output\": \"fc\"}";
    char text[2048];
    (void)snprintf(text, sizeof(text), form, width);
    return arch_of(json_loads(text, 0, NULL));
}

/* A network on a tape of its own, with what the hypernetwork's model predicts for it. */
struct setting {
    struct ghn_arch *arch;
    struct ghn_graph *graph;
    struct ghn_hypernet *h;
    struct ghn_model *model;
    struct ghn_tape *tape;
    struct ghn_params *params, *predicted;
};

enum { SEED = 9 };

static int set_up(void **state) {
    struct setting *s = calloc(1, sizeof(*s));
    struct ghn_predict_options options = {.seed = SEED};
    struct ghn_prediction *prediction = NULL;
    assert_non_null(s);
    s->arch = new_arch(40);
    assert_int_equal(ghn_graph_from_arch(s->arch, &ghn_limits_default, &s->graph, NULL), GHN_OK);
    assert_int_equal(ghn_hypernet_new(&config, 2, &s->h, NULL), GHN_OK);
    assert_int_equal(ghn_hypernet_to_model(s->h, NULL, &s->model, NULL), GHN_OK);
    assert_int_equal(ghn_tape_new(&s->tape, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(s->arch, &s->params, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(s->arch, &s->predicted, NULL), GHN_OK);
    const struct ghn_graph *graphs[] = {s->graph, s->graph};
    assert_int_equal(ghn_hypernet_forward(s->h, graphs, 2, NULL, s->tape, NULL), GHN_OK);
    assert_int_equal(ghn_predict(s->model, s->graph, &options, NULL, &prediction, NULL), GHN_OK);
    assert_int_equal(ghn_params_from_prediction(s->predicted, prediction, NULL), GHN_OK);
    ghn_prediction_free(prediction);
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    struct setting *s = *state;
    ghn_params_free(s->params);
    ghn_params_free(s->predicted);
    ghn_tape_free(s->tape);
    ghn_model_unref(s->model);
    ghn_hypernet_free(s->h);
    ghn_graph_free(s->graph);
    ghn_arch_free(s->arch);
    free(s);
    return 0;
}

static void parameters_are_those_predicted(void **state) {
    struct setting *s = *state;
    assert_int_equal(ghn_tape_write(s->tape, 1, SEED, s->params, NULL), GHN_OK);
    for (int64_t j = 0; j < s->params->n; j++)
        if (fabsf(s->params->values[j] - s->predicted->values[j]) > 4e-6f)
            fail_msg("element %lld is %g, expected %g", (long long)j, (double)s->params->values[j],
                     (double)s->predicted->values[j]);
    int initialised = 0;
    for (int p = 0; p < s->arch->n_params; p++) {
        int64_t first = s->params->offsets[p];
        if (strncmp(s->arch->params[p].name, "idle.", 5) != 0)
            continue;
        assert_memory_equal(s->params->values + first, s->predicted->values + first,
                            (size_t)(s->params->offsets[p + 1] - first) * sizeof(float));
        initialised++;
    }
    assert_int_equal(initialised, 2);
}

/* The slot of parameter p, or -1. */
static int slot_of(const struct setting *s, int p) {
    for (int k = 0; k < s->graph->n_slots; k++)
        if (strcmp(s->graph->slots[k].name, s->arch->params[p].name) == 0 &&
            ghn_tape_predicts(s->tape, 0, k))
            return k;
    return -1;
}

/* The gradient of h for a gradient of network 1's parameters, given in one or by slots. */
static void gradient_of(struct setting *s, const float *gradient, bool by_slots, float *ret) {
    const struct ghn_graph *graphs[] = {s->graph, s->graph};
    size_t size = (size_t)ghn_hypernet_n(s->h) * sizeof(float);
    assert_int_equal(ghn_hypernet_forward(s->h, graphs, 2, NULL, s->tape, NULL), GHN_OK);
    if (!by_slots)
        assert_int_equal(ghn_tape_add_gradient(s->tape, 1, s->params, gradient, NULL), GHN_OK);
    for (int p = 0; by_slots && p < s->arch->n_params; p++)
        if (slot_of(s, p) >= 0)
            ghn_tape_fold(s->tape, 1, slot_of(s, p), gradient + s->params->offsets[p]);
    memset(ghn_hypernet_gradient(s->h), 0, size);
    assert_int_equal(ghn_hypernet_backward(s->h, s->tape, NULL, NULL), GHN_OK);
    memcpy(ret, ghn_hypernet_gradient(s->h), size);
}

static void gradients_go_to_their_tensors(void **state) {
    struct setting *s = *state;
    size_t n = (size_t)ghn_hypernet_n(s->h);
    float *gradient = calloc((size_t)s->params->n, sizeof(float));
    float *found = calloc(n, sizeof(float)), *expected = calloc(n, sizeof(float));
    float largest = 0.0f;
    for (int64_t j = 0; j < s->params->n; j++)
        gradient[j] = (float)ghn_rng_normal(1, 0, (uint64_t)j);
    gradient_of(s, gradient, false, found);
    gradient_of(s, gradient, true, expected);
    assert_memory_equal(found, expected, n * sizeof(float));
    for (size_t j = 0; j < n; j++)
        largest = fmaxf(largest, fabsf(found[j]));
    assert_true(largest > 0.0f);
    free(gradient);
    free(found);
    free(expected);
}

static void other_networks_are_refused(void **state) {
    struct setting *s = *state;
    struct ghn_arch *other = new_arch(41);
    struct ghn_params *params = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_params_new(other, &params, NULL), GHN_OK);
    assert_int_equal(ghn_tape_write(s->tape, 0, SEED, params, &err), GHN_SHAPE_MISMATCH);
    assert_string_equal(err.where, "tall.weight");
    for (int64_t j = 0; j < params->n; j++)
        assert_true(params->values[j] == 0.0f);
    assert_int_equal(ghn_tape_add_gradient(s->tape, 0, params, params->values, NULL),
                     GHN_SHAPE_MISMATCH);
    ghn_params_free(params);
    ghn_arch_free(other);
}

static void memory_may_run_out(void **state) {
    struct setting *s = *state;
    int failures = 0;
    for (long n = 1;; n++) {
        ghn_mem_fail_at(n, 0);
        enum ghn_status status = ghn_tape_write(s->tape, 0, SEED, s->params, NULL);
        ghn_mem_fail_at(0, 0);
        if (status == GHN_OK)
            break;
        assert_int_equal(status, GHN_NO_MEMORY);
        failures++;
    }
    assert_true(failures >= 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_those_predicted),
        cmocka_unit_test(gradients_go_to_their_tensors),
        cmocka_unit_test(other_networks_are_refused),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("tape", tests, set_up, tear_down);
}
