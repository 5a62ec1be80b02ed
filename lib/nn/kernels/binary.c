#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

GHN__INLINE ghn__vf get_part(const void *p, enum ghn_dtype dtype, int64_t i, int n) {
    return n == GHN__LANES ? ghn__load(p, dtype, i) : ghn__load_part(p, dtype, i, n);
}

GHN__INLINE void put_part(void *p, enum ghn_dtype dtype, int64_t i, int n, ghn__vf x) {
    if (n == GHN__LANES)
        ghn__store(p, dtype, i, x);
    else
        ghn__store_part(p, dtype, i, n, x);
}

GHN__INLINE void binary(void *y, bool accumulate, const void *a, const void *b, float value,
                        enum ghn_dtype dtype, int64_t begin, int64_t end, bool product) {
    for (int64_t i = begin; i < end; i += GHN__LANES) {
        int n = end - i < GHN__LANES ? (int)(end - i) : GHN__LANES;
        ghn__vf x = get_part(a, dtype, i, n), z = b ? get_part(b, dtype, i, n) : ghn__splat(value);
        ghn__vf result = product ? x * z : x + z;
        put_part(y, dtype, i, n, accumulate ? result + get_part(y, dtype, i, n) : result);
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
            int part = n - k < GHN__LANES ? (int)(n - k) : GHN__LANES;
            ghn__vf v = get_part(x, dtype, row * n + k, part) * get_part(gate, dtype, k, part);
            put_part(y, dtype, row * n + k, part,
                     accumulate ? v + get_part(y, dtype, row * n + k, part) : v);
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
        int part = n - k < GHN__LANES ? (int)(n - k) : GHN__LANES;
        ghn__vf total = ghn__splat(0);
        for (int64_t row = 0; row < rows; row++) {
            ghn__vf v = get_part(a, dtype, row * n + k, part);
            total += b ? v * get_part(b, dtype, row * n + k, part) : v;
        }
        put_part(ret, GHN_F32, k, part, total);
    }
}

void GHN__K(sum_rows)(float *ret, const void *a, const void *b, enum ghn_dtype dtype, int64_t rows,
                      int64_t n) {
    if (dtype == GHN_F32)
        sum(ret, a, b, GHN_F32, rows, n);
    else
        sum(ret, a, b, GHN_BF16, rows, n);
}
