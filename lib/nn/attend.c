#include "nn/attend.h"

#include <math.h>
#include <string.h>

#include "nn/kernels.h"

enum { BLOCK = 32 }; /* queries at a time: their scores stay in the first level of the cache */

static int64_t padded(int64_t n) {
    return (n + GHN__PAD_COLUMNS - 1) / GHN__PAD_COLUMNS * GHN__PAD_COLUMNS;
}

/* No multiple of 256 bytes, or a column of a matrix would crowd into a few sets of the cache. */
int64_t ghn__head_row(int64_t tokens) {
    int64_t n = padded(tokens);
    return n % 64 == 0 ? n + GHN__PAD_COLUMNS : n;
}

size_t ghn__head_matrices_floats(int64_t tokens, int64_t dim, bool training) {
    int64_t n = training ? GHN__HEAD_MATRICES : GHN__HEAD_DOUT;
    return (size_t)(n * dim * ghn__head_row(tokens));
}

size_t ghn__head_scores_floats(int64_t tokens, bool training) {
    return (size_t)(tokens * ghn__head_row(tokens) * (training ? 2 : 1) + 2 * padded(tokens));
}

void ghn__head_lay_out(struct ghn__head *head, int64_t tokens, int64_t dim, bool training,
                       float *matrices, float *scores) {
    int64_t ls = ghn__head_row(tokens), n = training ? GHN__HEAD_MATRICES : GHN__HEAD_DOUT;
    *head = (struct ghn__head){.tokens = tokens, .dim = dim, .ls = ls};
    memset(matrices, 0, ghn__head_matrices_floats(tokens, dim, training) * sizeof *matrices);
    for (int64_t i = 0; i < n; i++)
        head->matrices[i] = matrices + i * dim * ls;
    head->scores = scores;
    head->dscores = training ? scores + tokens * ls : NULL;
    head->norms = scores + tokens * ls * (training ? 2 : 1);
}

void ghn__head_put(const struct ghn__head *head, enum ghn__head_matrix matrix, int64_t t,
                   const void *x, enum ghn_dtype dtype) {
    const int64_t from[] = {1, 1}, to[] = {head->ls, 1}, n[] = {head->dim, 1};
    ghn__nn_kernels()->copy_plane(head->matrices[matrix] + t, GHN_F32, to, x, dtype, from, n,
                                  false);
}

void ghn__head_get(const struct ghn__head *head, enum ghn__head_matrix matrix, int64_t t, void *y,
                   enum ghn_dtype dtype, bool add) {
    const int64_t from[] = {1, head->ls}, to[] = {1, 1}, n[] = {1, head->dim};
    ghn__nn_kernels()->copy_plane(y, dtype, to, head->matrices[matrix] + t, GHN_F32, from, n, add);
}

static void multiply(float *x, int64_t n, float by) {
    for (int64_t i = 0; i < n; i++)
        x[i] *= by;
}

/* x_t / max(|x_t|, 1e-12), the lengths into norms. */
static void normalise(const struct ghn__head *head, float *x, float *norms) {
    for (int64_t t = 0; t < head->tokens; t++) {
        double square = 0;
        for (int64_t i = 0; i < head->dim; i++)
            square += (double)x[i * head->ls + t] * x[i * head->ls + t];
        norms[t] = fmaxf((float)sqrt(square), 1e-12f);
        for (int64_t i = 0; i < head->dim; i++)
            x[i * head->ls + t] /= norms[t];
    }
}

/* scores = bias^T, zero beyond the tokens. */
static void begin_with(const struct ghn__head *head, const float *bias) {
    int64_t tokens = head->tokens, ls = head->ls;
    const int64_t from[] = {1, tokens}, to[] = {ls, 1}, n[] = {tokens, tokens};
    ghn__nn_kernels()->copy_plane(head->scores, GHN_F32, to, bias, GHN_F32, from, n, false);
    for (int64_t s = 0; s < tokens; s++)
        memset(head->scores + s * ls + tokens, 0, (size_t)(ls - tokens) * sizeof *bias);
}

