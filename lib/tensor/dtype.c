#include "tensor/dtype.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "tensor/convert.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors lie in files, in memory and on the wire in little-endian order");

struct dtype_info {
    const char *name;
    size_t size;
};

static const struct dtype_info infos[GHN_N_DTYPES] = {
    [GHN_F32] = {"F32", 4},   [GHN_F16] = {"F16", 2}, [GHN_BF16] = {"BF16", 2},
    [GHN_F64] = {"F64", 8},   [GHN_I64] = {"I64", 8}, [GHN_I32] = {"I32", 4},
    [GHN_I16] = {"I16", 2},   [GHN_I8] = {"I8", 1},   [GHN_U8] = {"U8", 1},
    [GHN_BOOL] = {"BOOL", 1},
};

size_t ghn_dtype_size(enum ghn_dtype dtype) {
    assert((unsigned)dtype < GHN_N_DTYPES);
    return infos[dtype].size;
}

const char *ghn_dtype_name(enum ghn_dtype dtype) {
    assert((unsigned)dtype < GHN_N_DTYPES);
    return infos[dtype].name;
}

enum ghn_status ghn_dtype_parse(const char *name, enum ghn_dtype *ret, struct ghn_err *err) {
    for (int i = 0; i < GHN_N_DTYPES; i++)
        if (strcmp(name, infos[i].name) == 0) {
            *ret = (enum ghn_dtype)i;
            return GHN_OK;
        }
    return ghn_fail(err, GHN_UNSUPPORTED_FILE, NULL,
                    "the element type \"%.32s\" is not read; F32, F16, BF16, F64, I64, I32, I16, "
                    "I8, U8 and BOOL are",
                    name);
}

/* Elements are loaded and stored by memcpy, which compiles to plain moves: an answer is encoded
 * into a buffer that knows no alignment. */
