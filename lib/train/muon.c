#include "train/muon.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/blas.h"
#include "base/mem.h"

/* --- Life --- */

static int shorter_side(const struct ghn_matrix *matrix) {
    return matrix->rows < matrix->cols ? matrix->rows : matrix->cols;
}

enum ghn_status ghn__muon_init(struct ghn__muon *muon, const struct ghn_hypernet *h,
                               struct ghn_err *err) {
    *muon = (struct ghn__muon){0};
    ghn_blas_init();
    muon->n_matrices = ghn_hypernet_matrices(h, muon->matrices);
    for (int i = 0; i < muon->n_matrices; i++) {
        const struct ghn_matrix *matrix = &muon->matrices[i];
        size_t k = (size_t)shorter_side(matrix), n = (size_t)matrix->rows * (size_t)matrix->cols;
        muon->side = k > muon->side ? k : muon->side;
        muon->size = n > muon->size ? n : muon->size;
    }
    size_t side = muon->side;
    muon->gram = ghn_malloc(side * side * sizeof(float));
    muon->square = ghn_malloc(side * side * sizeof(float));
    muon->factor = ghn_malloc(side * side * sizeof(float));
    muon->product = ghn_malloc(side * side * sizeof(float));
    muon->step = ghn_malloc(2 * muon->size * sizeof(float));
    return muon->gram && muon->square && muon->factor && muon->product && muon->step
               ? GHN_OK
               : ghn_fail_memory(err);
}

void ghn__muon_done(struct ghn__muon *muon) {
    ghn_free(muon->gram);
    ghn_free(muon->square);
    ghn_free(muon->factor);
    ghn_free(muon->product);
    ghn_free(muon->step);
    *muon = (struct ghn__muon){0};
}

/* --- Orthogonal matrices --- */

/* ret = a b, all (k, k). */
static void multiply(int k, const float *a, const float *b, float *ret) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, k, k, k, 1, a, k, b, k, 0, ret, k);
}

static void swap(float **a, float **b) {
    float *c = *a;
    *a = *b;
    *b = c;
}

/* gram (k, k), with eigenvalues in [0, 1], becomes about the identity on its range; factor the
 * product of what it was multiplied with from both sides: its inverse square root, nearly. */
static void iterate(struct ghn__muon *muon, int k) {
    /* Newton-Schulz with Jordan's coefficients, on X^T X instead of X: five products of the small
     * side instead of five of the long one. */
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    for (int i = 0; i < k * k; i++)
        muon->factor[i] = i % (k + 1) == 0 ? 1.0f : 0.0f;
    for (int round = 0; round < 5; round++) {
        multiply(k, muon->gram, muon->gram, muon->square);
        for (int i = 0; i < k * k; i++)
            muon->square[i] =
                (i % (k + 1) == 0 ? a : 0.0f) + b * muon->gram[i] + c * muon->square[i];
        multiply(k, muon->square, muon->factor, muon->product);
        swap(&muon->factor, &muon->product);
        multiply(k, muon->square, muon->gram, muon->product);
        multiply(k, muon->product, muon->square, muon->gram);
    }
}

void ghn__muon_orthogonalise(struct ghn__muon *muon, float *x, int rows, int cols) {
    bool tall = rows >= cols;
    int k = tall ? cols : rows, length = tall ? rows : cols;
    assert((size_t)k <= muon->side && (size_t)rows * (size_t)cols <= muon->size);
    cblas_sgemm(CblasRowMajor, tall ? CblasTrans : CblasNoTrans, tall ? CblasNoTrans : CblasTrans,
                k, k, length, 1, x, cols, x, cols, 0, muon->gram, k);
    double trace = 0;
    for (int i = 0; i < k; i++)
        trace += muon->gram[i * k + i];
    if (!(trace > 0))
        return;
    for (int i = 0; i < k * k; i++)
        muon->gram[i] = (float)(muon->gram[i] / trace);
    iterate(muon, k);
    float scale = (float)(1 / sqrt(trace));
    float *ret = muon->step + muon->size;
    if (tall)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, cols, k, scale, x, cols,
                    muon->factor, k, 0, ret, cols);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, cols, k, scale, muon->factor,
                    k, x, cols, 0, ret, cols);
    memcpy(x, ret, (size_t)rows * (size_t)cols * sizeof *x);
}

/* --- Steps --- */

void ghn__muon_step(struct ghn__muon *muon, int i, float *values, float *momentum,
                    const float *gradient, float scale, double beta, double lr,
                    double weight_decay) {
    const struct ghn_matrix *matrix = &muon->matrices[i];
    int64_t n = (int64_t)matrix->rows * matrix->cols;
    values += matrix->first;
    momentum += matrix->first;
    gradient += matrix->first;
    float keep = (float)beta, take = (float)(1 - beta) * scale;
    for (int64_t j = 0; j < n; j++) {
        momentum[j] = keep * momentum[j] + take * gradient[j];
        muon->step[j] = keep * momentum[j] + take * gradient[j]; /* Nesterov's */
    }
    ghn__muon_orthogonalise(muon, muon->step, matrix->rows, matrix->cols);
    int longer = matrix->rows > matrix->cols ? matrix->rows : matrix->cols;
    float rate = (float)(lr * 0.2 * sqrt(longer)), decay = (float)(1 - lr * weight_decay);
    for (int64_t j = 0; j < n; j++)
        values[j] = decay * values[j] - rate * muon->step[j];
}
