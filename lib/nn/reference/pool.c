/* max_pool2d, avg_pool2d, adaptive_avg_pool2d. */
#include <math.h>

#include "nn/reference/op.h"

/* One output element: the image's plane of the input that it looks at, and its place. */
struct window {
    int64_t plane; /* where the plane of (H, W) begins in the input */
    int64_t h, w;  /* of the plane */
    int64_t y, x;  /* of the output element */
};

static struct window window_of(const struct ghn__reference_site *site, int64_t i) {
    const struct ghn__reference_tensor *in = site->in[0], *out = site->out;
    int64_t size = out->dims[2] * out->dims[3];
    return (struct window){i / size * in->dims[2] * in->dims[3], in->dims[2], in->dims[3],
                           i % size / out->dims[3], i % out->dims[3]};
}

/* --- max_pool2d --- */

/* The element of the input that output element i is: the first of the largest, and a NaN before
 * all. -1 if the window holds nothing but padding. */
static int64_t largest(const struct ghn__reference_site *site, int64_t i) {
    const struct ghn_pool2d_attrs *a = &site->node->attrs.pool2d;
    struct window w = window_of(site, i);
    int64_t stride[2] = {a->stride[0] ? a->stride[0] : a->kernel[0],
                         a->stride[1] ? a->stride[1] : a->kernel[1]};
    int64_t best = -1;
    const double *x = site->in[0]->data;
    for (int64_t kh = 0; kh < a->kernel[0]; kh++)
        for (int64_t kw = 0; kw < a->kernel[1]; kw++) {
            int64_t h = w.y * stride[0] - a->padding[0] + kh * a->dilation[0];
            int64_t v = w.x * stride[1] - a->padding[1] + kw * a->dilation[1];
            if (h < 0 || h >= w.h || v < 0 || v >= w.w)
                continue;
            int64_t at = w.plane + h * w.w + v;
            if (best < 0 || x[at] > x[best] || (isnan(x[at]) && !isnan(x[best])))
                best = at;
        }
    return best;
}

static void max_pool2d_forward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++) {
        int64_t at = largest(site, i);
        site->out->data[i] = at < 0 ? -INFINITY : site->in[0]->data[at];
    }
}

static void max_pool2d_backward(const struct ghn__reference_site *site) {
    for (int64_t i = 0; i < site->out->count; i++) {
        int64_t at = largest(site, i);
        if (at >= 0)
            site->in[0]->gradient[at] += site->out->gradient[i];
    }
}

const struct ghn__reference_op ghn__reference_op_max_pool2d = {.forward = max_pool2d_forward,
                                                               .backward = max_pool2d_backward};

/* --- Averages --- */

/* What an output element averages: rows [begin[0], end[0]) and columns [begin[1], end[1]) of its
 * plane, divided by divisor. */
struct average {
    int64_t begin[2], end[2];
    double divisor;
};

typedef struct average average_of(const struct ghn__reference_site *site,
                                  const struct window *window);

static void average(const struct ghn__reference_site *site, average_of *of) {
    for (int64_t i = 0; i < site->out->count; i++) {
        struct window w = window_of(site, i);
        struct average a = of(site, &w);
        double sum = 0;
        for (int64_t h = a.begin[0]; h < a.end[0]; h++)
            for (int64_t v = a.begin[1]; v < a.end[1]; v++)
                sum += site->in[0]->data[w.plane + h * w.w + v];
        site->out->data[i] = sum / a.divisor;
    }
}

static void average_backward(const struct ghn__reference_site *site, average_of *of) {
    for (int64_t i = 0; i < site->out->count; i++) {
        struct window w = window_of(site, i);
        struct average a = of(site, &w);
        for (int64_t h = a.begin[0]; h < a.end[0]; h++)
            for (int64_t v = a.begin[1]; v < a.end[1]; v++)
                site->in[0]->gradient[w.plane + h * w.w + v] += site->out->gradient[i] / a.divisor;
    }
}

/* Padding counts with count_include_pad, but what ceil_mode adds beyond it never does. */
static struct average avg_pool2d(const struct ghn__reference_site *site, const struct window *w) {
    const struct ghn_pool2d_attrs *a = &site->node->attrs.pool2d;
    const int64_t at[2] = {w->y, w->x}, size[2] = {w->h, w->w};
    struct average average = {.divisor = 1};
    for (int k = 0; k < 2; k++) {
        int64_t stride = a->stride[k] ? a->stride[k] : a->kernel[k];
        int64_t begin = at[k] * stride - a->padding[k], end = begin + a->kernel[k];
        int64_t padded_end = end < size[k] + a->padding[k] ? end : size[k] + a->padding[k];
        average.begin[k] = begin < 0 ? 0 : begin;
        average.end[k] = padded_end < size[k] ? padded_end : size[k];
        average.divisor *=
            (double)(a->count_include_pad ? padded_end - begin : average.end[k] - average.begin[k]);
    }
    return average;
}

static void avg_pool2d_forward(const struct ghn__reference_site *site) {
    average(site, avg_pool2d);
}

static void avg_pool2d_backward(const struct ghn__reference_site *site) {
    average_backward(site, avg_pool2d);
}

const struct ghn__reference_op ghn__reference_op_avg_pool2d = {.forward = avg_pool2d_forward,
                                                               .backward = avg_pool2d_backward};

/* Window i of n over `size` elements: floor(i size / n) to ceil((i + 1) size / n). Neighbours may
 * overlap. */
static struct average adaptive(const struct ghn__reference_site *site, const struct window *w) {
    const int64_t at[2] = {w->y, w->x}, size[2] = {w->h, w->w}, *n = site->out->dims + 2;
    struct average average = {.divisor = 1};
    for (int k = 0; k < 2; k++) {
        average.begin[k] = at[k] * size[k] / n[k];
        average.end[k] = ((at[k] + 1) * size[k] + n[k] - 1) / n[k];
        average.divisor *= (double)(average.end[k] - average.begin[k]);
    }
    return average;
}

static void adaptive_avg_pool2d_forward(const struct ghn__reference_site *site) {
    average(site, adaptive);
}

static void adaptive_avg_pool2d_backward(const struct ghn__reference_site *site) {
    average_backward(site, adaptive);
}

const struct ghn__reference_op ghn__reference_op_adaptive_avg_pool2d = {
    .forward = adaptive_avg_pool2d_forward, .backward = adaptive_avg_pool2d_backward};
