/* Batch norm with what follows it: y = act(norm(x) weight + bias + residual).
 *
 * Two passes forward (sums, then the rest) and two backward. The activation's derivative is
 * computed anew from x; after a residual sum, whose operand is not kept, it is a ReLU's and read
 * off y. Sums are taken around the channel's first value, so that a mean far from zero costs no
 * digits, over PARTS stretches that are added in order: the result is the same for any number of
 * threads. */
#include <math.h>

#include "base/mem.h"
#include "nn/activation.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

enum { PARTS = 32, WIDEST = 16 };

struct batch_norm {
    int64_t channels, period, count; /* count: elements of x */
    int64_t n;                       /* elements of a channel */
    enum ghn__act act;
    float act_parameter;
    bool batch_statistics;
};

/* Rows of scratch, (period) each. */
struct coefficients {
    float *scale, *offset, *shift, *a, *b, *c;
    float *parts; /* (PARTS, 2, period) */
};

static int64_t gcd(int64_t a, int64_t b) {
    return b == 0 ? a : gcd(b, a % b);
}

static struct coefficients lay_out(const struct ghn__site *site) {
    const struct batch_norm *bn = site->state;
    float *p = site->scratch;
    return (struct coefficients){p,
                                 p + bn->period,
                                 p + 2 * bn->period,
                                 p + 3 * bn->period,
                                 p + 4 * bn->period,
                                 p + 5 * bn->period,
                                 p + 6 * bn->period};
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    const struct ghn_batch_norm2d_attrs *attrs = &site->node->attrs.batch_norm2d;
    struct batch_norm *bn = ghn_calloc(1, sizeof *bn);
    if (!bn)
        return ghn_fail_memory(err);
    bn->channels = site->in[0].dims[1];
    bn->count = site->in[0].count;
    bn->n = bn->count / bn->channels;
    bn->period = bn->channels / gcd(bn->channels, WIDEST) * WIDEST;
    bn->act = ghn__act_of(site->activation, &bn->act_parameter);
    bn->batch_statistics = site->mode != GHN_MODE_EVAL || !attrs->track_running_stats;
    site->saved_bytes = (size_t)bn->channels * 2 * sizeof(float);
    site->scratch_bytes = (size_t)bn->period * (6 + 2 * PARTS) * sizeof(float);
    site->keeps_output = site->residual && bn->act == GHN__ACT_RELU;
    site->state = bn;
    return GHN_OK;
}

/* The channel values in `from` repeated over the period. */
static void spread(const struct batch_norm *bn, const float *from, float *to) {
    for (int64_t k = 0; k < bn->period; k++)
        to[k] = from[k % bn->channels];
}

/* --- One pass over the image, in parts --- */

struct pass {
    const struct ghn__site *site;
    const struct batch_norm *bn;
    struct coefficients at;
};

/* Elements [*begin, *end) of part i of n. */
static void part_range(const struct batch_norm *bn, int64_t i, int64_t n, int64_t *begin,
                       int64_t *end) {
    int64_t rows = (bn->count + bn->period - 1) / bn->period;
    *begin = rows * i / n * bn->period;
    *end = rows * (i + 1) / n * bn->period;
    if (*end > bn->count)
        *end = bn->count;
}

static void sum_parts(void *context, int64_t first, int64_t last) {
    const struct pass *pass = context;
    for (int64_t i = first; i < last; i++) {
        int64_t begin, end;
        float *part = pass->at.parts + 2 * i * pass->bn->period;
        part_range(pass->bn, i, PARTS, &begin, &end);
        ghn__nn_kernels()->batch_norm_sums(pass->site->in[0].data, pass->site->in[0].dtype, begin,
                                           end, pass->bn->period, pass->at.shift, part,
                                           part + pass->bn->period);
    }
}

