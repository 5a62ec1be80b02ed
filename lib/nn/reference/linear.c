/* linear, and the matrix product that others use. */
#include "nn/reference/op.h"

#include <stddef.h>

void ghn__reference_linear(double *y, const double *x, const double *weight, const double *bias,
                           int64_t rows, int64_t m, int64_t n) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            double sum = bias ? bias[j] : 0;
            for (int64_t i = 0; i < m; i++)
                sum += x[r * m + i] * weight[j * m + i];
            y[r * n + j] = sum;
        }
}

void ghn__reference_linear_backward(double *dx, double *dweight, double *dbias, const double *dy,
                                    const double *x, const double *weight, int64_t rows, int64_t m,
                                    int64_t n) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            double d = dy[r * n + j];
            if (dbias)
                dbias[j] += d;
            for (int64_t i = 0; dweight && i < m; i++)
                dweight[j * m + i] += d * x[r * m + i];
            for (int64_t i = 0; dx && i < m; i++)
                dx[r * m + i] += d * weight[j * m + i];
        }
}

static void linear_forward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0], *y = site->out;
    int64_t m = x->dims[x->ndim - 1], n = y->dims[y->ndim - 1];
    ghn__reference_linear(y->data, x->data, site->params[0],
                          site->node->attrs.linear.bias ? site->params[1] : NULL, y->count / n, m,
                          n);
}

static void linear_backward(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *x = site->in[0], *y = site->out;
    int64_t m = x->dims[x->ndim - 1], n = y->dims[y->ndim - 1];
    ghn__reference_linear_backward(x->gradient, site->dparams[0],
                                   site->node->attrs.linear.bias ? site->dparams[1] : NULL,
                                   y->gradient, x->data, site->params[0], y->count / n, m, n);
}

const struct ghn__reference_op ghn__reference_op_linear = {.forward = linear_forward,
                                                           .backward = linear_backward};
