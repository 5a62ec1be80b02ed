#include "base/mem.h"
#include "nn/dnnl.h"
#include "nn/kernels.h"
#include "nn/layer.h"
#include "nn/parallel.h"

/* y (rows, out) = x (rows, in) weight^T; weight (out, in). */
struct linear {
    int64_t rows, in, out;
    struct ghn__matmul *forward, *data, *weights, *weights_add;
    size_t weights_bytes; /* of the weights in bf16, at the head of the work space; 0 in f32 */
};

enum {
    PARTS = 16
}; /* of the rows, summed apart and in order, so that a bias gradient is the same for any number of
      threads */

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static void free_linear(struct linear *linear) {
    ghn__matmul_free(linear->forward);
    ghn__matmul_free(linear->data);
    ghn__matmul_free(linear->weights);
    ghn__matmul_free(linear->weights_add);
    ghn_free(linear);
}

static enum ghn_status make_backward(const struct ghn__site *site, struct linear *l,
                                     struct ghn_err *err) {
    enum ghn_dtype dtype = site->in[0].dtype;
    struct ghn__matmul_spec data = {
        .m = l->rows, .k = l->out, .n = l->in, .dtype = dtype, .c_dtype = dtype};
    struct ghn__matmul_spec weights = {.m = l->out,
                                       .k = l->rows,
                                       .n = l->in,
                                       .a_transposed = true,
                                       .dtype = dtype,
                                       .c_dtype = GHN_F32};
    enum ghn_status status = site->input_gradient ? ghn__matmul_new(&data, &l->data, err) : GHN_OK;
    if (!status)
        status = ghn__matmul_new(&weights, &l->weights, err);
    weights.add = true;
    if (!status)
        status = ghn__matmul_new(&weights, &l->weights_add, err);
    return status;
}

static enum ghn_status plan(struct ghn__site *site, struct ghn_err *err) {
    struct linear *l = ghn_calloc(1, sizeof *l);
    if (!l)
        return ghn_fail_memory(err);
    enum ghn_dtype dtype = site->in[0].dtype;
    l->in = site->in[0].dims[site->in[0].ndim - 1];
    l->out = site->out.dims[site->out.ndim - 1];
    l->rows = site->out.count / l->out;
    l->weights_bytes = dtype == GHN_BF16 ? ((size_t)(l->in * l->out) * 2 + 63) / 64 * 64 : 0;
    struct ghn__matmul_spec spec = {.m = l->rows,
                                    .k = l->in,
                                    .n = l->out,
                                    .b_transposed = true,
                                    .dtype = dtype,
                                    .c_dtype = dtype,
                                    .bias = site->node->attrs.linear.bias};
    enum ghn_status status = ghn__matmul_new(&spec, &l->forward, err);
    if (!status && site->mode == GHN_MODE_TRAIN)
        status = make_backward(site, l, err);
    if (status) {
        free_linear(l);
        return status;
    }
    struct ghn__matmul *all[] = {l->forward, l->data, l->weights, l->weights_add};
    size_t work = (size_t)l->out * PARTS * sizeof(float);
    for (int i = 0; i < 4; i++)
        work = larger(work, all[i] ? ghn__matmul_scratch_bytes(all[i]) : 0);
    site->scratch_bytes = l->weights_bytes + work;
    site->state = l;
    return GHN_OK;
}

struct convert {
    void *to;
    const float *from;
};

static void convert_range(void *context, int64_t begin, int64_t end) {
    const struct convert *c = context;
    ghn__nn_kernels()->copy((uint16_t *)c->to + begin, GHN_BF16, c->from + begin, GHN_F32,
                            end - begin, false);
}

/* The weights in the type of the activations. */
static const void *typed_weights(const struct ghn__site *site) {
    const struct linear *l = site->state;
    if (l->weights_bytes == 0)
        return site->params[0];
    struct convert convert = {site->scratch, site->params[0]};
    ghn__parallel(l->in * l->out, 16384, convert_range, &convert);
    return site->scratch;
}

static void *work_space(const struct ghn__site *site) {
    return (char *)site->scratch + ((const struct linear *)site->state)->weights_bytes;
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    const struct linear *l = site->state;
    const float *bias = site->node->attrs.linear.bias ? site->params[1] : NULL;
    return ghn__matmul_run(l->forward, site->in[0].data, typed_weights(site), bias, site->out.data,
                           work_space(site), err);
}

struct columns {
    const struct ghn__tensor *dout;
    int64_t rows, out;
    float *sums; /* (PARTS, out) */
};

static void sum_parts(void *context, int64_t begin, int64_t end) {
    const struct columns *c = context;
    size_t size = ghn_dtype_size(c->dout->dtype);
    for (int64_t part = begin; part < end; part++) {
        int64_t first = c->rows * part / PARTS, last = c->rows * (part + 1) / PARTS;
        float *sums = c->sums + part * c->out;
        for (int64_t k = 0; k < c->out; k++)
            sums[k] = 0.0f;
        for (int64_t row = first; row < last; row++)
            ghn__nn_kernels()->copy(sums, GHN_F32,
                                    (const char *)c->dout->data + (size_t)(row * c->out) * size,
                                    c->dout->dtype, c->out, true);
    }
}

static void backward_bias(struct ghn__site *site) {
    const struct linear *l = site->state;
    struct columns columns = {&site->dout, l->rows, l->out, work_space(site)};
    ghn__parallel(PARTS, 1, sum_parts, &columns);
    for (int64_t k = 0; k < l->out; k++) {
        float sum = site->add_param[1] ? site->dparams[1][k] : 0.0f;
        for (int part = 0; part < PARTS; part++)
            sum += columns.sums[part * l->out + k];
        site->dparams[1][k] = sum;
    }
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    const struct linear *l = site->state;
    if (site->node->attrs.linear.bias)
        backward_bias(site);
    enum ghn_status status =
        ghn__matmul_run(site->add_param[0] ? l->weights_add : l->weights, site->dout.data,
                        site->in[0].data, NULL, site->dparams[0], work_space(site), err);
    if (status || !site->din[0].data)
        return status;
    void *into = site->spare ? site->spare : site->din[0].data;
    return ghn__matmul_run(l->data, site->dout.data, typed_weights(site), NULL, into,
                           work_space(site), err);
}

static void done(struct ghn__site *site) {
    free_linear(site->state);
}

const struct ghn__layer ghn__layer_linear = {.order = GHN__ROW_MAJOR,
                                             .keeps_input = true,
                                             .cannot_add = true,
                                             .plan = plan,
                                             .forward = forward,
                                             .backward = backward,
                                             .done = done};
