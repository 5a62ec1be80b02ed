/* linear (torch.nn.Linear): (..., D) -> (..., out_features); weight (out_features, D). */
#include <math.h>

#include "arch/op.h"

static const struct ghn_attr attrs[] = {
    GHN_A_INT_REQUIRED(ghn_linear_attrs, out_features, 1, GHN_DIM_MAX),
    GHN_A_BOOL(ghn_linear_attrs, bias),
    GHN_A_INT(ghn_linear_attrs, in_features, 0, GHN_DIM_MAX),
    GHN_A_END,
};

static const struct ghn_linear_attrs defaults = {.bias = true};

static enum ghn_status infer_linear(struct ghn_infer *infer) {
    const struct ghn_linear_attrs *a = &infer->attrs->linear;
    const struct ghn_shape *in = infer->inputs[0];
    if (in->ndim < 1)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "the input is a scalar, expected one dimension or more");
    int64_t d = in->dim[in->ndim - 1];
    if (a->in_features && a->in_features != d)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "in_features is %lld, but the input's last dimension is %lld",
                               (long long)a->in_features, (long long)d);
    struct ghn_init init = {GHN_INIT_UNIFORM, 1 / sqrt((double)d)};
    int param =
        ghn__infer_param(infer, "weight", GHN_PARAM_WEIGHT, init, &GHN_SHAPE(a->out_features, d));
    ghn__infer_emit(infer, GHN_EMIT_CONV, param);
    if (a->bias)
        ghn__infer_bias(infer, "bias", a->out_features, init.a);
    infer->shape = *in;
    infer->shape.dim[in->ndim - 1] = a->out_features;
    infer->flops = (double)d * ghn__shape_count(&infer->shape);
    return GHN_OK;
}

const struct ghn_op ghn__op_linear = {"linear", GHN_ROLE_LAYER,   1,         1,
                                      attrs,    sizeof(defaults), &defaults, infer_linear};
