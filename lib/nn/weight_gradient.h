/* The gradient of a convolution by its weights, from bf16 images, on processors that multiply bf16
 * natively but have no AMX. Private to lib/nn.
 *
 * It is ours and not oneDNN's because of its speed: oneDNN 2.6 has a third to two thirds of the
 * arithmetic there that it has in the forward pass, least on the small maps that a network ends in.
 * Here it is a product of matrices whose inner dimension is the pixels of a batch. Both are packed
 * once, pixels in pairs (nn/pairs.h): the outputs' gradients for all, and, of the inputs, as many
 * images of GHN__PAIR_COLUMNS channels as stay in the level 2 cache, or one, once for every column
 * of the kernel; the kernel's rows are rows of those. */
#ifndef GHN_NN_WEIGHT_GRADIENT_H
#define GHN_NN_WEIGHT_GRADIENT_H

#include "nn/dnnl.h"
#include "nn/pairs.h"

struct ghn__weight_gradient;

/* Whether it can do a convolution, and is the faster one here. */
bool ghn__weight_gradient_suits(const struct ghn__conv_spec *spec);

/* For a spec in bf16 with one group and without bias, to be run by these kernels. Freed with
 * ghn__weight_gradient_free. GHN_NO_MEMORY. */
enum ghn_status ghn__weight_gradient_new(const struct ghn__conv_spec *spec,
                                         const struct ghn__pair_kernels *kernels,
                                         struct ghn__weight_gradient **ret,
                                         struct ghn_err *err) GHN_MUST_CHECK;
void ghn__weight_gradient_free(struct ghn__weight_gradient *gradient);

/* Bytes of work space at scratch, aligned to 64. */
size_t ghn__weight_gradient_scratch_bytes(const struct ghn__weight_gradient *gradient);

/* dweights (O, C, kh, kw), overwritten, from src (N, C, H, W) and ddst (N, O, H', W'), both
 * channels-last. The same bits for any number of threads. */
void ghn__weight_gradient_run(const struct ghn__weight_gradient *gradient, const void *src,
                              const void *ddst, float *dweights, void *scratch);

#endif
