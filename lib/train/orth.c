#include <math.h>
#include <string.h>

#include "base/blas.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/finetune.h"

/* LAPACK, as OpenBLAS has it, in Fortran's calling convention. */
void dgeqrf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work,
             const int *lwork, int *info);
void dorgqr_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau,
             double *work, const int *lwork, int *info);
/* c = a^T a, for uplo "L" its lower triangle. */
void dsyrk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *beta, double *c, const int *ldc);

/* A weight as a matrix with no fewer rows than columns, column-major. */
struct tall {
    int rows, cols;
    double *a;     /* (cols, rows) in C's terms */
    double *tau;   /* (cols) */
    double *signs; /* (cols) of R's diagonal */
    double *work;  /* (n_work) */
    int n_work;
    struct ghn_arena arena;
};

enum { BLOCK = 64 };

static enum ghn_status tall_init(struct tall *tall, int64_t rows, int64_t cols,
                                 struct ghn_err *err) {
    *tall = (struct tall){.arena = GHN_ARENA_INIT};
    if (rows > INT32_MAX || cols > INT32_MAX / BLOCK)
        return ghn_fail(err, GHN_TOO_LARGE, NULL,
                        "a weight of %lld x %lld is too large to be orthogonalised",
                        (long long)rows, (long long)cols);
    tall->rows = (int)rows;
    tall->cols = (int)cols;
    tall->n_work = tall->cols * BLOCK;
    tall->a = ghn_arena_array(&tall->arena, (size_t)rows * (size_t)cols, sizeof *tall->a);
    tall->tau = ghn_arena_array(&tall->arena, (size_t)cols, sizeof *tall->tau);
    tall->signs = ghn_arena_array(&tall->arena, (size_t)cols, sizeof *tall->signs);
    tall->work = ghn_arena_array(&tall->arena, (size_t)tall->n_work, sizeof *tall->work);
    if (tall->a && tall->tau && tall->signs && tall->work)
        return GHN_OK;
    ghn_arena_done(&tall->arena);
    return ghn_fail_memory(err);
}

/* Where element (o, r) of the (out, rest) weight lies in the matrix. */
static double *at(const struct tall *tall, bool transposed, int64_t o, int64_t r) {
    return transposed ? &tall->a[o * tall->rows + r] : &tall->a[r * tall->rows + o];
}

/* --- Noise --- */

/* Subtracts the mean of every row and divides it by its length, in place; a row of equal numbers
 * becomes 0, so that it is correlated with nothing. */
static void standardise_rows(struct tall *tall, double *ret) {
    int64_t m = tall->rows;
    for (int64_t i = 0; i < m; i++) {
        double mean = 0, square = 0;
        for (int64_t j = 0; j < tall->cols; j++)
            mean += tall->a[j * m + i] / tall->cols;
        for (int64_t j = 0; j < tall->cols; j++)
            square += (tall->a[j * m + i] - mean) * (tall->a[j * m + i] - mean);
        for (int64_t j = 0; j < tall->cols; j++)
            ret[j * m + i] = square > 0 ? (tall->a[j * m + i] - mean) / sqrt(square) : 0;
    }
}

/* The standard deviation of all entries of the correlation matrix of the rows, C = Z Z^T. It is as
 * large as the square of the rows, but its entries' sum is |Z^T 1|^2, and their squares' sum is
 * that of the much smaller Z^T Z. */
static enum ghn_status correlation_deviation(struct tall *tall, double *ret, struct ghn_err *err) {
    int64_t m = tall->rows, n = tall->cols;
    double *z = ghn_calloc((size_t)(m * n), sizeof *z), *c = ghn_calloc((size_t)(n * n), sizeof *c);
    if (!z || !c) {
        ghn_free(z);
        ghn_free(c);
        return ghn_fail_memory(err);
    }
    const double one = 1, zero = 0;
    standardise_rows(tall, z);
    dsyrk_("L", "T", &tall->cols, &tall->rows, &one, z, &tall->rows, &zero, c, &tall->cols);
    double sum = 0, squares = 0, count = (double)m * (double)m;
    for (int64_t j = 0; j < n; j++) {
        double column = 0;
        for (int64_t i = 0; i < m; i++)
            column += z[j * m + i];
        sum += column * column;
        for (int64_t k = j; k < n; k++)
            squares += (k > j ? 2 : 1) * c[j * n + k] * c[j * n + k];
    }
    ghn_free(z);
    ghn_free(c);
    *ret = count > 1 ? sqrt(fmax(0, (squares - sum * sum / count) / (count - 1))) : 0;
    return GHN_OK;
}

