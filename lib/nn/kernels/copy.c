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

void GHN__K(copy_strided)(void *y, enum ghn_dtype y_type, int64_t y_stride, const void *x,
                          enum ghn_dtype x_type, int64_t x_stride, int64_t n, bool add) {
    for (int64_t i = 0; i < n; i++)
        ghn__put(y, y_type, i * y_stride,
                 ghn__get(x, x_type, i * x_stride) +
                     (add ? ghn__get(y, y_type, i * y_stride) : 0.0f));
}

void GHN__K(fill)(void *y, enum ghn_dtype dtype, int64_t begin, int64_t end, float value) {
    for (int64_t i = begin; i < end; i++)
        ghn__put(y, dtype, i, value);
}
