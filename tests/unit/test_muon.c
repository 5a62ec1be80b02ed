/* lib/train/muon.h: its orthogonal matrices against singular values that are known and against
 * Newton-Schulz as it is published, its steps against those written out in f64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "train/muon.h"

enum { SIDE = 96 }; /* no matrix here has a longer one */

static struct ghn_hypernet *hypernet;
static struct ghn__muon muon;

static int set_up(void **state) {
    (void)state;
    const struct ghn_config config = {.hid = 12,
                                      .max_shape = {8, 12, 3, 3},
                                      .num_classes = 10,
                                      .hypernet = GHN_GATED_GNN,
                                      .decoder = GHN_DECODER_CONV};
    return ghn_hypernet_new(&config, 1, &hypernet, NULL) != GHN_OK ||
           ghn__muon_init(&muon, hypernet, NULL) != GHN_OK;
}

static int tear_down(void **state) {
    (void)state;
    ghn__muon_done(&muon);
    ghn_hypernet_free(hypernet);
    return 0;
}

static double uniform(uint64_t seed, int i) {
    return 2 * ghn_rng_uniform(seed, 0, (uint64_t)i) - 1;
}

/* ret (n, k): orthonormal columns, by Gram and Schmidt. */
static void orthonormal(uint64_t seed, int n, int k, double *ret) {
    for (int j = 0; j < k; j++) {
        for (int i = 0; i < n; i++)
            ret[i * k + j] = uniform(seed, i * k + j);
        for (int other = 0; other <= j; other++) {
            double dot = 0;
            for (int i = 0; i < n; i++)
                dot += ret[i * k + j] * ret[i * k + other];
            for (int i = 0; i < n; i++)
                ret[i * k + j] -= other < j ? dot * ret[i * k + other] : 0;
            for (int i = 0; other == j && i < n; i++)
                ret[i * k + j] /= sqrt(dot);
        }
    }
}

/* u (rows, k), v (cols, k): entry (a, b) of u^T x v. */
static double between(const double *u, const double *v, const float *x, int rows, int cols, int k,
                      int a, int b) {
    double sum = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            sum += u[i * k + a] * x[i * cols + j] * v[j * k + b];
    return sum;
}

/* Singular vectors stay, singular values come near 1: those that are not far below the norm. */
static void check_singular_values(int rows, int cols) {
    static double u[SIDE * SIDE], v[SIDE * SIDE];
    static float x[SIDE * SIDE];
    int k = rows < cols ? rows : cols;
    orthonormal(1, rows, k, u);
    orthonormal(2, cols, k, v);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            double sum = 0;
            for (int s = 0; s < k; s++)
                sum += u[i * k + s] * v[j * k + s] * exp(-3.0 * s / k);
            x[i * cols + j] = (float)sum;
        }
    ghn__muon_orthogonalise(&muon, x, rows, cols);
    for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++) {
            double value = between(u, v, x, rows, cols, k, a, b);
            if (a == b ? !(value > 0.65 && value < 1.25) : !(fabs(value) < 1e-4))
                fail_msg("%d x %d: (%d, %d) is %g", rows, cols, a, b, value);
        }
}

static void test_singular_values(void **state) {
    (void)state;
    check_singular_values(24, 12);
    check_singular_values(12, 24);
    check_singular_values(12, 12);
    check_singular_values(96, 10);
    check_singular_values(1, 24);
}

/* ret (rows, cols) = x after Newton-Schulz on x itself, as Jordan et al. publish it, for rows <=
 * cols. */
static void newton_schulz(const double *x, int rows, int cols, double *ret) {
    static double gram[SIDE * SIDE], next[SIDE * SIDE];
    double norm = 0;
    for (int i = 0; i < rows * cols; i++)
        norm += x[i] * x[i];
    for (int i = 0; i < rows * cols; i++)
        ret[i] = x[i] / sqrt(norm);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++) {
                gram[i * rows + j] = 0;
                for (int l = 0; l < cols; l++)
                    gram[i * rows + j] += ret[i * cols + l] * ret[j * cols + l];
            }
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) {
                double sum = 3.4445 * ret[i * cols + j];
                for (int l = 0; l < rows; l++) {
                    double square = 0;
                    for (int o = 0; o < rows; o++)
                        square += gram[i * rows + o] * gram[o * rows + l];
                    sum += (-4.7750 * gram[i * rows + l] + 2.0315 * square) * ret[l * cols + j];
                }
                next[i * cols + j] = sum;
            }
        memcpy(ret, next, (size_t)rows * (size_t)cols * sizeof *ret);
    }
}

