/* Networks whose parameters are on a hypernetwork's tape (ghn/hypernet.h): parameters from it,
 * their gradients into it. */
#ifndef GHN_TRAIN_TAPE_H
#define GHN_TRAIN_TAPE_H

#include "ghn/hypernet.h"
#include "nn/params.h"

/* The values of params, those of network i of the tape: predicted tensors in full; others by their
 * initialisers with `seed`, as ghn_params_from_prediction has them. Running statistics are left
 * alone. GHN_SHAPE_MISMATCH, nothing being written, if network i is another than params->arch;
 * GHN_NO_MEMORY. Different networks may be written by different threads at once. */
enum ghn_status ghn_tape_write(const struct ghn_tape *tape, int i, uint64_t seed,
                               struct ghn_params *params, struct ghn_err *err) GHN_MUST_CHECK;

/* Adds d loss / d params->values (params->n values in the same layout) to the gradients of network
 * i on the tape, folded: only blocks are kept. What is not predicted is passed over. Errors as
 * above; different networks may be added to by different threads at once. */
enum ghn_status ghn_tape_add_gradient(struct ghn_tape *tape, int i, const struct ghn_params *params,
                                      const float *gradient, struct ghn_err *err) GHN_MUST_CHECK;

#endif
