/* Element types of tensors in files and answers. Computation is in f32 throughout. */
#ifndef GHN_TENSOR_DTYPE_H
#define GHN_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum ghn_dtype {
    GHN_F32,
    GHN_F16,
    GHN_BF16,
    GHN_F64,
    GHN_I64,
    GHN_I32,
    GHN_I16,
    GHN_I8,
    GHN_U8,
    GHN_BOOL,
    GHN_N_DTYPES,
};

/* Bytes of one element. */
size_t ghn_dtype_size(enum ghn_dtype dtype);

/* The type's name in a safetensors header ("F32", "BF16", "I64", "BOOL"). */
const char *ghn_dtype_name(enum ghn_dtype dtype);

/* The type of a safetensors name; GHN_UNSUPPORTED_FILE if there is none. */
enum ghn_status ghn_dtype_parse(const char *name, enum ghn_dtype *ret,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* n values of f32 to f32, f16 or bf16, rounded to nearest even; dst and src must not overlap unless
 * both are f32 and equal. NaN stays NaN; what is too large for f16 becomes infinite. */
void ghn_dtype_from_f32(enum ghn_dtype dtype, void *dst, const float *src, size_t n);

/* n values of any type to f32. */
void ghn_dtype_to_f32(enum ghn_dtype dtype, float *dst, const void *src, size_t n);

#endif
