/* Linear layers as the kernels want them. Private to this folder. */
#ifndef GHN_GHN_PACK_H
#define GHN_GHN_PACK_H

#include "ghn/model_impl.h"
#include "ghn/space.h"

/* The layer y = w x + bias for ghn__kernels.dense, w (groups * rows, in): each group of rows is
 * padded. */
struct ghn__dense ghn__pack_dense(struct ghn__space *space, const float *w, const float *bias,
                                  int in, int groups, int rows);

/* Its transpose, x = w^T y, without bias: from (groups, rows padded) values to `in`, padded. */
struct ghn__dense ghn__pack_transposed(struct ghn__space *space, const float *w, int in, int groups,
                                       int rows);

#endif
