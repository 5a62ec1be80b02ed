/* The layers that cells, stems and heads share. */
#include "deepnets/layers.h"

#include <stdio.h>

#include "arch/op.h"

/* "prefix.name[.slot]". Prefixes are made by this folder from small numbers and names are literals:
 * the text fits. */
static const char *join(char buf[GHN__NAME], const char *prefix, const char *name,
                        const char *slot) {
    (void)snprintf(buf, GHN__NAME, "%s%s%s%s%s", prefix, *prefix ? "." : "", name, slot ? "." : "",
                   slot ? slot : "");
    return buf;
}

static void unused(struct ghn__net_builder *nb, const char *prefix, const char *name,
                   const char *slot, struct ghn_shape shape) {
    char buf[GHN__NAME];
    ghn_arch_builder_unused(nb->arch, join(buf, prefix, name, slot), &shape);
}

int ghn__layer(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
               const void *attrs, int x) {
    char buf[GHN__NAME];
    if (x == GHN__UNAVAILABLE)
        return GHN__UNAVAILABLE;
    return ghn_arch_builder_add(nb->arch, op, join(buf, prefix, name, NULL), attrs, &x, 1);
}

int ghn__relu(struct ghn__net_builder *nb, const char *prefix, const char *name, int x) {
    return ghn__layer(nb, "relu", prefix, name, NULL, x);
}

int ghn__conv(struct ghn__net_builder *nb, const char *prefix, const char *name,
              const struct ghn_conv2d_attrs *attrs, int x) {
    if (x == GHN__UNAVAILABLE)
        unused(nb, prefix, name, "weight",
               (struct ghn_shape){4,
                                  {attrs->out_channels, attrs->in_channels / attrs->groups,
                                   attrs->kernel[0], attrs->kernel[1]}});
    return ghn__layer(nb, "conv2d", prefix, name, attrs, x);
}

struct ghn_conv2d_attrs ghn__square(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    return (struct ghn_conv2d_attrs){.in_channels = in,
                                     .out_channels = out,
                                     .kernel = {kernel, kernel},
                                     .stride = {stride, stride},
                                     .padding = {kernel / 2, kernel / 2},
                                     .dilation = {1, 1},
                                     .groups = 1};
}

int ghn__conv_same(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t in,
                   int64_t out, int64_t kernel, int64_t stride, int x) {
    struct ghn_conv2d_attrs attrs = ghn__square(in, out, kernel, stride);
    return ghn__conv(nb, prefix, name, &attrs, x);
}

int ghn__linear(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t in,
                int64_t out, bool bias, int x) {
    struct ghn_linear_attrs attrs = {.in_features = in, .out_features = out, .bias = bias};
    if (x == GHN__UNAVAILABLE) {
        unused(nb, prefix, name, "weight", (struct ghn_shape){2, {out, in}});
        if (bias)
            unused(nb, prefix, name, "bias", (struct ghn_shape){1, {out}});
    }
    return ghn__layer(nb, "linear", prefix, name, &attrs, x);
}

/* The weight and bias of a norm that reads nothing. */
static void unused_norm(struct ghn__net_builder *nb, const char *prefix, const char *name,
                        int64_t channels) {
    unused(nb, prefix, name, "weight", (struct ghn_shape){1, {channels}});
    unused(nb, prefix, name, "bias", (struct ghn_shape){1, {channels}});
}

int ghn__batch_norm(struct ghn__net_builder *nb, const char *prefix, const char *name,
                    int64_t channels, int x) {
    if (nb->net->norm == GHN_NORM_NONE)
        return x;
    struct ghn_batch_norm2d_attrs attrs = {.num_features = channels,
                                           .eps = 1e-5,
                                           .momentum = 0.1,
                                           .affine = true,
                                           .track_running_stats =
                                               nb->net->norm == GHN_NORM_BATCH_TRACK};
    if (x == GHN__UNAVAILABLE)
        unused_norm(nb, prefix, name, channels);
    return ghn__layer(nb, "batch_norm2d", prefix, name, &attrs, x);
}

int ghn__layer_norm(struct ghn__net_builder *nb, const char *prefix, const char *name,
                    int64_t channels, int x) {
    struct ghn_layer_norm_attrs attrs = {
        .normalized_shape = {1, {channels}}, .eps = 1e-5, .elementwise_affine = true};
    if (x == GHN__UNAVAILABLE)
        unused_norm(nb, prefix, name, channels);
    return ghn__layer(nb, "layer_norm", prefix, name, &attrs, x);
}

int ghn__pool3(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
               int64_t stride, int x) {
    struct ghn_pool2d_attrs attrs = {
        .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}, .dilation = {1, 1}};
    return ghn__layer(nb, op, prefix, name, &attrs, x);
}

int ghn__subsample(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t start,
                   int64_t step, int x) {
    static const char *const axes[] = {"rows", "cols"};
    for (int i = 0; i < 2; i++) {
        char buf[GHN__PREFIX];
        struct ghn_slice_attrs attrs = {
            .dim = 2 + i, .start = start, .end = GHN_DIM_MAX, .step = step};
        (void)snprintf(buf, sizeof(buf), "%s_%s", name, axes[i]);
        x = ghn__layer(nb, "slice", prefix, buf, &attrs, x);
    }
    return x;
}

int ghn__binary(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
                int a, int b) {
    char buf[GHN__NAME];
    if (a == GHN__UNAVAILABLE || b == GHN__UNAVAILABLE)
        return GHN__UNAVAILABLE;
    return ghn_arch_builder_add(nb->arch, op, join(buf, prefix, name, NULL), NULL,
                                (const int[]){a, b}, 2);
}

int ghn__concat(struct ghn__net_builder *nb, const char *prefix, const char *name, const int *x,
                int n) {
    char buf[GHN__NAME];
    struct ghn_concat_attrs attrs = {.dim = 1};
    return ghn_arch_builder_add(nb->arch, "concat", join(buf, prefix, name, NULL), &attrs, x, n);
}

int ghn__relu_conv_norm(struct ghn__net_builder *nb, const char *prefix, int64_t in, int64_t out,
                        int64_t kernel, int64_t stride, int x) {
    x = ghn__relu(nb, prefix, "op.0", x);
    x = ghn__conv_same(nb, prefix, "op.1", in, out, kernel, stride, x);
    return ghn__batch_norm(nb, prefix, "op.2", out, x);
}

int ghn__factorized_reduce(struct ghn__net_builder *nb, const char *prefix, int64_t in, int64_t out,
                           int x) {
    x = ghn__relu(nb, prefix, "relu", x);
    int shifted = ghn__subsample(nb, prefix, "shift", 1, 1, x);
    int halves[2] = {ghn__conv_same(nb, prefix, "conv_1", in, out / 2, 1, 2, x),
                     ghn__conv_same(nb, prefix, "conv_2", in, out / 2, 1, 2, shifted)};
    if (x != GHN__UNAVAILABLE)
        x = ghn__concat(nb, prefix, "cat", halves, 2);
    return ghn__batch_norm(nb, prefix, "bn", out, x);
}
