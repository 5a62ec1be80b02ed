/* lib/nn/reference: gradients against differences, what training does to statistics, random draws,
 * and that every operation and attribute has a case. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/op.h"
#include "base/mem.h"
#include "base/rng.h"
#include "nn/params.h"
#include "nn/random.h"
#include "nn/reference.h"
#include "nn_cases.h"

enum { SEED = 5, STEP = 9 };

/* A case at work. */
struct bench {
    struct ghn_arch *arch;
    struct ghn_params *params; /* for sizes and offsets */
    struct ghn_reference *reference;
    int64_t n_input, n_output;
    double *images, *values, *statistics, *fresh; /* fresh: statistics before any pass */
    double *weights;                              /* (n_output): of the output's sum, the loss */
    double *dvalues;
};

static double *doubles(int64_t n) {
    double *p = ghn_calloc((size_t)n, sizeof *p);
    assert_non_null(p);
    return p;
}

static struct bench setup(const struct nn_case *c) {
    struct bench b = {.arch = nn_case_arch(c, false)};
    int batch = nn_case_batch(c);
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_params_new(b.arch, &b.params, &err) ||
        ghn_reference_new(b.arch, batch, c->mode, &b.reference, &err))
        fail_msg("%s: %s: %s", c->name, err.where, err.message);
    assert_true(ghn_shape_numel(&b.arch->nodes[0].shape, &b.n_input));
    assert_true(ghn_shape_numel(&b.arch->nodes[b.arch->output].shape, &b.n_output));
    b.n_input *= batch;
    b.n_output *= batch;
    b.images = doubles(b.n_input);
    b.values = doubles(b.params->n);
    b.dvalues = doubles(b.params->n);
    b.statistics = doubles(b.params->n_statistics);
    b.fresh = doubles(b.params->n_statistics);
    b.weights = doubles(b.n_output);
    nn_case_images(c, b.n_input, b.images);
    nn_case_values(c, b.arch, b.values, b.fresh);
    for (int64_t i = 0; i < b.n_output; i++)
        b.weights[i] = 2 * ghn_rng_uniform(3, 1, (uint64_t)i) - 1;
    return b;
}

static void teardown(struct bench *b) {
    double *all[] = {b->images, b->values, b->statistics, b->fresh, b->weights, b->dvalues};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ghn_free(all[i]);
    ghn_reference_free(b->reference);
    ghn_params_free(b->params);
    ghn_arch_free(b->arch);
}

static const double *forward(struct bench *b) {
    struct ghn_err err = GHN_ERR_INIT;
    memcpy(b->statistics, b->fresh, (size_t)b->params->n_statistics * sizeof(double));
    if (ghn_reference_forward(b->reference, b->values, b->statistics, b->images, SEED, STEP, &err))
        fail_msg("%s: %s", err.where, err.message);
    return ghn_reference_value(b->reference, b->arch->output);
}

/* The loss after one argument has been moved by delta. */
static double loss_at(struct bench *b, double *argument, double delta) {
    double was = *argument, sum = 0;
    *argument = was + delta;
    const double *output = forward(b);
    for (int64_t i = 0; i < b->n_output; i++)
        sum += b->weights[i] * output[i];
    *argument = was;
    return sum;
}

/* The derivative of the loss by one argument, from four points: exact up to the fifth derivative.
 */
static double slope(struct bench *b, double *argument) {
    const double h = 4e-6; /* hinges within 2 h of an argument would be seen */
    return (8 * (loss_at(b, argument, h) - loss_at(b, argument, -h)) -
            (loss_at(b, argument, 2 * h) - loss_at(b, argument, -2 * h))) /
           (12 * h);
}

/* Compares n derivatives with differences; of very many only a part. The tolerance is relative to
 * the largest of them. */
static void check_slopes(struct bench *b, const char *title, const char *what, double *arguments,
                         const double *derivatives, int64_t n) {
    enum { MOST = 150 };
    double scale = 1e-3;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(derivatives[i]));
    for (int64_t i = 0; i < n; i += 1 + n / MOST) {
        double expected = slope(b, arguments + i);
        if (!(fabs(expected - derivatives[i]) <= 1e-6 * scale))
            fail_msg("%s: by element %lld of %s: %.12g, by differences %.12g", title, (long long)i,
                     what, derivatives[i], expected);
    }
}

static void gradients_are_what_differences_say(void **state) {
    (void)state;
    for (int k = 0; k < nn_n_cases; k++) {
        struct bench b = setup(&nn_cases[k]);
        struct ghn_err err = GHN_ERR_INIT;
        (void)forward(&b);
        assert_null(ghn_reference_gradient(b.reference, 0));
        assert_int_equal(ghn_reference_backward(b.reference, b.values, b.weights, b.dvalues, &err),
                         GHN_OK);
        double *dimages = doubles(b.n_input);
        memcpy(dimages, ghn_reference_gradient(b.reference, 0),
               (size_t)b.n_input * sizeof *dimages);
        check_slopes(&b, nn_cases[k].name, "the input", b.images, dimages, b.n_input);
        for (int p = 0; p < b.arch->n_params; p++) {
            int64_t at = b.params->offsets[p];
            check_slopes(&b, nn_cases[k].name, b.arch->params[p].name, b.values + at,
                         b.dvalues + at, b.params->offsets[p + 1] - at);
        }
        ghn_free(dimages);
        teardown(&b);
    }
}

/* --- Coverage --- */

static bool op_has_attr(const json_t *nodes, const char *op, const char *attr) {
    size_t i;
    json_t *node;
    json_array_foreach(
        nodes, i,
        node) if (strcmp(json_string_value(json_object_get(node, "op")), op) == 0 &&
                  (!attr || json_object_get(json_object_get(node, "attrs"), attr))) return true;
    return false;
}

/* Whether a case has the operation, with an attribute that is not at its default. */
static bool is_covered(json_t *const *forms, const char *op, const char *attr) {
    for (int k = 0; k < nn_n_cases; k++)
        if (op_has_attr(json_object_get(forms[k], "nodes"), op, attr))
            return true;
    return false;
}

static void every_operation_and_attribute_has_a_case(void **state) {
    (void)state;
    static const char *const names[] = {
#define GHN_OP(symbol, name) name,
#include "arch/ops.def"
#undef GHN_OP
    };
    json_t **forms = ghn_calloc((size_t)nn_n_cases, sizeof(json_t *));
    assert_non_null(forms);
    for (int k = 0; k < nn_n_cases; k++) {
        struct ghn_arch *arch = nn_case_arch(&nn_cases[k], false);
        forms[k] = ghn_arch_to_json(arch);
        ghn_arch_free(arch);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct ghn_op *op = ghn_op_find(names[i]);
        if (!is_covered(forms, op->name, NULL))
            fail_msg("%s has no case", op->name);
        /* pos_enc is always batched. */
        for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++)
            if (!is_covered(forms, op->name, attr->name) && strcmp(names[i], "pos_enc") != 0)
                fail_msg("no case sets %s of %s", attr->name, op->name);
    }
    for (int k = 0; k < nn_n_cases; k++)
        json_decref(forms[k]);
    ghn_free(forms);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_what_differences_say),
        cmocka_unit_test(every_operation_and_attribute_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
