/* The operations of a cell (ghn2-spec A6, op catalogue). Each takes and gives the same number of
 * channels; names of parameters are those of A7. */
#include "deepnets/layers.h"

/* ReLU, 1x7 and 7x1 convolution with nothing between them. */
static int conv_7x1_1x7(struct ghn__net_builder *nb, const char *prefix, int64_t c, int64_t stride,
                        int x) {
    struct ghn_conv2d_attrs row = {.in_channels = c,
                                   .out_channels = c,
                                   .kernel = {1, 7},
                                   .stride = {1, stride},
                                   .padding = {0, 3},
                                   .dilation = {1, 1},
                                   .groups = 1};
    struct ghn_conv2d_attrs column = {.in_channels = c,
                                      .out_channels = c,
                                      .kernel = {7, 1},
                                      .stride = {stride, 1},
                                      .padding = {3, 0},
                                      .dilation = {1, 1},
                                      .groups = 1};
    x = ghn__relu(nb, prefix, "op.0", x);
    x = ghn__conv(nb, prefix, "op.1", &row, x);
    x = ghn__conv(nb, prefix, "op.2", &column, x);
    return ghn__batch_norm(nb, prefix, "op.3", c, x);
}

/* A convolution of each channel by itself; the padding keeps the size at stride 1. */
static int depthwise(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t c,
                     int64_t kernel, int64_t stride, int64_t dilation, int x) {
    int64_t padding = kernel / 2 * dilation;
    struct ghn_conv2d_attrs attrs = {.in_channels = c,
                                     .out_channels = c,
                                     .kernel = {kernel, kernel},
                                     .stride = {stride, stride},
                                     .padding = {padding, padding},
                                     .dilation = {dilation, dilation},
                                     .groups = c};
    return ghn__conv(nb, prefix, name, &attrs, x);
}

/* ReLU, depthwise and 1x1 convolution, norm, and all of it once more. */
static int sep_conv(struct ghn__net_builder *nb, const char *prefix, int64_t c, int64_t kernel,
                    int64_t stride, int x) {
    x = ghn__relu(nb, prefix, "op.0", x);
    x = depthwise(nb, prefix, "op.1", c, kernel, stride, 1, x);
    x = ghn__conv_same(nb, prefix, "op.2", c, c, 1, 1, x);
    x = ghn__batch_norm(nb, prefix, "op.3", c, x);
    x = ghn__relu(nb, prefix, "op.4", x);
    x = depthwise(nb, prefix, "op.5", c, kernel, 1, 1, x);
    x = ghn__conv_same(nb, prefix, "op.6", c, c, 1, 1, x);
    return ghn__batch_norm(nb, prefix, "op.7", c, x);
}

/* ReLU, depthwise convolution of dilation 2, 1x1 convolution, norm. */
static int dil_conv(struct ghn__net_builder *nb, const char *prefix, int64_t c, int64_t kernel,
                    int64_t stride, int x) {
    x = ghn__relu(nb, prefix, "op.0", x);
    x = depthwise(nb, prefix, "op.1", c, kernel, stride, 2, x);
    x = ghn__conv_same(nb, prefix, "op.2", c, c, 1, 1, x);
    return ghn__batch_norm(nb, prefix, "op.3", c, x);
}

/* Channel squeeze and excitation, with a hardswish where a sigmoid is usual. */
static int cse(struct ghn__net_builder *nb, const char *prefix, int64_t c, int64_t stride, int x) {
    struct ghn_mean_attrs space = {.dims = {2, {2, 3}}, .keepdim = false};
    struct ghn_dims_attrs per_channel = {.dims = {3, {c, 1, 1}}};
    int gate = ghn__layer(nb, "mean", prefix, "squeeze", &space, x);
    gate = ghn__linear(nb, prefix, "fc1", c, c / 2, true, gate);
    gate = ghn__relu(nb, prefix, "relu", gate);
    gate = ghn__linear(nb, prefix, "fc2", c / 2, c, true, gate);
    gate = ghn__layer(nb, "hardswish", prefix, "hardswish", NULL, gate);
    gate = ghn__layer(nb, "reshape", prefix, "gate", &per_channel, gate);
    x = ghn__binary(nb, "mul", prefix, "scale", x, gate);
    return stride == 1 ? x : ghn__subsample(nb, prefix, "stride", 0, stride, x);
}