static inline uint32_t load_u32(const void *p) {
    uint32_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline uint16_t load_u16(const void *p) {
    uint16_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline void store_u16(void *p, uint16_t x) {
    memcpy(p, &x, sizeof(x));
}

static inline float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* bf16 is the upper half of an f32: adding just under half of the lower half's range, and one more
 * if the last kept bit is odd, rounds to nearest even and carries into the exponent as it must. A
 * NaN keeps its upper bits and is made quiet, lest its lower half round it to infinity. */
static inline uint16_t bf16_of(uint32_t x) {
    uint32_t rounded = (x + 0x7FFF + (x >> 16 & 1)) >> 16;
    uint32_t nan = x >> 16 | 0x40;
    return (uint16_t)((x & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

/* f32 to f16 without branches, so that it vectorises. 65,520 and above round to infinity. Below
 * 2^-14 the result is subnormal, a multiple of 2^-24: adding 0.5, whose last bit is worth 2^-24,
 * makes the adder round to one, to nearest even. */
static inline uint16_t f16_of(uint32_t x) {
    uint32_t a = x & 0x7FFFFFFF;
    uint32_t normal = (a + 0xFFF + (a >> 13 & 1) - 0x38000000) >> 13;
    uint32_t small = bits_of(float_of(a < 0x38800000 ? a : 0) + 0.5f) - 0x3F000000;
    uint32_t nan = 0x7E00 | (a >> 13 & 0x3FF);
    uint32_t h = a < 0x38800000 ? small : a >= 0x477FF000 ? 0x7C00 : normal;
    return (uint16_t)((a > 0x7F800000 ? nan : h) | (x >> 16 & 0x8000));
}

/* f16 to f32, exact; a subnormal is its mantissa times 2^-24. A NaN becomes quiet. */
static inline uint32_t f32_of_f16(uint16_t h) {
    uint32_t exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
    uint32_t normal = (exponent + 112) << 23 | mantissa << 13;
    uint32_t small = bits_of((float)(int32_t)mantissa * 0x1p-24f);
    uint32_t special = 0x7F800000 | mantissa << 13 | (mantissa ? 0x400000u : 0);
    uint32_t x = exponent == 0 ? small : exponent == 31 ? special : normal;
    return x | (uint32_t)(h & 0x8000) << 16;
}

#define INLINE_LOOP static inline __attribute__((always_inline)) void

INLINE_LOOP bf16_loop(char *dst, const char *src, size_t n) {
    for (size_t i = 0; i < n; i++)
        store_u16(dst + 2 * i, bf16_of(load_u32(src + 4 * i)));
}

INLINE_LOOP f16_loop(char *dst, const char *src, size_t n) {
    for (size_t i = 0; i < n; i++)
        store_u16(dst + 2 * i, f16_of(load_u32(src + 4 * i)));
}

INLINE_LOOP from_f16_loop(char *dst, const char *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t x = f32_of_f16(load_u16(src + 2 * i));
        memcpy(dst + 4 * i, &x, sizeof(x));
    }
}

void ghn__bf16_from_f32_ref(void *dst, const float *src, size_t n) {
    bf16_loop(dst, (const char *)src, n);
}

void ghn__f16_from_f32_ref(void *dst, const float *src, size_t n) {
    f16_loop(dst, (const char *)src, n);
}

void ghn__f16_to_f32_ref(float *dst, const void *src, size_t n) {
    from_f16_loop((char *)dst, src, n);
}

#if defined(__x86_64__)

/* CPUID is asked once, for it is slow in a virtual machine; threads that race find the same. (clang
 * 14 has no __builtin_cpu_supports("f16c").) */
bool ghn__convert_fast_available(void) {
    enum { UNKNOWN, NO, YES };
    static _Atomic int known = UNKNOWN;
    if (known == UNKNOWN) {
        unsigned a, b, c = 0, d;
        known = __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C
                    ? YES
                    : NO;
    }
    return known == YES;
}

__attribute__((target("avx2"))) void ghn__bf16_from_f32_fast(void *dst, const float *src,
                                                             size_t n) {
    bf16_loop(dst, (const char *)src, n);
}

__attribute__((target("avx2,f16c"))) void ghn__f16_from_f32_fast(void *dst, const float *src,
                                                                 size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)((char *)dst + 2 * i), h);
    }
    f16_loop((char *)dst + 2 * i, (const char *)(src + i), n - i);
}

__attribute__((target("avx2,f16c"))) void ghn__f16_to_f32_fast(float *dst, const void *src,
                                                               size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)((const char *)src + 2 * i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
    from_f16_loop((char *)(dst + i), (const char *)src + 2 * i, n - i);
}

#else

bool ghn__convert_fast_available(void) {
    return false;
}

void ghn__bf16_from_f32_fast(void *dst, const float *src, size_t n) {
    ghn__bf16_from_f32_ref(dst, src, n);
}

void ghn__f16_from_f32_fast(void *dst, const float *src, size_t n) {
    ghn__f16_from_f32_ref(dst, src, n);
}

void ghn__f16_to_f32_fast(float *dst, const void *src, size_t n) {
    ghn__f16_to_f32_ref(dst, src, n);
}

#endif

void ghn_dtype_from_f32(enum ghn_dtype dtype, void *dst, const float *src, size_t n) {
    assert(dtype == GHN_F32 || dtype == GHN_F16 || dtype == GHN_BF16);
    bool fast = ghn__convert_fast_available();
    if (dtype == GHN_F32) {
        if (dst != src && n > 0)
            memcpy(dst, src, n * sizeof(float));
    } else if (dtype == GHN_F16) {
        (fast ? ghn__f16_from_f32_fast : ghn__f16_from_f32_ref)(dst, src, n);
    } else {
        (fast ? ghn__bf16_from_f32_fast : ghn__bf16_from_f32_ref)(dst, src, n);
    }
}

/* n elements of a type that C can convert. */
#define CONVERT(type)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                               \
        type x;                                                                                    \
        memcpy(&x, (const char *)src + i * sizeof(x), sizeof(x));                                  \
        dst[i] = (float)x;                                                                         \
    }

void ghn_dtype_to_f32(enum ghn_dtype dtype, float *dst, const void *src, size_t n) {
    switch (dtype) {
    case GHN_F32:
        CONVERT(float)
        break;
    case GHN_F16:
        (ghn__convert_fast_available() ? ghn__f16_to_f32_fast : ghn__f16_to_f32_ref)(dst, src, n);
        break;
    case GHN_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = float_of((uint32_t)load_u16((const char *)src + 2 * i) << 16);
        break;
    case GHN_F64:
        CONVERT(double)
        break;
    case GHN_I64:
        CONVERT(int64_t)
        break;
    case GHN_I32:
        CONVERT(int32_t)
        break;
    case GHN_I16:
        CONVERT(int16_t)
        break;
    case GHN_I8:
        CONVERT(int8_t)
        break;
    case GHN_U8:
        CONVERT(uint8_t)
        break;
    case GHN_BOOL:
        for (size_t i = 0; i < n; i++)
            dst[i] = ((const unsigned char *)src)[i] ? 1.0f : 0.0f;
        break;
    case GHN_N_DTYPES:
        assert(!"a type");
    }
}
