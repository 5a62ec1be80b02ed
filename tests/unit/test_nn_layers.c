/* The kernels of activations, binary operations, rows and maxima in every instruction set that this
 * processor has, in f32 and bf16, against plain loops in f64; and that NaN gets through. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "nn/activation.h"
#include "nn/kernels.h"

enum { MOST = 4096 };

static const enum ghn_dtype dtypes[] = {GHN_F32, GHN_BF16};
/* Below, at and above the widths of vectors. */
static const int64_t lengths[] = {1, 3, 8, 16, 20, 24, 58};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* A buffer of activations, and what it holds. */
struct buffer {
    uint32_t memory[MOST];
    double x[MOST];
};

static void write_buffer(struct buffer *b, enum ghn_dtype dtype, const float *x, int64_t n) {
    float back[MOST] = {0};
    ghn_dtype_from_f32(dtype, b->memory, x, (size_t)n);
    ghn_dtype_to_f32(dtype, back, b->memory, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        b->x[i] = back[i];
}

/* Evenly drawn from -range to range, as the type holds them. */
static void draw(struct buffer *b, enum ghn_dtype dtype, int64_t n, uint64_t seed, double range) {
    float x[MOST] = {0};
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(range * (2 * ghn_rng_uniform(seed, 0, (uint64_t)i) - 1));
    write_buffer(b, dtype, x, n);
}

/* Element i is within the rounding of its type, with `slack` for what f32 loses on the way. */
static void check(const char *table, const char *what, const struct buffer *b, enum ghn_dtype dtype,
                  int64_t n, const double *expected, double slack) {
    float x[MOST] = {0};
    ghn_dtype_to_f32(dtype, x, b->memory, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        double bound =
            slack * (1 + fabs(expected[i])) + (dtype == GHN_BF16 ? fabs(expected[i]) * 0x1p-8 : 0);
        if (!(fabs(x[i] - expected[i]) <= bound))
            fail_msg("%s, %s, %s, n = %lld: element %lld is %.9g, not %.9g", table, what,
                     dtype == GHN_F32 ? "f32" : "bf16", (long long)n, (long long)i, (double)x[i],
                     expected[i]);
    }
}

/* What lies behind the last element is not written. */
static void check_end(const char *table, const struct buffer *b, enum ghn_dtype dtype, int64_t n) {
    const unsigned char *end = (const unsigned char *)b->memory + (size_t)n * ghn_dtype_size(dtype);
    for (int i = 0; i < 64; i++)
        if (end[i] != 0xa5)
            fail_msg("%s wrote behind element %lld", table, (long long)n);
}

static void blank(struct buffer *b) {
    memset(b->memory, 0xa5, sizeof b->memory);
}

/* Calls body for every table, type and length. */
static void everywhere(void (*body)(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype,
                                    int64_t n)) {
    const struct ghn__nn_kernels *all[3];
    int count = ghn__nn_kernels_all(all);
    for (int t = 0; t < count; t++)
        for (int d = 0; d < 2; d++)
            for (int i = 0; i < N_LENGTHS; i++)
                body(all[t], dtypes[d], lengths[i]);
}

/* --- Activations --- */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double relu6(double x) {
    return fmin(fmax(x, 0), 6);
}

static double act(enum ghn__act kind, double a, double x) {
    switch (kind) {
    case GHN__ACT_RELU:
        return fmax(x, 0);
    case GHN__ACT_RELU6:
        return relu6(x);
    case GHN__ACT_LEAKY_RELU:
        return x > 0 ? x : a * x;
    case GHN__ACT_ELU:
        return x > 0 ? x : a * expm1(x);
    case GHN__ACT_SILU:
        return x * sigmoid(x);
    case GHN__ACT_GELU:
        return x * 0.5 * erfc(-x / sqrt(2));
    case GHN__ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case GHN__ACT_HARDSWISH:
        return x * relu6(x + 3) / 6;
    case GHN__ACT_HARDSIGMOID:
        return relu6(x + 3) / 6;
    case GHN__ACT_SIGMOID:
        return sigmoid(x);
    case GHN__ACT_TANH:
        return tanh(x);
    case GHN__ACT_NONE:
        break;
    }
    return x;
}

/* Central differences: f64 leaves 1e-10 of them. Draws do not lie this near to a kink. */
static double slope(enum ghn__act kind, double a, double x) {
    const double h = 1e-6;
    return (act(kind, a, x + h) - act(kind, a, x - h)) / (2 * h);
}

static void check_activation(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype,
                             int64_t n) {
    static struct buffer x, dy, y;
    double expected[MOST];
    draw(&x, dtype, n, 1, 9);
    draw(&dy, dtype, n, 2, 1);
    for (int kind = GHN__ACT_NONE; kind <= GHN__ACT_TANH; kind++) {
        blank(&y);
        kernels->activation(y.memory, x.memory, dtype, 0, n, kind, 0.3f);
        for (int64_t i = 0; i < n; i++)
            expected[i] = act((enum ghn__act)kind, 0.3f, x.x[i]);
        check(kernels->name, "activation", &y, dtype, n, expected, 2e-6);
        check_end(kernels->name, &y, dtype, n);
        for (int add = 0; add < 2; add++) {
            blank(&y);
            draw(&y, dtype, n, 3, 1);
            kernels->activation_gradient(y.memory, add, dy.memory, x.memory, dtype, 0, n, kind,
                                         0.3f);
            for (int64_t i = 0; i < n; i++)
                expected[i] =
                    dy.x[i] * slope((enum ghn__act)kind, 0.3f, x.x[i]) + (add ? y.x[i] : 0);
            check(kernels->name, "activation_gradient", &y, dtype, n, expected, 5e-6);
            check_end(kernels->name, &y, dtype, n);
        }
    }
}

static void test_activations(void **state) {
    (void)state;
    everywhere(check_activation);
}

/* A NaN in an input is one in the output, or a run that has diverged looks healthy. */
static void check_nan(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, y;
    float values[MOST] = {0};
    for (int64_t at = 0; at < n; at++) {
        for (int64_t i = 0; i < n; i++)
            values[i] = i == at ? NAN : 0.5f;
        write_buffer(&x, dtype, values, n);
        for (int kind = GHN__ACT_NONE; kind <= GHN__ACT_TANH; kind++) {
            kernels->activation(y.memory, x.memory, dtype, 0, n, kind, 0.3f);
            ghn_dtype_to_f32(dtype, values, y.memory, (size_t)n);
            for (int64_t i = 0; i < n; i++)
                if (!isnan(values[i]) != (i != at))
                    fail_msg("%s, activation %d: element %lld is %g", kernels->name, kind,
                             (long long)i, (double)values[i]);
        }
        kernels->softmax(y.memory, x.memory, dtype, 1, n);
        ghn_dtype_to_f32(dtype, values, y.memory, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            if (!isnan(values[i]))
                fail_msg("%s, softmax: element %lld of %lld is %g", kernels->name, (long long)i,
                         (long long)n, (double)values[i]);
    }
}

static void test_nan(void **state) {
    (void)state;
    everywhere(check_nan);
}

/* Far from 0 sigmoid and tanh reach their ends and nothing overflows. */
static void check_far(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, y;
    float values[MOST] = {0};
    double expected[MOST];
    for (int64_t i = 0; i < n; i++)
        values[i] = (i % 2 ? 1.0f : -1.0f) * (i % 3 ? 200.0f : 1e30f);
    write_buffer(&x, dtype, values, n);
    for (int kind = GHN__ACT_SIGMOID; kind <= GHN__ACT_TANH; kind++) {
        kernels->activation(y.memory, x.memory, dtype, 0, n, kind, 0);
        for (int64_t i = 0; i < n; i++)
            expected[i] = i % 2 ? 1 : kind == GHN__ACT_TANH ? -1 : 0;
        check(kernels->name, "far from 0", &y, dtype, n, expected, 1e-7);
    }
}

/* Near 0 tanh keeps its relative precision, however small x is: a few units in the last place, down
 * to the smallest normal numbers. */
static void test_tanh_near_0(void **state) {
    (void)state;
    enum { N = 4 * MOST };
    static float x[N], y[N];
    const struct ghn__nn_kernels *all[3];
    for (int i = 0; i < N; i++)
        x[i] = (float)((i % 2 ? -1 : 1) * exp2(-20 + 24 * ghn_rng_uniform(9, 0, (uint64_t)i)));
    for (int i = 0; i < 100; i++)
        x[i] = (float)((i % 2 ? -1 : 1) * exp2(-20 - i));
    for (int t = ghn__nn_kernels_all(all) - 1; t >= 0; t--) {
        all[t]->activation(y, x, GHN_F32, 0, N, GHN__ACT_TANH, 0);
        for (int i = 0; i < N; i++)
            if (!(fabs(y[i] - tanh(x[i])) <= 4 * 0x1p-24 * fabs(tanh(x[i]))))
                fail_msg("%s: tanh(%.9g) is %.9g, not %.9g", all[t]->name, (double)x[i],
                         (double)y[i], tanh(x[i]));
    }
}

static void test_far(void **state) {
    (void)state;
    everywhere(check_far);
}

/* --- Products, sums, gates --- */

enum { ROWS = 7 };

static void check_gate(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, gate, y;
    double expected[MOST];
    float sum[MOST] = {0};
    draw(&x, dtype, ROWS * n, 1, 2);
    draw(&gate, dtype, n, 2, 2);
    for (int add = 0; add < 2; add++) {
        blank(&y);
        draw(&y, dtype, ROWS * n, 3, 1);
        kernels->scale_rows(y.memory, add, x.memory, gate.memory, dtype, ROWS, n);
        for (int64_t i = 0; i < ROWS * n; i++)
            expected[i] = x.x[i] * gate.x[i % n] + (add ? y.x[i] : 0);
        check(kernels->name, "scale_rows", &y, dtype, ROWS * n, expected, 1e-6);
        check_end(kernels->name, &y, dtype, ROWS * n);
    }
    draw(&y, dtype, ROWS * n, 3, 1);
    for (int product = 0; product < 2; product++) {
        kernels->sum_rows(sum, x.memory, product ? y.memory : NULL, dtype, ROWS, n);
        for (int64_t k = 0; k < n; k++) {
            double s = 0;
            for (int64_t i = k; i < ROWS * n; i += n)
                s += x.x[i] * (product ? y.x[i] : 1);
            if (!(fabs(sum[k] - s) <= 1e-5))
                fail_msg("%s, sum_rows: %g, not %g", kernels->name, (double)sum[k], s);
        }
    }
}

static void check_binary(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer a, b, y;
    double product[MOST], sum[MOST];
    draw(&a, dtype, n, 1, 2);
    draw(&b, dtype, n, 2, 2);
    for (int constant = 0; constant < 2; constant++)
        for (int add = 0; add < 2; add++) {
            const void *second = constant ? NULL : b.memory;
            blank(&y);
            draw(&y, dtype, n, 3, 1);
            for (int64_t i = 0; i < n; i++) {
                double z = constant ? 0.75 : b.x[i];
                product[i] = a.x[i] * z + (add ? y.x[i] : 0);
                sum[i] = a.x[i] + z;
            }
            kernels->multiply(y.memory, add, a.memory, second, 0.75f, dtype, 0, n);
            check(kernels->name, "multiply", &y, dtype, n, product, 1e-6);
            kernels->sum_of(y.memory, a.memory, second, 0.75f, dtype, 0, n);
            check(kernels->name, "sum_of", &y, dtype, n, sum, 1e-6);
            check_end(kernels->name, &y, dtype, n);
        }
}

static void test_binary(void **state) {
    (void)state;
    everywhere(check_binary);
    everywhere(check_gate);
}

/* --- Rows --- */

static void check_softmax(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, dy, y, dx;
    double expected[MOST];
    draw(&x, dtype, ROWS * n, 1, 5);
    draw(&dy, dtype, ROWS * n, 2, 1);
    blank(&y);
    kernels->softmax(y.memory, x.memory, dtype, ROWS, n);
    for (int64_t row = 0; row < ROWS; row++) {
        double sum = 0;
        for (int64_t k = 0; k < n; k++)
            sum += exp(x.x[row * n + k]);
        for (int64_t k = 0; k < n; k++)
            expected[row * n + k] = exp(x.x[row * n + k]) / sum;
    }
    check(kernels->name, "softmax", &y, dtype, ROWS * n, expected, 1e-6);
    check_end(kernels->name, &y, dtype, ROWS * n);
    draw(&y, dtype, ROWS * n, 4, 1);
    for (int add = 0; add < 2; add++) {
        blank(&dx);
        draw(&dx, dtype, ROWS * n, 3, 1);
        kernels->softmax_gradient(dx.memory, add, dy.memory, y.memory, dtype, ROWS, n);
        for (int64_t row = 0; row < ROWS; row++) {
            double dot = 0;
            for (int64_t i = row * n; i < (row + 1) * n; i++)
                dot += y.x[i] * dy.x[i];
            for (int64_t i = row * n; i < (row + 1) * n; i++)
                expected[i] = y.x[i] * (dy.x[i] - dot) + (add ? dx.x[i] : 0);
        }
        check(kernels->name, "softmax_gradient", &dx, dtype, ROWS * n, expected, 5e-6);
        check_end(kernels->name, &dx, dtype, ROWS * n);
    }
}

static void test_softmax(void **state) {
    (void)state;
    everywhere(check_softmax);
}

/* Layer norm of one row in f64: y, and with dy the gradient by x. */
static void norm_row(const double *x, const double *dy, const float *w, const float *b, int64_t n,
                     double *y, double *dx) {
    double mean = 0, var = 0, g = 0, gx = 0;
    for (int64_t k = 0; k < n; k++)
        mean += x[k] / (double)n;
    for (int64_t k = 0; k < n; k++)
        var += (x[k] - mean) * (x[k] - mean) / (double)n;
    double rstd = 1 / sqrt(var + 0.1f);
    for (int64_t k = 0; k < n; k++) {
        double xhat = (x[k] - mean) * rstd;
        y[k] = xhat * w[k] + b[k];
        g += dy[k] * w[k] / (double)n;
        gx += dy[k] * w[k] * xhat / (double)n;
    }
    for (int64_t k = 0; k < n; k++)
        dx[k] = rstd * (dy[k] * w[k] - g - (x[k] - mean) * rstd * gx);
}

static void check_norm(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, dy, y, dx, w, b;
    double expected[MOST], gradient[MOST];
    float mean[ROWS], rstd[ROWS];
    draw(&x, dtype, ROWS * n, 1, 3);
    draw(&dy, dtype, ROWS * n, 2, 1);
    draw(&w, GHN_F32, n, 4, 2);
    draw(&b, GHN_F32, n, 5, 2);
    const float *weight = (const float *)w.memory, *bias = (const float *)b.memory;
    for (int64_t row = 0; row < ROWS; row++)
        norm_row(x.x + row * n, dy.x + row * n, weight, bias, n, expected + row * n,
                 gradient + row * n);
    blank(&y);
    kernels->layer_norm(y.memory, mean, rstd, x.memory, dtype, ROWS, n, weight, bias, 0.1f);
    check(kernels->name, "layer_norm", &y, dtype, ROWS * n, expected, 5e-6);
    check_end(kernels->name, &y, dtype, ROWS * n);
    for (int add = 0; add < 2; add++) {
        blank(&dx);
        draw(&dx, dtype, ROWS * n, 3, 1);
        kernels->layer_norm_gradient(dx.memory, add, NULL, NULL, dy.memory, x.memory, dtype, ROWS,
                                     n, mean, rstd, weight);
        for (int64_t i = 0; i < ROWS * n; i++)
            expected[i] = gradient[i] + (add ? dx.x[i] : 0);
        check(kernels->name, "layer_norm_gradient", &dx, dtype, ROWS * n, expected, 2e-5);
        check_end(kernels->name, &dx, dtype, ROWS * n);
    }
}

static void test_layer_norm(void **state) {
    (void)state;
    everywhere(check_norm);
}

/* --- Maxima --- */

/* Overlapping windows with padding over 5 x 6 pixels; ties, because few values are drawn. */
static void check_max(const struct ghn__nn_kernels *kernels, enum ghn_dtype dtype, int64_t n) {
    static struct buffer x, dy, y, dx;
    static uint16_t place[MOST];
    static double expected[MOST], gradient[MOST];
    const struct ghn__window w = {n, {5, 6}, {3, 3}, {3, 3}, {2, 2}, {1, 1}, {1, 1}};
    float values[MOST] = {0};
    for (int64_t i = 0; i < 30 * n; i++)
        values[i] = floorf(4 * (float)ghn_rng_uniform(1, 0, (uint64_t)i)) - 3;
    write_buffer(&x, dtype, values, 30 * n);
    draw(&dy, dtype, 9 * n, 2, 1);
    blank(&dx);
    draw(&dx, dtype, 30 * n, 3, 1);
    memcpy(gradient, dx.x, sizeof gradient);
    for (int64_t o = 0; o < 9 * n; o++) {
        int64_t best = -1, top = o / n / 3 * 2 - 1, left = o / n % 3 * 2 - 1;
        for (int64_t i = 0; i < 9; i++) {
            int64_t h = top + i / 3, v = left + i % 3, at = (h * 6 + v) * n + o % n;
            if (h >= 0 && h < 5 && v >= 0 && v < 6 && (best < 0 || x.x[at] > x.x[best]))
                best = at;
        }
        expected[o] = x.x[best];
        gradient[best] += dy.x[o];
    }
    blank(&y);
    kernels->max_pool(y.memory, place, x.memory, dtype, &w);
    check(kernels->name, "max_pool", &y, dtype, 9 * n, expected, 0);
    check_end(kernels->name, &y, dtype, 9 * n);
    kernels->max_pool_gradient(dx.memory, true, dy.memory, place, dtype, &w);
    check(kernels->name, "max_pool_gradient", &dx, dtype, 30 * n, gradient, 1e-6);
    check_end(kernels->name, &dx, dtype, 30 * n);
}

static void test_max_pool(void **state) {
    (void)state;
    everywhere(check_max);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_nan),
        cmocka_unit_test(test_far),         cmocka_unit_test(test_tanh_near_0),
        cmocka_unit_test(test_binary),      cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_layer_norm),  cmocka_unit_test(test_max_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
