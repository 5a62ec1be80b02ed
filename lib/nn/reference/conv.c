/* conv2d. */
#include "nn/reference/op.h"

/* One product of a convolution: y[y_at] += weight[w_at] x[x_at]. */
struct term {
    int64_t y_at, w_at, x_at;
};

/* Calls visit for all products that output element (n, co, oh, ow) sums, which is element y_at. */
static void visit_window(const struct ghn__reference_site *site, const int64_t at[4], int64_t y_at,
                         void (*visit)(const struct ghn__reference_site *site,
                                       const struct term *term)) {
    const struct ghn_conv2d_attrs *a = &site->node->attrs.conv2d;
    const int64_t *x = site->in[0]->dims;
    int64_t depth = x[1] / a->groups, group = at[1] / (a->out_channels / a->groups);
    for (int64_t c = 0; c < depth; c++)
        for (int64_t kh = 0; kh < a->kernel[0]; kh++)
            for (int64_t kw = 0; kw < a->kernel[1]; kw++) {
                int64_t h = at[2] * a->stride[0] - a->padding[0] + kh * a->dilation[0];
                int64_t w = at[3] * a->stride[1] - a->padding[1] + kw * a->dilation[1];
                if (h < 0 || h >= x[2] || w < 0 || w >= x[3])
                    continue;
                struct term term = {y_at,
                                    ((at[1] * depth + c) * a->kernel[0] + kh) * a->kernel[1] + kw,
                                    ((at[0] * x[1] + group * depth + c) * x[2] + h) * x[3] + w};
                visit(site, &term);
            }
}

static void visit_all(const struct ghn__reference_site *site,
                      void (*visit)(const struct ghn__reference_site *site,
                                    const struct term *term)) {
    const int64_t *y = site->out->dims;
    int64_t i = 0, at[4];
    for (at[0] = 0; at[0] < y[0]; at[0]++)
        for (at[1] = 0; at[1] < y[1]; at[1]++)
            for (at[2] = 0; at[2] < y[2]; at[2]++)
                for (at[3] = 0; at[3] < y[3]; at[3]++)
                    visit_window(site, at, i++, visit);
}

static void add_product(const struct ghn__reference_site *site, const struct term *term) {
    site->out->data[term->y_at] += site->params[0][term->w_at] * site->in[0]->data[term->x_at];
}

static void add_gradients(const struct ghn__reference_site *site, const struct term *term) {
    double dy = site->out->gradient[term->y_at];
    site->dparams[0][term->w_at] += dy * site->in[0]->data[term->x_at];
    site->in[0]->gradient[term->x_at] += dy * site->params[0][term->w_at];
}

static int64_t channel_of(const struct ghn__reference_tensor *y, int64_t i) {
    return i / (y->dims[2] * y->dims[3]) % y->dims[1];
}

static void conv2d_forward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *y = site->out;
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = site->node->attrs.conv2d.bias ? site->params[1][channel_of(y, i)] : 0;
    visit_all(site, add_product);
}

static void conv2d_backward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *y = site->out;
    for (int64_t i = 0; site->node->attrs.conv2d.bias && i < y->count; i++)
        site->dparams[1][channel_of(y, i)] += y->gradient[i];
    visit_all(site, add_gradients);
}

const struct ghn__reference_op ghn__reference_op_conv2d = {.forward = conv2d_forward,
                                                           .backward = conv2d_backward};
