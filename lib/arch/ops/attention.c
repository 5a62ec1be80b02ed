/* Self-attention: attention (packed q | k | v in, heads out) and window_attention (Swin's, with its
 * projections). */
#include <math.h>

#include "arch/op.h"

static const char why_table[] = "relative position bias tables have no primitive in DeepNets-1M";
static const char why_cosine[] =
    "Swin v2's logit scale and position bias network have no primitive in DeepNets-1M";

/* --- attention --- */

static const struct ghn_attr attention_attrs[] = {
    GHN_A_INT_REQUIRED(ghn_attention_attrs, num_heads, 1, GHN_WINDOW_MAX),
    GHN_A_DOUBLE(ghn_attention_attrs, scale, 0, 1e6),
    GHN_A_PAIR(ghn_attention_attrs, relative_position, 0, 1024),
    GHN_A_END,
};
static const struct ghn_attention_attrs attention_defaults;

static enum ghn_status infer_attention(struct ghn_infer *infer) {
    const struct ghn_attention_attrs *a = &infer->attrs->attention;
    const struct ghn_shape *in = infer->inputs[0];
    int64_t packed = in->ndim >= 2 ? in->dim[in->ndim - 1] : 0;
    if (packed == 0 || packed % 3 || packed / 3 % a->num_heads) {
        char text[GHN_SHAPE_TEXT];
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "the input is %s, expected (..., tokens, 3 D) with D a multiple of num_heads = %lld",
            ghn_shape_text(in, text, sizeof(text)), (long long)a->num_heads);
    }
    int64_t tokens = in->dim[in->ndim - 2];
    const int64_t *window = a->relative_position;
    if ((window[0] || window[1]) && window[0] * window[1] != tokens)
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "relative_position is [%lld, %lld], whose product is not the number of tokens, %lld",
            (long long)window[0], (long long)window[1], (long long)tokens);
    ghn__infer_emit(infer, GHN_EMIT_MSA, -1);
    if (window[0] && window[1]) {
        struct ghn_init init = {GHN_INIT_TRUNC_NORMAL, 0.02};
        ghn__infer_other(infer, "relative_position_bias_table", init,
                         &GHN_SHAPE((2 * window[0] - 1) * (2 * window[1] - 1), a->num_heads),
                         why_table);
    }
    infer->shape = *in;
    infer->shape.dim[in->ndim - 1] = packed / 3;
    infer->flops = 2 * (double)tokens * ghn__shape_count(&infer->shape);
    return GHN_OK;
}

const struct ghn_op ghn__op_attention = {
    "attention",         GHN_ROLE_LAYER, 1, 1, attention_attrs, sizeof(attention_defaults),
    &attention_defaults, infer_attention};

/* --- window_attention --- */

static const struct ghn_attr window_attrs[] = {
    GHN_A_PAIR_REQUIRED(ghn_window_attention_attrs, window_size, 1, 1024),
    GHN_A_PAIR(ghn_window_attention_attrs, shift_size, 0, 1024),
    GHN_A_INT_REQUIRED(ghn_window_attention_attrs, num_heads, 1, GHN_WINDOW_MAX),
    GHN_A_BOOL(ghn_window_attention_attrs, qkv_bias),
    GHN_A_BOOL(ghn_window_attention_attrs, proj_bias),
    GHN_A_BOOL(ghn_window_attention_attrs, cosine),
    GHN_A_END,
};
static const struct ghn_window_attention_attrs window_defaults = {.qkv_bias = true,
                                                                  .proj_bias = true};

/* A linear projection c -> n with its emits. torchvision initialises both of Swin's with Linear's
 * defaults. */
static void project(struct ghn_infer *infer, const char *weight, const char *bias, int64_t n,
                    int64_t c) {
    struct ghn_init init = {GHN_INIT_UNIFORM, 1 / sqrt((double)c)};
    int param = ghn__infer_param(infer, weight, GHN_PARAM_WEIGHT, init, &GHN_SHAPE(n, c));
    ghn__infer_emit(infer, GHN_EMIT_CONV, param);
    if (bias)
        ghn__infer_bias(infer, bias, n, init.a);
}

/* What tells a token where the others are: a table, or with cosine attention a scale and a small
 * network. */
static void declare_positions(struct ghn_infer *infer) {
    const struct ghn_window_attention_attrs *a = &infer->attrs->window_attention;
    if (!a->cosine) {
        struct ghn_init init = {GHN_INIT_TRUNC_NORMAL, 0.02};
        int64_t rows = (2 * a->window_size[0] - 1) * (2 * a->window_size[1] - 1);
        ghn__infer_other(infer, "relative_position_bias_table", init,
                         &GHN_SHAPE(rows, a->num_heads), why_table);
        return;
    }
    struct ghn_init scale = {GHN_INIT_CONSTANT, log(10)};
    struct ghn_init first = {GHN_INIT_UNIFORM, 1 / sqrt(2)};
    struct ghn_init second = {GHN_INIT_UNIFORM, 1 / sqrt(512)};
    ghn__infer_other(infer, "logit_scale", scale, &GHN_SHAPE(a->num_heads, 1, 1), why_cosine);
    ghn__infer_other(infer, "cpb_mlp.0.weight", first, &GHN_SHAPE(512, 2), why_cosine);
    ghn__infer_other(infer, "cpb_mlp.0.bias", first, &GHN_SHAPE(512), why_cosine);
    ghn__infer_other(infer, "cpb_mlp.2.weight", second, &GHN_SHAPE(a->num_heads, 512), why_cosine);
}

static enum ghn_status infer_window_attention(struct ghn_infer *infer) {
    const struct ghn_window_attention_attrs *a = &infer->attrs->window_attention;
    const struct ghn_shape *in = infer->inputs[0];
    if (in->ndim != 3 || in->dim[2] % a->num_heads) {
        char text[GHN_SHAPE_TEXT];
        return ghn__infer_fail(
            infer, GHN_SHAPE_MISMATCH,
            "the input is %s, expected (H, W, C) with C a multiple of num_heads = %lld",
            ghn_shape_text(in, text, sizeof(text)), (long long)a->num_heads);
    }
    int64_t c = in->dim[2];
    project(infer, "qkv.weight", a->qkv_bias ? "qkv.bias" : NULL, 3 * c, c);
    ghn__infer_emit(infer, GHN_EMIT_MSA, -1);
    project(infer, "proj.weight", a->proj_bias ? "proj.bias" : NULL, c, c);
    declare_positions(infer);
    infer->shape = *in;
    /* the map is padded to whole windows, which attend to the padding as well */
    double tokens = 1, padded = (double)c;
    for (int i = 0; i < 2; i++) {
        int64_t window = a->window_size[i];
        tokens *= (double)window;
        padded *= (double)((in->dim[i] + window - 1) / window * window);
    }
    infer->flops = 4 * (double)c * ghn__shape_count(in) + 2 * tokens * padded;
    return GHN_OK;
}

const struct ghn_op ghn__op_window_attention = {
    "window_attention", GHN_ROLE_LAYER,        1, 1, window_attrs, sizeof(window_defaults),
    &window_defaults,   infer_window_attention};
