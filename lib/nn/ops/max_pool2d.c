#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"
#include "nn/pool.h"

static struct ghn__window window_of(const struct ghn__site *site) {
    const struct ghn_pool2d_attrs *attrs = &site->node->attrs.pool2d;
    struct ghn__window window = {.channels = site->in[0].dims[1]};
    for (int i = 0; i < 2; i++) {
        window.in[i] = site->in[0].dims[2 + i];
        window.out[i] = site->out.dims[2 + i];
        window.kernel[i] = attrs->kernel[i];
        window.stride[i] = attrs->stride[i] ? attrs->stride[i] : attrs->kernel[i];
        window.padding[i] = attrs->padding[i];
        window.dilation[i] = attrs->dilation[i];
    }
    return window;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    const int64_t *kernel = site->node->attrs.pool2d.kernel;
    if (kernel[0] * kernel[1] > 32768)
        return ghn_fail(err, GHN_OUT_OF_RANGE, site->node->name,
                        "a window of %lld x %lld is too large to be run; the limit is 32768 places",
                        (long long)kernel[0], (long long)kernel[1]);
    if (site->mode == GHN_MODE_TRAIN)
        site->saved_bytes = (size_t)site->out.count * sizeof(uint16_t);
    return GHN_OK;
}

static uint16_t *places(const struct ghn__site *site, int64_t n) {
    return site->saved ? (uint16_t *)site->saved + n * (site->out.count / site->out.dims[0]) : NULL;
}

static void forward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    struct ghn__window window = window_of(site);
    for (int64_t n = begin; n < end; n++)
        ghn__nn_kernels()->max_pool(ghn__image(&site->out, n), places(site, n),
                                    ghn__image(&site->in[0], n), site->out.dtype, &window);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(site->out.dims[0], 1, forward_images, site);
    return GHN_OK;
}

static void backward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    struct ghn__window window = window_of(site);
    for (int64_t n = begin; n < end; n++)
        ghn__nn_kernels()->max_pool_gradient(ghn__image(&site->din[0], n), site->add[0],
                                             ghn__image(&site->dout, n), places(site, n),
                                             site->out.dtype, &window);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        ghn__parallel(site->out.dims[0], 1, backward_images, site);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_max_pool2d = {
    .order = GHN__CHANNELS_LAST, .plan = plan, .forward = forward, .backward = backward};