static void test_as_published(void **state) {
    (void)state;
    enum { ROWS = 12, COLS = 40 };
    double x[ROWS * COLS], expected[ROWS * COLS];
    float wide[ROWS * COLS], tall[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = uniform(3, i);
    newton_schulz(x, ROWS, COLS, expected);
    for (int i = 0; i < ROWS * COLS; i++) {
        wide[i] = (float)x[i];
        tall[i % COLS * ROWS + i / COLS] = (float)x[i];
    }
    ghn__muon_orthogonalise(&muon, wide, ROWS, COLS);
    ghn__muon_orthogonalise(&muon, tall, COLS, ROWS);
    for (int i = 0; i < ROWS * COLS; i++) {
        assert_float_equal(wide[i], expected[i], 1e-4);
        assert_float_equal(tall[i % COLS * ROWS + i / COLS], expected[i], 1e-4);
    }
}

static void test_zero(void **state) {
    (void)state;
    float x[12] = {0};
    ghn__muon_orthogonalise(&muon, x, 3, 4);
    for (int i = 0; i < 12; i++)
        assert_float_equal(x[i], 0, 0);
}

/* Every weight that multiplies, and nothing else: no embedding, bias or norm. */
static void test_matrices(void **state) {
    (void)state;
    int64_t n = 0, end = 0;
    for (int i = 0; i < muon.n_matrices; i++) {
        const struct ghn_matrix *matrix = &muon.matrices[i];
        assert_true(matrix->first >= end);
        end = matrix->first + (int64_t)matrix->rows * matrix->cols;
        n += (int64_t)matrix->rows * matrix->cols;
    }
    assert_true(end <= ghn_hypernet_n(hypernet));
    /* gnn: the messages' two, as wide as embeddings without virtual edges, and the GRU's; decoder:
     * three and the class layer; decoder_1d: two; class bias. */
    assert_int_equal(muon.n_matrices, 11);
    assert_int_equal(n, 2 * 12 * 12 + 2 * 36 * 12 + 12 * 48 * 9 + 48 * 96 + 96 * 96 + 80 + 12 * 24 +
                            24 * 24 + 120);
}

/* Two steps with momentum and weight decay; what is not the matrix stays. */
static void test_step(void **state) {
    (void)state;
    enum { NUMBER = 2 };
    const struct ghn_matrix *matrix = &muon.matrices[NUMBER];
    const double beta = 0.9, lr = 0.01, decay = 0.5;
    int rows = matrix->rows, cols = matrix->cols, size = rows * cols;
    size_t n = (size_t)ghn_hypernet_n(hypernet);
    float *values = calloc(n, sizeof *values), *momentum = calloc(n, sizeof *momentum),
          *gradient = calloc(n, sizeof *gradient);
    double *w = calloc(4 * (size_t)size, sizeof *w), *m = w + size, *step = m + size,
           *flat = step + size;
    assert_true(values && momentum && gradient && w);
    for (int i = 0; i < size; i++)
        values[matrix->first + i] = (float)(w[i] = uniform(4, i));
    for (uint64_t t = 0; t < 2; t++) {
        for (int i = 0; i < size; i++) {
            double g = uniform(5 + t, i);
            gradient[matrix->first + i] = (float)(2 * g);
            m[i] = beta * m[i] + (1 - beta) * g;
            step[i % cols * rows + i / cols] = beta * m[i] + (1 - beta) * g; /* wide */
        }
        newton_schulz(step, cols, rows, flat);
        for (int i = 0; i < size; i++)
            w[i] =
                (1 - lr * decay) * w[i] - lr * 0.2 * sqrt(rows) * flat[i % cols * rows + i / cols];
        ghn__muon_step(&muon, NUMBER, values, momentum, gradient, 0.5f, beta, lr, decay);
    }
    for (int i = 0; i < size; i++)
        assert_float_equal(values[matrix->first + i], w[i], 1e-5);
    for (size_t i = 0; i < n; i++)
        if ((int64_t)i < matrix->first || (int64_t)i >= matrix->first + size)
            assert_true(values[i] == 0 && momentum[i] == 0);
    free(values);
    free(momentum);
    free(gradient);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_singular_values),
        cmocka_unit_test(test_as_published),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_step),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
