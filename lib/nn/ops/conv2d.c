#include "base/mem.h"
#include "nn/depthwise.h"
#include "nn/dnnl.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/weight_gradient.h"

/* A depthwise convolution runs on our kernels, any other on oneDNN's, but for the gradient by its
 * weights where ours is faster. */
struct state {
    struct ghn__conv *conv;               /* with or without ... */
    struct ghn__weight_gradient *weights; /* ... this; or */
    struct ghn__depthwise *depthwise;
};

static struct ghn__conv_spec spec_of(const struct ghn__site *site) {
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
    return spec;
}

static void free_state(struct state *state) {
    ghn__conv_free(state->conv);
    ghn__weight_gradient_free(state->weights);
    ghn__depthwise_free(state->depthwise);
    ghn_free(state);
}

static enum ghn_status make(struct ghn__conv_spec *spec, struct state *state,
                            size_t *ret_scratch_bytes, struct ghn_err *err) {
    enum ghn_status status = GHN_OK;
    if (ghn__is_depthwise(spec)) {
        status = ghn__depthwise_new(spec, ghn__nn_kernels(), &state->depthwise, err);
        *ret_scratch_bytes = status ? 0 : ghn__depthwise_scratch_bytes(state->depthwise);
        return status;
    }
    size_t ours = 0;
    if (ghn__weight_gradient_suits(spec)) {
        status = ghn__weight_gradient_new(spec, ghn__pair_kernels(), &state->weights, err);
        spec->no_weights = true;
        ours = status ? 0 : ghn__weight_gradient_scratch_bytes(state->weights);
    }
    if (!status)
        status = ghn__conv_new(spec, &state->conv, err);
    size_t theirs = status ? 0 : ghn__conv_scratch_bytes(state->conv);
    *ret_scratch_bytes = ours > theirs ? ours : theirs;
    return status;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    struct ghn__conv_spec spec = spec_of(site);
    struct state *state = ghn_calloc(1, sizeof *state);
    if (!state)
        return ghn_fail_memory(err);
    size_t scratch_bytes;
    enum ghn_status status = make(&spec, state, &scratch_bytes, err);
    if (status) {
        free_state(state);
        return status;
    }
    site->cannot_add = !state->depthwise;
    site->scratch_bytes = scratch_bytes;
    site->state = state;
    return GHN_OK;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    const struct state *state = site->state;
    const float *bias = site->node->attrs.conv2d.bias ? site->params[1] : NULL;
    if (!state->depthwise)
        return ghn__conv_forward(state->conv, site->in[0].data, site->params[0], bias,
                                 site->out.data, site->scratch, err);
    ghn__depthwise_forward(state->depthwise, site->in[0].data, site->params[0], bias,
                           site->out.data, site->scratch);
    return GHN_OK;
}

/* dweights and dbias (if there is one), overwritten. */
static enum ghn_status weigh(struct ghn__site *site, float *dweights, float *dbias,
                             struct ghn_err *err) {
    const struct state *state = site->state;
    if (!state->weights)
        return ghn__conv_backward_weights(state->conv, site->in[0].data, site->dout.data, dweights,
                                          dbias, site->scratch, err);
    ghn__weight_gradient_run(state->weights, site->in[0].data, site->dout.data, dweights,
                             site->scratch);
    return GHN_OK;
}

/* The gradient by parameters that an earlier step has written to: made apart, then added. */
static enum ghn_status add_weights(struct ghn__site *site, size_t n, size_t n_bias,
                                   struct ghn_err *err) {
    float *apart = ghn_calloc(n + n_bias, sizeof *apart);
    if (!apart)
        return ghn_fail_memory(err);
    enum ghn_status status = weigh(site, apart, apart + n, err);
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
    return weigh(site, site->dparams[0], attrs->bias ? site->dparams[1] : NULL, err);
}

static void backward_depthwise(struct ghn__site *site, const struct ghn__depthwise *depthwise) {
    struct ghn__into dweights = {site->dparams[0], site->add_param[0]}, dbias = {0};
    if (site->node->attrs.conv2d.bias)
        dbias = (struct ghn__into){site->dparams[1], site->add_param[1]};
    ghn__depthwise_backward_weights(depthwise, site->in[0].data, site->dout.data, dweights, dbias,
                                    site->scratch);
    if (site->din[0].data)
        ghn__depthwise_backward_data(depthwise, site->dout.data, site->params[0], site->din[0].data,
                                     site->add[0], site->scratch);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    const struct state *state = site->state;
    if (state->depthwise) {
        backward_depthwise(site, state->depthwise);
        return GHN_OK;
    }
    enum ghn_status status = backward_weights(site, err);
    if (status || !site->din[0].data)
        return status;
    void *into = site->spare ? site->spare : site->din[0].data;
    return ghn__conv_backward_data(state->conv, site->dout.data, site->params[0], into,
                                   site->scratch, err);
}

static void done(struct ghn__site *site) {
    free_state(site->state);
}

const struct ghn__layer ghn__layer_conv2d = {.order = GHN__CHANNELS_LAST,
                                             .keeps_input = true,
                                             .cannot_add = true,
                                             .plan = plan,
                                             .forward = forward,
                                             .backward = backward,
                                             .done = done};