void ghn__attend(struct ghn__head *head, float scale, const float *bias, bool cosine) {
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    int64_t tokens = head->tokens, dim = head->dim, ls = head->ls, n = padded(tokens);
    float *const *m = head->matrices;
    if (cosine) {
        normalise(head, m[GHN__HEAD_Q], head->norms);
        normalise(head, m[GHN__HEAD_K], head->norms + tokens);
    }
    multiply(m[GHN__HEAD_K], dim * ls, scale);
    if (bias)
        begin_with(head, bias);
    for (int64_t j = 0; j < n; j += BLOCK) {
        int64_t width = n - j < BLOCK ? n - j : BLOCK;
        float *scores = head->scores + j;
        kernels->small_gemm(scores, ls, bias != NULL, m[GHN__HEAD_K], 1, ls, m[GHN__HEAD_Q] + j, ls,
                            tokens, width, dim);
        kernels->softmax_columns(scores, ls, tokens, width);
        kernels->small_gemm(m[GHN__HEAD_OUT] + j, ls, false, m[GHN__HEAD_V], ls, 1, scores, ls, dim,
                            width, tokens);
    }
}

/* Back through normalise, of which `by` times the result was used: dx = (dx - x (x . dx)) / |x|. */
static void normalise_backward(const struct ghn__head *head, const float *x, float by,
                               const float *norms, float *dx) {
    for (int64_t t = 0; t < head->tokens; t++) {
        float dot = 0.0f;
        for (int64_t i = 0; i < head->dim; i++)
            dot += x[i * head->ls + t] / by * dx[i * head->ls + t];
        for (int64_t i = 0; i < head->dim; i++)
            dx[i * head->ls + t] =
                (dx[i * head->ls + t] - x[i * head->ls + t] / by * dot) / norms[t];
    }
}

/* The sum over scores of their gradient times q . k, from q and dq, which has the scale in it. */
static double scale_gradient(const struct ghn__head *head, float scale) {
    const float *q = head->matrices[GHN__HEAD_Q], *dq = head->matrices[GHN__HEAD_DQ];
    double sum = 0;
    for (int64_t i = 0; i < head->dim; i++)
        for (int64_t t = 0; t < head->tokens; t++)
            sum += (double)q[i * head->ls + t] * dq[i * head->ls + t];
    return sum / scale;
}

void ghn__attend_backward(struct ghn__head *head, float scale, bool cosine, double *ret_dscale) {
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    int64_t tokens = head->tokens, dim = head->dim, ls = head->ls, n = padded(tokens);
    float *const *m = head->matrices;
    for (int64_t j = 0; j < n; j += BLOCK) {
        int64_t width = n - j < BLOCK ? n - j : BLOCK;
        float *dscores = head->dscores + j;
        kernels->small_gemm(dscores, ls, false, m[GHN__HEAD_V], 1, ls, m[GHN__HEAD_DOUT] + j, ls,
                            tokens, width, dim);
        kernels->softmax_columns_gradient(dscores, head->scores + j, ls, tokens, width);
        /* k has been scaled already. */
        kernels->small_gemm(m[GHN__HEAD_DQ] + j, ls, false, m[GHN__HEAD_K], ls, 1, dscores, ls, dim,
                            width, tokens);
    }
    kernels->small_gemm_transposed(m[GHN__HEAD_DV], ls, m[GHN__HEAD_DOUT], ls, head->scores, ls,
                                   dim, tokens, n);
    kernels->small_gemm_transposed(m[GHN__HEAD_DK], ls, m[GHN__HEAD_Q], ls, head->dscores, ls, dim,
                                   tokens, n);
    multiply(m[GHN__HEAD_DK], dim * ls, scale);
    *ret_dscale = 0.0;
    if (cosine) {
        *ret_dscale = scale_gradient(head, scale);
        normalise_backward(head, m[GHN__HEAD_Q], 1.0f, head->norms, m[GHN__HEAD_DQ]);
        normalise_backward(head, m[GHN__HEAD_K], scale, head->norms + tokens, m[GHN__HEAD_DK]);
    }
}
