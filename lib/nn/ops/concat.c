#include "nn/box.h"

/* The part of the output, or of its gradient, that input i makes; *at is where it begins, and moves
 * on. */
static struct ghn__tensor part(const struct ghn__site *site, const struct ghn__tensor *whole, int i,
                               int64_t *at) {
    int dim = ghn__dim(whole, site->node->attrs.concat.dim);
    int64_t n = site->in[i].dims[dim];
    struct ghn__tensor box = ghn__box(whole, dim, *at, n, 1);
    *at += n;
    return box;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int64_t at = 0;
    for (int i = 0; i < site->n_inputs; i++) {
        struct ghn__tensor box = part(site, &site->out, i, &at);
        ghn__copy(&box, &site->in[i], false);
    }
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int64_t at = 0;
    for (int i = 0; i < site->n_inputs; i++) {
        struct ghn__tensor box = part(site, &site->dout, i, &at);
        if (site->din[i].data)
            ghn__copy(&site->din[i], &box, site->add[i]);
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_concat = {
    .order = GHN__SAME, .forward = forward, .backward = backward};
