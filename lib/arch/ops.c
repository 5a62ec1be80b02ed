/* The list of operations, and the helpers that their files share. */
#include "arch/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GHN_OP(symbol, name) extern const struct ghn_op ghn__op_##symbol;
#include "arch/ops.def"
#undef GHN_OP

static const struct ghn_op *const ops[] = {
#define GHN_OP(symbol, name) &ghn__op_##symbol,
#include "arch/ops.def"
#undef GHN_OP
};

const struct ghn_op *ghn_op_find(const char *name) {
    if (strcmp(name, "cat") == 0)
        name = "concat";
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (strcmp(ops[i]->name, name) == 0)
            return ops[i];
    return NULL;
}

enum ghn_status ghn__infer_fail(struct ghn_infer *infer, enum ghn_status status, const char *format,
                                ...) {
    char text[GHN_ERR_MESSAGE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ghn_fail(infer->err, status, infer->where, "%s \"%s\": %s", infer->op_name,
                    infer->node_name, text);
}

int ghn__infer_param(struct ghn_infer *infer, const char *slot, enum ghn_param_kind kind,
                     struct ghn_init init, const struct ghn_shape *shape) {
    struct ghn_op_param *param = &infer->params[infer->n_params];
    *param = (struct ghn_op_param){slot, *shape, kind, init, NULL};
    return infer->n_params++;
}

void ghn__infer_other(struct ghn_infer *infer, const char *slot, struct ghn_init init,
                      const struct ghn_shape *shape, const char *why) {
    int i = ghn__infer_param(infer, slot, GHN_PARAM_OTHER, init, shape);
    infer->params[i].why_other = why;
}

void ghn__infer_emit(struct ghn_infer *infer, enum ghn_emit_kind kind, int param) {
    infer->emits[infer->n_emits++] = (struct ghn_emit){kind, param, {0, 0}};
}

void ghn__infer_bias(struct ghn_infer *infer, const char *slot, int64_t n, double bound) {
    struct ghn_init init = {GHN_INIT_UNIFORM, bound};
    int param = ghn__infer_param(infer, slot, GHN_PARAM_BIAS, init, &GHN_SHAPE(n));
    ghn__infer_emit(infer, GHN_EMIT_BIAS, param);
}

enum ghn_status ghn__infer_chw(struct ghn_infer *infer, int64_t ret[3]) {
    const struct ghn_shape *in = infer->inputs[0];
    if (in->ndim != 3) {
        char text[GHN_SHAPE_TEXT];
        return ghn__infer_fail(infer, GHN_SHAPE_MISMATCH,
                               "the input is %s, expected three dimensions (C, H, W)",
                               ghn_shape_text(in, text, sizeof(text)));
    }
    memcpy(ret, in->dim, 3 * sizeof(ret[0]));
    return GHN_OK;
}

enum ghn_status ghn__infer_dim(struct ghn_infer *infer, const char *attr, int64_t dim, int ndim,
                               int *ret) {
    int64_t i = dim < 0 ? dim + ndim : dim - 1;
    if (i < 0 || i >= ndim)
        return ghn__infer_fail(
            infer, GHN_OUT_OF_RANGE,
            "%s is %lld, expected a dimension from 1 to %d (0 is the batch) or from -%d to -1",
            attr, (long long)dim, ndim, ndim);
    *ret = (int)i;
    return GHN_OK;
}

enum ghn_status ghn__infer_window(struct ghn_infer *infer, int axis, int64_t size, int64_t kernel,
                                  int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode,
                                  int64_t *ret) {
    int64_t span = dilation * (kernel - 1) + 1;
    int64_t room = size + 2 * padding - span;
    if (room < 0)
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "a window of %lld (%s) does not fit the input's %lld with padding %lld",
            (long long)span, axis ? "width" : "height", (long long)size, (long long)padding);
    int64_t n = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    /* As PyTorch: in ceil mode the last window must start inside the input or its left padding. */
    if (ceil_mode && (n - 1) * stride >= size + padding)
        n--;
    *ret = n;
    return GHN_OK;
}

double ghn__shape_count(const struct ghn_shape *shape) {
    double n = 1;
    for (int i = 0; i < shape->ndim; i++)
        n *= (double)shape->dim[i];
    return n;
}
