/* Operations that move elements about: flatten, reshape, permute, slice, pad, roll,
 * channel_shuffle. None has a node in the GHN graph. */
#include "arch/op.h"

/* --- flatten --- */

static const struct ghn_attr flatten_attrs[] = {
    GHN_A_INT(ghn_flatten_attrs, start_dim, -GHN_MAX_DIMS, GHN_MAX_DIMS),
    GHN_A_INT(ghn_flatten_attrs, end_dim, -GHN_MAX_DIMS, GHN_MAX_DIMS),
    GHN_A_END,
};
static const struct ghn_flatten_attrs flatten_defaults = {1, -1};

static enum ghn_status infer_flatten(struct ghn_infer *infer) {
    const struct ghn_flatten_attrs *a = &infer->attrs->flatten;
    const struct ghn_shape *in = infer->inputs[0];
    if (in->ndim == 0) {
        infer->shape = GHN_SHAPE(1);
        return GHN_OK;
    }
    int first, last;
    enum ghn_status status = ghn__infer_dim(infer, "start_dim", a->start_dim, in->ndim, &first);
    if (status == GHN_OK)
        status = ghn__infer_dim(infer, "end_dim", a->end_dim, in->ndim, &last);
    if (status != GHN_OK)
        return status;
    if (first > last)
        return ghn__infer_fail(infer, GHN_OUT_OF_RANGE, "start_dim lies behind end_dim");
    infer->shape.ndim = 0;
    for (int i = 0; i < in->ndim; i++) {
        if (i > first && i <= last)
            infer->shape.dim[infer->shape.ndim - 1] *= in->dim[i];
        else
            infer->shape.dim[infer->shape.ndim++] = in->dim[i];
    }
    return GHN_OK;
}

const struct ghn_op ghn__op_flatten = {
    "flatten",         GHN_ROLE_LAYER, 1, 1, flatten_attrs, sizeof(flatten_defaults),
    &flatten_defaults, infer_flatten};

/* --- reshape --- */

static const struct ghn_attr reshape_attrs[] = {
    {"shape", GHN_ATTR_INTS, offsetof(struct ghn_dims_attrs, dims), true, -1, GHN_DIM_MAX, NULL},
    GHN_A_END,
};
static const struct ghn_dims_attrs dims_defaults;

static enum ghn_status infer_reshape(struct ghn_infer *infer) {
    const struct ghn_ints *want = &infer->attrs->dims.dims;
    double have = ghn__shape_count(infer->inputs[0]), known = 1;
    int open = -1;
    infer->shape.ndim = want->n;
    for (int i = 0; i < want->n; i++) {
        infer->shape.dim[i] = want->at[i];
        if (want->at[i] >= 1) {
            known *= (double)want->at[i];
        } else if (want->at[i] == -1 && open < 0) {
            open = i;
        } else {
            return ghn__infer_fail(
                infer, GHN_OUT_OF_RANGE,
                "shape[%d] is %lld, expected 1 or more, or a single -1 for what is left", i,
                (long long)want->at[i]);
        }
    }
    int64_t left = (int64_t)(have / known);
    if (open >= 0)
        infer->shape.dim[open] = left;
    if (open >= 0 ? (double)left * known != have : known != have) {
        char from[GHN_SHAPE_TEXT];
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "the input %s has %.0f elements, which do not fill the shape asked for",
            ghn_shape_text(infer->inputs[0], from, sizeof(from)), have);
    }
    return GHN_OK;
}

const struct ghn_op ghn__op_reshape = {
    "reshape",      GHN_ROLE_LAYER, 1, 1, reshape_attrs, sizeof(dims_defaults),
    &dims_defaults, infer_reshape};

/* --- permute --- */

static const struct ghn_attr permute_attrs[] = {
    {"dims", GHN_ATTR_INTS, offsetof(struct ghn_dims_attrs, dims), true, -GHN_MAX_DIMS,
     GHN_MAX_DIMS, NULL},
    GHN_A_END,
};

static enum ghn_status infer_permute(struct ghn_infer *infer) {
    const struct ghn_ints *dims = &infer->attrs->dims.dims;
    const struct ghn_shape *in = infer->inputs[0];
    if (dims->n != in->ndim + 1 || dims->at[0] != 0)
        return ghn__infer_fail(infer, GHN_OUT_OF_RANGE,
                               "dims must list all %d dimensions, the batch (0) first",
                               in->ndim + 1);
    bool seen[GHN_MAX_DIMS] = {false};
    infer->shape.ndim = in->ndim;
    for (int i = 0; i < in->ndim; i++) {
        int dim;
        enum ghn_status status = ghn__infer_dim(infer, "dims", dims->at[i + 1], in->ndim, &dim);
        if (status != GHN_OK)
            return status;
        if (seen[dim])
            return ghn__infer_fail(infer, GHN_OUT_OF_RANGE, "dims names dimension %d twice",
                                   dim + 1);
        seen[dim] = true;
        infer->shape.dim[i] = in->dim[dim];
    }
    return GHN_OK;
}

const struct ghn_op ghn__op_permute = {
    "permute",      GHN_ROLE_LAYER, 1, 1, permute_attrs, sizeof(dims_defaults),
    &dims_defaults, infer_permute};

/* --- slice --- */