/* Sum and second of channel c over the parts. */
static void total(const struct pass *pass, int64_t c, double *ret_sum, double *ret_second) {
    const struct batch_norm *bn = pass->bn;
    double sum = 0, second = 0;
    for (int64_t i = 0; i < PARTS; i++)
        for (int64_t k = c; k < bn->period; k += bn->channels) {
            sum += pass->at.parts[2 * i * bn->period + k];
            second += pass->at.parts[(2 * i + 1) * bn->period + k];
        }
    *ret_sum = sum;
    *ret_second = second;
}

/* --- Forward --- */

static void update_running(const struct ghn__site *site, int64_t c, double mean, double variance) {
    const struct batch_norm *bn = site->state;
    if (site->mode != GHN_MODE_TRAIN || !site->statistics)
        return;
    double momentum = fmax(site->node->attrs.batch_norm2d.momentum, site->least_momentum),
           unbiased = bn->n > 1 ? variance * (double)bn->n / (double)(bn->n - 1) : variance;
    float *running = site->statistics + c;
    running[0] = (float)((1 - momentum) * running[0] + momentum * mean);
    running[bn->channels] = (float)((1 - momentum) * running[bn->channels] + momentum * unbiased);
}

/* Means and reciprocal deviations of the channels into saved. */
static void find_statistics(const struct pass *pass) {
    const struct ghn__site *site = pass->site;
    const struct batch_norm *bn = pass->bn;
    float *mean = site->saved, *rstd = mean + bn->channels;
    double eps = site->node->attrs.batch_norm2d.eps;
    if (!bn->batch_statistics) {
        for (int64_t c = 0; c < bn->channels; c++) {
            mean[c] = site->statistics[c];
            rstd[c] = (float)(1.0 / sqrt(site->statistics[bn->channels + c] + eps));
        }
        return;
    }
    for (int64_t k = 0; k < bn->period; k++)
        pass->at.shift[k] = 0.0f;
    ghn__nn_kernels()->copy(pass->at.shift, GHN_F32, site->in[0].data, site->in[0].dtype,
                            bn->channels, false);
    for (int64_t k = bn->channels; k < bn->period; k++)
        pass->at.shift[k] = pass->at.shift[k % bn->channels];
    ghn__parallel(PARTS, 1, sum_parts, (void *)pass);
    for (int64_t c = 0; c < bn->channels; c++) {
        double sum, square, n = (double)bn->n;
        total(pass, c, &sum, &square);
        double variance = fmax(square / n - sum / n * (sum / n), 0.0);
        if (isnan(square))
            variance = square;
        mean[c] = (float)(pass->at.shift[c] + sum / n);
        rstd[c] = (float)(1.0 / sqrt(variance + eps));
        update_running(site, c, pass->at.shift[c] + sum / n, variance);
    }
}

/* scale and offset, so that norm(x) weight + bias = x scale + offset. */
static void find_scale(const struct pass *pass) {
    const struct ghn__site *site = pass->site;
    const struct batch_norm *bn = pass->bn;
    const float *mean = site->saved, *rstd = mean + bn->channels;
    bool affine = site->node->attrs.batch_norm2d.affine;
    for (int64_t c = 0; c < bn->channels; c++) {
        float weight = affine ? site->params[0][c] : 1.0f,
              bias = affine ? site->params[1][c] : 0.0f;
        pass->at.scale[c] = weight * rstd[c];
        pass->at.offset[c] = bias - mean[c] * pass->at.scale[c];
    }
    spread(bn, pass->at.scale, pass->at.scale);
    spread(bn, pass->at.offset, pass->at.offset);
}

static void apply_parts(void *context, int64_t first, int64_t last) {
    const struct pass *pass = context;
    const struct ghn__site *site = pass->site;
    for (int64_t i = first; i < last; i++) {
        int64_t begin, end;
        part_range(pass->bn, i, PARTS, &begin, &end);
        ghn__nn_kernels()->batch_norm_apply(
            site->out.data, site->in[0].data, site->residual ? site->in[1].data : NULL,
            site->out.dtype, begin, end, pass->bn->period, pass->at.scale, pass->at.offset,
            (int)pass->bn->act, pass->bn->act_parameter);
    }
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct pass pass = {site, site->state, lay_out(site)};
    find_statistics(&pass);
    find_scale(&pass);
    ghn__parallel(PARTS, 1, apply_parts, &pass);
    return GHN_OK;
}

