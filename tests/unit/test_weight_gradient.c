/* The gradient of a convolution by its weights from bf16 images, by the kernels of pairs that this
 * processor has, against plain loops in f64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/parallel.h"
#include "nn/weight_gradient.h"

struct shape {
    int64_t batch, in_channels, out_channels, in[2], kernel[2], stride[2], padding[2], dilation[2];
};

static const struct shape shapes[] = {
    {3, 32, 16, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {2, 33, 17, {5, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},  /* panels and pairs with a rest */
    {2, 100, 20, {8, 8}, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, /* rows packed as one */
    {2, 40, 8, {6, 6}, {1, 1}, {2, 2}, {0, 0}, {1, 1}},   /* pixels that nothing reads */
    {2, 32, 9, {9, 8}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},   /* rows apart */
    {1, 64, 24, {7, 7}, {5, 5}, {1, 1}, {4, 4}, {2, 2}},  /* dilated */
    {3, 32, 8, {2, 2}, {9, 9}, {1, 1}, {4, 4}, {1, 1}}, /* rows of the kernel that reach nothing */
    {2, 32, 8, {1, 2}, {7, 7}, {1, 1}, {3, 3}, {1, 1}}, /* likewise */
    {5, 32, 8, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, /* one pixel: half a pair */
    {2, 32, 8, {6, 5}, {2, 3}, {3, 1}, {0, 2}, {1, 3}}, /* nothing alike along the axes */
    {2, 32, 8, {3, 3}, {3, 3}, {1, 1}, {5, 6}, {1, 1}}, /* rows and columns of padding alone */
    {1, 1, 1, {3, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},  /* one channel */
    {3, 32, 8, {33, 34}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, /* an image at a time */
    {37, 32, 8, {8, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, /* chunks of the batch, the last smaller */
    {1, 96, 40, {70, 71}, {3, 5}, {2, 2}, {1, 2}, {1, 1}}, /* an image beyond a chunk */
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct trial {
    struct ghn__conv_spec spec;
    int64_t n_src, n_ddst, n_weights;
    uint16_t *src, *ddst;
    double *expected;
};

static uint16_t *draw(int64_t n, uint64_t stream) {
    uint16_t *ret = ghn_malloc((size_t)n * sizeof *ret);
    assert_non_null(ret);
    for (int64_t i = 0; i < n; i++) {
        float x = (float)(2 * ghn_rng_uniform(1, stream, (uint64_t)i) - 1);
        ghn_dtype_from_f32(GHN_BF16, ret + i, &x, 1);
    }
    return ret;
}

static double value(const uint16_t *x, int64_t i) {
    float ret;
    ghn_dtype_to_f32(GHN_BF16, &ret, x + i, 1);
    return ret;
}

/* Adds what tap k of the kernel gets from the pixel (n, y, x) of ddst. */
static void add_products(struct trial *t, int64_t n, int64_t y, int64_t x, int64_t k) {
    const struct ghn__conv_spec *s = &t->spec;
    int64_t h = y * s->stride[0] - s->padding[0] + k / s->kernel[1] * s->dilation[0],
            v = x * s->stride[1] - s->padding[1] + k % s->kernel[1] * s->dilation[1];
    if (h < 0 || h >= s->in[0] || v < 0 || v >= s->in[1])
        return;
    int64_t from = ((n * s->in[0] + h) * s->in[1] + v) * s->in_channels,
            to = ((n * s->out[0] + y) * s->out[1] + x) * s->out_channels,
            taps = s->kernel[0] * s->kernel[1];
    for (int64_t o = 0; o < s->out_channels; o++)
        for (int64_t c = 0; c < s->in_channels; c++)
            t->expected[(o * s->in_channels + c) * taps + k] +=
                value(t->src, from + c) * value(t->ddst, to + o);
}

static struct trial setup(const struct shape *shape) {
    struct trial t = {.spec = {.batch = shape->batch,
                               .in_channels = shape->in_channels,
                               .out_channels = shape->out_channels,
                               .groups = 1,
                               .dtype = GHN_BF16,
                               .training = true}};
    struct ghn__conv_spec *s = &t.spec;
    for (int i = 0; i < 2; i++) {
        s->in[i] = shape->in[i];
        s->kernel[i] = shape->kernel[i];
        s->stride[i] = shape->stride[i];
        s->padding[i] = shape->padding[i];
        s->dilation[i] = shape->dilation[i];
        s->out[i] = (s->in[i] + 2 * s->padding[i] - s->dilation[i] * (s->kernel[i] - 1) - 1) /
                        s->stride[i] +
                    1;
    }
    t.n_src = s->batch * s->in[0] * s->in[1] * s->in_channels;
    t.n_ddst = s->batch * s->out[0] * s->out[1] * s->out_channels;
    t.n_weights = s->out_channels * s->in_channels * s->kernel[0] * s->kernel[1];
    t.src = draw(t.n_src, 0);
    t.ddst = draw(t.n_ddst, 1);
    t.expected = ghn_calloc((size_t)t.n_weights, sizeof *t.expected);
    assert_non_null(t.expected);
    for (int64_t i = 0; i < s->batch * s->out[0] * s->out[1]; i++)
        for (int64_t k = 0; k < s->kernel[0] * s->kernel[1]; k++)
            add_products(&t, i / (s->out[0] * s->out[1]), i / s->out[1] % s->out[0], i % s->out[1],
                         k);
    return t;
}

static void teardown(struct trial *t) {
    ghn_free(t->src);
    ghn_free(t->ddst);
    ghn_free(t->expected);
}

/* The gradient, planned and then made by so many threads (0: as many as there are), with work space
 * that holds rubbish before; the caller frees. */
static float *gradient_of(const struct trial *t, const struct ghn__pair_kernels *kernels,
                          const int threads[2]) {
    int before = ghn__parallel_threads();
    ghn__parallel_set_threads(threads[0] ? threads[0] : before);
    struct ghn__weight_gradient *gradient = NULL;
    assert_int_equal(ghn__weight_gradient_new(&t->spec, kernels, &gradient, NULL), GHN_OK);
    size_t bytes = ghn__weight_gradient_scratch_bytes(gradient);
    void *scratch = ghn_malloc(bytes);
    float *ret = ghn_malloc((size_t)t->n_weights * sizeof *ret);
    assert_true(scratch && ret);
    memset(scratch, 0xff, bytes);
    memset(ret, 0xff, (size_t)t->n_weights * sizeof *ret);
    ghn__parallel_set_threads(threads[1] ? threads[1] : before);
    ghn__weight_gradient_run(gradient, t->src, t->ddst, ret, scratch);
    ghn__parallel_set_threads(before);
    ghn_free(scratch);
    ghn__weight_gradient_free(gradient);
    return ret;
}

static void check_all(const struct ghn__pair_kernels *kernels) {
    for (int i = 0; i < N_SHAPES; i++) {
        struct trial t = setup(&shapes[i]);
        float *found = gradient_of(&t, kernels, (const int[2]){0, 0});
        double pixels = (double)(t.spec.batch * t.spec.out[0] * t.spec.out[1]);
        for (int64_t k = 0; k < t.n_weights; k++)
            if (!(fabs(found[k] - t.expected[k]) <= 1e-6 * sqrt(pixels) * (1 + sqrt(pixels))))
                fail_msg("shape %d: element %lld is %.9g, not %.9g", i, (long long)k,
                         (double)found[k], t.expected[k]);
        ghn_free(found);
        teardown(&t);
    }
}

static void test_plain(void **state) {
    (void)state;
    check_all(&ghn__pairs_plain);
}

static void test_this_processor(void **state) {
    (void)state;
    if (ghn__pair_kernels() == &ghn__pairs_plain)
        skip();
    check_all(ghn__pair_kernels());
}

static void test_threads(void **state) {
    (void)state;
    static const int threads[][2] = {{1, 1}, {3, 3}, {5, 2}, {2, 5}};
    enum { TEAMS = sizeof threads / sizeof *threads };
    for (int i = 0; i < N_SHAPES; i++) {
        struct trial t = setup(&shapes[i]);
        float *found[TEAMS];
        for (int k = 0; k < TEAMS; k++)
            found[k] = gradient_of(&t, ghn__pair_kernels(), threads[k]);
        for (int k = 1; k < TEAMS; k++)
            assert_memory_equal(found[0], found[k], (size_t)t.n_weights * sizeof(float));
        for (int k = 0; k < TEAMS; k++)
            ghn_free(found[k]);
        teardown(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_this_processor),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
