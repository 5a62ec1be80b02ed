#include "nn/activation.h"

#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

enum { GRAIN = 16384 }; /* elements that are worth a thread */

static void forward_range(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    float parameter;
    enum ghn__act act = ghn__act_of(site->node, &parameter);
    ghn__nn_kernels()->activation(site->out.data, site->in[0].data, site->out.dtype, begin, end,
                                  (int)act, parameter);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(site->out.count, GRAIN, forward_range, site);
    return GHN_OK;
}

static void backward_range(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    float parameter;
    enum ghn__act act = ghn__act_of(site->node, &parameter);
    const void *x = site->keeps_output ? site->out.data : site->in[0].data;
    ghn__nn_kernels()->activation_gradient(site->din[0].data, site->add[0], site->dout.data, x,
                                           site->out.dtype, begin, end, (int)act, parameter);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        ghn__parallel(site->out.count, GRAIN, backward_range, site);
    return GHN_OK;
}

/* Where the output tells the slope as well as the input does: that is kept, because the next layer
 * mostly keeps it too. */
#define FROM_OUTPUT                                                                                \
    { .order = GHN__SAME, .keeps_output = true, .forward = forward, .backward = backward }
#define FROM_INPUT                                                                                 \
    { .order = GHN__SAME, .keeps_input = true, .forward = forward, .backward = backward }

const struct ghn__layer ghn__layer_relu = FROM_OUTPUT;
const struct ghn__layer ghn__layer_relu6 = FROM_OUTPUT;
const struct ghn__layer ghn__layer_leaky_relu = FROM_INPUT;
const struct ghn__layer ghn__layer_elu = FROM_INPUT;
const struct ghn__layer ghn__layer_silu = FROM_INPUT;
const struct ghn__layer ghn__layer_gelu = FROM_INPUT;
const struct ghn__layer ghn__layer_hardswish = FROM_INPUT;
const struct ghn__layer ghn__layer_hardsigmoid = FROM_INPUT;
const struct ghn__layer ghn__layer_sigmoid = FROM_INPUT;
const struct ghn__layer ghn__layer_tanh = FROM_INPUT;
