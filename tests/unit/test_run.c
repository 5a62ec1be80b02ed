/* lib/nn/run.h against its plain twin: every case of nn_cases forward and backward, in f32 and in
 * bf16, and what the planner adds. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/op.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/rng.h"
#include "nn/parallel.h"
#include "nn/reference.h"
#include "nn/run_impl.h"
#include "nn_cases.h"

enum { SEED = 5, STEP = 9 };

/* One case run both ways. */
struct pair {
    struct ghn_arch *arch;
    struct ghn_params *params;
    struct ghn_run *run;
    struct ghn_reference *reference;
    int64_t n_input, n_output;
    float *images, *output, *weights, *gradient;
    double *images64, *values64, *statistics64, *weights64, *gradient64;
};

static void *zeros(int64_t n, size_t size) {
    void *p = ghn_calloc((size_t)n, size);
    assert_non_null(p);
    return p;
}

/* Images (N, C, H, W) in the order that a run takes. */
static void channels_last(const struct pair *p, int batch) {
    const struct ghn_shape *shape = &p->arch->nodes[0].shape;
    int64_t c = shape->dim[0], pixels = shape->ndim == 3 ? shape->dim[1] * shape->dim[2] : 1;
    if (shape->ndim != 3) {
        for (int64_t i = 0; i < p->n_input; i++)
            p->images[i] = (float)p->images64[i];
        return;
    }
    for (int64_t n = 0; n < batch; n++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t i = 0; i < pixels; i++)
                p->images[(n * pixels + i) * c + k] = (float)p->images64[(n * c + k) * pixels + i];
}

/* Values that bf16 holds exactly, so that both sides start from the same. */
static void round_all(double *x, int64_t n, enum ghn_precision precision) {
    for (int64_t i = 0; i < n; i++) {
        float f = (float)x[i];
        uint16_t half;
        if (precision == GHN_PRECISION_BF16) {
            ghn_dtype_from_f32(GHN_BF16, &half, &f, 1);
            ghn_dtype_to_f32(GHN_BF16, &f, &half, 1);
        }
        x[i] = f;
    }
}

static struct pair setup(const struct nn_case *c, struct ghn_arch *arch,
                         enum ghn_precision precision) {
    struct pair p = {.arch = arch};
    int batch = nn_case_batch(c);
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_run_options options = {.batch = batch, .mode = c->mode, .precision = precision};
    if (ghn_params_new(arch, &p.params, &err) || ghn_run_new(arch, &options, &p.run, &err) ||
        ghn_reference_new(arch, batch, c->mode, &p.reference, &err))
        fail_msg("%s: %s: %s", c->name, err.where, err.message);
    assert_true(ghn_shape_numel(&arch->nodes[0].shape, &p.n_input));
    assert_true(ghn_shape_numel(&arch->nodes[arch->output].shape, &p.n_output));
    p.n_input *= batch;
    p.n_output *= batch;
    p.images = zeros(p.n_input, sizeof(float));
    p.output = zeros(p.n_output, sizeof(float));
    p.weights = zeros(p.n_output, sizeof(float));
    p.gradient = zeros(p.params->n, sizeof(float));
    p.images64 = zeros(p.n_input, sizeof(double));
    p.values64 = zeros(p.params->n, sizeof(double));
    p.statistics64 = zeros(p.params->n_statistics, sizeof(double));
    p.weights64 = zeros(p.n_output, sizeof(double));
    p.gradient64 = zeros(p.params->n, sizeof(double));
    nn_case_images(c, p.n_input, p.images64);
    nn_case_values(c, arch, p.values64, p.statistics64);
    for (int64_t i = 0; i < p.n_output; i++)
        p.weights64[i] = 2 * ghn_rng_uniform(3, 1, (uint64_t)i) - 1;
    round_all(p.images64, p.n_input, precision);
    round_all(p.values64, p.params->n, precision);
    round_all(p.statistics64, p.params->n_statistics, GHN_PRECISION_F32);
    round_all(p.weights64, p.n_output, precision);
    channels_last(&p, batch);
    for (int64_t i = 0; i < p.params->n; i++)
        p.params->values[i] = (float)p.values64[i];
    for (int64_t i = 0; i < p.params->n_statistics; i++)
        p.params->statistics[i] = (float)p.statistics64[i];
    for (int64_t i = 0; i < p.n_output; i++)
        p.weights[i] = (float)p.weights64[i];
    return p;
}