static const struct ghn_attr slice_attrs[] = {
    GHN_A_INT_REQUIRED(ghn_slice_attrs, dim, -GHN_MAX_DIMS, GHN_MAX_DIMS),
    GHN_A_INT(ghn_slice_attrs, start, -GHN_DIM_MAX, GHN_DIM_MAX),
    GHN_A_INT(ghn_slice_attrs, end, -GHN_DIM_MAX, GHN_DIM_MAX),
    GHN_A_INT(ghn_slice_attrs, step, 1, GHN_DIM_MAX),
    GHN_A_END,
};
static const struct ghn_slice_attrs slice_defaults = {.end = GHN_DIM_MAX, .step = 1};

static enum ghn_status infer_slice(struct ghn_infer *infer) {
    const struct ghn_slice_attrs *a = &infer->attrs->slice;
    const struct ghn_shape *in = infer->inputs[0];
    int dim;
    enum ghn_status status = ghn__infer_dim(infer, "dim", a->dim, in->ndim, &dim);
    if (status != GHN_OK)
        return status;
    int64_t size = in->dim[dim];
    int64_t start = a->start < 0 ? a->start + size : a->start;
    int64_t end = a->end < 0 ? a->end + size : a->end;
    start = start < 0 ? 0 : start;
    end = end > size ? size : end;
    if (start >= end)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "start %lld to end %lld leaves nothing of a dimension of %lld",
                               (long long)a->start, (long long)a->end, (long long)size);
    infer->shape = *in;
    infer->shape.dim[dim] = (end - start + a->step - 1) / a->step;
    return GHN_OK;
}

const struct ghn_op ghn__op_slice = {
    "slice",         GHN_ROLE_LAYER, 1, 1, slice_attrs, sizeof(slice_defaults),
    &slice_defaults, infer_slice};

/* --- pad --- */

static const struct ghn_attr pad_attrs[] = {
    {"pad", GHN_ATTR_INTS, offsetof(struct ghn_pad_attrs, pad), true, 0, GHN_WINDOW_MAX, NULL},
    GHN_A_DOUBLE(ghn_pad_attrs, value, -1e30, 1e30),
    GHN_A_END,
};
static const struct ghn_pad_attrs pad_defaults;

static enum ghn_status infer_pad(struct ghn_infer *infer) {
    const struct ghn_ints *pad = &infer->attrs->pad.pad;
    infer->shape = *infer->inputs[0];
    if (pad->n % 2 || pad->n / 2 > infer->shape.ndim)
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "pad has %d entries, expected two for each padded dimension, at most %d", pad->n,
            2 * infer->shape.ndim);
    for (int i = 0; i < pad->n; i++)
        infer->shape.dim[infer->shape.ndim - 1 - i / 2] += pad->at[i];
    return GHN_OK;
}

const struct ghn_op ghn__op_pad = {
    "pad", GHN_ROLE_LAYER, 1, 1, pad_attrs, sizeof(pad_defaults), &pad_defaults, infer_pad};

/* --- roll --- */

static const struct ghn_attr roll_attrs[] = {
    {"shifts", GHN_ATTR_INTS, offsetof(struct ghn_roll_attrs, shifts), true, -GHN_DIM_MAX,
     GHN_DIM_MAX, NULL},
    {"dims", GHN_ATTR_INTS, offsetof(struct ghn_roll_attrs, dims), true, -GHN_MAX_DIMS,
     GHN_MAX_DIMS, NULL},
    GHN_A_END,
};
static const struct ghn_roll_attrs roll_defaults;

static enum ghn_status infer_roll(struct ghn_infer *infer) {
    const struct ghn_roll_attrs *a = &infer->attrs->roll;
    if (a->shifts.n != a->dims.n)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH, "shifts and dims differ in length");
    for (int i = 0; i < a->dims.n; i++) {
        int dim;
        enum ghn_status status =
            ghn__infer_dim(infer, "dims", a->dims.at[i], infer->inputs[0]->ndim, &dim);
        if (status != GHN_OK)
            return status;
    }
    infer->shape = *infer->inputs[0];
    return GHN_OK;
}

const struct ghn_op ghn__op_roll = {
    "roll", GHN_ROLE_LAYER, 1, 1, roll_attrs, sizeof(roll_defaults), &roll_defaults, infer_roll};

/* --- channel_shuffle --- */

static const struct ghn_attr shuffle_attrs[] = {
    GHN_A_INT_REQUIRED(ghn_groups_attrs, groups, 1, GHN_DIM_MAX),
    GHN_A_END,
};
static const struct ghn_groups_attrs shuffle_defaults;

static enum ghn_status infer_channel_shuffle(struct ghn_infer *infer) {
    int64_t in[3], groups = infer->attrs->groups.groups;
    enum ghn_status status = ghn__infer_chw(infer, in);
    if (status != GHN_OK)
        return status;
    if (in[0] % groups)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "groups is %lld, which does not divide the input's %lld channels",
                               (long long)groups, (long long)in[0]);
    infer->shape = *infer->inputs[0];
    return GHN_OK;
}

const struct ghn_op ghn__op_channel_shuffle = {
    "channel_shuffle", GHN_ROLE_LAYER,       1, 1, shuffle_attrs, sizeof(shuffle_defaults),
    &shuffle_defaults, infer_channel_shuffle};
