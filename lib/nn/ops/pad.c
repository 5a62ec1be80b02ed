#include "nn/box.h"
#include "nn/kernels.h"

/* The part of the padded tensor that is the input. */
static struct ghn__tensor inside(const struct ghn__site *site, const struct ghn__tensor *padded) {
    const struct ghn_ints *pad = &site->node->attrs.pad.pad;
    struct ghn__tensor box = *padded;
    for (int i = 0; i < pad->n / 2; i++) {
        int dim = padded->ndim - 1 - i;
        box = ghn__box(&box, dim, pad->at[2 * i], site->in[0].dims[dim], 1);
    }
    return box;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__fill(&site->out, (float)site->node->attrs.pad.value);
    struct ghn__tensor box = inside(site, &site->out);
    ghn__copy(&box, &site->in[0], false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct ghn__tensor box = inside(site, &site->dout);
    if (site->din[0].data)
        ghn__copy(&site->din[0], &box, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_pad = {
    .order = GHN__SAME, .forward = forward, .backward = backward};
