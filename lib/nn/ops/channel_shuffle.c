#include "nn/layer.h"

/* A tensor's channels as (outer, inner), in the order given by `swapped`: (N, a, b, H, W). */
static struct ghn__tensor grouped(const struct ghn__tensor *tensor, int64_t outer, bool swapped) {
    int64_t inner = tensor->dims[1] / outer;
    struct ghn__tensor ret = *tensor;
    ret.ndim = 5;
    for (int i = 4; i > 2; i--) {
        ret.dims[i] = tensor->dims[i - 1];
        ret.strides[i] = tensor->strides[i - 1];
    }
    ret.dims[1 + swapped] = outer;
    ret.strides[1 + swapped] = tensor->strides[1] * inner;
    ret.dims[2 - swapped] = inner;
    ret.strides[2 - swapped] = tensor->strides[1];
    return ret;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int64_t groups = site->node->attrs.groups.groups;
    struct ghn__tensor from = grouped(&site->in[0], groups, false),
                       to = grouped(&site->out, site->out.dims[1] / groups, true);
    ghn__copy(&to, &from, false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (!site->din[0].data)
        return GHN_OK;
    int64_t groups = site->node->attrs.groups.groups;
    struct ghn__tensor to = grouped(&site->din[0], groups, false),
                       from = grouped(&site->dout, site->out.dims[1] / groups, true);
    ghn__copy(&to, &from, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_channel_shuffle = {
    .order = GHN__CHANNELS_LAST, .forward = forward, .backward = backward};
