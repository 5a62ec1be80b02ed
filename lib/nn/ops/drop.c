/* dropout and stochastic_depth. What was kept is drawn again in the backward pass rather than
 * stored. */
#include <string.h>

#include "arch/op.h"
#include "nn/box.h"
#include "nn/kernels.h"
#include "nn/parallel.h"
#include "nn/random.h"

/* Outside training, and with nothing to drop, the output is the input. */
static bool view(struct ghn__site *site) {
    if (site->mode == GHN_MODE_TRAIN && site->node->attrs.dropout.p > 0)
        return false;
    for (int i = 0; i < site->out.ndim; i++)
        site->out.strides[i] = site->in[0].strides[i];
    return true;
}

struct pass {
    const struct ghn__site *site;
    const struct ghn__tensor *to, *from;
    bool add;
};

/* What element i is multiplied by. */
static float factor(const struct ghn__site *site, uint64_t i) {
    double p = site->node->attrs.dropout.p;
    return ghn__drop_keeps(p, site->seed, ghn__drop_stream(site->step, site->index), i)
               ? (float)(1.0 / (1.0 - p))
               : 0.0f;
}

/* Elements [begin, end), counted row-major. */
static void drop_elements(void *context, int64_t begin, int64_t end) {
    const struct pass *pass = context;
    size_t size = ghn_dtype_size(pass->to->dtype);
    for (int64_t i = begin; i < end; i++) {
        int64_t rest = i, at = 0;
        for (int k = pass->to->ndim - 1; k >= 0; k--) {
            at += rest % pass->to->dims[k] * pass->to->strides[k];
            rest /= pass->to->dims[k];
        }
        char *to = (char *)pass->to->data + (size_t)at * size;
        float x, before = 0.0f;
        ghn_dtype_to_f32(pass->from->dtype, &x, (const char *)pass->from->data + (size_t)at * size,
                         1);
        if (pass->add)
            ghn_dtype_to_f32(pass->to->dtype, &before, to, 1);
        float keep = factor(pass->site, (uint64_t)i);
        x = (keep == 0.0f ? 0.0f : keep * x) + before;
        ghn_dtype_from_f32(pass->to->dtype, to, &x, 1);
    }
}

/* Images [begin, end). */
static void drop_images(void *context, int64_t begin, int64_t end) {
    const struct pass *pass = context;
    int64_t n = pass->to->count / pass->to->dims[0];
    for (int64_t i = begin; i < end; i++) {
        struct ghn__tensor to = ghn__box(pass->to, 0, i, 1, 1),
                           from = ghn__box(pass->from, 0, i, 1, 1);
        float keep =
            factor(pass->site, pass->site->node->attrs.dropout.mode == 1 ? (uint64_t)i : 0);
        if (keep != 0.0f)
            ghn__nn_kernels()->multiply(to.data, pass->add, from.data, NULL, keep, to.dtype, 0, n);
        else if (!pass->add)
            memset(to.data, 0, (size_t)n * ghn_dtype_size(to.dtype));
    }
}

static void run(const struct ghn__site *site, const struct ghn__tensor *to,
                const struct ghn__tensor *from, bool add) {
    struct pass pass = {site, to, from, add};
    if (strcmp(site->node->op->name, "dropout") == 0)
        ghn__parallel(to->count, 1024, drop_elements, &pass);
    else
        ghn__parallel(to->dims[0], 1, drop_images, &pass);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    run(site, &site->out, &site->in[0], false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        run(site, &site->din[0], &site->dout, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_dropout = {
    .order = GHN__SAME, .view = view, .forward = forward, .backward = backward};
const struct ghn__layer ghn__layer_stochastic_depth = {
    .order = GHN__SAME, .view = view, .forward = forward, .backward = backward};
