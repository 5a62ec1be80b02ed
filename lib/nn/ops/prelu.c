/* prelu: a slope for all channels, or one for each; channels are dimension 1. */
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    site->scratch_bytes =
        (size_t)(site->out.dims[0] * site->node->attrs.prelu.num_parameters) * sizeof(float);
    return GHN_OK;
}

/* Which slope the element at place `at` in memory has. */
static int64_t slope_of(const struct ghn__site *site, int64_t at) {
    if (site->node->attrs.prelu.num_parameters == 1)
        return 0;
    return at / site->out.strides[1] % site->out.dims[1];
}

static void forward_range(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    for (int64_t at = begin; at < end; at++) {
        float x = ghn__tensor_get(&site->in[0], at);
        ghn__tensor_put(&site->out, at, x > 0 ? x : x * site->params[0][slope_of(site, at)]);
    }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(site->out.count, 4096, forward_range, site);
    return GHN_OK;
}

/* Images [begin, end); each has its own sums for the slopes. */
static void backward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    int64_t slopes = site->node->attrs.prelu.num_parameters,
            size = site->out.count / site->out.dims[0];
    for (int64_t n = begin; n < end; n++) {
        float *sums = (float *)site->scratch + n * slopes;
        for (int64_t k = 0; k < slopes; k++)
            sums[k] = 0.0f;
        for (int64_t at = n * size; at < (n + 1) * size; at++) {
            float x = ghn__tensor_get(&site->in[0], at), d = ghn__tensor_get(&site->dout, at);
            int64_t slope = slope_of(site, at);
            if (!(x > 0))
                sums[slope] += d * x;
            if (site->din[0].data)
                ghn__tensor_put(&site->din[0], at,
                                (x > 0 ? d : d * site->params[0][slope]) +
                                    (site->add[0] ? ghn__tensor_get(&site->din[0], at) : 0.0f));
        }
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int64_t slopes = site->node->attrs.prelu.num_parameters;
    ghn__parallel(site->out.dims[0], 1, backward_images, site);
    for (int64_t k = 0; k < slopes; k++) {
        float sum = site->add_param[0] ? site->dparams[0][k] : 0.0f;
        for (int64_t n = 0; n < site->out.dims[0]; n++)
            sum += ((const float *)site->scratch)[n * slopes + k];
        site->dparams[0][k] = sum;
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_prelu = {.order = GHN__SAME,
                                            .keeps_input = true,
                                            .plan = plan,
                                            .forward = forward,
                                            .backward = backward};