/* Adds noise of deviation beta s; number i of the stream goes to element i of the weight. */
static enum ghn_status add_noise(struct tall *tall, bool transposed, double beta, uint64_t seed,
                                 const char *name, struct ghn_err *err) {
    double deviation = 0;
    enum ghn_status status = correlation_deviation(tall, &deviation, err);
    if (status != GHN_OK)
        return status;
    int64_t out = transposed ? tall->cols : tall->rows, rest = transposed ? tall->rows : tall->cols;
    uint64_t stream = ghn_rng_stream(name);
    for (int64_t o = 0; o < out; o++)
        for (int64_t r = 0; r < rest; r++)
            *at(tall, transposed, o, r) +=
                beta * deviation * ghn_rng_normal(seed, stream, (uint64_t)(o * rest + r));
    return GHN_OK;
}

/* --- QR --- */

/* a = Q sign(diag R) of its QR decomposition. */
static enum ghn_status factor(struct tall *tall, const char *name, struct ghn_err *err) {
    int m = tall->rows, n = tall->cols, info = 0;
    dgeqrf_(&m, &n, tall->a, &m, tall->tau, tall->work, &tall->n_work, &info);
    if (info == 0) {
        for (int64_t j = 0; j < n; j++) {
            double diagonal = tall->a[j * m + j];
            tall->signs[j] = diagonal > 0 ? 1 : diagonal < 0 ? -1 : 0;
        }
        dorgqr_(&m, &n, &n, tall->a, &m, tall->tau, tall->work, &tall->n_work, &info);
    }
    if (info != 0)
        return ghn_fail(err, GHN_INTERNAL, name, "LAPACK refused argument %d", -info);
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++)
            tall->a[j * m + i] *= tall->signs[j];
    return GHN_OK;
}

/* Orthogonalises one weight in place. */
static enum ghn_status orthogonalise(float *values, const struct ghn_param *param, int64_t n,
                                     double noise, uint64_t seed, struct ghn_err *err) {
    int64_t out = param->shape.dim[0], rest = out > 0 ? n / out : 0;
    bool transposed = out < rest;
    struct tall tall;
    if (n == 0)
        return GHN_OK;
    enum ghn_status status =
        tall_init(&tall, transposed ? rest : out, transposed ? out : rest, err);
    if (status != GHN_OK)
        return status;
    for (int64_t o = 0; o < out; o++)
        for (int64_t r = 0; r < rest; r++)
            *at(&tall, transposed, o, r) = values[o * rest + r];
    if (noise > 0)
        status = add_noise(&tall, transposed, noise, seed, param->name, err);
    if (status == GHN_OK)
        status = factor(&tall, param->name, err);
    for (int64_t o = 0; o < out && status == GHN_OK; o++)
        for (int64_t r = 0; r < rest; r++)
            values[o * rest + r] = (float)*at(&tall, transposed, o, r);
    ghn_arena_done(&tall.arena);
    return status;
}

/* --- Which weights --- */

static bool counts(const struct ghn_param *param) {
    return param->kind == GHN_PARAM_WEIGHT && param->node >= 0 && param->shape.ndim >= 2;
}

enum ghn_status ghn_orthogonalise(struct ghn_params *params, int from, double noise, uint64_t seed,
                                  struct ghn_err *err) {
    ghn_blas_init();
    const struct ghn_arch *arch = params->arch;
    float *values = ghn_malloc((size_t)params->n * sizeof *values);
    if (!values)
        return ghn_fail_memory(err);
    memcpy(values, params->values, (size_t)params->n * sizeof *values);
    int last = -1, number = 0;
    for (int i = 0; i < arch->n_params; i++)
        if (counts(&arch->params[i]))
            last = i;
    enum ghn_status status = GHN_OK;
    for (int i = 0; i < last && status == GHN_OK; i++)
        if (counts(&arch->params[i]) && ++number >= from)
            status = orthogonalise(values + params->offsets[i], &arch->params[i],
                                   params->offsets[i + 1] - params->offsets[i], noise, seed, err);
    if (status == GHN_OK) {
        float *old = params->values;
        params->values = values;
        values = old;
    }
    ghn_free(values);
    return status;
}
