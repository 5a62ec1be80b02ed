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

static struct bench setup_case(const struct nn_case *c, bool lead) {
    struct bench b = {.arch = nn_case_arch(c, lead)};
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

static struct bench setup(const struct nn_case *c) {
    return setup_case(c, false);
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

enum { MANY_PARAMETERS = 100000 };

static void gradients_are_what_differences_say(void **state) {
    (void)state;
    for (int k = 0; k < nn_n_cases; k++) {
        struct bench b = setup(&nn_cases[k]);
        struct ghn_err err = GHN_ERR_INIT;
        if (b.params->n > MANY_PARAMETERS) { /* minutes of the same loops; for the fast kernels */
            teardown(&b);
            continue;
        }
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

/* Whether one of the nodes is of operation op, and with attribute attr if that is not NULL. */
static bool op_has_attr(const json_t *nodes, const char *op, const char *attr) {
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (strcmp(json_string_value(json_object_get(node, "op")), op) == 0 &&
            (!attr || json_object_get(json_object_get(node, "attrs"), attr)))
            return true;
    }
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

/* --- What differences cannot show --- */

/* Whether the reference keeps element i of a node that drops. */
static bool is_kept(const struct ghn_arch_node *node, int index, int64_t i, int64_t image) {
    bool whole = strcmp(node->op->name, "stochastic_depth") == 0;
    int64_t draw = !whole ? i : node->attrs.dropout.mode == 1 ? i / image : 0;
    return ghn__drop_keeps(node->attrs.dropout.p, SEED, ghn__drop_stream(STEP, index),
                           (uint64_t)draw);
}

/* Counts what a node of a case dropped and kept, after checking each element. */
static void check_dropped(struct bench *b, const struct nn_case *c, int index, int64_t count[2]) {
    const struct ghn_arch_node *node = &b->arch->nodes[index];
    const double *x = ghn_reference_value(b->reference, node->inputs[0]);
    const double *y = ghn_reference_value(b->reference, index);
    int64_t image = 0;
    assert_true(ghn_shape_numel(&node->shape, &image));
    for (int64_t i = 0; i < image * nn_case_batch(c); i++) {
        bool kept = c->mode == GHN_MODE_EVAL || is_kept(node, index, i, image);
        double p = c->mode == GHN_MODE_EVAL ? 0 : node->attrs.dropout.p;
        assert_true(fabs(y[i] - (kept ? x[i] / (1 - p) : 0)) <= 1e-15 * fabs(x[i] / (1 - p)) ||
                    (!kept && y[i] == 0));
        count[kept]++;
    }
}

static void elements_images_or_batches_are_dropped(void **state) {
    (void)state;
    int64_t count[2][2] = {{0}}; /* [dropout, stochastic_depth][dropped, kept] */
    for (int k = 0; k < nn_n_cases; k++) {
        struct bench b = setup(&nn_cases[k]);
        (void)forward(&b);
        for (int i = 1; i < b.arch->n_nodes; i++) {
            bool whole = strcmp(b.arch->nodes[i].op->name, "stochastic_depth") == 0;
            if (whole || strcmp(b.arch->nodes[i].op->name, "dropout") == 0)
                check_dropped(&b, &nn_cases[k], i, count[whole]);
        }
        teardown(&b);
    }
    for (int whole = 0; whole < 2; whole++)
        for (int kept = 0; kept < 2; kept++)
            assert_true(count[whole][kept] > 20);
}

static void steps_draw_differently(void **state) {
    (void)state;
    const struct nn_case c = {
        .name = "draws",
        .input = "[40]",
        .nodes = "{'name':'out','op':'dropout','inputs':['input']}",
    };
    struct bench b = setup(&c);
    double *first = doubles(b.n_output);
    memcpy(first, forward(&b), (size_t)b.n_output * sizeof *first);
    assert_memory_equal(first, forward(&b), (size_t)b.n_output * sizeof *first);
    assert_int_equal(
        ghn_reference_forward(b.reference, b.values, NULL, b.images, SEED, STEP + 1, NULL), GHN_OK);
    assert_memory_not_equal(first, ghn_reference_value(b.reference, b.arch->output),
                            (size_t)b.n_output * sizeof *first);
    ghn_free(first);
    teardown(&b);
}

/* Two images of one feature, 1 and 3: mean 2, variance 1, and 2 when divided by n - 1. */
static void running_statistics_are_unbiased(void **state) {
    (void)state;
    const struct nn_case c = {
        .name = "statistics",
        .input = "[1]",
        .nodes = "{'name':'out','op':'batch_norm2d','inputs':['input'],"
                 "'attrs':{'eps':0,'momentum':0.25,'affine':false}}",
        .batch = 2,
    };
    struct bench b = setup(&c);
    const double images[] = {1, 3}, fresh[] = {0, 1};
    memcpy(b.images, images, sizeof images);
    memcpy(b.fresh, fresh, sizeof fresh);
    const double *output = forward(&b);
    assert_true(fabs(output[0] + 1) < 1e-15 && fabs(output[1] - 1) < 1e-15);
    assert_true(fabs(b.statistics[0] - 0.5) < 1e-15 && fabs(b.statistics[1] - 1.25) < 1e-15);
    teardown(&b);
}

static void the_first_of_equal_maxima_counts(void **state) {
    (void)state;
    const struct nn_case c = {
        .name = "maxima",
        .input = "[1,1,4]",
        .nodes = "{'name':'out','op':'max_pool2d','inputs':['input'],'attrs':{'kernel':[1,4]}}",
        .batch = 2,
    };
    struct bench b = setup(&c);
    const double images[] = {2, 5, 5, 1, 1, 2, NAN, 4}, ones[] = {1, 1};
    const double expected[] = {0, 1, 0, 0, 0, 0, 1, 0};
    memcpy(b.images, images, sizeof images);
    const double *output = forward(&b);
    assert_true(output[0] == 5 && isnan(output[1]));
    assert_int_equal(ghn_reference_backward(b.reference, b.values, ones, b.dvalues, NULL), GHN_OK);
    assert_memory_equal(ghn_reference_gradient(b.reference, 0), expected, sizeof expected);
    teardown(&b);
}

/* --- Failures --- */

static const struct nn_case *case_called(const char *name) {
    for (int k = 0; k < nn_n_cases; k++)
        if (strcmp(nn_cases[k].name, name) == 0)
            return &nn_cases[k];
    fail_msg("there is no case %s", name);
    return NULL;
}

static void nodes_off_the_path_are_not_run(void **state) {
    (void)state;
    struct bench b = setup(case_called("a node off the path"));
    (void)forward(&b);
    for (int i = 0; i < b.arch->n_nodes; i++)
        assert_true((ghn_reference_value(b.reference, i) != NULL) ==
                    (i == 0 || b.arch->nodes[i].on_path));
    assert_memory_equal(b.statistics, b.fresh, (size_t)b.params->n_statistics * sizeof(double));
    assert_int_equal(ghn_reference_backward(b.reference, b.values, b.weights, b.dvalues, NULL),
                     GHN_OK);
    for (int64_t i = 0; i < b.params->n; i++)
        assert_true(b.dvalues[i] == 0);
    teardown(&b);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    struct bench b = setup(case_called("batch_norm2d"));
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_reference_forward(b.reference, b.values, NULL, b.images, SEED, STEP, &err),
                     GHN_MISSING_FIELD);
    assert_string_equal(err.where, "out");
    struct ghn_reference *reference = NULL;
    assert_int_equal(ghn_reference_new(b.arch, 0, GHN_MODE_TRAIN, &reference, NULL),
                     GHN_OUT_OF_RANGE);
    assert_null(reference);
    teardown(&b);
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    struct ghn_arch *arch = nn_case_arch(case_called("window_attention v2"), true);
    for (long n = 1;; n++) {
        struct ghn_reference *reference = NULL;
        ghn_mem_fail_at(n, 1);
        enum ghn_status status = ghn_reference_new(arch, 2, GHN_MODE_TRAIN, &reference, NULL);
        ghn_mem_fail_at(0, 0);
        assert_true((reference != NULL) == (status == GHN_OK));
        ghn_reference_free(reference);
        if (status == GHN_OK) {
            assert_true(n > 3);
            break;
        }
        assert_int_equal(status, GHN_NO_MEMORY);
        assert_true(n < 1000);
    }
    ghn_arch_free(arch);
}

/* --- The cases themselves --- */

/* The gradient by the leading parameter is that by the operation's input times the images, summed
 * over the batch. */
static void leading_parameters_show_the_input_gradient(void **state) {
    (void)state;
    for (int k = 0; k < nn_n_cases; k++) {
        struct bench b = setup_case(&nn_cases[k], true);
        (void)forward(&b);
        assert_int_equal(ghn_reference_backward(b.reference, b.values, b.weights, b.dvalues, NULL),
                         GHN_OK);
        int lead = 0, input = 0;
        while (strcmp(b.arch->params[lead].name, "lead.weight") != 0)
            lead++;
        while (strcmp(b.arch->nodes[input].name, "input") != 0)
            input++;
        const double *gradient = ghn_reference_gradient(b.reference, input);
        int64_t n = b.params->offsets[lead + 1] - b.params->offsets[lead];
        for (int64_t i = 0; i < n; i++) {
            double sum = 0, size = 0;
            for (int64_t j = i; j < b.n_input; j += n) {
                sum += gradient[j] * b.images[j];
                size += fabs(gradient[j] * b.images[j]);
            }
            assert_true(fabs(b.dvalues[b.params->offsets[lead] + i] - sum) <= 1e-14 * size);
        }
        teardown(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_what_differences_say),
        cmocka_unit_test(every_operation_and_attribute_has_a_case),
        cmocka_unit_test(elements_images_or_batches_are_dropped),
        cmocka_unit_test(steps_draw_differently),
        cmocka_unit_test(running_statistics_are_unbiased),
        cmocka_unit_test(the_first_of_equal_maxima_counts),
        cmocka_unit_test(nodes_off_the_path_are_not_run),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(leading_parameters_show_the_input_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
