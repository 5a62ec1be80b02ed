/* group_norm: no network of torchvision's classification models has it, so this is plain code, an
 * image at a time. */
#include <math.h>

#include "base/mem.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

/* A site, seen image by image: elements (pixels, channels) in memory. */
struct geometry {
    int64_t channels, pixels, groups, width; /* width: channels of a group */
    bool affine;
};

static struct geometry geometry_of(const struct ghn__site *site) {
    const struct ghn_group_norm_attrs *attrs = &site->node->attrs.group_norm;
    int64_t channels = site->out.dims[1];
    return (struct geometry){channels, site->out.count / site->out.dims[0] / channels,
                             attrs->num_groups, channels / attrs->num_groups, attrs->affine};
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct geometry g = geometry_of(site);
    size_t batch = (size_t)site->out.dims[0];
    site->saved_bytes = batch * (size_t)g.groups * 2 * sizeof(float);
    site->scratch_bytes = batch * (size_t)g.channels * 2 * sizeof(float);
    return GHN_OK;
}

/* Mean and reciprocal deviation of group `group` of image n. */
static void statistics(const struct ghn__site *site, const struct geometry *g, int64_t n,
                       int64_t group, float *ret) {
    double sum = 0, square = 0, count = (double)(g->pixels * g->width);
    int64_t image = n * g->pixels * g->channels + group * g->width;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->width; c++)
            sum += ghn__tensor_get(&site->in[0], image + p * g->channels + c);
    double mean = sum / count;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->width; c++) {
            double d = ghn__tensor_get(&site->in[0], image + p * g->channels + c) - mean;
            square += d * d;
        }
    ret[0] = (float)mean;
    ret[1] = (float)(1.0 / sqrt(square / count + site->node->attrs.group_norm.eps));
}

static void forward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    struct geometry g = geometry_of(site);
    for (int64_t n = begin; n < end; n++) {
        float *saved = (float *)site->saved + 2 * n * g.groups;
        for (int64_t group = 0; group < g.groups; group++)
            statistics(site, &g, n, group, saved + 2 * group);
        for (int64_t p = 0; p < g.pixels; p++)
            for (int64_t c = 0; c < g.channels; c++) {
                int64_t at = (n * g.pixels + p) * g.channels + c;
                const float *s = saved + 2 * (c / g.width);
                float x = (ghn__tensor_get(&site->in[0], at) - s[0]) * s[1];
                ghn__tensor_put(&site->out, at,
                                g.affine ? x * site->params[0][c] + site->params[1][c] : x);
            }
    }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(site->out.dims[0], 1, forward_images, site);
    return GHN_OK;
}

/* Per channel of image n: sums of dy and of dy xhat, into sums (2, channels). */
static void channel_sums(const struct ghn__site *site, const struct geometry *g, int64_t n,
                         const float *saved, float *sums) {
    for (int64_t k = 0; k < 2 * g->channels; k++)
        sums[k] = 0.0f;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = 0; c < g->channels; c++) {
            int64_t at = (n * g->pixels + p) * g->channels + c;
            const float *s = saved + 2 * (c / g->width);
            float d = ghn__tensor_get(&site->dout, at);
            sums[c] += d;
            sums[g->channels + c] += d * (ghn__tensor_get(&site->in[0], at) - s[0]) * s[1];
        }
}

static void input_gradient(const struct ghn__site *site, const struct geometry *g, int64_t n,
                           int64_t group, const float *saved, const float *sums) {
    double sum = 0, product = 0, count = (double)(g->pixels * g->width);
    for (int64_t c = group * g->width; c < (group + 1) * g->width; c++) {
        double weight = g->affine ? site->params[0][c] : 1.0;
        sum += weight * sums[c];
        product += weight * sums[g->channels + c];
    }
    float mean = saved[2 * group], rstd = saved[2 * group + 1];
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = group * g->width; c < (group + 1) * g->width; c++) {
            int64_t at = (n * g->pixels + p) * g->channels + c;
            double xhat = (ghn__tensor_get(&site->in[0], at) - mean) * rstd,
                   weight = g->affine ? site->params[0][c] : 1.0;
            double d = rstd * (weight * ghn__tensor_get(&site->dout, at) - sum / count -
                               xhat * product / count);
            ghn__tensor_put(&site->din[0], at,
                            (float)d + (site->add[0] ? ghn__tensor_get(&site->din[0], at) : 0.0f));
        }
}

static void backward_images(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    struct geometry g = geometry_of(site);
    for (int64_t n = begin; n < end; n++) {
        const float *saved = (const float *)site->saved + 2 * n * g.groups;
        float *sums = (float *)site->scratch + 2 * n * g.channels;
        channel_sums(site, &g, n, saved, sums);
        for (int64_t group = 0; site->din[0].data && group < g.groups; group++)
            input_gradient(site, &g, n, group, saved, sums);
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct geometry g = geometry_of(site);
    ghn__parallel(site->out.dims[0], 1, backward_images, site);
    for (int64_t c = 0; g.affine && c < g.channels; c++) {
        double sums[2] = {0, 0};
        for (int64_t n = 0; n < site->out.dims[0]; n++)
            for (int i = 0; i < 2; i++)
                sums[i] += ((const float *)site->scratch)[(2 * n + i) * g.channels + c];
        site->dparams[1][c] = (float)sums[0] + (site->add_param[1] ? site->dparams[1][c] : 0.0f);
        site->dparams[0][c] = (float)sums[1] + (site->add_param[0] ? site->dparams[0][c] : 0.0f);
    }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_group_norm = {.order = GHN__CHANNELS_INNERMOST,
                                                 .keeps_input = true,
                                                 .plan = plan,
                                                 .forward = forward,
                                                 .backward = backward};
