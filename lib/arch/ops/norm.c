/* Normalisation: batch_norm2d, layer_norm, group_norm. The shape is kept; weight 1, bias 0
 * (torch.nn). */
#include "arch/op.h"

static const struct ghn_init ones = {GHN_INIT_CONSTANT, 1}, zeros = {GHN_INIT_CONSTANT, 0};

static enum ghn_status keep_shape(struct ghn_infer *infer) {
    infer->shape = *infer->inputs[0];
    infer->flops = 2 * ghn__shape_count(&infer->shape);
    return GHN_OK;
}

/* weight and bias of a norm that has a primitive: one emit stands for both (ghn2-spec B2, rule 3).
 */
static void declare(struct ghn_infer *infer, enum ghn_emit_kind kind, int64_t n) {
    struct ghn_shape shape = GHN_SHAPE(n);
    ghn__infer_emit(infer, kind,
                    ghn__infer_param(infer, "weight", GHN_PARAM_NORM_WEIGHT, ones, &shape));
    ghn__infer_param(infer, "bias", GHN_PARAM_NORM_BIAS, zeros, &shape);
}

static void declare_other(struct ghn_infer *infer, const struct ghn_shape *shape, const char *why) {
    ghn__infer_other(infer, "weight", ones, shape, why);
    ghn__infer_other(infer, "bias", zeros, shape, why);
}

/* The channels of input 0: its first dimension. */
static enum ghn_status channels(struct ghn_infer *infer, int64_t *ret) {
    if (infer->inputs[0]->ndim < 1)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "the input is a scalar, expected channels");
    *ret = infer->inputs[0]->dim[0];
    return GHN_OK;
}

/* --- batch_norm2d: over batch and space, per channel; takes (C, H, W) and, as BatchNorm1d, (C) ---
 */

static const struct ghn_attr batch_norm2d_attrs[] = {
    GHN_A_DOUBLE(ghn_batch_norm2d_attrs, eps, 0, 1),
    GHN_A_DOUBLE(ghn_batch_norm2d_attrs, momentum, 0, 1),
    GHN_A_BOOL(ghn_batch_norm2d_attrs, affine),
    GHN_A_BOOL(ghn_batch_norm2d_attrs, track_running_stats),
    GHN_A_INT(ghn_batch_norm2d_attrs, num_features, 0, GHN_DIM_MAX),
    GHN_A_END,
};

static const struct ghn_batch_norm2d_attrs batch_norm2d_defaults = {
    .eps = 1e-5, .momentum = 0.1, .affine = true, .track_running_stats = true};

static enum ghn_status infer_batch_norm2d(struct ghn_infer *infer) {
    const struct ghn_batch_norm2d_attrs *a = &infer->attrs->batch_norm2d;
    int64_t c = 0;
    enum ghn_status status = channels(infer, &c);
    if (status != GHN_OK)
        return status;
    if (a->num_features && a->num_features != c)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "num_features is %lld, but the input has %lld channels",
                               (long long)a->num_features, (long long)c);
    if (a->affine)
        declare(infer, GHN_EMIT_BN, c);
    return keep_shape(infer);
}

const struct ghn_op ghn__op_batch_norm2d = {"batch_norm2d",
                                            GHN_ROLE_LAYER,
                                            1,
                                            1,
                                            batch_norm2d_attrs,
                                            sizeof(batch_norm2d_defaults),
                                            &batch_norm2d_defaults,
                                            infer_batch_norm2d};

/* --- layer_norm: over the last dimensions --- */

static const struct ghn_attr layer_norm_attrs[] = {
    {"normalized_shape", GHN_ATTR_INTS, offsetof(struct ghn_layer_norm_attrs, normalized_shape),
     false, 1, GHN_DIM_MAX, NULL},
    GHN_A_DOUBLE(ghn_layer_norm_attrs, eps, 0, 1),
    GHN_A_BOOL(ghn_layer_norm_attrs, elementwise_affine),
    GHN_A_END,
};

static const struct ghn_layer_norm_attrs layer_norm_defaults = {.eps = 1e-5,
                                                                .elementwise_affine = true};

static enum ghn_status infer_layer_norm(struct ghn_infer *infer) {
    const struct ghn_layer_norm_attrs *a = &infer->attrs->layer_norm;
    const struct ghn_shape *in = infer->inputs[0];
    int n = a->normalized_shape.n ? a->normalized_shape.n : 1;
    struct ghn_shape shape = {.ndim = n};
    for (int i = 0; i < n; i++) {
        int64_t have = in->ndim >= n ? in->dim[in->ndim - n + i] : 0;
        shape.dim[i] = a->normalized_shape.n ? a->normalized_shape.at[i] : have;
        if (have != shape.dim[i] || have == 0) {
            char found[GHN_SHAPE_TEXT];
            return ghn__infer_fail(
                infer, GHN_SHAPE_MISMATCH,
                "the input is %s, expected its last dimensions to be normalized_shape",
                ghn_shape_text(in, found, sizeof(found)));
        }
    }
    if (a->elementwise_affine && n == 1)
        declare(infer, GHN_EMIT_LN, shape.dim[0]);
    else if (a->elementwise_affine)
        declare_other(infer, &shape,
                      "layer norm over several dimensions has no primitive in DeepNets-1M");
    return keep_shape(infer);
}

const struct ghn_op ghn__op_layer_norm = {
    "layer_norm",         GHN_ROLE_LAYER,  1, 1, layer_norm_attrs, sizeof(layer_norm_defaults),
    &layer_norm_defaults, infer_layer_norm};

/* --- group_norm: over groups of channels --- */

static const struct ghn_attr group_norm_attrs[] = {
    GHN_A_INT_REQUIRED(ghn_group_norm_attrs, num_groups, 1, GHN_DIM_MAX),
    GHN_A_DOUBLE(ghn_group_norm_attrs, eps, 0, 1),
    GHN_A_BOOL(ghn_group_norm_attrs, affine),
    GHN_A_END,
};

static const struct ghn_group_norm_attrs group_norm_defaults = {.eps = 1e-5, .affine = true};

static enum ghn_status infer_group_norm(struct ghn_infer *infer) {
    const struct ghn_group_norm_attrs *a = &infer->attrs->group_norm;
    int64_t c = 0;
    enum ghn_status status = channels(infer, &c);
    if (status != GHN_OK)
        return status;
    if (c % a->num_groups)
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "num_groups is %lld, which does not divide the input's %lld channels",
            (long long)a->num_groups, (long long)c);
    if (a->affine)
        declare_other(infer, &GHN_SHAPE(c), "group norm has no primitive in DeepNets-1M");
    return keep_shape(infer);
}

const struct ghn_op ghn__op_group_norm = {
    "group_norm",         GHN_ROLE_LAYER,  1, 1, group_norm_attrs, sizeof(group_norm_defaults),
    &group_norm_defaults, infer_group_norm};
