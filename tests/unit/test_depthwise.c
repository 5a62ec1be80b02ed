/* Depthwise convolutions in every instruction set that this processor has, in f32 and bf16, against
 * plain loops in f64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/depthwise.h"

enum { BATCH = 3 };

static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_BF16};
/* Below, at, between and above multiples of the lanes. */
static const int64_t channels[] = {1, 3, 16, 24, 33};
enum { N_CHANNELS = sizeof channels / sizeof *channels };

struct shape {
    int64_t in[2], kernel[2], stride[2], padding[2], dilation[2];
};

static const struct shape shapes[] = {
    {{6, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {{7, 6}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
    {{11, 11}, {5, 5}, {1, 1}, {2, 2}, {1, 1}},
    {{11, 11}, {5, 5}, {2, 2}, {2, 2}, {1, 1}},
    {{8, 8}, {3, 3}, {1, 1}, {2, 2}, {2, 2}},
    {{9, 8}, {3, 3}, {2, 2}, {2, 2}, {2, 2}},
    {{8, 9}, {5, 5}, {1, 1}, {4, 4}, {2, 2}},
    {{8, 8}, {5, 5}, {2, 2}, {4, 4}, {2, 2}},
    {{7, 7}, {7, 7}, {1, 1}, {3, 3}, {1, 1}},
    {{9, 5}, {2, 3}, {3, 1}, {0, 2}, {1, 3}},   /* nothing alike along the axes */
    {{5, 5}, {1, 1}, {3, 3}, {0, 0}, {1, 1}},   /* pixels that nothing reads */
    {{2, 2}, {5, 5}, {1, 1}, {4, 4}, {2, 2}},   /* a map smaller than the reach */
    {{1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},   /* one pixel */
    {{1, 2}, {3, 3}, {4, 4}, {1, 1}, {1, 1}},   /* a stride beyond the map */
    {{3, 3}, {3, 3}, {1, 1}, {5, 6}, {1, 1}},   /* rows and columns of padding alone */
    {{90, 60}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, /* several bands */
    {{141, 60}, {3, 5}, {2, 2}, {1, 2}, {1, 1}},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* Activations, and what they hold. */
struct map {
    int64_t n;
    void *memory;
    double *x;
};

static struct map draw(enum ghn_dtype dtype, int64_t n, uint64_t seed) {
    struct map m = {n, ghn_malloc((size_t)n * sizeof(float)), ghn_calloc((size_t)n, sizeof *m.x)};
    float *x = ghn_malloc((size_t)n * sizeof *x);
    assert_true(m.memory && m.x && x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(2 * ghn_rng_uniform(seed, 0, (uint64_t)i) - 1);
    ghn_dtype_from_f32(dtype, m.memory, x, (size_t)n);
    ghn_dtype_to_f32(dtype, x, m.memory, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        m.x[i] = x[i];
    ghn_free(x);
    return m;
}

static void drop(struct map *m) {
    ghn_free(m->memory);
    ghn_free(m->x);
}

static int64_t extent(const struct shape *s, int axis) {
    return (s->in[axis] + 2 * s->padding[axis] - s->dilation[axis] * (s->kernel[axis] - 1) - 1) /
               s->stride[axis] +
           1;
}

/* One convolution: its spec, the operands, and the results in f64. */
struct trial {
    const char *name; /* of the instruction set */
    struct ghn__conv_spec spec;
    struct ghn__depthwise *depthwise;
    void *scratch;
    struct map x, dy, w, b; /* w as (C, kernel) */
};

/* Calls visit with the indices of y, x (-1: padding) and w of every product. */
static void products(const struct trial *t, void (*visit)(void *, const int64_t at[3]),
                     void *context) {
    const struct ghn__conv_spec *s = &t->spec;
    int64_t c = s->in_channels, taps = s->kernel[0] * s->kernel[1];
    for (int64_t i = 0; i < t->dy.n * taps; i++) {
        int64_t y = i / taps, k = i % taps, pixel = y / c;
        int64_t h = pixel / s->out[1] % s->out[0] * s->stride[0] - s->padding[0] +
                    k / s->kernel[1] * s->dilation[0],
                v = pixel % s->out[1] * s->stride[1] - s->padding[1] +
                    k % s->kernel[1] * s->dilation[1],
                n = pixel / (s->out[0] * s->out[1]);
        if (h < 0 || h >= s->in[0] || v < 0 || v >= s->in[1])
            continue;
        int64_t at[] = {y, ((n * s->in[0] + h) * s->in[1] + v) * c + y % c, y % c * taps + k};
        visit(context, at);
    }
}

/* The three results of a trial in f64. */
struct results {
    const struct trial *t;
    double *y, *dx, *dw;
};

static void add_product(void *context, const int64_t at[3]) {
    const struct results *r = context;
    const struct trial *t = r->t;
    r->y[at[0]] += t->x.x[at[1]] * t->w.x[at[2]];
    r->dx[at[1]] += t->dy.x[at[0]] * t->w.x[at[2]];
    r->dw[at[2]] += t->dy.x[at[0]] * t->x.x[at[1]];
}

static void check(const struct trial *t, const char *what, enum ghn_dtype dtype, const void *memory,
                  const double *expected, int64_t n, double slack) {
    for (int64_t i = 0; i < n; i++) {
        float x;
        ghn_dtype_to_f32(dtype, &x, (const char *)memory + (size_t)i * ghn_dtype_size(dtype), 1);
        double bound =
            slack * (1 + fabs(expected[i])) + (dtype == GHN_BF16 ? fabs(expected[i]) * 0x1p-8 : 0);
        if (!(fabs(x - expected[i]) <= bound))
            fail_msg("%s, %s, %s, %lld channels of %lld x %lld, kernel %lld x %lld, stride %lld, "
                     "dilation %lld: element %lld is %.9g, not %.9g",
                     t->name, what, t->spec.dtype == GHN_F32 ? "f32" : "bf16",
                     (long long)t->spec.in_channels, (long long)t->spec.in[0],
                     (long long)t->spec.in[1], (long long)t->spec.kernel[0],
                     (long long)t->spec.kernel[1], (long long)t->spec.stride[0],
                     (long long)t->spec.dilation[0], (long long)i, (double)x, expected[i]);
    }
}

static void check_forward(const struct trial *t, const struct results *r) {
    struct map y = draw(t->spec.dtype, t->dy.n, 9);
    double *biased = ghn_calloc((size_t)t->dy.n, sizeof *biased);
    assert_non_null(biased);
    ghn__depthwise_forward(t->depthwise, t->x.memory, t->w.memory, NULL, y.memory, t->scratch);
    check(t, "forward", t->spec.dtype, y.memory, r->y, y.n, 2e-6);
    ghn__depthwise_forward(t->depthwise, t->x.memory, t->w.memory, t->b.memory, y.memory,
                           t->scratch);
    for (int64_t i = 0; i < y.n; i++)
        biased[i] = r->y[i] + t->b.x[i % t->spec.in_channels];
    check(t, "forward with bias", t->spec.dtype, y.memory, biased, y.n, 2e-6);
    ghn_free(biased);
    drop(&y);
}

static void check_data(const struct trial *t, const struct results *r) {
    for (int add = 0; add < 2; add++) {
        struct map dx = draw(t->spec.dtype, t->x.n, 10);
        for (int64_t i = 0; i < dx.n; i++)
            dx.x[i] = r->dx[i] + (add ? dx.x[i] : 0);
        ghn__depthwise_backward_data(t->depthwise, t->dy.memory, t->w.memory, dx.memory, add,
                                     t->scratch);
        check(t, add ? "dx +=" : "dx =", t->spec.dtype, dx.memory, dx.x, dx.n, 2e-6);
        drop(&dx);
    }
}

static void check_weights(const struct trial *t, const struct results *r) {
    for (int add = 0; add < 2; add++) {
        struct map dw = draw(GHN_F32, t->w.n, 11), db = draw(GHN_F32, t->b.n, 12);
        for (int64_t i = 0; i < dw.n; i++)
            dw.x[i] = r->dw[i] + (add ? dw.x[i] : 0);
        for (int64_t i = 0; i < db.n && !add; i++)
            db.x[i] = 0;
        for (int64_t i = 0; i < t->dy.n; i++)
            db.x[i % db.n] += t->dy.x[i];
        struct ghn__into into[] = {{dw.memory, add}, {db.memory, add}};
        ghn__depthwise_backward_weights(t->depthwise, t->x.memory, t->dy.memory, into[0], into[1],
                                        t->scratch);
        /* a sum of up to 16 200 products */
        check(t, add ? "dw +=" : "dw =", GHN_F32, dw.memory, dw.x, dw.n, 1e-4);
        check(t, add ? "db +=" : "db =", GHN_F32, db.memory, db.x, db.n, 1e-4);
        drop(&dw);
        drop(&db);
    }
}

static struct trial setup(const struct shape *shape, int64_t c, enum ghn_dtype dtype) {
    struct trial t = {.spec = {.batch = BATCH,
                               .in_channels = c,
                               .out_channels = c,
                               .groups = c,
                               .dtype = dtype,
                               .bias = true,
                               .training = true,
                               .data_gradient = true}};
    for (int i = 0; i < 2; i++) {
        t.spec.in[i] = shape->in[i];
        t.spec.out[i] = extent(shape, i);
        t.spec.kernel[i] = shape->kernel[i];
        t.spec.stride[i] = shape->stride[i];
        t.spec.padding[i] = shape->padding[i];
        t.spec.dilation[i] = shape->dilation[i];
    }
    assert_true(ghn__is_depthwise(&t.spec));
    t.x = draw(dtype, BATCH * c * t.spec.in[0] * t.spec.in[1], 1);
    t.dy = draw(dtype, BATCH * c * t.spec.out[0] * t.spec.out[1], 2);
    t.w = draw(GHN_F32, c * t.spec.kernel[0] * t.spec.kernel[1], 3);
    t.b = draw(GHN_F32, c, 4);
    return t;
}

static void check_kernels(struct trial *t, const struct ghn__nn_kernels *kernels,
                          const struct results *r) {
    t->name = kernels->name;
    assert_int_equal(ghn__depthwise_new(&t->spec, kernels, &t->depthwise, NULL), GHN_OK);
    size_t bytes = ghn__depthwise_scratch_bytes(t->depthwise);
    t->scratch = ghn_malloc(bytes);
    assert_non_null(t->scratch);
    memset(t->scratch, 0xff, bytes); /* NaN, which would show in every result */
    check_forward(t, r);
    check_data(t, r);
    check_weights(t, r);
    ghn_free(t->scratch);
    ghn__depthwise_free(t->depthwise);
}

static double *zeros(int64_t n) {
    double *x = ghn_calloc((size_t)n, sizeof *x);
    assert_non_null(x);
    return x;
}

/* One convolution in every instruction set. */
static void check_shape(const struct shape *shape, int64_t c, enum ghn_dtype dtype) {
    const struct ghn__nn_kernels *all[3];
    int count = ghn__nn_kernels_all(all);
    struct trial t = setup(shape, c, dtype);
    struct results r = {&t, zeros(t.dy.n), zeros(t.x.n), zeros(t.w.n)};
    products(&t, add_product, &r);
    for (int i = 0; i < count; i++)
        check_kernels(&t, all[i], &r);
    struct map *maps[] = {&t.x, &t.dy, &t.w, &t.b};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        drop(maps[i]);
    ghn_free(r.y);
    ghn_free(r.dx);
    ghn_free(r.dw);
}

static void test_shapes(void **state) {
    (void)state;
    for (int s = 0; s < N_SHAPES; s++)
        for (int c = 0; c < N_CHANNELS; c++)
            for (int d = 0; d < 2; d++)
                if (shapes[s].in[0] < 90 || channels[c] == 3)
                    check_shape(&shapes[s], channels[c], dtypes[d]);
}

static void test_which(void **state) {
    (void)state;
    struct ghn__conv_spec spec = {.in_channels = 4, .out_channels = 8, .groups = 4};
    assert_false(ghn__is_depthwise(&spec)); /* two outputs a channel */
    spec.out_channels = 4;
    assert_true(ghn__is_depthwise(&spec));
    spec.groups = 2;
    assert_false(ghn__is_depthwise(&spec));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_which)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
