#include "nn/attend.h"

#include <math.h>
#include <string.h>

#include "nn/kernels.h"

static int64_t padded(int64_t n) {
    return (n + GHN__PAD_COLUMNS - 1) / GHN__PAD_COLUMNS * GHN__PAD_COLUMNS;
}

size_t ghn__head_floats(int64_t tokens, int64_t dim, bool training) {
    int64_t rows = tokens * padded(dim), scores = tokens * padded(tokens);
    return (size_t)(rows * (training ? 8 : 4) + scores * (training ? 2 : 1) + dim * padded(tokens) +
                    2 * padded(tokens));
}

void ghn__head_lay_out(struct ghn__head *head, int64_t tokens, int64_t dim, bool training,
                       float *memory) {
    int64_t ld = padded(dim), ls = padded(tokens), rows = tokens * ld, scores = tokens * ls;
    *head = (struct ghn__head){.tokens = tokens, .dim = dim, .ld = ld, .ls = ls};
    float **in_rows[] = {&head->q,    &head->k,  &head->v,  &head->out,
                         &head->dout, &head->dq, &head->dk, &head->dv};
    int n = training ? 8 : 4;
    memset(memory, 0, (size_t)(rows * n) * sizeof *memory);
    for (int i = 0; i < n; i++, memory += rows)
        *in_rows[i] = memory;
    head->scores = memory;
    memory += scores;
    if (training) {
        head->dscores = memory;
        memory += scores;
    }
    head->transposed = memory;
    head->norms = memory + dim * ls;
}

/* head->transposed = x^T. */
static void transpose(struct ghn__head *head, const float *x) {
    memset(head->transposed, 0, (size_t)(head->dim * head->ls) * sizeof *x);
    for (int64_t t = 0; t < head->tokens; t++)
        for (int64_t i = 0; i < head->dim; i++)
            head->transposed[i * head->ls + t] = x[t * head->ld + i];
}

/* x_t / max(|x_t|, 1e-12), the lengths into norms. */
static void normalise(const struct ghn__head *head, float *x, float *norms) {
    for (int64_t t = 0; t < head->tokens; t++) {
        double square = 0;
        for (int64_t i = 0; i < head->dim; i++)
            square += (double)x[t * head->ld + i] * x[t * head->ld + i];
        norms[t] = fmaxf((float)sqrt(square), 1e-12f);
        for (int64_t i = 0; i < head->dim; i++)
            x[t * head->ld + i] /= norms[t];
    }
}

void ghn__attend(struct ghn__head *head, float scale, const float *bias, bool cosine) {
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    int64_t tokens = head->tokens;
    if (cosine) {
        normalise(head, head->q, head->norms);
        normalise(head, head->k, head->norms + tokens);
    }
    transpose(head, head->k);
    kernels->small_gemm(head->scores, head->ls, false, head->q, head->ld, 1, head->transposed,
                        head->ls, tokens, head->ls, head->dim);
    for (int64_t t = 0; t < tokens; t++) {
        float *row = head->scores + t * head->ls;
        for (int64_t s = 0; s < tokens; s++)
            row[s] = row[s] * scale + (bias ? bias[t * tokens + s] : 0.0f);
        kernels->softmax(row, row, GHN_F32, 1, tokens);
    }
    kernels->small_gemm(head->out, head->ld, false, head->scores, head->ls, 1, head->v, head->ld,
                        tokens, head->ld, tokens);
}

/* Back through normalise: dx = (dx - x (x . dx)) / |x|. */
static void normalise_backward(const struct ghn__head *head, const float *x, const float *norms,
                               float *dx) {
    for (int64_t t = 0; t < head->tokens; t++) {
        const float *row = x + t * head->ld;
        float *gradient = dx + t * head->ld, dot = 0.0f;
        for (int64_t i = 0; i < head->dim; i++)
            dot += row[i] * gradient[i];
        for (int64_t i = 0; i < head->dim; i++)
            gradient[i] = (gradient[i] - row[i] * dot) / norms[t];
    }
}

/* The sum over scores of their gradient times q . k. */
static double scale_gradient(const struct ghn__head *head) {
    double sum = 0;
    for (int64_t t = 0; t < head->tokens; t++)
        for (int64_t i = 0; i < head->dim; i++)
            sum += (double)head->q[t * head->ld + i] * head->dq[t * head->ld + i];
    return sum;
}

static void multiply(float *x, int64_t n, float by) {
    for (int64_t i = 0; i < n; i++)
        x[i] *= by;
}

void ghn__attend_backward(struct ghn__head *head, float scale, bool cosine, double *ret_dscale) {
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    int64_t tokens = head->tokens, ld = head->ld, ls = head->ls;
    kernels->small_gemm(head->dv, ld, false, head->scores, 1, ls, head->dout, ld, tokens, ld,
                        tokens);
    transpose(head, head->v);
    kernels->small_gemm(head->dscores, ls, false, head->dout, ld, 1, head->transposed, ls, tokens,
                        ls, head->dim);
    for (int64_t t = 0; t < tokens; t++)
        kernels->softmax_gradient(head->dscores + t * ls, false, head->dscores + t * ls,
                                  head->scores + t * ls, GHN_F32, 1, tokens);
    kernels->small_gemm(head->dq, ld, false, head->dscores, ls, 1, head->k, ld, tokens, ld, tokens);
    *ret_dscale = scale_gradient(head);
    kernels->small_gemm(head->dk, ld, false, head->dscores, 1, ls, head->q, ld, tokens, ld, tokens);
    multiply(head->dq, tokens * ld, scale);
    multiply(head->dk, tokens * ld, scale);
    if (cosine) {
        normalise_backward(head, head->q, head->norms, head->dq);
        normalise_backward(head, head->k, head->norms + tokens, head->dk);
    }
}
