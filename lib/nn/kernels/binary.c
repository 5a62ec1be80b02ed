#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

GHN__INLINE void binary(void *y, bool accumulate, const void *a, const void *b, float value,
                        enum ghn_dtype dtype, int64_t begin, int64_t end, bool product) {
    for (int64_t i = begin; i < end; i += GHN__LANES) {
        int n = ghn__part_of(i, end);
        ghn__vf x = ghn__get_part(a, dtype, i, n),
                z = b ? ghn__get_part(b, dtype, i, n) : ghn__splat(value);
        ghn__vf result = product ? x * z : x + z;
        ghn__put_part(y, dtype, i, n, accumulate ? result + ghn__get_part(y, dtype, i, n) : result);
    }
}

void GHN__K(multiply)(void *y, bool accumulate, const void *a, const void *b, float value,
                      enum ghn_dtype dtype, int64_t begin, int64_t end) {
    if (dtype == GHN_F32)
        binary(y, accumulate, a, b, value, GHN_F32, begin, end, true);
    else
        binary(y, accumulate, a, b, value, GHN_BF16, begin, end, true);
}

void GHN__K(sum_of)(void *y, const void *a, const void *b, float value, enum ghn_dtype dtype,
                    int64_t begin, int64_t end) {
    if (dtype == GHN_F32)
        binary(y, false, a, b, value, GHN_F32, begin, end, false);
    else
        binary(y, false, a, b, value, GHN_BF16, begin, end, false);
}

GHN__INLINE void scale(void *y, bool accumulate, const void *x, const void *gate,
                       enum ghn_dtype dtype, int64_t rows, int64_t n) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < n; k += GHN__LANES) {
            int part = ghn__part_of(k, n);
            ghn__vf v =
                ghn__get_part(x, dtype, row * n + k, part) * ghn__get_part(gate, dtype, k, part);
            ghn__put_part(y, dtype, row * n + k, part,
                          accumulate ? v + ghn__get_part(y, dtype, row * n + k, part) : v);
        }
}

void GHN__K(scale_rows)(void *y, bool accumulate, const void *x, const void *gate,
                        enum ghn_dtype dtype, int64_t rows, int64_t n) {
    if (dtype == GHN_F32)
        scale(y, accumulate, x, gate, GHN_F32, rows, n);
    else
        scale(y, accumulate, x, gate, GHN_BF16, rows, n);
}

GHN__INLINE void sum(float *ret, const void *a, const void *b, enum ghn_dtype dtype, int64_t rows,
                     int64_t n) {
    for (int64_t k = 0; k < n; k += GHN__LANES) {
        int part = ghn__part_of(k, n);
        ghn__vf total = ghn__splat(0);
        for (int64_t row = 0; row < rows; row++) {
            ghn__vf v = ghn__get_part(a, dtype, row * n + k, part);
            total += b ? v * ghn__get_part(b, dtype, row * n + k, part) : v;
        }
        ghn__put_part(ret, GHN_F32, k, part, total);
    }
}

void GHN__K(sum_rows)(float *ret, const void *a, const void *b, enum ghn_dtype dtype, int64_t rows,
                      int64_t n) {
    if (dtype == GHN_F32)
        sum(ret, a, b, GHN_F32, rows, n);
    else
        sum(ret, a, b, GHN_BF16, rows, n);
}
