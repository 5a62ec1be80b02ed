/* The plain twin of lib/nn: every operation forward and backward in f64, one image layout
 * (row-major in PyTorch's dimension order, (N, C, H, W)), no fusion, no vectors, no threads. It is
 * what the fast kernels are compared with, and what finite differences check. */
#ifndef GHN_NN_REFERENCE_H
#define GHN_NN_REFERENCE_H

#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "nn/run.h"

struct ghn_reference;

/* An arch to be run in f64 for batches of `batch` images. arch must outlive it; the caller frees
 * with ghn_reference_free. */
enum ghn_status ghn_reference_new(const struct ghn_arch *arch, int batch, enum ghn_mode mode,
                                  struct ghn_reference **ret, struct ghn_err *err) GHN_MUST_CHECK;
void ghn_reference_free(struct ghn_reference *reference);

/* images: (N, C, H, W). values: every parameter as struct ghn_params lays them out. statistics:
 * running means and variances likewise, updated in mode TRAIN, and read again by backward in mode
 * EVAL; NULL if the arch has none on the path to its output. Only nodes on that path are run; every
 * one's value can be read afterwards with ghn_reference_value. GHN_MISSING_FIELD without
 * statistics that are needed. */
enum ghn_status ghn_reference_forward(struct ghn_reference *reference, const double *values,
                                      double *statistics, const double *images, uint64_t seed,
                                      uint64_t step, struct ghn_err *err) GHN_MUST_CHECK;

/* The (N, ...) values of a node, row-major, after forward, NULL off the path; its gradient after
 * backward, NULL before. */
const double *ghn_reference_value(const struct ghn_reference *reference, int node);
const double *ghn_reference_gradient(const struct ghn_reference *reference, int node);

/* From doutput, (N, ...) at the output node: the gradient by every parameter into dvalues (laid out
 * as values, overwritten), and by every node's value, the input's included. */
enum ghn_status ghn_reference_backward(struct ghn_reference *reference, const double *values,
                                       const double *doutput, double *dvalues,
                                       struct ghn_err *err) GHN_MUST_CHECK;

#endif
