/* GHN-orth, and parameters from a prediction. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/initialise.h"
#include "base/rng.h"
#include "ghn/encode.h"
#include "make_arch.h"
#include "train/finetune.h"

/* Wide (8, 27), tall (40, 32 after groups), square (12, 12) by 1 x 1, classifier. */
static struct ghn_arch *make_arch(void) {
    static const char form[] =
        "{\"format\": \"ghn-arch/1\", \"input\": {\"name\": \"x\", \"shape\": [3, 8, 8]},"
        " \"nodes\": ["
        "{\"name\": \"wide\", \"op\": \"conv2d\", \"inputs\": [\"x\"],"
        " \"attrs\": {\"out_channels\": 8, \"kernel\": 3}},"
        "{\"name\": \"tall\", \"op\": \"conv2d\", \"inputs\": [\"wide\"],"
        " \"attrs\": {\"out_channels\": 40, \"kernel\": 2}},"
        "{\"name\": \"bn\", \"op\": \"batch_norm2d\", \"inputs\": [\"tall\"]},"
        "{\"name\": \"pool\", \"op\": \"adaptive_avg_pool2d\", \"inputs\": [\"bn\"],"
        " \"attrs\": {\"output_size\": 1}},"
        "{\"name\": \"flat\", \"op\": \"flatten\", \"inputs\": [\"pool\"]},"
        "{\"name\": \"idle\", \"op\": \"linear\", \"inputs\": [\"flat\"],"
        " \"attrs\": {\"out_features\": 3}},"
        "{\"name\": \"fc\", \"op\": \"linear\", \"inputs\": [\"flat\"],"
        " \"attrs\": {\"out_features\": 5}}], \"output\": \"fc\"}";
    return arch_of(json_loads(form, 0, NULL));
}

static int find(const struct ghn_arch *arch, const char *name) {
    int i = 0;
    while (strcmp(arch->params[i].name, name) != 0)
        i++;
    return i;
}

/* What the signs make unique: Gram-Schmidt from the first column on, each keeping its direction. w
 * is (out, rest); its orthogonal factor replaces it. */
static void gram_schmidt(double *w, int out, int rest) {
    bool wide = out < rest;
    int rows = wide ? rest : out, cols = wide ? out : rest, i_step = wide ? 1 : rest,
        j_step = wide ? rest : 1;
    for (int j = 0; j < cols; j++) {
        for (int again = 0; again < 2; again++)
            for (int k = 0; k < j; k++) {
                double dot = 0;
                for (int i = 0; i < rows; i++)
                    dot += w[i * i_step + j * j_step] * w[i * i_step + k * j_step];
                for (int i = 0; i < rows; i++)
                    w[i * i_step + j * j_step] -= dot * w[i * i_step + k * j_step];
            }
        double square = 0;
        for (int i = 0; i < rows; i++)
            square += w[i * i_step + j * j_step] * w[i * i_step + j * j_step];
        for (int i = 0; i < rows; i++)
            w[i * i_step + j * j_step] /= sqrt(square);
    }
}

static void check_weight(const struct ghn_params *after, const struct ghn_params *before,
                         const char *name, int out, int rest, bool changed) {
    int i = find(after->arch, name);
    const float *values = after->values + after->offsets[i];
    double *expected = calloc((size_t)(out * rest), sizeof *expected);
    for (int k = 0; k < out * rest; k++)
        expected[k] = before->values[before->offsets[i] + k];
    if (changed)
        gram_schmidt(expected, out, rest);
    for (int k = 0; k < out * rest; k++)
        if (fabs(values[k] - expected[k]) > (changed ? 1e-5 : 0))
            fail_msg("%s[%d]: %.9g, expected %.9g", name, k, values[k], expected[k]);
    free(expected);
}

static void weights_become_orthogonal(void **state) {
    (void)state;
    struct ghn_arch *arch = make_arch();
    struct ghn_params *before = NULL, *after = NULL;
    for (int from = 1; from <= 3; from++) {
        assert_int_equal(ghn_params_new(arch, &before, NULL), GHN_OK);
        assert_int_equal(ghn_params_new(arch, &after, NULL), GHN_OK);
        ghn_params_initialise(before, 9);
        ghn_params_initialise(after, 9);
        assert_int_equal(ghn_orthogonalise(after, from, 0, 0, NULL), GHN_OK);
        check_weight(after, before, "wide.weight", 8, 27, from <= 1);
        check_weight(after, before, "tall.weight", 40, 32, from <= 2);
        check_weight(after, before, "idle.weight", 3, 40, true);
        check_weight(after, before, "fc.weight", 5, 40, false); /* the classifier */
        check_weight(after, before, "wide.bias", 1, 8, false);
        check_weight(after, before, "bn.weight", 1, 40, false);
        ghn_params_free(before);
        ghn_params_free(after);
    }
    ghn_arch_free(arch);
}

