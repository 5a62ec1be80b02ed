#include "nn/dense.h"

#include "base/mem.h"
#include "nn/dnnl.h"
#include "nn/kernels.h"
#include "nn/parallel.h"

struct ghn__dense {
    struct ghn__dense_spec spec;
    struct ghn__matmul *forward, *data, *weights, *weights_add;
    size_t weights_bytes; /* of the weights in bf16, at the head of the work space; 0 in f32 */
};

enum {
    PARTS = 16
}; /* of the rows, summed apart and in order, so that a bias gradient is the same for any number of
      threads */

static enum ghn_status make_backward(struct ghn__dense *d, struct ghn_err *err) {
    const struct ghn__dense_spec *s = &d->spec;
    struct ghn__matmul_spec data = {
        .m = s->rows, .k = s->out, .n = s->in, .dtype = s->dtype, .c_dtype = s->dtype};
    struct ghn__matmul_spec weights = {.m = s->out,
                                       .k = s->rows,
                                       .n = s->in,
                                       .a_transposed = true,
                                       .dtype = s->dtype,
                                       .c_dtype = GHN_F32};
    enum ghn_status status = s->input_gradient ? ghn__matmul_new(&data, &d->data, err) : GHN_OK;
    if (!status)
        status = ghn__matmul_new(&weights, &d->weights, err);
    weights.add = true;
    if (!status)
        status = ghn__matmul_new(&weights, &d->weights_add, err);
    return status;
}

enum ghn_status ghn__dense_new(const struct ghn__dense_spec *spec, struct ghn__dense **ret,
                               struct ghn_err *err) {
    struct ghn__dense *d = ghn_calloc(1, sizeof *d);
    if (!d)
        return ghn_fail_memory(err);
    d->spec = *spec;
    d->weights_bytes =
        spec->dtype == GHN_BF16 ? ((size_t)(spec->in * spec->out) * 2 + 63) / 64 * 64 : 0;
    struct ghn__matmul_spec forward = {.m = spec->rows,
                                       .k = spec->in,
                                       .n = spec->out,
                                       .b_transposed = true,
                                       .dtype = spec->dtype,
                                       .c_dtype = spec->dtype,
                                       .bias = spec->bias};
    enum ghn_status status = ghn__matmul_new(&forward, &d->forward, err);
    if (!status && spec->training)
        status = make_backward(d, err);
    if (status) {
        ghn__dense_free(d);
        return status;
    }
    *ret = d;
    return GHN_OK;
}

void ghn__dense_free(struct ghn__dense *dense) {
    if (!dense)
        return;
    ghn__matmul_free(dense->forward);
    ghn__matmul_free(dense->data);
    ghn__matmul_free(dense->weights);
    ghn__matmul_free(dense->weights_add);
    ghn_free(dense);
}

size_t ghn__dense_scratch_bytes(const struct ghn__dense *dense) {
    struct ghn__matmul *all[] = {dense->forward, dense->data, dense->weights, dense->weights_add};
    size_t work = (size_t)dense->spec.out * PARTS * sizeof(float);
    for (int i = 0; i < 4; i++)
        if (all[i] && ghn__matmul_scratch_bytes(all[i]) > work)
            work = ghn__matmul_scratch_bytes(all[i]);
    return dense->weights_bytes + work;
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

/* The weights in the type of x. */
static const void *typed_weights(const struct ghn__dense *dense, const float *weight,
                                 void *scratch) {
    if (dense->weights_bytes == 0)
        return weight;
    struct convert convert = {scratch, weight};
    ghn__parallel(dense->spec.in * dense->spec.out, 16384, convert_range, &convert);
    return scratch;
}

enum ghn_status ghn__dense_forward(struct ghn__dense *dense, const void *x, const float *weight,
                                   const float *bias, void *y, void *scratch, struct ghn_err *err) {
    void *work = (char *)scratch + dense->weights_bytes;
    return ghn__matmul_run(dense->forward, x, typed_weights(dense, weight, scratch), bias, y, work,
                           err);
}

struct columns {
    const void *dy;
    const struct ghn__dense_spec *spec;
    float *sums; /* (PARTS, out) */
};

static void sum_parts(void *context, int64_t begin, int64_t end) {
    const struct columns *c = context;
    int64_t rows = c->spec->rows, out = c->spec->out;
    for (int64_t part = begin; part < end; part++) {
        int64_t first = rows * part / PARTS, last = rows * (part + 1) / PARTS;
        const char *from =
            (const char *)c->dy + (size_t)(first * out) * ghn_dtype_size(c->spec->dtype);
        ghn__nn_kernels()->sum_rows(c->sums + part * out, from, NULL, c->spec->dtype, last - first,
                                    out);
    }
}

static void backward_bias(const struct ghn__dense *dense, const void *dy, float *dbias, bool add,
                          void *work) {
    int64_t out = dense->spec.out;
    struct columns columns = {dy, &dense->spec, work};
    ghn__parallel(PARTS, 1, sum_parts, &columns);
    for (int64_t k = 0; k < out; k++) {
        float sum = add ? dbias[k] : 0.0f;
        for (int part = 0; part < PARTS; part++)
            sum += columns.sums[part * out + k];
        dbias[k] = sum;
    }
}

enum ghn_status ghn__dense_backward(struct ghn__dense *dense, const void *x, const void *dy,
                                    const float *weight, const struct ghn__dense_gradient *into,
                                    void *scratch, struct ghn_err *err) {
    void *work = (char *)scratch + dense->weights_bytes;
    if (into->dbias)
        backward_bias(dense, dy, into->dbias, into->add_bias, work);
    enum ghn_status status = ghn__matmul_run(into->add_weight ? dense->weights_add : dense->weights,
                                             dy, x, NULL, into->dweight, work, err);
    if (status || !into->dx)
        return status;
    return ghn__matmul_run(dense->data, dy, typed_weights(dense, weight, scratch), NULL, into->dx,
                           work, err);
}
