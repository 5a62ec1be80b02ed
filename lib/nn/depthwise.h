/* Depthwise convolutions: every channel by itself, channels-last. Private to lib/nn.
 *
 * They are ours and not oneDNN's because of its backward passes: measured on one core of a Zen 5 in
 * bf16, oneDNN 2.6 has 0.3 to 7 GFLOP/s there for 5 x 5 kernels, dilation 2 and strided dilation.
 */
#ifndef GHN_NN_DEPTHWISE_H
#define GHN_NN_DEPTHWISE_H

#include "nn/dnnl.h"
#include "nn/kernels.h"

struct ghn__depthwise;

/* Whether a convolution is one: as many groups as channels, one output channel each. */
bool ghn__is_depthwise(const struct ghn__conv_spec *spec);

/* For a spec that is one, to be run by these kernels. Freed with ghn__depthwise_free.
 * GHN_NO_MEMORY. */
enum ghn_status ghn__depthwise_new(const struct ghn__conv_spec *spec,
                                   const struct ghn__nn_kernels *kernels,
                                   struct ghn__depthwise **ret, struct ghn_err *err) GHN_MUST_CHECK;
void ghn__depthwise_free(struct ghn__depthwise *depthwise);

/* Bytes of work space that each call below wants at scratch, aligned to 64. */
size_t ghn__depthwise_scratch_bytes(const struct ghn__depthwise *depthwise);

/* dst (N, C, H', W') = src (N, C, H, W) * weights (C, 1, kh, kw) + bias (C; NULL: none). */
void ghn__depthwise_forward(const struct ghn__depthwise *depthwise, const void *src,
                            const float *weights, const float *bias, void *dst, void *scratch);

/* dsrc (+)= the gradient by src. */
void ghn__depthwise_backward_data(const struct ghn__depthwise *depthwise, const void *ddst,
                                  const float *weights, void *dsrc, bool add, void *scratch);

/* A gradient by parameters and whether it is added to what is there. */
struct ghn__into {
    float *at; /* NULL: not wanted */
    bool add;
};

/* dweights (+)=, dbias (+)=. The same bits for any number of threads. */
void ghn__depthwise_backward_weights(const struct ghn__depthwise *depthwise, const void *src,
                                     const void *ddst, struct ghn__into dweights,
                                     struct ghn__into dbias, void *scratch);

#endif
