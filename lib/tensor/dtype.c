#include "tensor/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[GHN_N_DTYPES] = {
    [GHN_F32] = {"F32", 4},   [GHN_F16] = {"F16", 2}, [GHN_BF16] = {"BF16", 2},
    [GHN_F64] = {"F64", 8},   [GHN_I64] = {"I64", 8}, [GHN_I32] = {"I32", 4},
    [GHN_I16] = {"I16", 2},   [GHN_I8] = {"I8", 1},   [GHN_U8] = {"U8", 1},
    [GHN_BOOL] = {"BOOL", 1},
};

size_t ghn_dtype_size(enum ghn_dtype dtype) {
    return dtypes[dtype].size;
}

const char *ghn_dtype_name(enum ghn_dtype dtype) {
    return dtypes[dtype].name;
}

enum ghn_status ghn_dtype_parse(const char *name, enum ghn_dtype *ret, struct ghn_err *err) {
    for (int i = 0; i < GHN_N_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *ret = (enum ghn_dtype)i;
            return GHN_OK;
        }
    }
    return ghn_fail(err, GHN_UNSUPPORTED_FILE, NULL, "the dtype \"%.32s\" is not supported", name);
}

/* --- Half-precision formats ---
 *
 * The loops work on the bits with selects instead of branches, so that the compiler can vectorise
 * them. */

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* To nearest even; a NaN keeps its upper bits and stays quiet. */
static uint16_t to_bf16(float x) {
    uint32_t bits = bits_of(x);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    uint32_t nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

/* To nearest even. A number below 2^-14 is rounded by the adder: added to 2^-1 its bits end up in
 * the low end of the sum. */
static uint16_t to_f16(float x) {
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, mag = bits & 0x7FFFFFFF;
    uint32_t normal = (mag - 0x38000000 + 0x0FFF + (mag >> 13 & 1)) >> 13;
    uint32_t small = bits_of(float_of(mag) + 0.5f) - 0x3F000000;
    uint32_t value = mag < 0x38800000 ? small : normal;
    value = mag >= 0x47800000 ? 0x7C00 : value;
    value = mag > 0x7F800000 ? 0x7E00 : value;
    return (uint16_t)(sign | value);
}

/* Exact. A subnormal is an integer times 2^-24. */
static float from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, mag = half & 0x7FFF;
    uint32_t normal = (mag << 13) + 0x38000000;
    uint32_t small = bits_of((float)mag * 0x1p-24f);
    uint32_t special = mag << 13 | 0x7F800000;
    uint32_t value = mag < 0x0400 ? small : normal;
    return float_of(sign | (mag >= 0x7C00 ? special : value));
}

void ghn_dtype_from_f32(enum ghn_dtype dtype, void *dst, const float *src, size_t n) {
    uint16_t *half = dst;
    if (dtype == GHN_BF16) {
        for (size_t i = 0; i < n; i++)
            half[i] = to_bf16(src[i]);
    } else if (dtype == GHN_F16) {
        for (size_t i = 0; i < n; i++)
            half[i] = to_f16(src[i]);
    } else if (dst != (const void *)src) {
        memcpy(dst, src, n * sizeof(*src));
    }
}

#define CONVERT(type)                                                                              \
    do {                                                                                           \
        const type *from = src;                                                                    \
        for (size_t i = 0; i < n; i++)                                                             \
            dst[i] = (float)from[i];                                                               \
    } while (0)

void ghn_dtype_to_f32(enum ghn_dtype dtype, float *dst, const void *src, size_t n) {
    const uint16_t *half = src;
    switch (dtype) {
    case GHN_F32:
        memcpy(dst, src, n * sizeof(*dst));
        break;
    case GHN_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = from_f16(half[i]);
        break;
    case GHN_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = float_of((uint32_t)half[i] << 16);
        break;
    case GHN_F64:
        CONVERT(double);
        break;
    case GHN_I64:
        CONVERT(int64_t);
        break;
    case GHN_I32:
        CONVERT(int32_t);
        break;
    case GHN_I16:
        CONVERT(int16_t);
        break;
    case GHN_I8:
        CONVERT(int8_t);
        break;
    case GHN_U8:
    case GHN_BOOL:
        CONVERT(uint8_t);
        break;
    case GHN_N_DTYPES:
        break;
    }
}
