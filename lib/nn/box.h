/* Boxes within tensors: what slice, pad, roll and concat copy. Private to lib/nn. */
#ifndef GHN_NN_BOX_H
#define GHN_NN_BOX_H

#include <string.h>

#include "nn/layer.h"

/* Elements start, start + step, ... (count of them) along dimension dim of a tensor. */
static inline struct ghn__tensor ghn__box(const struct ghn__tensor *tensor, int dim, int64_t start,
                                          int64_t count, int64_t step) {
    struct ghn__tensor box = *tensor;
    box.data = (char *)tensor->data +
               (size_t)(start * tensor->strides[dim]) * ghn_dtype_size(tensor->dtype);
    box.count = tensor->count / tensor->dims[dim] * count;
    box.dims[dim] = count;
    box.strides[dim] = tensor->strides[dim] * step;
    return box;
}

/* A dimension counted as PyTorch does, the batch being 0. */
static inline int ghn__dim(const struct ghn__tensor *tensor, int64_t dim) {
    return (int)(dim < 0 ? dim + tensor->ndim : dim);
}

#endif