/* The standard deviation over all entries of the correlation matrix of the rows of the tall form of
 * w, entry by entry. */
static double deviation(const float *w, int out, int rest) {
    bool wide = out < rest;
    int rows = wide ? rest : out, cols = wide ? out : rest, i_step = wide ? 1 : rest,
        j_step = wide ? rest : 1;
    double sum = 0, squares = 0, count = (double)rows * rows;
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < rows; k++) {
            double mi = 0, mk = 0, ik = 0, ii = 0, kk = 0;
            for (int j = 0; j < cols; j++) {
                mi += w[i * i_step + j * j_step] / cols;
                mk += w[k * i_step + j * j_step] / cols;
            }
            for (int j = 0; j < cols; j++) {
                double x = w[i * i_step + j * j_step] - mi, y = w[k * i_step + j * j_step] - mk;
                ik += x * y;
                ii += x * x;
                kk += y * y;
            }
            sum += ik / sqrt(ii * kk);
            squares += ik * ik / (ii * kk);
        }
    return sqrt((squares - sum * sum / count) / (count - 1));
}

static void noise_has_its_size(void **state) {
    (void)state;
    struct ghn_arch *arch = make_arch();
    struct ghn_params *before = NULL, *after = NULL;
    assert_int_equal(ghn_params_new(arch, &before, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(arch, &after, NULL), GHN_OK);
    ghn_params_initialise(before, 2);
    ghn_params_initialise(after, 2);
    assert_int_equal(ghn_orthogonalise(after, 1, 0.05, 77, NULL), GHN_OK);
    static const struct {
        const char *name;
        int out, rest;
    } weights[] = {{"wide.weight", 8, 27}, {"tall.weight", 40, 32}};
    for (int k = 0; k < 2; k++) {
        /* What comes out is the orthogonal factor of the weight with noise added. */
        float *w = before->values + before->offsets[find(arch, weights[k].name)];
        int n = weights[k].out * weights[k].rest;
        double s = deviation(w, weights[k].out, weights[k].rest);
        assert_true(s > 0.05 && s < 2);
        for (int i = 0; i < n; i++)
            w[i] = (float)(w[i] +
                           0.05 * s *
                               ghn_rng_normal(77, ghn_rng_stream(weights[k].name), (uint64_t)i));
        check_weight(after, before, weights[k].name, weights[k].out, weights[k].rest, true);
    }
    ghn_params_free(before);
    ghn_params_free(after);
    ghn_arch_free(arch);
}

static void a_prediction_becomes_parameters(void **state) {
    (void)state;
    static const struct ghn_config config = {.hid = 8,
                                             .max_shape = {8, 8, 5, 5},
                                             .num_classes = 5,
                                             .weight_norm = true,
                                             .ve = true,
                                             .layernorm = true};
    struct ghn_arch *arch = make_arch();
    struct ghn_graph *graph = NULL;
    struct ghn_model *model = NULL;
    struct ghn_prediction *prediction = NULL;
    struct ghn_params *params = NULL;
    const struct ghn_predict_options options = {.keep_class_layers = true, .seed = 31};
    assert_int_equal(ghn_graph_from_arch(arch, &ghn_limits_default, &graph, NULL), GHN_OK);
    assert_int_equal(ghn_model_new(&config, 5, &model, NULL), GHN_OK);
    assert_int_equal(ghn_predict(model, graph, &options, NULL, &prediction, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(arch, &params, NULL), GHN_OK);
    assert_int_equal(ghn_params_from_prediction(params, prediction, NULL), GHN_OK);
    int predicted = 0, initialised = 0;
    for (int i = 0; i < arch->n_params; i++) {
        const struct ghn_param *param = &arch->params[i];
        int64_t n = params->offsets[i + 1] - params->offsets[i];
        float *expected = calloc((size_t)n, sizeof *expected);
        int slot = 0;
        while (slot < graph->n_slots && strcmp(graph->slots[slot].name, param->name) != 0)
            slot++;
        if (slot < graph->n_slots && prediction->outcomes[slot] == GHN_PREDICTED) {
            ghn_prediction_values(prediction, slot, 0, n, expected);
            predicted++;
        } else {
            ghn_initialise(&param->init, param->name, 31, 0, n, expected);
            initialised++;
        }
        assert_memory_equal(params->values + params->offsets[i], expected,
                            (size_t)n * sizeof *expected);
        free(expected);
    }
    assert_int_equal(predicted, 6);   /* two convolutions and a norm */
    assert_int_equal(initialised, 4); /* idle and the class layers */
    ghn_params_free(params);
    ghn_prediction_free(prediction);
    ghn_model_unref(model);
    ghn_graph_free(graph);
    ghn_arch_free(arch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_become_orthogonal),
        cmocka_unit_test(noise_has_its_size),
        cmocka_unit_test(a_prediction_becomes_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
