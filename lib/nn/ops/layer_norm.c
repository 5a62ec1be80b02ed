#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

enum { PARTS = 16 }; /* of the rows: gradients by weight and bias are summed apart and in order */

/* Elements that are normalised together. */
static int64_t row_length(const struct ghn__site *site) {
    const struct ghn_ints *shape = &site->node->attrs.layer_norm.normalized_shape;
    int64_t n = 1;
    for (int i = 0; i < (shape->n ? shape->n : 1); i++)
        n *= site->out.dims[site->out.ndim - 1 - i];
    return n;
}

static int64_t n_rows(const struct ghn__site *site) {
    return site->out.count / row_length(site);
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    site->saved_bytes = (size_t)n_rows(site) * 2 * sizeof(float);
    site->scratch_bytes = (size_t)row_length(site) * 2 * PARTS * sizeof(float);
    return GHN_OK;
}

static void *row_at(const struct ghn__tensor *t, int64_t row, int64_t n) {
    return t->data ? (char *)t->data + (size_t)(row * n) * ghn_dtype_size(t->dtype) : NULL;
}

static void forward_rows(void *context, int64_t begin, int64_t end) {
    const struct ghn__site *site = context;
    bool affine = site->node->attrs.layer_norm.elementwise_affine;
    int64_t n = row_length(site);
    float *mean = site->saved, *rstd = mean + n_rows(site);
    ghn__nn_kernels()->layer_norm(row_at(&site->out, begin, n), mean + begin, rstd + begin,
                                  row_at(&site->in[0], begin, n), site->out.dtype, end - begin, n,
                                  affine ? site->params[0] : NULL, affine ? site->params[1] : NULL,
                                  (float)site->node->attrs.layer_norm.eps);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    ghn__parallel(n_rows(site), 8, forward_rows, site);
    return GHN_OK;
}

static void backward_parts(void *context, int64_t first, int64_t last) {
    const struct ghn__site *site = context;
    bool affine = site->node->attrs.layer_norm.elementwise_affine;
    int64_t n = row_length(site), rows = n_rows(site);
    const float *mean = site->saved, *rstd = mean + rows;
    for (int64_t part = first; part < last; part++) {
        int64_t begin = rows * part / PARTS, end = rows * (part + 1) / PARTS;
        float *dweight = (float *)site->scratch + 2 * part * n;
        for (int64_t k = 0; k < 2 * n; k++)
            dweight[k] = 0.0f;
        ghn__nn_kernels()->layer_norm_gradient(
            row_at(&site->din[0], begin, n), site->add[0], affine ? dweight : NULL,
            affine ? dweight + n : NULL, row_at(&site->dout, begin, n),
            row_at(&site->in[0], begin, n), site->out.dtype, end - begin, n, mean + begin,
            rstd + begin, affine ? site->params[0] : NULL);
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    int64_t n = row_length(site);
    const float *parts = site->scratch;
    ghn__parallel(PARTS, 1, backward_parts, site);
    for (int i = 0; i < 2 && site->node->attrs.layer_norm.elementwise_affine; i++)
        for (int64_t k = 0; k < n; k++) {
            float sum = site->add_param[i] ? site->dparams[i][k] : 0.0f;
            for (int part = 0; part < PARTS; part++)
                sum += parts[(2 * part + i) * n + k];
            site->dparams[i][k] = sum;
        }
    return GHN_OK;
}

const struct ghn__layer ghn__layer_layer_norm = {.order = GHN__ROW_MAJOR,
                                                 .keeps_input = true,
                                                 .plan = plan,
                                                 .forward = forward,
                                                 .backward = backward};
