/* batch_norm2d, layer_norm, group_norm: y = (x - mean) / sqrt(variance + eps) weight + bias. */
#include <math.h>

#include "nn/reference/op.h"

/* The elements that one mean and variance are of: `outer` runs of `inner` elements, the runs
 * outer_stride apart. */
struct set {
    int64_t begin, outer, outer_stride, inner;
};

static int64_t element(const struct set *set, int64_t i) {
    return set->begin + i / set->inner * set->outer_stride + i % set->inner;
}

/* Mean, and variance divided by the count, of the data at x. */
static void moments(const double *x, const struct set *set, double *mean, double *variance) {
    int64_t n = set->outer * set->inner;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[element(set, i)];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = x[element(set, i)] - *mean;
        squares += d * d;
    }
    *variance = squares / (double)n;
}

/* The weights of element i of a tensor: parameters[i / inner % n]; without parameters 1 and 0. */
struct affine {
    bool on;
    int64_t inner, n;
};

static int64_t affine_at(struct affine affine, int64_t i) {
    return i / affine.inner % affine.n;
}

static void normalise(const struct ghn__reference_site *site, const struct set *set,
                      struct affine affine, double mean, double deviation) {
    for (int64_t k = 0; k < set->outer * set->inner; k++) {
        int64_t i = element(set, k), p = affine_at(affine, i);
        double y = (site->in[0]->data[i] - mean) / deviation;
        site->out->data[i] = affine.on ? y * site->params[0][p] + site->params[1][p] : y;
    }
}

/* With `moving` the mean and deviation are the set's own, and depend on the input. */
static void normalise_backward(const struct ghn__reference_site *site, const struct set *set,
                               struct affine affine, double mean, double deviation, bool moving) {
    int64_t n = set->outer * set->inner;
    double sum = 0, product = 0; /* of the gradient, and of it with the normalised value */
    for (int64_t k = 0; k < n; k++) {
        int64_t i = element(set, k), p = affine_at(affine, i);
        double dy = site->out->gradient[i], y = (site->in[0]->data[i] - mean) / deviation;
        if (affine.on) {
            site->dparams[0][p] += dy * y;
            site->dparams[1][p] += dy;
            dy *= site->params[0][p];
        }
        sum += dy;
        product += dy * y;
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t i = element(set, k), p = affine_at(affine, i);
        double dy = site->out->gradient[i], y = (site->in[0]->data[i] - mean) / deviation;
        if (affine.on)
            dy *= site->params[0][p];
        if (moving)
            dy -= (sum + y * product) / (double)n;
        site->in[0]->gradient[i] += dy / deviation;
    }
}

/* --- batch_norm2d: a set for each channel --- */

static bool takes_batch(const struct ghn__reference_site *site) {
    return site->mode != GHN_MODE_EVAL || !site->statistics;
}

static struct set channel_set(const struct ghn__reference_site *site, int64_t c) {
    const struct ghn__reference_tensor *x = site->in[0];
    int64_t inner = ghn__reference_extent(x, 2, x->ndim);
    return (struct set){c * inner, x->dims[0], x->dims[1] * inner, inner};
}

static struct affine channel_affine(const struct ghn__reference_site *site, bool on) {
    const struct ghn__reference_tensor *x = site->in[0];
    return (struct affine){on, ghn__reference_extent(x, 2, x->ndim), x->dims[1]};
}

/* The mean and variance that normalise channel c. */
static void channel_moments(const struct ghn__reference_site *site, int64_t c, double *mean,
                            double *variance) {
    struct set set = channel_set(site, c);
    if (takes_batch(site)) {
        moments(site->in[0]->data, &set, mean, variance);
    } else {
        *mean = site->statistics[c];
        *variance = site->statistics[site->in[0]->dims[1] + c];
    }
}

/* PyTorch's running variance is divided by n - 1, unlike the one that normalises. */
static void update(const struct ghn__reference_site *site, int64_t c, double mean,
                   double variance) {
    double momentum = site->node->attrs.batch_norm2d.momentum;
    int64_t channels = site->in[0]->dims[1], n = site->in[0]->count / channels;
    double *running = site->statistics + c;
    double unbiased = n > 1 ? variance * (double)n / (double)(n - 1) : variance;
    running[0] += momentum * (mean - running[0]);
    running[channels] += momentum * (unbiased - running[channels]);
}

