/* Pooling: max_pool2d, avg_pool2d, adaptive_avg_pool2d, mean. */
#include <string.h>

#include "arch/op.h"

static enum ghn_status infer_pool(struct ghn_infer *infer, enum ghn_emit_kind kind) {
    const struct ghn_pool2d_attrs *a = &infer->attrs->pool2d;
    int64_t in[3], out[2];
    enum ghn_status status = ghn__infer_chw(infer, in);
    for (int i = 0; i < 2 && status == GHN_OK; i++) {
        if (a->padding[i] > a->kernel[i] / 2)
            return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                                   "padding is %lld, which must be at most half the kernel of %lld",
                                   (long long)a->padding[i], (long long)a->kernel[i]);
        status = ghn__infer_window(infer, i, in[1 + i], a->kernel[i],
                                   a->stride[i] ? a->stride[i] : a->kernel[i], a->padding[i],
                                   a->dilation[i], a->ceil_mode, &out[i]);
    }
    if (status != GHN_OK)
        return status;
    ghn__infer_emit(infer, kind, -1);
    memcpy(infer->emits[0].kernel, a->kernel, sizeof(a->kernel));
    infer->shape = GHN_SHAPE(in[0], out[0], out[1]);
    infer->flops = (double)a->kernel[0] * (double)a->kernel[1] * ghn__shape_count(&infer->shape);
    return GHN_OK;
}

/* --- max_pool2d --- */

static const struct ghn_attr max_pool2d_attrs[] = {
    GHN_A_PAIR_REQUIRED(ghn_pool2d_attrs, kernel, 1, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_pool2d_attrs, stride, 0, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_pool2d_attrs, padding, 0, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_pool2d_attrs, dilation, 1, GHN_WINDOW_MAX),
    GHN_A_BOOL(ghn_pool2d_attrs, ceil_mode),
    GHN_A_END,
};

static const struct ghn_pool2d_attrs pool2d_defaults = {.dilation = {1, 1},
                                                        .count_include_pad = true};

static enum ghn_status infer_max_pool2d(struct ghn_infer *infer) {
    return infer_pool(infer, GHN_EMIT_MAX_POOL);
}

const struct ghn_op ghn__op_max_pool2d = {
    "max_pool2d",     GHN_ROLE_LAYER,  1, 1, max_pool2d_attrs, sizeof(pool2d_defaults),
    &pool2d_defaults, infer_max_pool2d};

/* --- avg_pool2d --- */

static const struct ghn_attr avg_pool2d_attrs[] = {
    GHN_A_PAIR_REQUIRED(ghn_pool2d_attrs, kernel, 1, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_pool2d_attrs, stride, 0, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_pool2d_attrs, padding, 0, GHN_WINDOW_MAX),
    GHN_A_BOOL(ghn_pool2d_attrs, ceil_mode),
    GHN_A_BOOL(ghn_pool2d_attrs, count_include_pad),
    GHN_A_END,
};

static enum ghn_status infer_avg_pool2d(struct ghn_infer *infer) {
    return infer_pool(infer, GHN_EMIT_AVG_POOL);
}

const struct ghn_op ghn__op_avg_pool2d = {
    "avg_pool2d",     GHN_ROLE_LAYER,  1, 1, avg_pool2d_attrs, sizeof(pool2d_defaults),
    &pool2d_defaults, infer_avg_pool2d};

/* --- adaptive_avg_pool2d: any output size is a glob_avg to the hypernetwork (ghn2-spec B2, rule 6)
 * --- */

static const struct ghn_attr adaptive_attrs[] = {
    GHN_A_PAIR_REQUIRED(ghn_adaptive_pool2d_attrs, output_size, 0, GHN_WINDOW_MAX),
    GHN_A_END,
};

static const struct ghn_adaptive_pool2d_attrs adaptive_defaults;

static enum ghn_status infer_adaptive_avg_pool2d(struct ghn_infer *infer) {
    const struct ghn_adaptive_pool2d_attrs *a = &infer->attrs->adaptive_pool2d;
    int64_t in[3];
    enum ghn_status status = ghn__infer_chw(infer, in);
    if (status != GHN_OK)
        return status;
    ghn__infer_emit(infer, GHN_EMIT_GLOB_AVG, -1);
    infer->shape = GHN_SHAPE(in[0], a->output_size[0] ? a->output_size[0] : in[1],
                             a->output_size[1] ? a->output_size[1] : in[2]);
    infer->flops = ghn__shape_count(infer->inputs[0]);
    return GHN_OK;
}

const struct ghn_op ghn__op_adaptive_avg_pool2d = {"adaptive_avg_pool2d",
                                                   GHN_ROLE_MEAN,
                                                   1,
                                                   1,
                                                   adaptive_attrs,
                                                   sizeof(adaptive_defaults),
                                                   &adaptive_defaults,
                                                   infer_adaptive_avg_pool2d};

/* --- mean: keeping dimensions it is a glob_avg, dropping them it has no node (rule 6) --- */

static const struct ghn_attr mean_attrs[] = {
    {"dim", GHN_ATTR_INTS, offsetof(struct ghn_mean_attrs, dims), true, -GHN_MAX_DIMS, GHN_MAX_DIMS,
     NULL},
    GHN_A_BOOL(ghn_mean_attrs, keepdim),
    GHN_A_END,
};

static const struct ghn_mean_attrs mean_defaults;

static enum ghn_status infer_mean(struct ghn_infer *infer) {
    const struct ghn_mean_attrs *a = &infer->attrs->mean;
    const struct ghn_shape *in = infer->inputs[0];
    bool reduced[GHN_MAX_DIMS] = {false};
    for (int i = 0; i < a->dims.n; i++) {
        int dim;
        enum ghn_status status = ghn__infer_dim(infer, "dim", a->dims.at[i], in->ndim, &dim);
        if (status != GHN_OK)
            return status;
        if (reduced[dim])
            return ghn__infer_fail(infer, GHN_OUT_OF_RANGE, "dim names dimension %d twice",
                                   dim + 1);
        reduced[dim] = true;
    }
    infer->shape.ndim = 0;
    for (int i = 0; i < in->ndim; i++)
        if (!reduced[i] || a->keepdim)
            infer->shape.dim[infer->shape.ndim++] = reduced[i] ? 1 : in->dim[i];
    if (a->keepdim)
        ghn__infer_emit(infer, GHN_EMIT_GLOB_AVG, -1);
    infer->flops = ghn__shape_count(in);
    return GHN_OK;
}

const struct ghn_op ghn__op_mean = {
    "mean", GHN_ROLE_MEAN, 1, 1, mean_attrs, sizeof(mean_defaults), &mean_defaults, infer_mean};
