/* Vectors of floats, as wide as the instruction set that a kernel file is being compiled for, and
 * the two element types of activations. Private to lib/nn/kernels, whose files are compiled once
 * for each of plain, AVX2 and AVX-512 (nn/kernels.h). */
#ifndef GHN_NN_SIMD_H
#define GHN_NN_SIMD_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "tensor/dtype.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define GHN__LANES 16
#elif defined(__AVX2__)
#define GHN__LANES 8
#else
#define GHN__LANES 4
#endif

#define GHN__INLINE static inline __attribute__((always_inline, unused))

typedef float ghn__vf __attribute__((vector_size(GHN__LANES * 4)));
typedef int32_t ghn__vi __attribute__((vector_size(GHN__LANES * 4)));
typedef uint32_t ghn__vu __attribute__((vector_size(GHN__LANES * 4)));
typedef uint16_t ghn__vh __attribute__((vector_size(GHN__LANES * 2)));

GHN__INLINE ghn__vf ghn__splat(float x) {
    return x - (ghn__vf){0};
}

/* where mask's lanes are all ones a, where they are 0 b */
GHN__INLINE ghn__vf ghn__select(ghn__vi mask, ghn__vf a, ghn__vf b) {
    return (ghn__vf)(((ghn__vi)a & mask) | ((ghn__vi)b & ~mask));
}

/* The larger, the smaller; b where one is NaN, so that a bound goes first to let NaN through. That
 * is what the instructions do; compilers don't find them. */
