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

/* A convolution of `batch` images. */
struct ghn__conv_spec {
    int64_t batch, in_channels, in[2], out_channels, out[2];
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
    enum ghn_dtype dtype; /* of images, weights and outputs */
    bool training;        /* backward too */
    bool data_gradient;   /* training: backward by the input is wanted */
};

struct ghn__conv;

/* Chooses and compiles kernels. GHN_INTERNAL if oneDNN has none, GHN_NO_MEMORY. */
enum ghn_status ghn__conv_new(const struct ghn__conv_spec *spec, struct ghn__conv **ret,
                              struct ghn_err *err) GHN_MUST_CHECK;
void ghn__conv_free(struct ghn__conv *conv);

/* Bytes that must be kept from forward to backward (the weights in the kernels' own order), and of
 * work space. */
size_t ghn__conv_saved_bytes(const struct ghn__conv *conv);
size_t ghn__conv_scratch_bytes(const struct ghn__conv *conv);

/* src (N, H, W, C) * weights (O, C / groups, kh, kw) in f32 + bias (O) or NULL = dst (N, H', W',
 * O). */
enum ghn_status ghn__conv_forward(struct ghn__conv *conv, const void *src, const float *weights,
                                  const float *bias, void *dst, void *saved, void *scratch,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* dsrc = the gradient by src, overwritten. saved: of the forward pass, whose weights these are. */
enum ghn_status ghn__conv_backward_data(struct ghn__conv *conv, const void *ddst, void *dsrc,
                                        const void *saved, void *scratch,
                                        struct ghn_err *err) GHN_MUST_CHECK;

/* dweights (O, C / groups, kh, kw), in f32: overwritten, or added to with add. */
enum ghn_status ghn__conv_backward_weights(struct ghn__conv *conv, const void *src,
                                           const void *ddst, float *dweights, bool add,
                                           void *scratch, struct ghn_err *err) GHN_MUST_CHECK;

/* c (m, n) = a (m, k) b (k, n), each row-major or, with its flag, stored transposed; c is f32 or as
 * a and b. */
struct ghn__matmul_spec {
    int64_t m, k, n;
    bool a_transposed, b_transposed;
    enum ghn_dtype dtype, c_dtype;
    bool add; /* c += (c in f32 only) */
};

struct ghn__matmul;
enum ghn_status ghn__matmul_new(const struct ghn__matmul_spec *spec, struct ghn__matmul **ret,
                                struct ghn_err *err) GHN_MUST_CHECK;
void ghn__matmul_free(struct ghn__matmul *matmul);
size_t ghn__matmul_scratch_bytes(const struct ghn__matmul *matmul);
enum ghn_status ghn__matmul_run(struct ghn__matmul *matmul, const void *a, const void *b, void *c,
                                void *scratch, struct ghn_err *err) GHN_MUST_CHECK;

#endif
