/* conv2d (torch.nn.Conv2d): (C, H, W) -> (out_channels, H', W'); weight (out_channels, C / groups,
 * kh, kw). */
#include <math.h>

#include "arch/op.h"

static const struct ghn_attr attrs[] = {
    GHN_A_INT_REQUIRED(ghn_conv2d_attrs, out_channels, 1, GHN_DIM_MAX),
    GHN_A_PAIR_REQUIRED(ghn_conv2d_attrs, kernel, 1, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_conv2d_attrs, stride, 1, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_conv2d_attrs, padding, 0, GHN_WINDOW_MAX),
    GHN_A_PAIR(ghn_conv2d_attrs, dilation, 1, GHN_WINDOW_MAX),
    GHN_A_INT(ghn_conv2d_attrs, groups, 1, GHN_DIM_MAX),
    GHN_A_BOOL(ghn_conv2d_attrs, bias),
    GHN_A_INT(ghn_conv2d_attrs, in_channels, 0, GHN_DIM_MAX),
    GHN_A_END,
};

static const struct ghn_conv2d_attrs defaults = {
    .stride = {1, 1}, .padding = {0, 0}, .dilation = {1, 1}, .groups = 1, .bias = true};

/* ghn2-spec B1: any grouped convolution is a sep_conv, unless it is dilated on both axes. */
static enum ghn_emit_kind primitive_of(const struct ghn_conv2d_attrs *a) {
    if (a->groups == 1)
        return GHN_EMIT_CONV;
    return a->dilation[0] > 1 && a->dilation[1] > 1 ? GHN_EMIT_DIL_CONV : GHN_EMIT_SEP_CONV;
}

static enum ghn_status check_channels(struct ghn_infer *infer, int64_t in) {
    const struct ghn_conv2d_attrs *a = &infer->attrs->conv2d;
    if (a->in_channels && a->in_channels != in)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "in_channels is %lld, but the input has %lld channels",
                               (long long)a->in_channels, (long long)in);
    if (in % a->groups || a->out_channels % a->groups)
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "groups is %lld, which must divide the %lld input channels and the "
                               "%lld output channels",
                               (long long)a->groups, (long long)in, (long long)a->out_channels);
    return GHN_OK;
}

static enum ghn_status infer_conv2d(struct ghn_infer *infer) {
    const struct ghn_conv2d_attrs *a = &infer->attrs->conv2d;
    int64_t in[3], out[2];
    enum ghn_status status = ghn__infer_chw(infer, in);
    if (status == GHN_OK)
        status = check_channels(infer, in[0]);
    for (int i = 0; i < 2 && status == GHN_OK; i++)
        status = ghn__infer_window(infer, i, in[1 + i], a->kernel[i], a->stride[i], a->padding[i],
                                   a->dilation[i], false, &out[i]);
    if (status != GHN_OK)
        return status;
    struct ghn_shape weight =
        GHN_SHAPE(a->out_channels, in[0] / a->groups, a->kernel[0], a->kernel[1]);
    /* PyTorch: kaiming_uniform_ with a = sqrt(5), which is U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)),
     * as for the bias. */
    double fan_in = (double)weight.dim[1] * (double)weight.dim[2] * (double)weight.dim[3];
    struct ghn_init init = {GHN_INIT_UNIFORM, 1 / sqrt(fan_in)};
    int param = ghn__infer_param(infer, "weight", GHN_PARAM_WEIGHT, init, &weight);
    ghn__infer_emit(infer, primitive_of(a), param);
    if (a->bias)
        ghn__infer_bias(infer, "bias", a->out_channels, init.a);
    infer->shape = GHN_SHAPE(a->out_channels, out[0], out[1]);
    infer->flops = fan_in * ghn__shape_count(&infer->shape);
    return GHN_OK;
}

const struct ghn_op ghn__op_conv2d = {"conv2d", GHN_ROLE_LAYER,   1,         1,
                                      attrs,    sizeof(defaults), &defaults, infer_conv2d};
