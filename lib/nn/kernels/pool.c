#include "nn/pool.h"

#include <math.h>

#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

/* --- Maximum --- */

/* One output pixel, channels k to k + part. */
GHN__INLINE void max_pixel(void *y, uint16_t *place, const void *x, enum ghn_dtype dtype,
                           const struct ghn__window *w, int64_t oh, int64_t ow, int64_t k,
                           int part) {
    ghn__vf best = ghn__splat(-INFINITY);
    ghn__vi at = (ghn__vi){0} - 1;
    for (int64_t i = 0; i < w->kernel[0]; i++)
        for (int64_t j = 0; j < w->kernel[1]; j++) {
            int64_t h = oh * w->stride[0] - w->padding[0] + i * w->dilation[0];
            int64_t v = ow * w->stride[1] - w->padding[1] + j * w->dilation[1];
            if (h < 0 || h >= w->in[0] || v < 0 || v >= w->in[1])
                continue;
            ghn__vf value = ghn__get_part(x, dtype, (h * w->in[1] + v) * w->channels + k, part);
            /* the first of the window always wins, so that a place is set even where all are -inf;
             * a NaN beats everything but a NaN */
            ghn__vi wins = (value > best) | (at < 0) | ((value != value) & (best == best));
            best = ghn__select(wins, value, best);
            at = (at & ~wins) | (((ghn__vi){0} + (int32_t)(i * w->kernel[1] + j)) & wins);
        }
    int64_t out = (oh * w->out[1] + ow) * w->channels + k;
    ghn__put_part(y, dtype, out, part, best);
    for (int l = 0; place && l < part; l++)
        place[out + l] = (uint16_t)at[l];
}

GHN__INLINE void max_image(void *y, uint16_t *place, const void *x, enum ghn_dtype dtype,
                           const struct ghn__window *w) {
    for (int64_t oh = 0; oh < w->out[0]; oh++)
        for (int64_t ow = 0; ow < w->out[1]; ow++)
            for (int64_t k = 0; k < w->channels; k += GHN__LANES)
                max_pixel(y, place, x, dtype, w, oh, ow, k, ghn__part_of(k, w->channels));
}

void GHN__K(max_pool)(void *y, uint16_t *place, const void *x, enum ghn_dtype dtype,
                      const struct ghn__window *window) {
    if (dtype == GHN_F32)
        max_image(y, place, x, GHN_F32, window);
    else
        max_image(y, place, x, GHN_BF16, window);
}

/* The output along an axis whose window has its place i at input h; -1 if there is none. */
GHN__INLINE int64_t covering(const struct ghn__window *w, int axis, int64_t h, int64_t i) {
    int64_t from = h + w->padding[axis] - i * w->dilation[axis];
    if (from < 0 || from % w->stride[axis] != 0 || from / w->stride[axis] >= w->out[axis])
        return -1;
    return from / w->stride[axis];
}

/* Gathers rather than scatters: every input pixel is written once, and rounded once. */
GHN__INLINE void max_gradient_pixel(void *dx, bool add, const void *dy, const uint16_t *place,
                                    enum ghn_dtype dtype, const struct ghn__window *w, int64_t h,
                                    int64_t v, int64_t k, int part) {
    int64_t in = (h * w->in[1] + v) * w->channels + k;
    ghn__vf sum = add ? ghn__get_part(dx, dtype, in, part) : ghn__splat(0);
    for (int64_t i = 0; i < w->kernel[0]; i++) {
        int64_t oh = covering(w, 0, h, i);
        for (int64_t j = 0; oh >= 0 && j < w->kernel[1]; j++) {
            int64_t ow = covering(w, 1, v, j);
            if (ow < 0)
                continue;
            int64_t out = (oh * w->out[1] + ow) * w->channels + k;
            ghn__vh codes = {0};
            memcpy(&codes, place + out, (size_t)part * sizeof *place);
            ghn__vi hit = __builtin_convertvector(codes, ghn__vi) ==
                          (ghn__vi){0} + (int32_t)(i * w->kernel[1] + j);
            sum += ghn__select(hit, ghn__get_part(dy, dtype, out, part), ghn__splat(0));
        }
    }
    ghn__put_part(dx, dtype, in, part, sum);
}

