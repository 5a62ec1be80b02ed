#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

GHN__INLINE void copy(void *y, enum ghn_dtype y_type, const void *x, enum ghn_dtype x_type,
                      int64_t n, bool add) {
    int64_t i = 0;
    for (; i + GHN__LANES <= n; i += GHN__LANES) {
        ghn__vf v = ghn__load(x, x_type, i);
        if (add)
            v += ghn__load(y, y_type, i);
        ghn__store(y, y_type, i, v);
    }
    for (; i < n; i++)
        ghn__put(y, y_type, i, ghn__get(x, x_type, i) + (add ? ghn__get(y, y_type, i) : 0.0f));
}

void GHN__K(copy)(void *y, enum ghn_dtype y_type, const void *x, enum ghn_dtype x_type, int64_t n,
                  bool add) {
    if (y_type == x_type && !add)
        memcpy(y, x, (size_t)n * ghn_dtype_size(x_type));
    else if (y_type == GHN_F32 && x_type == GHN_F32)
        copy(y, GHN_F32, x, GHN_F32, n, add);
    else if (y_type == GHN_F32)
        copy(y, GHN_F32, x, GHN_BF16, n, add);
    else if (x_type == GHN_F32)
        copy(y, GHN_BF16, x, GHN_F32, n, add);
    else
        copy(y, GHN_BF16, x, GHN_BF16, n, add);
}

enum { TILE = 32 };

/* In tiles, so that a line of x that is read across its direction is still at hand for the next row
 * of y. */
GHN__INLINE void plane(void *y, enum ghn_dtype y_type, const int64_t y_strides[2], int64_t y_step,
                       const void *x, enum ghn_dtype x_type, const int64_t x_strides[2],
                       const int64_t n[2], bool add) {
    for (int64_t top = 0; top < n[0]; top += TILE)
        for (int64_t left = 0; left < n[1]; left += TILE) {
            int64_t bottom = top + TILE < n[0] ? top + TILE : n[0],
                    right = left + TILE < n[1] ? left + TILE : n[1];
            for (int64_t i = top; i < bottom; i++)
                for (int64_t j = left; j < right; j++) {
                    int64_t to = i * y_strides[0] + j * y_step;
                    float value = ghn__get(x, x_type, i * x_strides[0] + j * x_strides[1]);
                    ghn__put(y, y_type, to, add ? value + ghn__get(y, y_type, to) : value);
                }
        }
}

/* y (columns of x as rows) by squares of GHN__LANES; what is left over by plane(). x's columns are
 * next to each other, as are y's. */
GHN__INLINE void transposed(void *y, enum ghn_dtype y_type, int64_t y_stride, const void *x,
                            enum ghn_dtype x_type, int64_t x_stride, const int64_t n[2], bool add) {
    int64_t bottom = n[0] / GHN__LANES * GHN__LANES, right = n[1] / GHN__LANES * GHN__LANES;
    for (int64_t i = 0; i < bottom; i += GHN__LANES)
        for (int64_t j = 0; j < right; j += GHN__LANES) {
            ghn__vf square[GHN__LANES];
            for (int k = 0; k < GHN__LANES; k++)
                square[k] = ghn__load(x, x_type, (j + k) * x_stride + i);
            ghn__transpose(square);
            for (int k = 0; k < GHN__LANES; k++) {
                int64_t to = (i + k) * y_stride + j;
                ghn__store(y, y_type, to, add ? square[k] + ghn__load(y, y_type, to) : square[k]);
            }
        }
    const int64_t y_strides[] = {y_stride, 1}, x_strides[] = {1, x_stride};
    const int64_t below[] = {n[0] - bottom, right}, beside[] = {n[0], n[1] - right};
    plane((char *)y + (size_t)(bottom * y_stride) * ghn_dtype_size(y_type), y_type, y_strides, 1,
          (const char *)x + (size_t)bottom * ghn_dtype_size(x_type), x_type, x_strides, below, add);
    plane((char *)y + (size_t)right * ghn_dtype_size(y_type), y_type, y_strides, 1,
          (const char *)x + (size_t)(right * x_stride) * ghn_dtype_size(x_type), x_type, x_strides,
          beside, add);
}

/* The innermost step of y is nearly always 1: known, its rows are written as vectors. */
GHN__INLINE void plane_of_types(void *y, enum ghn_dtype y_type, const int64_t y_strides[2],
                                const void *x, enum ghn_dtype x_type, const int64_t x_strides[2],
                                const int64_t n[2], bool add) {
    if (y_strides[1] == 1 && x_strides[0] == 1 && add)
        transposed(y, y_type, y_strides[0], x, x_type, x_strides[1], n, true);
    else if (y_strides[1] == 1 && x_strides[0] == 1)
        transposed(y, y_type, y_strides[0], x, x_type, x_strides[1], n, false);
    else if (y_strides[1] == 1 && add)
        plane(y, y_type, y_strides, 1, x, x_type, x_strides, n, true);
    else if (y_strides[1] == 1)
        plane(y, y_type, y_strides, 1, x, x_type, x_strides, n, false);
    else
        plane(y, y_type, y_strides, y_strides[1], x, x_type, x_strides, n, add);
}

void GHN__K(copy_plane)(void *y, enum ghn_dtype y_type, const int64_t y_strides[2], const void *x,
                        enum ghn_dtype x_type, const int64_t x_strides[2], const int64_t n[2],
                        bool add) {
    if (y_type == GHN_F32 && x_type == GHN_F32)
        plane_of_types(y, GHN_F32, y_strides, x, GHN_F32, x_strides, n, add);
    else if (y_type == GHN_F32)
        plane_of_types(y, GHN_F32, y_strides, x, GHN_BF16, x_strides, n, add);
    else if (x_type == GHN_F32)
        plane_of_types(y, GHN_BF16, y_strides, x, GHN_F32, x_strides, n, add);
    else
        plane_of_types(y, GHN_BF16, y_strides, x, GHN_BF16, x_strides, n, add);
}

void GHN__K(fill)(void *y, enum ghn_dtype dtype, int64_t begin, int64_t end, float value) {
    for (int64_t i = begin; i < end; i++)
        ghn__put(y, dtype, i, value);
}
