/* The two forms of each 16-bit conversion, private to lib/tensor and its tests: portable (_ref),
 * and for processors with AVX2 and F16C (_fast), to be called only where
 * ghn__convert_fast_available. */
#ifndef GHN_TENSOR_CONVERT_H
#define GHN_TENSOR_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

bool ghn__convert_fast_available(void);

void ghn__bf16_from_f32_ref(void *dst, const float *src, size_t n);
void ghn__bf16_from_f32_fast(void *dst, const float *src, size_t n);

void ghn__f16_from_f32_ref(void *dst, const float *src, size_t n);
void ghn__f16_from_f32_fast(void *dst, const float *src, size_t n);

void ghn__f16_to_f32_ref(float *dst, const void *src, size_t n);
void ghn__f16_to_f32_fast(float *dst, const void *src, size_t n);

#endif
