/* Operations that join tensors: add, mul, concat; and zeros_like. */
#include "arch/op.h"
#include "base/checked.h"

/* --- add, mul --- */

static const struct ghn_attr binary_attrs[] = {
    GHN_A_DOUBLE(ghn_binary_attrs, value, -1e30, 1e30),
    GHN_A_END,
};
static const struct ghn_binary_attrs binary_defaults;

/* The shape two inputs broadcast to. They line up from the right within one image, and the batch
 * stays in front: shapes of different rank would in PyTorch line the batch of one up with a
 * dimension of the other, so they are refused. */
static enum ghn_status broadcast(struct ghn_infer *infer) {
    const struct ghn_shape *a = infer->inputs[0], *b = infer->inputs[1];
    bool fits = a->ndim == b->ndim;
    infer->shape = *a;
    for (int i = 0; i < a->ndim && fits; i++) {
        fits = a->dim[i] == b->dim[i] || a->dim[i] == 1 || b->dim[i] == 1;
        infer->shape.dim[i] = ghn_max_i64(a->dim[i], b->dim[i]);
    }
    if (fits)
        return GHN_OK;
    char ta[GHN_SHAPE_TEXT], tb[GHN_SHAPE_TEXT];
    return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                           "the inputs %s and %s cannot be broadcast together",
                           ghn_shape_text(a, ta, sizeof(ta)), ghn_shape_text(b, tb, sizeof(tb)));
}

static enum ghn_status infer_binary(struct ghn_infer *infer) {
    infer->shape = *infer->inputs[0];
    if (infer->n_inputs == 2) {
        enum ghn_status status = broadcast(infer);
        if (status != GHN_OK)
            return status;
    }
    infer->flops = ghn__shape_count(&infer->shape);
    return GHN_OK;
}

const struct ghn_op ghn__op_add = {
    "add",       GHN_ROLE_SUM, 1, 2, binary_attrs, sizeof(binary_defaults), &binary_defaults,
    infer_binary};

const struct ghn_op ghn__op_mul = {
    "mul",       GHN_ROLE_PRODUCT, 1, 2, binary_attrs, sizeof(binary_defaults), &binary_defaults,
    infer_binary};

/* --- concat --- */

static const struct ghn_attr concat_attrs[] = {
    GHN_A_INT(ghn_concat_attrs, dim, -GHN_MAX_DIMS, GHN_MAX_DIMS),
    GHN_A_END,
};
static const struct ghn_concat_attrs concat_defaults = {1};

static enum ghn_status infer_concat(struct ghn_infer *infer) {
    const struct ghn_shape *first = infer->inputs[0];
    int dim;
    enum ghn_status status =
        ghn__infer_dim(infer, "dim", infer->attrs->concat.dim, first->ndim, &dim);
    if (status != GHN_OK)
        return status;
    infer->shape = *first;
    for (int i = 1; i < infer->n_inputs; i++) {
        const struct ghn_shape *in = infer->inputs[i];
        bool fits = in->ndim == first->ndim;
        for (int j = 0; j < first->ndim && fits; j++)
            fits = j == dim || in->dim[j] == first->dim[j];
        if (!fits) {
            char ta[GHN_SHAPE_TEXT], tb[GHN_SHAPE_TEXT];
            return ghn__infer_fail(
                infer, GHN_SHAPE_MISMATCH,
                "input %d is %s, which differs from input 0, %s, beyond dimension %d", i,
                ghn_shape_text(in, ta, sizeof(ta)), ghn_shape_text(first, tb, sizeof(tb)), dim + 1);
        }
        infer->shape.dim[dim] += in->dim[dim];
    }
    return GHN_OK;
}

const struct ghn_op ghn__op_concat = {"concat",         GHN_ROLE_CONCAT, 1,
                                      GHN_MAX_INPUTS,   concat_attrs,    sizeof(concat_defaults),
                                      &concat_defaults, infer_concat};

/* --- zeros_like --- */

static enum ghn_status infer_zeros_like(struct ghn_infer *infer) {
    infer->shape = *infer->inputs[0];
    return GHN_OK;
}

const struct ghn_op ghn__op_zeros_like = {"zeros_like", GHN_ROLE_ZERO,   1, 1, NULL, 0,
                                          NULL,         infer_zeros_like};
