#include "nn/box.h"
#include "nn/kernels.h"

/* The elements of the input that remain. */
static struct ghn__tensor chosen(const struct ghn__site *site, const struct ghn__tensor *whole) {
    const struct ghn_slice_attrs *attrs = &site->node->attrs.slice;
    int dim = ghn__dim(whole, attrs->dim);
    int64_t start = attrs->start < 0 ? attrs->start + whole->dims[dim] : attrs->start;
    return ghn__box(whole, dim, start < 0 ? 0 : start, site->out.dims[dim], attrs->step);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct ghn__tensor box = chosen(site, &site->in[0]);
    ghn__copy(&site->out, &box, false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (!site->din[0].data)
        return GHN_OK;
    if (!site->add[0])
        ghn__zero(&site->din[0]);
    struct ghn__tensor box = chosen(site, &site->din[0]);
    ghn__copy(&box, &site->dout, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_slice = {
    .order = GHN__SAME, .forward = forward, .backward = backward};
