/* Values that come from no input: learned tensors, repeated for every image, and zeros. */
#include "nn/box.h"
#include "nn/kernels.h"

/* The parameter as one image of the output. */
static struct ghn__tensor learned(const struct ghn__site *site, void *data) {
    struct ghn__tensor tensor = site->out;
    tensor.dims[0] = 1;
    tensor.count = site->out.count / site->out.dims[0];
    ghn__strides(&tensor, GHN__ROW_MAJOR);
    tensor.dtype = GHN_F32;
    tensor.data = data;
    return tensor;
}

/* A learned image beside a channels-last one lies best as that does. */
static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__strides(&site->out, GHN__CHANNELS_LAST);
    return GHN_OK;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct ghn__tensor from = learned(site, (void *)site->params[0]);
    for (int64_t n = 0; n < site->out.dims[0]; n++) {
        struct ghn__tensor image = ghn__box(&site->out, 0, n, 1, 1);
        ghn__copy(&image, &from, false);
    }
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct ghn__tensor to = learned(site, site->dparams[0]);
    for (int64_t n = 0; n < site->out.dims[0]; n++) {
        struct ghn__tensor image = ghn__box(&site->dout, 0, n, 1, 1);
        ghn__copy(&to, &image, n > 0 || site->add_param[0]);
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_pos_enc = {
    .order = GHN__SAME, .plan = plan, .forward = forward, .backward = backward};
const struct ghn__layer ghn__layer_parameter = {
    .order = GHN__SAME, .plan = plan, .forward = forward, .backward = backward};

static enum ghn_status zeros_forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__zero(&site->out);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_zeros_like = {.order = GHN__SAME, .forward = zeros_forward};