GHN__INLINE void max_gradient_image(void *dx, bool add, const void *dy, const uint16_t *place,
                                    enum ghn_dtype dtype, const struct ghn__window *w) {
    for (int64_t h = 0; h < w->in[0]; h++)
        for (int64_t v = 0; v < w->in[1]; v++)
            for (int64_t k = 0; k < w->channels; k += GHN__LANES)
                max_gradient_pixel(dx, add, dy, place, dtype, w, h, v, k,
                                   ghn__part_of(k, w->channels));
}

void GHN__K(max_pool_gradient)(void *dx, bool add, const void *dy, const uint16_t *place,
                               enum ghn_dtype dtype, const struct ghn__window *window) {
    if (dtype == GHN_F32)
        max_gradient_image(dx, add, dy, place, GHN_F32, window);
    else
        max_gradient_image(dx, add, dy, place, GHN_BF16, window);
}

/* --- Average --- */

GHN__INLINE void average_image(void *y, const void *x, enum ghn_dtype dtype,
                               const struct ghn__axis axes[2], int64_t channels) {
    for (int64_t oh = 0; oh < axes[0].out; oh++)
        for (int64_t ow = 0; ow < axes[1].out; ow++) {
            float scale = 1.0f / (float)(axes[0].size[oh] * axes[1].size[ow]);
            for (int64_t k = 0; k < channels; k += GHN__LANES) {
                int part = ghn__part_of(k, channels);
                ghn__vf sum = ghn__splat(0);
                for (int64_t h = axes[0].start[oh]; h < axes[0].end[oh]; h++)
                    for (int64_t v = axes[1].start[ow]; v < axes[1].end[ow]; v++)
                        sum += ghn__get_part(x, dtype, (h * axes[1].in + v) * channels + k, part);
                ghn__put_part(y, dtype, (oh * axes[1].out + ow) * channels + k, part, sum * scale);
            }
        }
}

void GHN__K(average)(void *y, const void *x, enum ghn_dtype dtype, const struct ghn__axis axes[2],
                     int64_t channels) {
    if (dtype == GHN_F32)
        average_image(y, x, GHN_F32, axes, channels);
    else
        average_image(y, x, GHN_BF16, axes, channels);
}

GHN__INLINE void average_gradient_image(void *dx, bool add, const void *dy, enum ghn_dtype dtype,
                                        const struct ghn__axis axes[2], int64_t channels) {
    for (int64_t h = 0; h < axes[0].in; h++)
        for (int64_t v = 0; v < axes[1].in; v++)
            for (int64_t k = 0; k < channels; k += GHN__LANES) {
                int part = ghn__part_of(k, channels);
                int64_t in = (h * axes[1].in + v) * channels + k;
                ghn__vf sum = add ? ghn__get_part(dx, dtype, in, part) : ghn__splat(0);
                for (int64_t oh = axes[0].first[h]; oh < axes[0].last[h]; oh++)
                    for (int64_t ow = axes[1].first[v]; ow < axes[1].last[v]; ow++)
                        sum +=
                            ghn__get_part(dy, dtype, (oh * axes[1].out + ow) * channels + k, part) *
                            (1.0f / (float)(axes[0].size[oh] * axes[1].size[ow]));
                ghn__put_part(dx, dtype, in, part, sum);
            }
}

void GHN__K(average_gradient)(void *dx, bool add, const void *dy, enum ghn_dtype dtype,
                              const struct ghn__axis axes[2], int64_t channels) {
    if (dtype == GHN_F32)
        average_gradient_image(dx, add, dy, GHN_F32, axes, channels);
    else
        average_gradient_image(dx, add, dy, GHN_BF16, axes, channels);
}
