/* dropout and stochastic_depth: at work in training only. */
#include "nn/random.h"
#include "nn/reference/op.h"

/* What element i of a tensor whose images have `size` elements is multiplied by: 0, or
 * 1 / (1 - p). */
typedef double factor_of(const struct ghn__reference_site *site, int64_t i, int64_t size);

static double factor(const struct ghn__reference_site *site, int64_t draw) {
    double p = site->node->attrs.dropout.p;
    if (site->mode != GHN_MODE_TRAIN)
        return 1;
    uint64_t stream = ghn__drop_stream(site->step, site->index);
    return ghn__drop_keeps(p, site->seed, stream, (uint64_t)draw) ? 1 / (1 - p) : 0;
}

static double factor_of_element(const struct ghn__reference_site *site, int64_t i, int64_t size) {
    (void)size;
    return factor(site, i);
}

static double factor_of_image(const struct ghn__reference_site *site, int64_t i, int64_t size) {
    bool row = site->node->attrs.dropout.mode == 1;
    return factor(site, row ? i / size : 0);
}

static void forward(const struct ghn__reference_site *site, factor_of *of) {
    int64_t size = site->out->count / site->out->dims[0];
    for (int64_t i = 0; i < site->out->count; i++)
        site->out->data[i] = site->in[0]->data[i] * of(site, i, size);
}

static void backward(const struct ghn__reference_site *site, factor_of *of) {
    int64_t size = site->out->count / site->out->dims[0];
    for (int64_t i = 0; i < site->out->count; i++)
        site->in[0]->gradient[i] += site->out->gradient[i] * of(site, i, size);
}

static void dropout_forward(const struct ghn__reference_site *site) {
    forward(site, factor_of_element);
}

static void dropout_backward(const struct ghn__reference_site *site) {
    backward(site, factor_of_element);
}

const struct ghn__reference_op ghn__reference_op_dropout = {.forward = dropout_forward,
                                                            .backward = dropout_backward};

static void stochastic_depth_forward(const struct ghn__reference_site *site) {
    forward(site, factor_of_image);
}

static void stochastic_depth_backward(const struct ghn__reference_site *site) {
    backward(site, factor_of_image);
}

const struct ghn__reference_op ghn__reference_op_stochastic_depth = {
    .forward = stochastic_depth_forward, .backward = stochastic_depth_backward};
