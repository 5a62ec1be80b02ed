/* Softmax down the columns of a matrix: a vector is as many columns, so that nothing is summed or
 * compared across its lanes. */
#include <math.h>

#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

/* One vector of columns. NaN makes all of its column NaN: a maximum that misses it still leaves it
 * in the sum. */
GHN__INLINE void softmax_strip(float *x, int64_t ld, int64_t rows) {
    ghn__vf max = ghn__splat(-INFINITY), sum = ghn__splat(0);
    for (int64_t s = 0; s < rows; s++)
        max = ghn__max(max, ghn__load(x, GHN_F32, s * ld));
    for (int64_t s = 0; s < rows; s++) {
        ghn__vf e = ghn__exp(ghn__load(x, GHN_F32, s * ld) - max);
        sum += e;
        ghn__store(x, GHN_F32, s * ld, e);
    }
    ghn__vf scale = 1.0f / sum;
    for (int64_t s = 0; s < rows; s++)
        ghn__store(x, GHN_F32, s * ld, ghn__load(x, GHN_F32, s * ld) * scale);
}

void GHN__K(softmax_columns)(float *x, int64_t ld, int64_t rows, int64_t n) {
    for (int64_t j = 0; j < n; j += GHN__LANES)
        softmax_strip(x + j, ld, rows);
}

void GHN__K(softmax_columns_gradient)(float *dy, const float *y, int64_t ld, int64_t rows,
                                      int64_t n) {
    for (int64_t j = 0; j < n; j += GHN__LANES) {
        ghn__vf dot = ghn__splat(0);
        for (int64_t s = 0; s < rows; s++)
            dot += ghn__load(y, GHN_F32, s * ld + j) * ghn__load(dy, GHN_F32, s * ld + j);
        for (int64_t s = 0; s < rows; s++)
            ghn__store(dy, GHN_F32, s * ld + j,
                       (ghn__load(dy, GHN_F32, s * ld + j) - dot) *
                           ghn__load(y, GHN_F32, s * ld + j));
    }
}
