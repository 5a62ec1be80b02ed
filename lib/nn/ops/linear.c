#include "nn/dense.h"
#include "nn/layer.h"

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    struct ghn__dense_spec spec = {.in = site->in[0].dims[site->in[0].ndim - 1],
                                   .out = site->out.dims[site->out.ndim - 1],
                                   .dtype = site->in[0].dtype,
                                   .bias = site->node->attrs.linear.bias,
                                   .training = site->mode == GHN_MODE_TRAIN,
                                   .input_gradient = site->input_gradient};
    spec.rows = site->out.count / spec.out;
    struct ghn__dense *dense;
    enum ghn_status status = ghn__dense_new(&spec, &dense, err);
    if (status)
        return status;
    site->scratch_bytes = ghn__dense_scratch_bytes(dense);
    site->state = dense;
    return GHN_OK;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    const float *bias = site->node->attrs.linear.bias ? site->params[1] : NULL;
    return ghn__dense_forward(site->state, site->in[0].data, site->params[0], bias, site->out.data,
                              site->scratch, err);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    bool bias = site->node->attrs.linear.bias;
    struct ghn__dense_gradient into = {.dx = site->spare ? site->spare : site->din[0].data,
                                       .dweight = site->dparams[0],
                                       .dbias = bias ? site->dparams[1] : NULL,
                                       .add_weight = site->add_param[0],
                                       .add_bias = bias && site->add_param[1]};
    return ghn__dense_backward(site->state, site->in[0].data, site->dout.data, site->params[0],
                               &into, site->scratch, err);
}

static void done(struct ghn__site *site) {
    ghn__dense_free(site->state);
}

const struct ghn__layer ghn__layer_linear = {.order = GHN__ROW_MAJOR,
                                             .keeps_input = true,
                                             .cannot_add = true,
                                             .plan = plan,
                                             .forward = forward,
                                             .backward = backward,
                                             .done = done};
