/* Softmax and layer norm: statistics over rows of contiguous elements. */
#include <math.h>

#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

/* x where the lane is one of `part`, else other. */
GHN__INLINE ghn__vf only(ghn__vf x, int part, float other) {
    for (int l = part; l < GHN__LANES; l++)
        x[l] = other;
    return x;
}

/* --- Softmax --- */

GHN__INLINE void softmax_row(void *y, const void *x, enum ghn_dtype dtype, int64_t row, int64_t n) {
    float max = -INFINITY, sum = 0.0f;
    for (int64_t k = 0; k < n; k++) {
        float v = ghn__get(x, dtype, row * n + k);
        max = v > max || v != v ? v : max;
    }
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf e = only(ghn__exp(ghn__get_part(x, dtype, row * n + k, part) - max), part, 0.0f);
        sum += ghn__sum(e);
    }
    float scale = 1.0f / sum;
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__put_part(y, dtype, row * n + k, part,
                      ghn__exp(ghn__get_part(x, dtype, row * n + k, part) - max) * scale);
    }
}

void GHN__K(softmax)(void *y, const void *x, enum ghn_dtype dtype, int64_t rows, int64_t n) {
    for (int64_t row = 0; row < rows; row++)
        if (dtype == GHN_F32)
            softmax_row(y, x, GHN_F32, row, n);
        else
            softmax_row(y, x, GHN_BF16, row, n);
}

GHN__INLINE void softmax_gradient_row(void *dx, bool add, const void *dy, const void *y,
                                      enum ghn_dtype dtype, int64_t row, int64_t n) {
    ghn__vf dot = ghn__splat(0);
    for (int64_t k = 0; k < n; k += GHN__LANES)
        dot += ghn__get_part(y, dtype, row * n + k, ghn__part_of(k, n)) *
               ghn__get_part(dy, dtype, row * n + k, ghn__part_of(k, n));
    float sum = ghn__sum(dot);
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf d = ghn__get_part(y, dtype, row * n + k, part) *
                    (ghn__get_part(dy, dtype, row * n + k, part) - sum);
        ghn__put_part(dx, dtype, row * n + k, part,
                      add ? d + ghn__get_part(dx, dtype, row * n + k, part) : d);
    }
}

void GHN__K(softmax_gradient)(void *dx, bool add, const void *dy, const void *y,
                              enum ghn_dtype dtype, int64_t rows, int64_t n) {
    for (int64_t row = 0; row < rows; row++)
        if (dtype == GHN_F32)
            softmax_gradient_row(dx, add, dy, y, GHN_F32, row, n);
        else
            softmax_gradient_row(dx, add, dy, y, GHN_BF16, row, n);
}

/* --- Layer norm --- */

GHN__INLINE void norm_row(void *y, float *ret_mean, float *ret_rstd, const void *x,
                          enum ghn_dtype dtype, int64_t row, int64_t n, const float *weight,
                          const float *bias, float eps) {
    ghn__vf total = ghn__splat(0), square = ghn__splat(0);
    for (int64_t k = 0; k < n; k += GHN__LANES)
        total += ghn__get_part(x, dtype, row * n + k, ghn__part_of(k, n));
    float mean = ghn__sum(total) / (float)n;
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        ghn__vf d = only(ghn__get_part(x, dtype, row * n + k, ghn__part_of(k, n)) - mean,
                         ghn__part_of(k, n), 0.0f);
        square += d * d;
    }
    float rstd = 1.0f / sqrtf(ghn__sum(square) / (float)n + eps);
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf v = (ghn__get_part(x, dtype, row * n + k, part) - mean) * rstd;
        if (weight)
            v = v * ghn__get_part(weight, GHN_F32, k, part) + ghn__get_part(bias, GHN_F32, k, part);
        ghn__put_part(y, dtype, row * n + k, part, v);
    }
    *ret_mean = mean;
    *ret_rstd = rstd;
}

void GHN__K(layer_norm)(void *y, float *mean, float *rstd, const void *x, enum ghn_dtype dtype,
                        int64_t rows, int64_t n, const float *weight, const float *bias,
                        float eps) {
    for (int64_t row = 0; row < rows; row++)
        if (dtype == GHN_F32)
            norm_row(y, mean + row, rstd + row, x, GHN_F32, row, n, weight, bias, eps);
        else
            norm_row(y, mean + row, rstd + row, x, GHN_BF16, row, n, weight, bias, eps);
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy weight. */
GHN__INLINE void norm_gradient_row(void *dx, bool add, float *dweight, float *dbias, const void *dy,
                                   const void *x, enum ghn_dtype dtype, int64_t row, int64_t n,
                                   float mean, float rstd, const float *weight) {
    ghn__vf sum = ghn__splat(0), product = ghn__splat(0);
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf d = ghn__get_part(dy, dtype, row * n + k, part),
                xhat = (ghn__get_part(x, dtype, row * n + k, part) - mean) * rstd;
        if (dweight)
            ghn__put_part(dweight, GHN_F32, k, part,
                          ghn__get_part(dweight, GHN_F32, k, part) + d * xhat);
        if (dbias)
            ghn__put_part(dbias, GHN_F32, k, part, ghn__get_part(dbias, GHN_F32, k, part) + d);
        ghn__vf g = weight ? d * ghn__get_part(weight, GHN_F32, k, part) : d;
        sum += g;
        product += g * xhat;
    }
    float mean_g = ghn__sum(sum) / (float)n, mean_product = ghn__sum(product) / (float)n;
    for (int64_t k = 0; dx && k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf g = ghn__get_part(dy, dtype, row * n + k, part),
                xhat = (ghn__get_part(x, dtype, row * n + k, part) - mean) * rstd;
        if (weight)
            g *= ghn__get_part(weight, GHN_F32, k, part);
        g = (g - mean_g - xhat * mean_product) * rstd;
        ghn__put_part(dx, dtype, row * n + k, part,
                      add ? g + ghn__get_part(dx, dtype, row * n + k, part) : g);
    }
}

void GHN__K(layer_norm_gradient)(void *dx, bool add, float *dweight, float *dbias, const void *dy,
                                 const void *x, enum ghn_dtype dtype, int64_t rows, int64_t n,
                                 const float *mean, const float *rstd, const float *weight) {
    for (int64_t row = 0; row < rows; row++)
        if (dtype == GHN_F32)
            norm_gradient_row(dx, add, dweight, dbias, dy, x, GHN_F32, row, n, mean[row], rstd[row],
                              weight);
        else
            norm_gradient_row(dx, add, dweight, dbias, dy, x, GHN_BF16, row, n, mean[row],
                              rstd[row], weight);
}
