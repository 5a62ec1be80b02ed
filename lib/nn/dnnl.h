/* The one place that knows oneDNN (its version 2 C API): convolutions and matrix products on images
 * in channels-last order. Private to lib/nn. */
#ifndef GHN_NN_DNNL_H
#define GHN_NN_DNNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

enum ghn__isa { GHN__ISA_PLAIN, GHN__ISA_AVX2, GHN__ISA_AVX512 };

/* The instruction set that oneDNN works with: the processor's, or less if ONEDNN_MAX_CPU_ISA says
 * so. */
enum ghn__isa ghn__dnnl_isa(void);

/* Whether it multiplies bf16 natively (AVX512_BF16 or AMX). */
bool ghn__dnnl_has_bf16(void);

/* Whether that is by AMX. */
bool ghn__dnnl_has_amx(void);

/* A convolution of `batch` images. Images are channels-last in memory. */
struct ghn__conv_spec {
    int64_t batch, in_channels, in[2], out_channels, out[2];
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
    enum ghn_dtype dtype; /* of images; weights, biases and their gradients are f32 outside */
    bool bias;
    bool training;      /* backward too */
    bool data_gradient; /* training: backward by the input is wanted */
    bool no_weights;    /* training: backward by weights and bias is not */
};

struct ghn__conv;

/* Chooses and compiles kernels. GHN_INTERNAL if oneDNN has none, GHN_NO_MEMORY. */
enum ghn_status ghn__conv_new(const struct ghn__conv_spec *spec, struct ghn__conv **ret,
                              struct ghn_err *err) GHN_MUST_CHECK;
void ghn__conv_free(struct ghn__conv *conv);

/* Bytes of work space that each call below wants at scratch, aligned to 64. */
size_t ghn__conv_scratch_bytes(const struct ghn__conv *conv);

/* dst (N, O, H', W') = src (N, C, H, W) * weights (O, C / groups, kh, kw) + bias (O). */
enum ghn_status ghn__conv_forward(struct ghn__conv *conv, const void *src, const float *weights,
                                  const float *bias, void *dst, void *scratch,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* dsrc = the gradient by src, overwritten. */
enum ghn_status ghn__conv_backward_data(struct ghn__conv *conv, const void *ddst,
                                        const float *weights, void *dsrc, void *scratch,
                                        struct ghn_err *err) GHN_MUST_CHECK;

/* dweights and dbias (if the spec has a bias), overwritten. Not for a spec with no_weights. */
enum ghn_status ghn__conv_backward_weights(struct ghn__conv *conv, const void *src,
                                           const void *ddst, float *dweights, float *dbias,
                                           void *scratch, struct ghn_err *err) GHN_MUST_CHECK;

/* c (m, n) = a (m, k) b (k, n) + bias (n), row-major or, with their flags, a and b stored
 * transposed. */
struct ghn__matmul_spec {
    int64_t m, k, n;
    bool a_transposed, b_transposed;
    enum ghn_dtype dtype, c_dtype; /* of a and b; of c */
    bool bias;                     /* in f32 */
    bool add;                      /* c +=, for c in f32 */
};

struct ghn__matmul;

/* Chooses and compiles kernels, as ghn__conv_new. */
enum ghn_status ghn__matmul_new(const struct ghn__matmul_spec *spec, struct ghn__matmul **ret,
                                struct ghn_err *err) GHN_MUST_CHECK;
void ghn__matmul_free(struct ghn__matmul *matmul);

/* Bytes of work space at scratch. */
size_t ghn__matmul_scratch_bytes(const struct ghn__matmul *matmul);

enum ghn_status ghn__matmul_run(struct ghn__matmul *matmul, const void *a, const void *b,
                                const float *bias, void *c, void *scratch,
                                struct ghn_err *err) GHN_MUST_CHECK;

#endif
