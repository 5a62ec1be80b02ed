/* A dense layer on rows: y (rows, out) = x (rows, in) weight^T + bias, weight (out, in) and bias
 * (out) in f32. Private to lib/nn. */
#ifndef GHN_NN_DENSE_H
#define GHN_NN_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

struct ghn__dense_spec {
    int64_t rows, in, out;
    enum ghn_dtype dtype; /* of x and y */
    bool bias, training, input_gradient;
};

struct ghn__dense;

enum ghn_status ghn__dense_new(const struct ghn__dense_spec *spec, struct ghn__dense **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* Frees; NULL is allowed. */
void ghn__dense_free(struct ghn__dense *dense);

/* Bytes of work space for each call. */
size_t ghn__dense_scratch_bytes(const struct ghn__dense *dense);

enum ghn_status ghn__dense_forward(struct ghn__dense *dense, const void *x, const float *weight,
                                   const float *bias, void *y, void *scratch,
                                   struct ghn_err *err) GHN_MUST_CHECK;

/* Gradients: dx overwritten (NULL: not wanted); dweight and dbias (NULL without bias) overwritten,
 * or added to with their flags. */
struct ghn__dense_gradient {
    void *dx;
    float *dweight, *dbias;
    bool add_weight, add_bias;
};

enum ghn_status ghn__dense_backward(struct ghn__dense *dense, const void *x, const void *dy,
                                    const float *weight, const struct ghn__dense_gradient *into,
                                    void *scratch, struct ghn_err *err) GHN_MUST_CHECK;

#endif
