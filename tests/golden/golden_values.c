#include "golden_values.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ghn/answer.h"
#include "ghn/encode.h"

/* Values agree if they differ by at most this part of the tensor's standard deviation, and of
 * themselves. */
static const double tolerance = 1e-5;

struct golden_worst golden_worst;

void golden_print_worst(void) {
    (void)printf("worst errors, in tolerances: values %.3g, statistics %.3g, embeddings %.3g\n",
                 golden_worst.value, golden_worst.statistic, golden_worst.embedding);
}

void golden_close(const char *what, double found, double expected, double scale, double *worst) {
    double error = fabs(found - expected) / (tolerance * scale + tolerance * fabs(expected));
    if (!(error <= 1.0))
        fail_msg("%s is %.9g, not %.9g: %.3g times the tolerance", what, found, expected, error);
    *worst = error > *worst ? error : *worst;
}

double golden_real(const json_t *json, const char *key) {
    const json_t *value = json_object_get(json, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void check_statistics(const json_t *param, const float *values, int64_t n) {
    double sum = 0.0, squares = 0.0, deviation = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    double mean = sum / (double)n, std = golden_real(param, "std");
    for (int64_t i = 0; i < n; i++)
        deviation += ((double)values[i] - mean) * ((double)values[i] - mean);
    /* The reference adds up in f32, hence the 1e-7 of a value where all are alike. */
    double scale = std + 1e-2 * fabs(mean);
    golden_close("mean", mean, golden_real(param, "mean"), scale, &golden_worst.statistic);
    golden_close("std", sqrt(deviation / (double)n), std, scale, &golden_worst.statistic);
    golden_close("l2", sqrt(squares), golden_real(param, "l2"), 0.0, &golden_worst.statistic);
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
        golden_close("a value", (double)values[json_integer_value(json_array_get(idx, i))],
                     json_number_value(json_array_get(json_object_get(param, "val"), i)),
                     golden_real(param, "std"), &golden_worst.value);
    free(values);
}

void golden_check_params(const json_t *golden, const struct ghn_prediction *prediction) {
    const json_t *params = json_object_get(golden, "params");
    int64_t n_params = 0;
    size_t n = 0;
    for (int i = 0; i < prediction->graph->n_slots; i++) {
        const struct ghn_slot *slot = &prediction->graph->slots[i];
        const json_t *param = json_object_get(params, slot->name);
        if (!param && prediction->outcomes[i] != GHN_OMITTED)
            fail_msg("%s is %s, but the reference does not predict it", slot->name,
                     ghn_outcome_name(prediction->outcomes[i]));
        if (!param)
            continue;
        check_param(param, prediction, i);
        n_params += slot->numel;
        n++;
    }
    assert_int_equal(n, json_object_size(params));
    assert_int_equal(n_params, json_integer_value(json_object_get(golden, "n_params")));
}
