/* The parameters of a network in memory, as one flat vector in f32: what optimisers, files and the
 * hypernetwork work on. */
#ifndef GHN_NN_PARAMS_H
#define GHN_NN_PARAMS_H

#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "tensor/tensors.h"

struct ghn_params {
    const struct ghn_arch *arch; /* borrowed */
    int64_t n;                   /* elements of values */
    float *values; /* arch->params one after another, each row-major in PyTorch's shape; parameters
                      off the path included */
    int64_t *offsets; /* (arch->n_params + 1): parameter i is values[offsets[i]] to values[offsets[i
                         + 1] - 1] */

    /* Running statistics of the batch_norm2d nodes that track them (PyTorch's running_mean,
     * running_var). */
    int64_t n_statistics;
    float *statistics;
    int64_t *statistics_offsets; /* (arch->n_nodes): -1, or where the node's C means lie, followed
                                    by its C variances */
    int64_t
        batches_tracked; /* training batches seen (num_batches_tracked, the same for every node) */
};

/* Parameters of arch, which must outlive them: all zero; means 0, variances 1. The caller frees
 * with ghn_params_free. */
enum ghn_status ghn_params_new(const struct ghn_arch *arch, struct ghn_params **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* Frees parameters; NULL is allowed. */
void ghn_params_free(struct ghn_params *params);

/* Fills every parameter by PyTorch's initialiser of its layer, each value a function of seed, the
 * parameter's name and its index. */
void ghn_params_initialise(struct ghn_params *params, uint64_t seed);

/* Copies values from a set of tensors by name (f32, f16, bf16, f64). A parameter on the path must
 * be there, in its shape, and so must every running statistic of the path if any is; other
 * parameters, and num_batches_tracked, are taken if present, and tensors of other names are passed
 * over. GHN_SHAPE_MISMATCH, GHN_WRONG_TYPE (no
 * floating-point type) or GHN_MISSING_FIELD with where = the tensor's name; nothing is copied then.
 */
enum ghn_status ghn_params_load(struct ghn_params *params, const struct ghn_tensors *tensors,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* The same, but that parameters which are not there keep their values. */
enum ghn_status ghn_params_load_present(struct ghn_params *params,
                                        const struct ghn_tensors *tensors,
                                        struct ghn_err *err) GHN_MUST_CHECK;

/* The parameters as tensors of a state_dict: parameters under their names, then NODE.running_mean,
 * NODE.running_var and NODE.num_batches_tracked. Data points into params. *ret_items is freed by
 * the caller with ghn_free; the names die with the arena. */
enum ghn_status ghn_params_tensors(const struct ghn_params *params, struct ghn_arena *arena,
                                   struct ghn_tensor **ret_items, int *ret_n,
                                   struct ghn_err *err) GHN_MUST_CHECK;

#endif