GHN__INLINE ghn__vf ghn__max(ghn__vf a, ghn__vf b) {
#if defined(__AVX512F__)
    return (ghn__vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (ghn__vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return ghn__select(a > b, a, b);
#endif
}

GHN__INLINE ghn__vf ghn__min(ghn__vf a, ghn__vf b) {
#if defined(__AVX512F__)
    return (ghn__vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (ghn__vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return ghn__select(a < b, a, b);
#endif
}

/* One element as a float, and back (bf16 rounded to nearest even; NaN stays NaN for the payloads
 * that arithmetic makes). With a constant dtype the choice costs nothing once inlined. */
GHN__INLINE float ghn__get(const void *p, enum ghn_dtype dtype, int64_t i) {
    if (dtype == GHN_F32)
        return ((const float *)p)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

GHN__INLINE void ghn__put(void *p, enum ghn_dtype dtype, int64_t i, float x) {
    if (dtype == GHN_F32) {
        ((float *)p)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    ((uint16_t *)p)[i] = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Between halves and whole words. The compiler's own conversions go by halves of the widest
 * vectors.
 */
GHN__INLINE ghn__vu ghn__widen(ghn__vh half) {
#ifdef __AVX512F__
    return (ghn__vu)_mm512_cvtepu16_epi32((__m256i)half);
#else
    return __builtin_convertvector(half, ghn__vu);
#endif
}

GHN__INLINE ghn__vh ghn__narrow(ghn__vu bits) {
#ifdef __AVX512F__
    return (ghn__vh)_mm512_cvtepi32_epi16((__m512i)bits);
#else
    return __builtin_convertvector(bits, ghn__vh);
#endif
}

/* GHN__LANES elements from index i on. */
GHN__INLINE ghn__vf ghn__load(const void *p, enum ghn_dtype dtype, int64_t i) {
    ghn__vf x;
    if (dtype == GHN_F32) {
        memcpy(&x, (const float *)p + i, sizeof x);
        return x;
    }
    ghn__vh half;
    memcpy(&half, (const uint16_t *)p + i, sizeof half);
    return (ghn__vf)(ghn__widen(half) << 16);
}

GHN__INLINE void ghn__store(void *p, enum ghn_dtype dtype, int64_t i, ghn__vf x) {
    if (dtype == GHN_F32) {
        memcpy((float *)p + i, &x, sizeof x);
        return;
    }
    ghn__vu bits = (ghn__vu)x;
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    ghn__vh half = ghn__narrow(bits);
    memcpy((uint16_t *)p + i, &half, sizeof half);
}

/* The first n < GHN__LANES elements; the other lanes are 0, and are not stored. */
GHN__INLINE ghn__vf ghn__load_part(const void *p, enum ghn_dtype dtype, int64_t i, int n) {
    float x[GHN__LANES] = {0};
    for (int k = 0; k < n; k++)
        x[k] = ghn__get(p, dtype, i + k);
    ghn__vf ret;
    memcpy(&ret, x, sizeof ret);
    return ret;
}

GHN__INLINE void ghn__store_part(void *p, enum ghn_dtype dtype, int64_t i, int n, ghn__vf x) {
    for (int k = 0; k < n; k++)
        ghn__put(p, dtype, i + k, x[k]);
}

/* Elements from k to the end n, at most a vector of them. */
GHN__INLINE int ghn__part_of(int64_t k, int64_t n) {
    return n - k < GHN__LANES ? (int)(n - k) : GHN__LANES;
}

/* The first n <= GHN__LANES elements; with a constant n the choice costs nothing. */
GHN__INLINE ghn__vf ghn__get_part(const void *p, enum ghn_dtype dtype, int64_t i, int n) {
    return n == GHN__LANES ? ghn__load(p, dtype, i) : ghn__load_part(p, dtype, i, n);
}

GHN__INLINE void ghn__put_part(void *p, enum ghn_dtype dtype, int64_t i, int n, ghn__vf x) {
    if (n == GHN__LANES)
        ghn__store(p, dtype, i, x);
    else
        ghn__store_part(p, dtype, i, n, x);
}

/* Lane l of the result is lane l ^ distance of x; distance is 1, 2, 4 or 8, below the lanes. */
GHN__INLINE ghn__vf ghn__swap(ghn__vf x, int distance) {
#if GHN__LANES == 16
    if (distance == 8)
        return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    if (distance == 4)
        return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    if (distance == 2)
        return __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif GHN__LANES == 8
    if (distance == 4)
        return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    if (distance == 2)
        return __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
    return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    if (distance == 2)
        return __builtin_shufflevector(x, x, 2, 3, 0, 1);
    return __builtin_shufflevector(x, x, 1, 0, 3, 2);
#endif
}

/* By halves: a chain of additions as long as the vector would cost more than most loops before it.
 */
GHN__INLINE float ghn__sum(ghn__vf x) {
    for (int distance = GHN__LANES / 2; distance > 1; distance /= 2)
        x += ghn__swap(x, distance);
    return x[0] + x[1];
}

/* The square x of GHN__LANES vectors, transposed: for every power of two the off-diagonal blocks of
 * that size change places. */
GHN__INLINE void ghn__transpose(ghn__vf x[GHN__LANES]) {
    for (int distance = GHN__LANES / 2; distance > 0; distance /= 2) {
        ghn__vi low;
        for (int l = 0; l < GHN__LANES; l++)
            low[l] = l & distance ? 0 : -1;
        for (int i = 0; i < GHN__LANES; i++) {
            if (i & distance)
                continue;
            ghn__vf top = x[i], bottom = x[i + distance];
            x[i] = ghn__select(low, top, ghn__swap(bottom, distance));
            x[i + distance] = ghn__select(low, ghn__swap(top, distance), bottom);
        }
    }
}

/* e^x to about 2 units in the last place; 0 below -87.3, and e^88.3 above 88.3. NaN stays NaN:
 * nothing downstream could tell otherwise that a run has diverged. */
GHN__INLINE ghn__vf ghn__exp(ghn__vf x) {
    x = ghn__min(ghn__splat(88.3f), x);
    ghn__vi tiny = x < ghn__splat(-87.3f);
    x = ghn__max(ghn__splat(-87.3f), x);
    ghn__vf t = x * 1.44269504f;
    ghn__vf k = (t + 12582912.0f) -
                12582912.0f; /* to the nearest integer: 1.5 * 2^23 pushes the fraction out */
    ghn__vf r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
    ghn__vf y = ghn__splat(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    ghn__vi exponent = (__builtin_convertvector(k, ghn__vi) + 127) << 23;
    return ghn__select(tiny, ghn__splat(0), y * (ghn__vf)exponent);
}

#endif