static void teardown(struct pair *p) {
    void *all[] = {p->images,   p->output,       p->weights,   p->gradient,  p->images64,
                   p->values64, p->statistics64, p->weights64, p->gradient64};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ghn_free(all[i]);
    ghn_run_free(p->run);
    ghn_reference_free(p->reference);
    ghn_params_free(p->params);
    ghn_arch_free(p->arch);
}

/* The largest difference, relative to the largest magnitude, or to 1 if that is less and the
 * tolerance is bf16's: there a gradient that is 0 but for rounding, as a bias's before batch norm,
 * is no smaller. */
static double difference(const float *x, const double *y, int64_t n, double floor) {
    double worst = 0, scale = floor;
    for (int64_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(y[i]));
        double d = fabs(x[i] - y[i]);
        worst = isnan(d) ? INFINITY : fmax(worst, d);
    }
    return worst / scale;
}

static int compare(const struct nn_case *c, const char *what, const float *x, const double *y,
                   int64_t n, double tolerance) {
    double d = difference(x, y, n, tolerance < 1e-3 ? 1e-3 : 1.0);
    if (d <= tolerance)
        return 0;
    print_error("%s: %s differs by %.2e; at most %.0e was expected\n", c->name, what, d, tolerance);
    return 1;
}

static int check_case(const struct nn_case *c, bool lead, enum ghn_precision precision) {
    struct pair p = setup(c, nn_case_arch(c, lead), precision);
    struct ghn_err err = GHN_ERR_INIT;
    double tolerance = precision == GHN_PRECISION_F32 ? 2e-5 : 3e-2;
    int bad = 0;
    if (ghn_run_forward(p.run, p.params, p.images, SEED, STEP, p.output, &err) ||
        ghn_reference_forward(p.reference, p.values64, p.statistics64, p.images64, SEED, STEP,
                              &err))
        fail_msg("%s: %s: %s", c->name, err.where, err.message);
    bad += compare(c, "output", p.output, ghn_reference_value(p.reference, p.arch->output),
                   p.n_output, tolerance);
    bad += compare(c, "statistics", p.params->statistics, p.statistics64, p.params->n_statistics,
                   tolerance);
    if (c->mode == GHN_MODE_TRAIN) {
        if (ghn_run_backward(p.run, p.params, p.weights, p.gradient, &err) ||
            ghn_reference_backward(p.reference, p.values64, p.weights64, p.gradient64, &err))
            fail_msg("%s: %s: %s", c->name, err.where, err.message);
        for (int i = 0; i < p.arch->n_params; i++) {
            char what[128];
            int64_t at = p.params->offsets[i];
            snprintf(what, sizeof what, "gradient by %s%s", p.arch->params[i].name,
                     lead ? " (led)" : "");
            bad +=
                compare(c, what, p.gradient + at, p.gradient64 + at, p.params->offsets[i + 1] - at,
                        precision == GHN_PRECISION_F32 ? 3e-4 : 0.2);
        }
    }
    teardown(&p);
    return bad;
}

/* Cases that rounding to bf16 carries elsewhere: an earlier layer's rounding makes other places of
 * a window the largest, scores multiplied by 100 are off by as much, and three values normalised
 * among themselves are little but rounding. */
static bool is_exact_only(const struct nn_case *c, bool lead) {
    return (lead && strncmp(c->name, "max_pool2d", 10) == 0) ||
           strcmp(c->name, "window_attention v2, scale at its end") == 0 ||
           (lead && strcmp(c->name, "batch_norm2d of features") == 0);
}

