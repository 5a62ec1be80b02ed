/* Tilings: tensor[i0, i1, ...] = block[i0 mod b0, i1 mod b1, ...] (ghn2-spec C5). Private to this
 * folder and its tests. */
#ifndef GHN_GHN_TILING_H
#define GHN_GHN_TILING_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/shape.h"

/* A tensor as rows, each of which repeats one row of the block. */
struct ghn__tiling {
    int64_t row;    /* elements of a row of the tensor ... */
    int64_t period; /* ... which repeats after that many */
    int n_outer;    /* dimensions that number the rows */
    struct {
        int64_t size, block_size, stride; /* stride: elements of the block from one to the next */
    } outer[GHN_MAX_DIMS];
};

/* The tiling of tensor by block, of one rank, no dimension of the block the larger. */
void ghn__tiling_init(struct ghn__tiling *tiling, const struct ghn_shape *tensor,
                      const struct ghn_shape *block);

/* Elements [first, first + n) of the tensor, of `size` bytes each, into ret. */
void ghn__tiling_read(const struct ghn__tiling *tiling, const void *block, size_t size,
                      int64_t first, int64_t n, void *ret);

/* The way back of reading all n elements in f32: adds every element of gradient (n) to that of the
 * block which it repeats. */
void ghn__tiling_fold(const struct ghn__tiling *tiling, const float *gradient, int64_t n,
                      float *block);

/* ghn__tiling_read for f32 by the formula, one element after the other: for tests. */
void ghn__tiling_read_ref(const struct ghn_shape *tensor, const struct ghn_shape *block,
                          const float *values, int64_t first, int64_t n, float *ret);

#endif
