/* softmax over one dimension: rows are brought together, if they are not already, by copies through
 * the work space. */
#include "nn/box.h"
#include "nn/kernels.h"
#include "nn/parallel.h"

/* The tensor with its softmax dimension last, and as a dense tensor of that shape. */
static struct ghn__tensor moved(const struct ghn__site *site, const struct ghn__tensor *tensor) {
    int dim = ghn__dim(tensor, site->node->attrs.softmax.dim);
    struct ghn__tensor ret = *tensor;
    for (int i = dim; i + 1 < tensor->ndim; i++) {
        ret.dims[i] = tensor->dims[i + 1];
        ret.strides[i] = tensor->strides[i + 1];
    }
    ret.dims[tensor->ndim - 1] = tensor->dims[dim];
    ret.strides[tensor->ndim - 1] = tensor->strides[dim];
    return ret;
}

static struct ghn__tensor dense(const struct ghn__tensor *like, void *data) {
    struct ghn__tensor ret = *like;
    ghn__strides(&ret, GHN__ROW_MAJOR);
    ret.data = data;
    return ret;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    size_t bytes = ((size_t)site->out.count * ghn_dtype_size(site->out.dtype) + 63) / 64 * 64;
    site->scratch_bytes = 3 * bytes;
    return GHN_OK;
}

struct rows {
    void *to;
    const void *dy, *from;
    enum ghn_dtype dtype;
    int64_t n;
};

static const void *row_at(const struct rows *rows, const void *p, int64_t row) {
    return (const char *)p + (size_t)(row * rows->n) * ghn_dtype_size(rows->dtype);
}

static void forward_rows(void *context, int64_t begin, int64_t end) {
    const struct rows *rows = context;
    ghn__nn_kernels()->softmax((void *)row_at(rows, rows->to, begin),
                               row_at(rows, rows->from, begin), rows->dtype, end - begin, rows->n);
}

static void backward_rows(void *context, int64_t begin, int64_t end) {
    const struct rows *rows = context;
    ghn__nn_kernels()->softmax_gradient(
        (void *)row_at(rows, rows->to, begin), false, row_at(rows, rows->dy, begin),
        row_at(rows, rows->from, begin), rows->dtype, end - begin, rows->n);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    struct ghn__tensor in = moved(site, &site->in[0]), out = moved(site, &site->out),
                       work = dense(&in, site->scratch);
    ghn__copy(&work, &in, false);
    struct rows rows = {work.data, NULL, work.data, work.dtype, work.dims[work.ndim - 1]};
    ghn__parallel(work.count / rows.n, 16, forward_rows, &rows);
    ghn__copy(&out, &work, false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (!site->din[0].data)
        return GHN_OK;
    size_t bytes = site->scratch_bytes / 3;
    struct ghn__tensor out = moved(site, &site->out), dout = moved(site, &site->dout),
                       din = moved(site, &site->din[0]);
    struct ghn__tensor y = dense(&out, site->scratch),
                       dy = dense(&out, (char *)site->scratch + bytes);
    struct ghn__tensor dx = dense(&out, (char *)site->scratch + 2 * bytes);
    ghn__copy(&y, &out, false);
    ghn__copy(&dy, &dout, false);
    struct rows rows = {dx.data, dy.data, y.data, y.dtype, y.dims[y.ndim - 1]};
    ghn__parallel(y.count / rows.n, 16, backward_rows, &rows);
    ghn__copy(&din, &dx, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_softmax = {.order = GHN__SAME,
                                              .keeps_output = true,
                                              .plan = plan,
                                              .forward = forward,
                                              .backward = backward};