static void all_cases(enum ghn_precision precision) {
    int bad = 0;
    for (int i = 0; i < nn_n_cases; i++)
        for (int lead = 0; lead < 2; lead++)
            if (precision == GHN_PRECISION_F32 || !is_exact_only(&nn_cases[i], lead))
                bad += check_case(&nn_cases[i], lead, precision);
    if (bad)
        fail_msg("%d comparisons failed", bad);
}

static void test_f32(void **state) {
    (void)state;
    all_cases(GHN_PRECISION_F32);
}

static void test_bf16(void **state) {
    (void)state;
    if (ghn_precision_best() != GHN_PRECISION_BF16)
        skip();
    all_cases(GHN_PRECISION_BF16);
}

static void both_passes(struct pair *p, float *gradient) {
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_run_forward(p->run, p->params, p->images, SEED, STEP, p->output, &err),
                     GHN_OK);
    assert_int_equal(ghn_run_backward(p->run, p->params, p->weights, gradient, &err), GHN_OK);
}

/* A second pass over the same memory gives the same numbers to the bit, whatever the memory holds:
 * NaN, or finite numbers, which a maximum would not pass over. */
static void check_repeats(enum ghn_precision precision) {
    static const int contents[] = {0xff, 0x55};
    for (int i = 0; i < nn_n_cases; i++) {
        const struct nn_case *c = &nn_cases[i];
        if (c->mode != GHN_MODE_TRAIN)
            continue;
        struct pair p = setup(c, nn_case_arch(c, true), precision);
        float *first = zeros(p.params->n, sizeof(float));
        both_passes(&p, first);
        for (int k = 0; k < 2; k++) {
            memset(p.run->workspace->memory, contents[k], p.run->workspace->bytes);
            both_passes(&p, p.gradient);
            if (memcmp(first, p.gradient, (size_t)p.params->n * sizeof(float)) != 0)
                fail_msg("%s: what its memory held before is seen in its gradient", c->name);
        }
        ghn_free(first);
        teardown(&p);
    }
}

static void test_repeats(void **state) {
    (void)state;
    check_repeats(GHN_PRECISION_F32);
}

static void test_repeats_bf16(void **state) {
    (void)state;
    if (ghn_precision_best() != GHN_PRECISION_BF16)
        skip();
    check_repeats(GHN_PRECISION_BF16);
}

/* What the machine's memory cannot hold is refused before any of it is taken. */
static void test_too_large(void **state) {
    (void)state;
    const struct nn_case c = {.input = "[1,1,1]",
                              .nodes = "{'name':'out','op':'window_attention','inputs':['input'],"
                                       "'attrs':{'window_size':1000,'num_heads':1}}"};
    struct ghn_arch *arch = nn_case_arch(&c, false);
    const struct ghn_run_options options = {
        .mode = GHN_MODE_TRAIN, .batch = 1, .precision = GHN_PRECISION_F32};
    struct ghn_run *run = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_run_new(arch, &options, &run, &err), GHN_TOO_LARGE);
    assert_null(run);
    assert_non_null(strstr(err.message, "GiB of memory"));
    ghn_arch_free(arch);
}

/* Of many runs at a time each may have its part of the memory only. */
static void test_sharing(void **state) {
    (void)state;
    const struct nn_case c = {.input = "[3,8,8]",
                              .nodes = "{'name':'out','op':'relu','inputs':['input']}"};
    struct ghn_arch *arch = nn_case_arch(&c, false);
    struct ghn_run_options options = {
        .mode = GHN_MODE_TRAIN, .batch = 64, .precision = GHN_PRECISION_F32};
    struct ghn_run *run = NULL;
    assert_int_equal(ghn_run_new(arch, &options, &run, NULL), GHN_OK);
    int64_t fits = ghn_machine_memory() / (int64_t)ghn_run_bytes(run);
    ghn_run_free(run);
    run = NULL;
    options.sharing = (int)(fits < INT_MAX / 2 ? 2 * fits : INT_MAX);
    assert_int_equal(ghn_run_new(arch, &options, &run, NULL), GHN_TOO_LARGE);
    assert_null(run);
    ghn_arch_free(arch);
}

