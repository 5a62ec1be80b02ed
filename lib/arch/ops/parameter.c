/* Learned tensors as sources: pos_enc, a position encoding (1, C, h, w) that the hypernetwork
 * predicts, and parameter, any other. */
#include "arch/op.h"

static const char *const init_kinds[] = {"constant", "uniform", "normal", "trunc_normal", NULL};

static const struct ghn_attr attrs[] = {
    {"shape", GHN_ATTR_INTS, offsetof(struct ghn_parameter_attrs, shape), true, 1, GHN_DIM_MAX,
     NULL},
    GHN_A_BOOL(ghn_parameter_attrs, batched),
    {"init", GHN_ATTR_CHOICE, offsetof(struct ghn_parameter_attrs, init), false, 0, 3, init_kinds},
    GHN_A_DOUBLE(ghn_parameter_attrs, value, -1e30, 1e30),
    GHN_A_END,
};

/* The tensor's shape, and without the batch's 1 the output's. */
static enum ghn_status shapes(struct ghn_infer *infer, bool batched, struct ghn_shape *ret) {
    const struct ghn_ints *ints = &infer->attrs->parameter.shape;
    if (batched && (ints->n < 1 || ints->at[0] != 1))
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "the first dimension of shape stands for the batch and must be 1");
    ret->ndim = ints->n;
    infer->shape.ndim = ints->n - batched;
    for (int i = 0; i < ints->n; i++) {
        ret->dim[i] = ints->at[i];
        if (i >= batched)
            infer->shape.dim[i - batched] = ints->at[i];
    }
    return GHN_OK;
}

/* --- parameter --- */

static const struct ghn_parameter_attrs parameter_defaults;

static enum ghn_status infer_parameter(struct ghn_infer *infer) {
    const struct ghn_parameter_attrs *a = &infer->attrs->parameter;
    struct ghn_shape shape;
    enum ghn_status status = shapes(infer, a->batched, &shape);
    if (status != GHN_OK)
        return status;
    struct ghn_init init = {(enum ghn_init_kind)a->init, a->value};
    ghn__infer_other(infer, "weight", init, &shape,
                     "a bare learned tensor has no primitive in DeepNets-1M");
    return GHN_OK;
}

const struct ghn_op ghn__op_parameter = {
    "parameter",         GHN_ROLE_LAYER, 0, 0, attrs, sizeof(parameter_defaults),
    &parameter_defaults, infer_parameter};

/* --- pos_enc --- */

static const struct ghn_parameter_attrs pos_enc_defaults = {
    .batched = true, .init = GHN_INIT_NORMAL, .value = 0.02};

static enum ghn_status infer_pos_enc(struct ghn_infer *infer) {
    const struct ghn_parameter_attrs *a = &infer->attrs->parameter;
    struct ghn_shape shape = {0};
    enum ghn_status status = shapes(infer, true, &shape);
    if (status != GHN_OK)
        return status;
    if (shape.ndim != 4)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "shape has %d dimensions, expected (1, C, h, w)", shape.ndim);
    struct ghn_init init = {(enum ghn_init_kind)a->init, a->value};
    int param = ghn__infer_param(infer, "weight", GHN_PARAM_POS_ENC, init, &shape);
    ghn__infer_emit(infer, GHN_EMIT_POS_ENC, param);
    return GHN_OK;
}

const struct ghn_op ghn__op_pos_enc = {
    "pos_enc",         GHN_ROLE_LAYER, 0, 0, attrs, sizeof(pos_enc_defaults),
    &pos_enc_defaults, infer_pos_enc};
