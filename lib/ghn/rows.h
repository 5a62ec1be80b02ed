/* Layers over matrices whose rows are examples, for training: products by OpenBLAS, biases and
 * ReLUs. All matrices are row-major. Private to this folder. */
#ifndef GHN_GHN_ROWS_H
#define GHN_GHN_ROWS_H

#include <stdbool.h>
#include <stddef.h>

/* A matrix of rows, element (i, j) at data[i * stride + j]. */
struct ghn__rows {
    float *data;
    size_t stride;
};

/* The rows of a dense matrix `width` wide from row `first` on. */
static inline struct ghn__rows ghn__rows_from(float *matrix, size_t width, size_t first) {
    return (struct ghn__rows){matrix + first * width, width};
}

/* y (n, out) = x (n, in) * w (out, in)^T. */
void ghn__rows_linear(struct ghn__rows y, struct ghn__rows x, struct ghn__rows w, size_t n,
                      size_t out, size_t in);

/* dx (n, in) = d (n, out) * w (out, in), or with `add` is added to what dx holds. */
void ghn__rows_linear_back(struct ghn__rows dx, struct ghn__rows d, struct ghn__rows w, size_t n,
                           size_t out, size_t in, bool add);

/* dw (out, in) += d (n, out)^T * x (n, in). */
void ghn__rows_linear_gradient(struct ghn__rows dw, struct ghn__rows d, struct ghn__rows x,
                               size_t n, size_t out, size_t in);

/* y (n, out) += bias, element j of which is bias[j * step]; and ReLU after it, if relu. */
void ghn__rows_add_bias(struct ghn__rows y, const float *bias, size_t step, size_t n, size_t out,
                        bool relu);

/* db[j * step] += the sum of column j of d (n, out). */
void ghn__rows_bias_gradient(float *db, size_t step, struct ghn__rows d, size_t n, size_t out);

/* d (n, out) = 0 where y (n, out), the output of a ReLU, is. */
void ghn__rows_relu_back(struct ghn__rows d, struct ghn__rows y, size_t n, size_t out);

#endif