/* Running statistics after k passes, of which pass i has the images of the first times i + 1. */
static void statistics_after(int k, bool new_statistics, float ret[2]) {
    enum { BATCH = 3, VALUES = 4 };
    const struct nn_case c = {.input = "[1,2,2]",
                              .nodes = "{'name':'out','op':'batch_norm2d','inputs':['input']}"};
    struct ghn_arch *arch = nn_case_arch(&c, false);
    const struct ghn_run_options options = {.mode = GHN_MODE_TRAIN,
                                            .batch = BATCH,
                                            .precision = GHN_PRECISION_F32,
                                            .new_statistics = new_statistics};
    struct ghn_run *run = NULL;
    struct ghn_params *params = NULL;
    assert_int_equal(ghn_run_new(arch, &options, &run, NULL), GHN_OK);
    assert_int_equal(ghn_params_new(arch, &params, NULL), GHN_OK);
    ghn_params_initialise(params, 0);
    float images[BATCH * VALUES], output[BATCH * VALUES];
    for (int i = 0; i < k; i++) {
        for (int j = 0; j < BATCH * VALUES; j++)
            images[j] = (float)((i + 1) * j);
        assert_int_equal(ghn_run_forward(run, params, images, SEED, STEP, output, NULL), GHN_OK);
    }
    assert_int_equal(params->n_statistics, 2);
    memcpy(ret, params->statistics, 2 * sizeof *ret);
    ghn_params_free(params);
    ghn_run_free(run);
    ghn_arch_free(arch);
}

/* New running statistics are means until the momentum of 0.1 takes over, at the eleventh batch.
 * 0 ... 11 have a mean of 5.5 and an unbiased variance of 13. */
static void test_new_statistics(void **state) {
    (void)state;
    const double mean = 5.5, variance = 13;
    float tenth[2], first[2], third[2], tenths[2], eleventh[2];
    statistics_after(1, false, tenth);
    assert_float_equal(tenth[0], 0.1 * mean, 1e-5);
    assert_float_equal(tenth[1], 0.9 + 0.1 * variance, 1e-5);
    statistics_after(1, true, first);
    assert_float_equal(first[0], mean, 1e-5);
    assert_float_equal(first[1], variance, 1e-5);
    statistics_after(3, true, third);
    assert_float_equal(third[0], mean * (1 + 2 + 3) / 3, 1e-4);
    assert_float_equal(third[1], variance * (1 + 4 + 9) / 3, 1e-4);
    statistics_after(10, true, tenths);
    statistics_after(11, true, eleventh);
    assert_float_equal(eleventh[0], 0.9 * tenths[0] + 0.1 * 11 * mean, 1e-4);
    assert_float_equal(eleventh[1], 0.9 * tenths[1] + 0.1 * 121 * variance, 1e-3);
}

/* Whether a network has convolutions: oneDNN splits the sums of their gradients among the threads
 * there are. (So it may those of linear layers, but not when they are as small as here.) */
static bool has_convolutions(const struct ghn_arch *arch) {
    for (int i = 1; i < arch->n_nodes; i++)
        if (strcmp(arch->nodes[i].op->name, "conv2d") == 0)
            return true;
    return false;
}

/* The gradient of a case by a team of so many threads, which the caller frees. */
static float *gradient_by(const struct nn_case *c, int threads, int64_t *ret_n) {
    int before = ghn__parallel_threads();
    struct ghn_err err = GHN_ERR_INIT;
    ghn__parallel_set_threads(threads);
    struct pair p = setup(c, nn_case_arch(c, true), GHN_PRECISION_F32);
    assert_int_equal(ghn_run_forward(p.run, p.params, p.images, SEED, STEP, p.output, &err),
                     GHN_OK);
    assert_int_equal(ghn_run_backward(p.run, p.params, p.weights, p.gradient, &err), GHN_OK);
    ghn__parallel_set_threads(before);
    float *gradient = p.gradient;
    p.gradient = NULL;
    *ret_n = p.params->n;
    teardown(&p);
    return gradient;
}

