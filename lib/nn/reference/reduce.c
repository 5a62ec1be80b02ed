/* mean and softmax. */
#include <math.h>

#include "nn/reference/op.h"

/* --- mean --- */

/* The element of the output that element i of the input goes into. Whether reduced dimensions are
 * kept makes no difference: their extent is then 1. */
static int64_t mean_of(const struct ghn__reference_site *site, int64_t i) {
    const struct ghn_ints *dims = &site->node->attrs.mean.dims;
    const struct ghn__reference_tensor *x = site->in[0];
    int64_t j = 0, stride = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        int64_t at = i % x->dims[d];
        i /= x->dims[d];
        bool reduced = false;
        for (int k = 0; k < dims->n; k++)
            reduced |= ghn__reference_dim(dims->at[k], x->ndim) == d;
        if (reduced)
            continue;
        j += at * stride;
        stride *= x->dims[d];
    }
    return j;
}

static void mean_forward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0], *y = site->out;
    for (int64_t j = 0; j < y->count; j++)
        y->data[j] = 0;
    for (int64_t i = 0; i < x->count; i++)
        y->data[mean_of(site, i)] += x->data[i];
    for (int64_t j = 0; j < y->count; j++)
        y->data[j] /= (double)(x->count / y->count);
}

static void mean_backward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0], *y = site->out;
    for (int64_t i = 0; i < x->count; i++)
        x->gradient[i] += y->gradient[mean_of(site, i)] / (double)(x->count / y->count);
}

const struct ghn__reference_op ghn__reference_op_mean = {.forward = mean_forward,
                                                         .backward = mean_backward};

/* --- softmax over n elements that are `stride` apart --- */

struct row {
    int64_t n, stride;
};

static struct row row_of(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0];
    int dim = ghn__reference_dim(site->node->attrs.softmax.dim, x->ndim);
    return (struct row){x->dims[dim], ghn__reference_extent(x, dim + 1, x->ndim)};
}

/* Where row r begins. */
static int64_t begin_of(struct row row, int64_t r) {
    return r / row.stride * row.n * row.stride + r % row.stride;
}

static void softmax_forward(const struct ghn__reference_site *site) {
    struct row row = row_of(site);
    for (int64_t r = 0; r < site->out->count / row.n; r++) {
        const double *x = site->in[0]->data + begin_of(row, r);
        double *y = site->out->data + begin_of(row, r), largest = -INFINITY, sum = 0;
        for (int64_t i = 0; i < row.n; i++)
            largest = fmax(largest, x[i * row.stride]);
        for (int64_t i = 0; i < row.n; i++)
            sum += y[i * row.stride] = exp(x[i * row.stride] - largest);
        for (int64_t i = 0; i < row.n; i++)
            y[i * row.stride] /= sum;
    }
}

static void softmax_backward(const struct ghn__reference_site *site) {
    struct row row = row_of(site);
    for (int64_t r = 0; r < site->out->count / row.n; r++) {
        const double *y = site->out->data + begin_of(row, r);
        const double *dy = site->out->gradient + begin_of(row, r);
        double *dx = site->in[0]->gradient + begin_of(row, r), sum = 0;
        for (int64_t i = 0; i < row.n; i++)
            sum += y[i * row.stride] * dy[i * row.stride];
        for (int64_t i = 0; i < row.n; i++)
            dx[i * row.stride] += y[i * row.stride] * (dy[i * row.stride] - sum);
    }
}

const struct ghn__reference_op ghn__reference_op_softmax = {.forward = softmax_forward,
                                                            .backward = softmax_backward};
