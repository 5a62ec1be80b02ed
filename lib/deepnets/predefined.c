/* The two networks of the predefined split (ghn2-spec A8): ResNet-50 (He et al. 2016, as
 * torchvision has it) and a transformer in which every cell is one block. */
#include <stdio.h>

#include "deepnets/layers.h"
#include "deepnets/rules.h"

enum { RESNET50, VIT };

/* --- The transformer --- */

static const struct ghn_net vit = {
    .normal = {.n_steps = 1,
               .op = {GHN_CELL_NONE, GHN_CELL_MSA},
               .pred = {0, 1},
               .n_concat = 1,
               .concat = {2}},
    .reduce = {.n_steps = 1,
               .op = {GHN_CELL_NONE, GHN_CELL_AVG_POOL_3X3},
               .pred = {0, 1},
               .n_concat = 1,
               .concat = {2}},
    .n_cells = 12,
    .ks = 3,
    .C = 128,
    .C_mult = 1,
    .norm = GHN_NORM_BATCH_TRACK,
    .fc_layers = 1,
    .fc_dim = GHN__BASE_HEAD,
    .glob_avg = true,
    .input = {3, 32, 32},
    .num_classes = 10,
};

enum ghn_status ghn__predefined_net(int64_t index, struct ghn_net *ret, struct ghn_err *err) {
    if (index == RESNET50)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "index",
                        "network 0 of predefined is ResNet-50, which is no genotype");
    if (index != VIT)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "index",
                        "found %lld, but predefined has networks 0 and 1 only", (long long)index);
    *ret = vit;
    return GHN_OK;
}

/* --- ResNet-50 --- */

/* Convolution and norm, named as in torchvision: "PREFIXconv1" and "PREFIXbn1". */
static int conv_norm(struct ghn_arch_builder *arch, const char *prefix, const char *conv,
                     const char *norm, const struct ghn_conv2d_attrs *attrs, int x) {
    char name[GHN__NAME];
    struct ghn_batch_norm2d_attrs norm_attrs = {.num_features = attrs->out_channels,
                                                .eps = 1e-5,
                                                .momentum = 0.1,
                                                .affine = true,
                                                .track_running_stats = true};
    (void)snprintf(name, sizeof(name), "%s%s", prefix, conv);
    x = ghn_arch_builder_add(arch, "conv2d", name, attrs, &x, 1);
    (void)snprintf(name, sizeof(name), "%s%s", prefix, norm);
    return ghn_arch_builder_add(arch, "batch_norm2d", name, &norm_attrs, &x, 1);
}

static int relu(struct ghn_arch_builder *arch, const char *prefix, const char *relu, int x) {
    char name[GHN__NAME];
    (void)snprintf(name, sizeof(name), "%s%s", prefix, relu);
    return ghn_arch_builder_add(arch, "relu", name, NULL, &x, 1);
}

/* 1x1 to `width` channels, 3x3, 1x1 to four times as many, and a residual sum; the first block of a
 * stage has a convolution on the shortcut. */
static int bottleneck(struct ghn_arch_builder *arch, const char *prefix, int64_t in, int64_t width,
                      int64_t stride, bool first, int x) {
    char name[GHN__NAME];
    struct ghn_conv2d_attrs narrow = ghn__square(in, width, 1, 1),
                            middle = ghn__square(width, width, 3, stride),
                            wide = ghn__square(width, 4 * width, 1, 1),
                            shortcut = ghn__square(in, 4 * width, 1, stride);
    int branch = relu(arch, prefix, "relu1", conv_norm(arch, prefix, "conv1", "bn1", &narrow, x));
    branch = relu(arch, prefix, "relu2", conv_norm(arch, prefix, "conv2", "bn2", &middle, branch));
    branch = conv_norm(arch, prefix, "conv3", "bn3", &wide, branch);
    if (first)
        x = conv_norm(arch, prefix, "downsample.0", "downsample.1", &shortcut, x);
    (void)snprintf(name, sizeof(name), "%sadd", prefix);
    x = ghn_arch_builder_add(arch, "add", name, NULL, (const int[]){branch, x}, 2);
    return relu(arch, prefix, "relu3", x);
}

/* Small images get a first convolution of 3x3 that keeps their size, and no pool after it. */
static int resnet_stem(struct ghn_arch_builder *arch, bool small) {
    struct ghn_conv2d_attrs conv = small ? ghn__square(3, 64, 3, 1) : ghn__square(3, 64, 7, 2);
    struct ghn_pool2d_attrs pool = {
        .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .dilation = {1, 1}};
    int x = relu(arch, "", "relu", conv_norm(arch, "", "conv1", "bn1", &conv, 0));
    return small ? x : ghn_arch_builder_add(arch, "max_pool2d", "maxpool", &pool, &x, 1);
}

static enum ghn_status resnet50(bool small, int64_t side, int num_classes,
                                const struct ghn_limits *limits, struct ghn_arch **ret,
                                struct ghn_err *err) {
    static const int blocks[] = {3, 4, 6, 3};
    struct ghn_shape input = {3, {3, side, side}};
    struct ghn_arch_builder *arch = ghn_arch_builder_new("resnet50", &input, limits);
    struct ghn_adaptive_pool2d_attrs pool = {{1, 1}};
    struct ghn_linear_attrs fc = {.in_features = 2048, .out_features = num_classes, .bias = true};
    if (!arch)
        return ghn_fail_memory(err);
    int x = resnet_stem(arch, small);
    int64_t in = 64;
    for (int stage = 0; stage < 4; stage++)
        for (int block = 0; block < blocks[stage]; block++) {
            char prefix[GHN__PREFIX];
            int64_t width = (int64_t)64 << stage;
            (void)snprintf(prefix, sizeof(prefix), "layer%d.%d.", stage + 1, block);
            x = bottleneck(arch, prefix, in, width, stage > 0 && block == 0 ? 2 : 1, block == 0, x);
            in = 4 * width;
        }
    x = ghn_arch_builder_add(arch, "adaptive_avg_pool2d", "avgpool", &pool, &x, 1);
    x = ghn_arch_builder_add(arch, "flatten", "flatten", NULL, &x, 1);
    x = ghn_arch_builder_add(arch, "linear", "fc", &fc, &x, 1);
    return ghn_arch_builder_finish(arch, x, ret, err);
}

enum ghn_status ghn_predefined_arch(int64_t index, int64_t side, int num_classes,
                                    const struct ghn_limits *limits, struct ghn_arch **ret,
                                    struct ghn_err *err) {
    struct ghn_net net = vit;
    net.input[1] = net.input[2] = side;
    net.num_classes = num_classes;
    if (index == RESNET50)
        return resnet50(ghn__net_is_small(&net), side, num_classes, limits, ret, err);
    enum ghn_status status = ghn__predefined_net(index, &(struct ghn_net){0}, err);
    return status == GHN_OK ? ghn_net_to_arch(&net, limits, ret, err) : status;
}
