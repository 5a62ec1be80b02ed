#include "base/mem.h"
#include "nn/dnnl.h"
#include "nn/kernels.h"
#include "nn/layer.h"

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    const struct ghn_conv2d_attrs *attrs = &site->node->attrs.conv2d;
    const int64_t *in = site->in[0].dims, *out = site->out.dims;
    struct ghn__conv_spec spec = {.batch = in[0],
                                  .in_channels = in[1],
                                  .in = {in[2], in[3]},
                                  .out_channels = out[1],
                                  .out = {out[2], out[3]},
                                  .groups = attrs->groups,
                                  .dtype = site->in[0].dtype,
                                  .bias = attrs->bias,
                                  .training = site->mode == GHN_MODE_TRAIN,
                                  .data_gradient = site->input_gradient};
    for (int i = 0; i < 2; i++) {
        spec.kernel[i] = attrs->kernel[i];
        spec.stride[i] = attrs->stride[i];
        spec.padding[i] = attrs->padding[i];
        spec.dilation[i] = attrs->dilation[i];
    }
    struct ghn__conv *conv;
    enum ghn_status status = ghn__conv_new(&spec, &conv, err);
    if (status)
        return status;
    site->scratch_bytes = ghn__conv_scratch_bytes(conv);
    site->state = conv;
    return GHN_OK;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    const float *bias = site->node->attrs.conv2d.bias ? site->params[1] : NULL;
    return ghn__conv_forward(site->state, site->in[0].data, site->params[0], bias, site->out.data,
                             site->scratch, err);
}

/* The gradient by parameters that an earlier step has written to: made apart, then added. */
static enum ghn_status add_weights(struct ghn__site *site, size_t n, size_t n_bias,
                                   struct ghn_err *err) {
    float *apart = ghn_calloc(n + n_bias, sizeof *apart);
    if (!apart)
        return ghn_fail_memory(err);
    enum ghn_status status = ghn__conv_backward_weights(
        site->state, site->in[0].data, site->dout.data, apart, apart + n, site->scratch, err);
    const struct ghn__nn_kernels *kernels = ghn__nn_kernels();
    if (!status)
        kernels->copy(site->dparams[0], GHN_F32, apart, GHN_F32, (int64_t)n, site->add_param[0]);
    if (!status && n_bias > 0)
        kernels->copy(site->dparams[1], GHN_F32, apart + n, GHN_F32, (int64_t)n_bias,
                      site->add_param[1]);
    ghn_free(apart);
    return status;
}

static enum ghn_status backward_weights(struct ghn__site *site, struct ghn_err *err) {
    const struct ghn_conv2d_attrs *attrs = &site->node->attrs.conv2d;
    int64_t out = attrs->out_channels,
            n = out * (site->in[0].dims[1] / attrs->groups) * attrs->kernel[0] * attrs->kernel[1];
    if (site->add_param[0] || (attrs->bias && site->add_param[1]))
        return add_weights(site, (size_t)n, attrs->bias ? (size_t)out : 0, err);
    return ghn__conv_backward_weights(site->state, site->in[0].data, site->dout.data,
                                      site->dparams[0], attrs->bias ? site->dparams[1] : NULL,
                                      site->scratch, err);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    enum ghn_status status = backward_weights(site, err);
    if (status || !site->din[0].data)
        return status;
    void *into = site->spare ? site->spare : site->din[0].data;
    return ghn__conv_backward_data(site->state, site->dout.data, site->params[0], into,
                                   site->scratch, err);
}

static void done(struct ghn__site *site) {
    ghn__conv_free(site->state);
}

const struct ghn__layer ghn__layer_conv2d = {.order = GHN__CHANNELS_LAST,
                                             .keeps_input = true,
                                             .cannot_add = true,
                                             .plan = plan,
                                             .forward = forward,
                                             .backward = backward,
                                             .done = done};
