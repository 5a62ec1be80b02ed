/* Scaled dot-product attention of one head over one set of tokens, in f32, forward and backward:
 * the common core of attention and window_attention. Private to lib/nn.
 *
 * It works on transposed matrices, (d, T), and on scores by key and query, (T, T): a vector is then
 * as many queries, so that a head of 4 channels fills it as well as one of 64, and softmax runs
 * down columns. Rows have ls floats, T of them in use; up to the next multiple of 16 they are zero.
 */
#ifndef GHN_NN_ATTEND_H
#define GHN_NN_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

enum { GHN__PAD_COLUMNS = 16 };

/* The (d, T) matrices of a head; a forward pass alone has no need of those from DOUT on. */
enum ghn__head_matrix {
    GHN__HEAD_Q,
    GHN__HEAD_K,
    GHN__HEAD_V,
    GHN__HEAD_OUT,
    GHN__HEAD_DOUT,
    GHN__HEAD_DQ,
    GHN__HEAD_DK,
    GHN__HEAD_DV,
    GHN__HEAD_MATRICES,
};

struct ghn__head {
    int64_t tokens, dim, ls;
    float *matrices[GHN__HEAD_MATRICES];
    float *scores, *dscores; /* (T, T) of key s and query t at [s * ls + t]: probabilities after
                                forward; gradient by the scores, before scaling, after backward */
    float *norms;            /* (2, T), lengths of q and k, with cosine */
};

/* Floats of a row of tokens (ls); of the matrices of a head; and of its scores and norms. */
int64_t ghn__head_row(int64_t tokens);
size_t ghn__head_matrices_floats(int64_t tokens, int64_t dim, bool training);
size_t ghn__head_scores_floats(int64_t tokens, bool training);

/* A head of matrices and scores in such memory. The matrices are zeroed. */
void ghn__head_lay_out(struct ghn__head *head, int64_t tokens, int64_t dim, bool training,
                       float *matrices, float *scores);

/* Copies the `dim` elements at x to token t of a matrix, and a token's to y (+= with add). */
void ghn__head_put(const struct ghn__head *head, enum ghn__head_matrix matrix, int64_t t,
                   const void *x, enum ghn_dtype dtype);
void ghn__head_get(const struct ghn__head *head, enum ghn__head_matrix matrix, int64_t t, void *y,
                   enum ghn_dtype dtype, bool add);

/* scores = softmax(scale q k^T + bias), out = scores v. bias: (T, T) by query and key, or NULL. q,
 * k and v are given; k is multiplied by the scale, and q and k are normalised if cosine. */
void ghn__attend(struct ghn__head *head, float scale, const float *bias, bool cosine);

/* After ghn__attend, dout given: dq, dk, dv, dscores, and, with cosine, the gradient by scale. */
void ghn__attend_backward(struct ghn__head *head, float scale, bool cosine, double *ret_dscale);

#endif