/* The number of threads changes no bit; where oneDNN sums, nothing but rounding. */
static void test_threads(void **state) {
    (void)state;
    static const int teams[] = {2, 3, 5};
    for (int i = 0; i < nn_n_cases; i++) {
        const struct nn_case *c = &nn_cases[i];
        int64_t n;
        if (c->mode != GHN_MODE_TRAIN)
            continue;
        struct ghn_arch *arch = nn_case_arch(c, true);
        float *alone = gradient_by(c, 1, &n);
        double scale = 1e-3;
        for (int64_t k = 0; k < n; k++)
            scale = fmax(scale, fabs(alone[k]));
        double bound = has_convolutions(arch) ? 1e-5 * scale : 0;
        for (int t = 0; t < 3; t++) {
            float *found = gradient_by(c, teams[t], &n);
            for (int64_t k = 0; k < n; k++)
                if (!(fabs((double)found[k] - (double)alone[k]) <= bound))
                    fail_msg("%s: %d threads make element %lld %.9g, one makes it %.9g", c->name,
                             teams[t], (long long)k, (double)found[k], (double)alone[k]);
            ghn_free(found);
        }
        ghn_free(alone);
        ghn_arch_free(arch);
    }
}

/* A network with everything that keeps something of its own: planned and passed through with one
 * allocation after another failing, and all behind it. */
static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    static const char *const names[] = {
        "window_attention v2", "attention with relative positions", "avg_pool2d with padding",
        "mul: squeeze-excite", "batch_norm2d, all attributes",      "conv2d 1x1 of many channels"};
    int found = 0;
    for (int i = 0; i < nn_n_cases; i++) {
        bool wanted = false;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            wanted |= strcmp(nn_cases[i].name, names[k]) == 0;
        if (!wanted)
            continue;
        struct ghn_arch *arch = nn_case_arch(&nn_cases[i], true);
        const struct ghn_run_options options = {
            .batch = 2, .mode = GHN_MODE_TRAIN, .precision = ghn_precision_best()};
        enum ghn_status status = GHN_NO_MEMORY;
        long n = 1;
        for (; status != GHN_OK; n++) {
            struct ghn_run *run = NULL;
            ghn_mem_fail_at(n, 1);
            status = ghn_run_new(arch, &options, &run, NULL);
            ghn_mem_fail_at(0, 0);
            assert_true((run != NULL) == (status == GHN_OK));
            ghn_run_free(run);
            assert_true(status == GHN_OK || status == GHN_NO_MEMORY);
            assert_true(n < 1000);
        }
        assert_true(n > 3);
        ghn_arch_free(arch);
        found++;
    }
    assert_int_equal(found, sizeof names / sizeof *names);
}

static enum ghn_status fail_forward(struct ghn__site *site, struct ghn_err *err) {
    (void)site;
    return ghn_fail(err, GHN_INTERNAL, NULL, "it fails");
}

/* What a failed forward pass has left is not differentiated, though one before it was whole. */
static void a_failed_pass_is_not_differentiated(void **state) {
    (void)state;
    struct pair p = setup(&nn_cases[0], nn_case_arch(&nn_cases[0], false), GHN_PRECISION_F32);
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_run_forward(p.run, p.params, p.images, SEED, STEP, p.output, &err),
                     GHN_OK);
    const struct ghn__layer *layer = p.run->steps[0].layer;
    struct ghn__layer failing = *layer;
    failing.forward = fail_forward;
    p.run->steps[0].layer = &failing;
    assert_int_equal(ghn_run_forward(p.run, p.params, p.images, SEED, STEP, p.output, &err),
                     GHN_INTERNAL);
    assert_string_equal(err.where, "out");
    assert_int_equal(ghn_run_backward(p.run, p.params, p.weights, p.gradient, NULL),
                     GHN_OUT_OF_RANGE);
    p.run->steps[0].layer = layer;
    teardown(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_repeats_bf16),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_new_statistics),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(a_failed_pass_is_not_differentiated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
