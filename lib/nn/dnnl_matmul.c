#include "base/mem.h"
#include "nn/dnnl.h"
#include "nn/dnnl_impl.h"

struct ghn__matmul {
    struct ghn__primitive primitive;
};

static dnnl_data_type_t type_of(enum ghn_dtype dtype) {
    return dtype == GHN_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* A matrix of rows x cols, stored row-major or transposed. */
static dnnl_memory_desc_t matrix(int64_t rows, int64_t cols, bool transposed,
                                 enum ghn_dtype dtype) {
    dnnl_dims_t dims = {rows, cols}, strides = {transposed ? 1 : cols, transposed ? rows : 1};
    dnnl_memory_desc_t desc = {0};
    dnnl_memory_desc_init_by_strides(&desc, 2, dims, type_of(dtype), strides);
    return desc;
}

static enum ghn_status make(const struct ghn__matmul_spec *spec, struct ghn__matmul *matmul,
                            dnnl_primitive_attr_t attr, struct ghn_err *err) {
    dnnl_memory_desc_t a = matrix(spec->m, spec->k, spec->a_transposed, spec->dtype);
    dnnl_memory_desc_t b = matrix(spec->k, spec->n, spec->b_transposed, spec->dtype);
    dnnl_memory_desc_t c = matrix(spec->m, spec->n, false, spec->c_dtype);
    dnnl_memory_desc_t bias = matrix(1, spec->n, false, GHN_F32);
    dnnl_matmul_desc_t desc;
    enum ghn_status status =
        ghn__dnnl_status(dnnl_matmul_desc_init(&desc, &a, &b, spec->bias ? &bias : NULL, &c),
                         "describe a matrix product", err);
    if (!status)
        status = ghn__primitive_new(&desc, NULL, attr, NULL, &matmul->primitive, err);
    if (!status)
        status = ghn__primitive_argument(&matmul->primitive, DNNL_ARG_SRC, &a, err);
    if (!status)
        status = ghn__primitive_argument(&matmul->primitive, DNNL_ARG_WEIGHTS, &b, err);
    if (!status)
        status = ghn__primitive_argument(&matmul->primitive, DNNL_ARG_DST, &c, err);
    if (!status && spec->bias)
        status = ghn__primitive_argument(&matmul->primitive, DNNL_ARG_BIAS, &bias, err);
    return status;
}

/* Attributes for c +=. */
static enum ghn_status sum_attributes(dnnl_primitive_attr_t *ret, struct ghn_err *err) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t made = dnnl_primitive_attr_create(ret);
    if (made)
        return ghn__dnnl_status(made, "make attributes", err);
    made = dnnl_post_ops_create(&ops);
    if (!made)
        made = dnnl_post_ops_append_sum(ops, 1.0f);
    if (!made)
        made = dnnl_primitive_attr_set_post_ops(*ret, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (made)
        dnnl_primitive_attr_destroy(*ret);
    return ghn__dnnl_status(made, "set attributes", err);
}

enum ghn_status ghn__matmul_new(const struct ghn__matmul_spec *spec, struct ghn__matmul **ret,
                                struct ghn_err *err) {
    struct ghn__matmul *matmul = ghn_calloc(1, sizeof *matmul);
    if (!matmul)
        return ghn_fail_memory(err);
    dnnl_primitive_attr_t attr = NULL;
    enum ghn_status status = spec->add ? sum_attributes(&attr, err) : GHN_OK;
    if (!status) {
        status = make(spec, matmul, attr, err);
        if (attr)
            dnnl_primitive_attr_destroy(attr);
    }
    if (status) {
        ghn__matmul_free(matmul);
        return status;
    }
    *ret = matmul;
    return GHN_OK;
}

void ghn__matmul_free(struct ghn__matmul *matmul) {
    if (!matmul)
        return;
    ghn__primitive_done(&matmul->primitive);
    ghn_free(matmul);
}

size_t ghn__matmul_scratch_bytes(const struct ghn__matmul *matmul) {
    return matmul->primitive.scratch_bytes;
}

enum ghn_status ghn__matmul_run(struct ghn__matmul *matmul, const void *a, const void *b,
                                const float *bias, void *c, void *scratch, struct ghn_err *err) {
    void *data[] = {(void *)a, (void *)b, c, (void *)bias};
    return ghn__primitive_run(&matmul->primitive, data, scratch, err);
}