/* --- Backward --- */

/* The output, where the activation's derivative is read off it. */
static const void *mask(const struct ghn__site *site) {
    const struct batch_norm *bn = site->state;
    return site->residual && bn->act == GHN__ACT_RELU ? site->out.data : NULL;
}

static void gradient_sum_parts(void *context, int64_t first, int64_t last) {
    const struct pass *pass = context;
    const struct ghn__site *site = pass->site;
    for (int64_t i = first; i < last; i++) {
        int64_t begin, end;
        float *part = pass->at.parts + 2 * i * pass->bn->period;
        part_range(pass->bn, i, PARTS, &begin, &end);
        ghn__nn_kernels()->batch_norm_gradient_sums(
            site->dout.data, site->in[0].data, mask(site), site->out.dtype, begin, end,
            pass->bn->period, pass->at.scale, pass->at.offset, pass->at.shift, (int)pass->bn->act,
            pass->bn->act_parameter, part, part + pass->bn->period);
    }
}

static void gradient_parts(void *context, int64_t first, int64_t last) {
    const struct pass *pass = context;
    const struct ghn__site *site = pass->site;
    void *dresidual = site->residual ? site->din[1].data : NULL;
    for (int64_t i = first; i < last; i++) {
        int64_t begin, end;
        part_range(pass->bn, i, PARTS, &begin, &end);
        ghn__nn_kernels()->batch_norm_gradient(
            site->din[0].data, site->add[0], dresidual, dresidual && site->add[1], site->dout.data,
            site->in[0].data, mask(site), site->out.dtype, begin, end, pass->bn->period,
            pass->at.scale, pass->at.offset, pass->at.a, pass->at.b, pass->at.c, (int)pass->bn->act,
            pass->bn->act_parameter);
    }
}

/* From the sums of channel c: gradients of weight and bias, and dx = a dz + b x + c. */
static void finish_channel(const struct pass *pass, int64_t c) {
    const struct ghn__site *site = pass->site;
    const struct batch_norm *bn = pass->bn;
    float mean = ((const float *)site->saved)[c],
          rstd = ((const float *)site->saved)[bn->channels + c];
    double sum, product, n = (double)bn->n;
    total(pass, c, &sum, &product);
    if (site->node->attrs.batch_norm2d.affine) {
        float *dweight = &site->dparams[0][c], *dbias = &site->dparams[1][c];
        *dweight = (float)(product * rstd) + (site->add_param[0] ? *dweight : 0.0f);
        *dbias = (float)sum + (site->add_param[1] ? *dbias : 0.0f);
    }
    double a = pass->at.scale[c], b = -a * rstd * rstd * product / n;
    pass->at.a[c] = (float)a;
    pass->at.b[c] = (float)b;
    pass->at.c[c] = (float)(-a * sum / n - b * mean);
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    const struct batch_norm *bn = site->state;
    struct pass pass = {site, bn, lay_out(site)};
    find_scale(&pass);
    spread(bn, site->saved, pass.at.shift);
    ghn__parallel(PARTS, 1, gradient_sum_parts, &pass);
    for (int64_t c = 0; c < bn->channels; c++)
        finish_channel(&pass, c);
    spread(bn, pass.at.a, pass.at.a);
    spread(bn, pass.at.b, pass.at.b);
    spread(bn, pass.at.c, pass.at.c);
    ghn__parallel(PARTS, 1, gradient_parts, &pass);
    return GHN_OK;
}

static void done(struct ghn__site *site) {
    ghn_free(site->state);
}

const struct ghn__layer ghn__layer_batch_norm2d = {.order = GHN__CHANNELS_INNERMOST,
                                                   .keeps_input = true,

                                                   .plan = plan,
                                                   .forward = forward,
                                                   .backward = backward,
                                                   .done = done};