static void batch_norm2d_forward(const struct ghn__reference_site *site) {
    const struct ghn_batch_norm2d_attrs *a = &site->node->attrs.batch_norm2d;
    for (int64_t c = 0; c < site->in[0]->dims[1]; c++) {
        struct set set = channel_set(site, c);
        double mean, variance;
        channel_moments(site, c, &mean, &variance);
        normalise(site, &set, channel_affine(site, a->affine), mean, sqrt(variance + a->eps));
        if (site->mode == GHN_MODE_TRAIN && site->statistics)
            update(site, c, mean, variance);
    }
}

static void batch_norm2d_backward(const struct ghn__reference_site *site) {
    const struct ghn_batch_norm2d_attrs *a = &site->node->attrs.batch_norm2d;
    for (int64_t c = 0; c < site->in[0]->dims[1]; c++) {
        struct set set = channel_set(site, c);
        double mean, variance;
        channel_moments(site, c, &mean, &variance);
        normalise_backward(site, &set, channel_affine(site, a->affine), mean,
                           sqrt(variance + a->eps), takes_batch(site));
    }
}

const struct ghn__reference_op ghn__reference_op_batch_norm2d = {.forward = batch_norm2d_forward,
                                                                 .backward = batch_norm2d_backward};

/* --- layer_norm, group_norm: sets of n elements that follow each other --- */

static void normalise_runs(const struct ghn__reference_site *site, int64_t n, struct affine affine,
                           double eps) {
    for (int64_t i = 0; i < site->out->count; i += n) {
        struct set set = {i, 1, n, n};
        double mean, variance;
        moments(site->in[0]->data, &set, &mean, &variance);
        normalise(site, &set, affine, mean, sqrt(variance + eps));
    }
}

static void normalise_runs_backward(const struct ghn__reference_site *site, int64_t n,
                                    struct affine affine, double eps) {
    for (int64_t i = 0; i < site->out->count; i += n) {
        struct set set = {i, 1, n, n};
        double mean, variance;
        moments(site->in[0]->data, &set, &mean, &variance);
        normalise_backward(site, &set, affine, mean, sqrt(variance + eps), true);
    }
}

static int64_t layer_size(const struct ghn__reference_site *site) {
    int n = site->node->attrs.layer_norm.normalized_shape.n;
    int ndim = site->in[0]->ndim;
    return ghn__reference_extent(site->in[0], ndim - (n ? n : 1), ndim);
}

static void layer_norm_forward(const struct ghn__reference_site *site) {
    const struct ghn_layer_norm_attrs *a = &site->node->attrs.layer_norm;
    int64_t n = layer_size(site);
    normalise_runs(site, n, (struct affine){a->elementwise_affine, 1, n}, a->eps);
}

static void layer_norm_backward(const struct ghn__reference_site *site) {
    const struct ghn_layer_norm_attrs *a = &site->node->attrs.layer_norm;
    int64_t n = layer_size(site);
    normalise_runs_backward(site, n, (struct affine){a->elementwise_affine, 1, n}, a->eps);
}

const struct ghn__reference_op ghn__reference_op_layer_norm = {.forward = layer_norm_forward,
                                                               .backward = layer_norm_backward};

static int64_t group_size(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0];
    return ghn__reference_extent(x, 1, x->ndim) / site->node->attrs.group_norm.num_groups;
}

static void group_norm_forward(const struct ghn__reference_site *site) {
    const struct ghn_group_norm_attrs *a = &site->node->attrs.group_norm;
    normalise_runs(site, group_size(site), channel_affine(site, a->affine), a->eps);
}

static void group_norm_backward(const struct ghn__reference_site *site) {
    const struct ghn_group_norm_attrs *a = &site->node->attrs.group_norm;
    normalise_runs_backward(site, group_size(site), channel_affine(site, a->affine), a->eps);
}

const struct ghn__reference_op ghn__reference_op_group_norm = {.forward = group_norm_forward,
                                                               .backward = group_norm_backward};
