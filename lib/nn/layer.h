/* How lib/nn runs an operation: what a file of lib/nn/ops says of it. Private to lib/nn and its
 * tests.
 *
 * Every operation of arch/ops.def has a struct ghn__layer called ghn__layer_<symbol>. Kernels see
 * tensors with the batch as dimension 0, in logical (PyTorch's) dimension order, dense, in an order
 * in memory that the strides give: images are (N, C, H, W) with strides of (N, H, W, C). Element
 * types are f32 or bf16, the same for all activations of a run. */
#ifndef GHN_NN_LAYER_H
#define GHN_NN_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "nn/run.h"
#include "tensor/dtype.h"

enum { GHN__MAX_RANK = GHN_MAX_DIMS + 1 };

struct ghn__tensor {
    void *data;           /* NULL while planning, and where nothing is wanted */
    enum ghn_dtype dtype; /* GHN_F32 or GHN_BF16 */
    int ndim;             /* the batch included */
    int64_t dims[GHN__MAX_RANK], strides[GHN__MAX_RANK]; /* strides in elements */
    int64_t count;                                       /* elements */
};

/* The order in memory that a layer wants of its inputs. The batch is always outermost. */
enum ghn__order {
    GHN__SAME, /* any; inputs of one rank have that of the first with the output's extents, or else
                  of input 0 */
    GHN__CHANNELS_LAST,      /* (N, H, W, C) for rank 4, row-major otherwise */
    GHN__CHANNELS_INNERMOST, /* dimension 1 innermost whatever the rank */
    GHN__ROW_MAJOR,          /* the last dimension innermost */
    GHN__N_ORDERS
};

/* A node as its layer sees it, while planning and while running. */
struct ghn__site {
    const struct ghn_arch_node *node;
    int index; /* of the node in its arch */
    enum ghn_mode mode;
    const struct ghn_arch_node
        *activation; /* batch_norm2d: the activation behind it that is done along; or NULL */
    bool keeps_input, keeps_output, cannot_add; /* as the layer says; plan may change them */
    bool input_gradient;                        /* the gradient by some input is wanted */
    bool residual; /* batch_norm2d: in[1] is added before the activation */

    int n_inputs;
    struct ghn__tensor *in; /* (n_inputs). A node that takes one value twice has it twice. */
    struct ghn__tensor out;
    const float *const *params; /* (node->n_params), row-major in PyTorch's shape */

    /* Backward. din[i].data is NULL where no gradient is wanted; with add[i] the contribution is
     * added to what is there, without it the buffer is overwritten. in and out have data only if
     * the layer keeps them. */
    struct ghn__tensor *din, dout;
    bool *add;
    float *const *dparams; /* (node->n_params), in f32 */
    bool *add_param;       /* likewise */

    float *
        statistics; /* batch_norm2d with running statistics: C means, then C variances; else NULL */
    double least_momentum; /* of the running statistics, where that is more than the node's own */
    uint64_t seed, step;   /* of the random draws (nn/random.h) */

    size_t saved_bytes; /* set by plan: kept from forward to backward, at `saved` */
    void *saved;
    size_t scratch_bytes; /* set by plan: contents undefined at every call, at `scratch` */
    void *scratch;
    void *spare; /* backward, with cannot_add and add[0]: room for din[0] */
    void *state; /* the layer's own, set by plan, freed by done */
};

struct ghn__layer {
    enum ghn__order order;
    bool keeps_input, keeps_output; /* backward reads in[i].data, out.data */
    /* backward of every input of out's own shape is dout itself (add, identity) and no more than
     * that is to be done for it: the planner lets such gradients share memory where it can, and
     * then leaves din[i].data NULL */
    bool passes_gradient;
    bool cannot_add; /* backward overwrites din[0] whatever add[0] says, into `spare` if it is set;
                        the executor adds */
    /* Where the output can be the input seen otherwise (reshape): sets out's strides and returns
     * true; such a node has no forward and no backward. False: not in this order; the planner then
     * brings the input into order ROW_MAJOR and asks again. NULL: never. */
    bool (*view)(struct ghn__site *site);
    /* Sets saved_bytes, scratch_bytes and state, and out's strides if they are not to be `order`
     * (SAME: as that input where the rank is the same, else row-major). NULL: nothing to plan. */
    enum ghn_status (*plan)(struct ghn__site *site, struct ghn_err *err);
    enum ghn_status (*forward)(struct ghn__site *site, struct ghn_err *err);
    enum ghn_status (*backward)(struct ghn__site *site,
                                struct ghn_err *err); /* NULL: no gradient passes */
    void (*done)(struct ghn__site *site);             /* frees state; NULL if there is none */
};

#define GHN_OP(symbol, name) extern const struct ghn__layer ghn__layer_##symbol;
#include "arch/ops.def"
#undef GHN_OP

/* The layer of an operation. */
const struct ghn__layer *ghn__layer_of(const struct ghn_op *op);

/* --- Helpers on tensors --- */

/* The element `at` places into the memory of a tensor; for code that is not to be fast. */
static inline float ghn__tensor_get(const struct ghn__tensor *tensor, int64_t at) {
    size_t size = ghn_dtype_size(tensor->dtype);
    float x;
    ghn_dtype_to_f32(tensor->dtype, &x, (const char *)tensor->data + (size_t)at * size, 1);
    return x;
}

static inline void ghn__tensor_put(const struct ghn__tensor *tensor, int64_t at, float x) {
    size_t size = ghn_dtype_size(tensor->dtype);
    ghn_dtype_from_f32(tensor->dtype, (char *)tensor->data + (size_t)at * size, &x, 1);
}

/* Where image n of a tensor begins (the batch is outermost). */
static inline void *ghn__image(const struct ghn__tensor *tensor, int64_t n) {
    int64_t elements = tensor->count / tensor->dims[0];
    return (char *)tensor->data + (size_t)(n * elements) * ghn_dtype_size(tensor->dtype);
}

/* Strides of an order for dims. */
void ghn__strides(struct ghn__tensor *tensor, enum ghn__order order);

/* Whether two tensors of equal dims lie in the same order (dimensions of extent 1 do not count). */
bool ghn__same_order(const struct ghn__tensor *a, const struct ghn__tensor *b);

/* Whether elements follow each other in the order given. */
bool ghn__in_order(const struct ghn__tensor *tensor, enum ghn__order order);

/* dst = src, or dst += src with add: equal dims, any strides (also with gaps, as in a slice of a
 * tensor), any types. Parallel. */
void ghn__copy(const struct ghn__tensor *dst, const struct ghn__tensor *src, bool add);

/* Sets every element of a dense tensor to value; to zero. Parallel. */
void ghn__fill(const struct ghn__tensor *tensor, float value);
void ghn__zero(const struct ghn__tensor *tensor);

#endif
