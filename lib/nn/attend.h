/* Scaled dot-product attention of one head over one set of tokens, in f32, forward and backward:
 * the common core of attention and window_attention. Private to lib/nn. */
#ifndef GHN_NN_ATTEND_H
#define GHN_NN_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GHN__PAD_COLUMNS = 16 };

/* Matrices of one head. Rows are padded to multiples of 16 floats, the padding zero: token rows (T,
 * d) have ld floats, score rows (T, T) have ls. */
struct ghn__head {
    int64_t tokens, dim, ld, ls;
    float *q, *k, *v; /* (T, ld), to be filled in; with cosine, q and k are normalised in place */
    float *out;       /* (T, ld) */
    float *dout, *dq, *dk, *dv; /* (T, ld); dout to be filled in */
    float *scores, *dscores; /* (T, ls): probabilities after forward; gradient by the scores, before
                                scaling, after backward */
    float *transposed;       /* (dim, ls), work space */
    float *norms;            /* (2, T), of q and k, with cosine */
};

/* Floats that a head needs, and its matrices in that memory, whose token rows are zeroed. */
size_t ghn__head_floats(int64_t tokens, int64_t dim, bool training);
void ghn__head_lay_out(struct ghn__head *head, int64_t tokens, int64_t dim, bool training,
                       float *memory);

/* scores = softmax(scale q k^T + bias), out = scores v. bias: (T, T), or NULL. */
void ghn__attend(struct ghn__head *head, float scale, const float *bias, bool cosine);

/* After ghn__attend: dq, dk, dv, dscores, and the gradient by scale. */
void ghn__attend_backward(struct ghn__head *head, float scale, bool cosine, double *ret_dscale);

#endif