/* (C, H, W) as H*W tokens of C features. */
static int to_tokens(struct ghn__net_builder *nb, const char *prefix, int x) {
    struct ghn_flatten_attrs space = {.start_dim = 2, .end_dim = -1};
    struct ghn_dims_attrs swap = {.dims = {3, {0, 2, 1}}};
    x = ghn__layer(nb, "flatten", prefix, "to_tokens.0", &space, x);
    return ghn__layer(nb, "permute", prefix, "to_tokens.1", &swap, x);
}

static int from_tokens(struct ghn__net_builder *nb, const char *prefix, int64_t c, int x) {
    struct ghn_dims_attrs swap = {.dims = {3, {0, 2, 1}}};
    struct ghn_dims_attrs map = {.dims = {3, {c, nb->grid, nb->grid}}};
    x = ghn__layer(nb, "permute", prefix, "from_tokens.0", &swap, x);
    return ghn__layer(nb, "reshape", prefix, "from_tokens.1", &map, x);
}

/* A transformer block: attention and a feed-forward part, each after a layer norm and with a
 * residual sum. Where GHN__MSA_HEADS does not divide c, the heads together are narrower than c. */
static int msa(struct ghn__net_builder *nb, const char *prefix, int64_t c, int x) {
    struct ghn_attention_attrs heads = {.num_heads = GHN__MSA_HEADS};
    int64_t inner = c / GHN__MSA_HEADS * GHN__MSA_HEADS;
    int tokens = to_tokens(nb, prefix, x);
    x = ghn__layer_norm(nb, prefix, "ln1", c, tokens);
    x = ghn__linear(nb, prefix, "to_qkv", c, 3 * inner, false, x);
    x = ghn__layer(nb, "attention", prefix, "attention", &heads, x);
    x = ghn__linear(nb, prefix, "to_out.0", inner, c, true, x);
    tokens = ghn__binary(nb, "add", prefix, "add1", tokens, x);
    x = ghn__layer_norm(nb, prefix, "ln2", c, tokens);
    x = ghn__linear(nb, prefix, "ff.net.0", c, c, true, x);
    x = ghn__layer(nb, "gelu", prefix, "ff.net.1", NULL, x);
    x = ghn__linear(nb, prefix, "ff.net.3", c, c, true, x);
    tokens = ghn__binary(nb, "add", prefix, "add2", tokens, x);
    return from_tokens(nb, prefix, c, tokens);
}

int ghn__cell_op(struct ghn__net_builder *nb, enum ghn_cell_op op, const char *prefix,
                 int64_t channels, int64_t stride, int x) {
    switch (op) {
    case GHN_CELL_NONE:
        return GHN__UNAVAILABLE;
    case GHN_CELL_MAX_POOL_3X3:
        return ghn__pool3(nb, "max_pool2d", prefix, "pool", stride, x);
    case GHN_CELL_AVG_POOL_3X3:
        return ghn__pool3(nb, "avg_pool2d", prefix, "pool", stride, x);
    case GHN_CELL_SKIP_CONNECT:
        return stride == 1 ? x : ghn__factorized_reduce(nb, prefix, channels, channels, x);
    case GHN_CELL_SEP_CONV_3X3:
        return sep_conv(nb, prefix, channels, 3, stride, x);
    case GHN_CELL_SEP_CONV_5X5:
        return sep_conv(nb, prefix, channels, 5, stride, x);
    case GHN_CELL_DIL_CONV_3X3:
        return dil_conv(nb, prefix, channels, 3, stride, x);
    case GHN_CELL_DIL_CONV_5X5:
        return dil_conv(nb, prefix, channels, 5, stride, x);
    case GHN_CELL_CONV_1X1:
        return ghn__relu_conv_norm(nb, prefix, channels, channels, 1, stride, x);
    case GHN_CELL_CONV_7X1_1X7:
        return conv_7x1_1x7(nb, prefix, channels, stride, x);
    case GHN_CELL_CONV_3X3:
        return ghn__relu_conv_norm(nb, prefix, channels, channels, 3, stride, x);
    case GHN_CELL_CONV_5X5:
        return ghn__relu_conv_norm(nb, prefix, channels, channels, 5, stride, x);
    case GHN_CELL_CONV_7X7:
        return ghn__relu_conv_norm(nb, prefix, channels, channels, 7, stride, x);
    case GHN_CELL_MSA:
        return msa(nb, prefix, channels, x);
    case GHN_CELL_CSE:
        return cse(nb, prefix, channels, stride, x);
    case GHN_N_CELL_OPS:
        break;
    }
    return GHN__UNAVAILABLE;
}
