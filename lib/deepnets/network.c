/* A genotype's network: stem, cells, head (ghn2-spec A6). */
#include <stdio.h>

#include "deepnets/layers.h"

/* Images up to this side get the stems made for 32 pixels, larger ones those for 224. */
enum { SMALL_SIDE = 64 };

bool ghn__net_is_small(const struct ghn_net *net) {
    return net->input[1] <= SMALL_SIDE;
}

bool ghn__is_reduction(int cell, int n_cells) {
    return cell > 0 && (cell == n_cells / 3 || cell == 2 * n_cells / 3);
}

int64_t ghn__patch_side(const struct ghn_net *net) {
    return ghn__net_is_small(net) ? 3 : 16;
}

/* Of the margin around an image; patches of small ones would not cover it. */
static int64_t patch_padding(const struct ghn_net *net) {
    return ghn__net_is_small(net) ? 1 : 0;
}

int64_t ghn__grid_side(const struct ghn_net *net) {
    int64_t patch = ghn__patch_side(net);
    return (net->input[1] + 2 * patch_padding(net) - patch) / patch + 1;
}

/* What a stem or cell hands on: a value, and its channels, which are known even where the value is
 * unavailable. */
struct feature {
    int x;
    int64_t channels;
};

/* --- Stems: each sets the two inputs of cell 0 --- */

/* Patches as tokens on a grid, and a learned position tensor added to them. */
static void vit_stem(struct ghn__net_builder *nb, struct feature in[2]) {
    const struct ghn_net *net = nb->net;
    int64_t patch = ghn__patch_side(net), padding = patch_padding(net);
    struct ghn_conv2d_attrs conv = {.in_channels = net->input[0],
                                    .out_channels = net->C,
                                    .kernel = {patch, patch},
                                    .stride = {patch, patch},
                                    .padding = {padding, padding},
                                    .dilation = {1, 1},
                                    .groups = 1};
    nb->grid = ghn__grid_side(net);
    struct ghn_parameter_attrs position = {.shape = {4, {1, net->C, nb->grid, nb->grid}},
                                           .batched = true,
                                           .init = GHN_INIT_NORMAL,
                                           .value = 0.02};
    int x = ghn__conv(nb, "", "stem0", &conv, 0);
    int pos_enc = ghn_arch_builder_add(nb->arch, "pos_enc", "pos_enc", &position, NULL, 0);
    x = ghn__binary(nb, "add", "", "stem_add", x, pos_enc);
    in[0] = in[1] = (struct feature){x, net->C};
}

/* One convolution; three times as wide where the cells have preprocessing to narrow it again. */
static void simple_stem(struct ghn__net_builder *nb, struct feature in[2]) {
    const struct ghn_net *net = nb->net;
    int64_t c = net->preproc && nb->small ? 3 * (int64_t)net->C : net->C;
    int x = ghn__conv_same(nb, "stem", "0", net->input[0], c, net->ks, nb->small ? 1 : 4, 0);
    x = ghn__batch_norm(nb, "stem", "1", c, x);
    if (net->stem_pool)
        x = ghn__pool3(nb, "max_pool2d", "stem", "2", 2, x);
    in[0] = in[1] = (struct feature){x, c};
}

/* Three convolutions; input 1 of cell 0 has half the resolution of input 0. */
static void imagenet_stem(struct ghn__net_builder *nb, struct feature in[2]) {
    const struct ghn_net *net = nb->net;
    int64_t c = net->C, stride = nb->small ? 1 : 2;
    int x = ghn__conv_same(nb, "stem0", "0", net->input[0], c / 2, net->ks, stride, 0);
    x = ghn__batch_norm(nb, "stem0", "1", c / 2, x);
    x = ghn__relu(nb, "stem0", "2", x);
    x = ghn__conv_same(nb, "stem0", "3", c / 2, c, 3, stride, x);
    x = ghn__batch_norm(nb, "stem0", "4", c, x);
    in[0] = (struct feature){x, c};
    x = ghn__relu(nb, "stem1", "0", x);
    x = ghn__conv_same(nb, "stem1", "1", c, c, 3, 2, x);
    in[1] = (struct feature){ghn__batch_norm(nb, "stem1", "2", c, x), c};
}

/* --- Cells --- */

struct cell_place {
    int index;
    bool reduction;    /* this cell halves the resolution and multiplies the channels */
    bool halve_input0; /* input 0 has twice the resolution of input 1 */
    int64_t channels;
};

/* States 0 and 1: the cell's inputs after preprocessing. */
static void cell_inputs(struct ghn__net_builder *nb, const struct cell_place *place,
                        const struct feature in[2], int *states) {
    for (int i = 0; i < 2; i++) {
        char prefix[GHN__PREFIX];
        bool halve = i == 0 && place->halve_input0;
        (void)snprintf(prefix, sizeof(prefix), "cells.%d.preprocess%d", place->index, i);
        if (nb->net->preproc && halve)
            states[i] =
                ghn__factorized_reduce(nb, prefix, in[i].channels, place->channels, in[i].x);
        else if (nb->net->preproc)
            states[i] =
                ghn__relu_conv_norm(nb, prefix, in[i].channels, place->channels, 1, 1, in[i].x);
        else
            states[i] = halve ? ghn__subsample(nb, prefix, "stride", 0, 2, in[i].x) : in[i].x;
    }
}

/* The sum of a step's available branches. */
static int cell_step(struct ghn__net_builder *nb, const struct cell_place *place,
                     const struct ghn_cell *cell, int step, const int *states) {
    char prefix[GHN__PREFIX], name[GHN__PREFIX];
    int sum = GHN__UNAVAILABLE;
    for (int i = 2 * step; i < 2 * step + 2; i++) {
        int64_t stride = place->reduction && cell->pred[i] < 2 && !nb->vit ? 2 : 1;
        (void)snprintf(prefix, sizeof(prefix), "cells.%d._ops.%d", place->index, i);
        int x =
            ghn__cell_op(nb, cell->op[i], prefix, place->channels, stride, states[cell->pred[i]]);
        if (sum == GHN__UNAVAILABLE) {
            sum = x;
        } else if (x != GHN__UNAVAILABLE) {
            (void)snprintf(prefix, sizeof(prefix), "cells.%d", place->index);
            (void)snprintf(name, sizeof(name), "add.%d", step);
            sum = ghn__binary(nb, "add", prefix, name, sum, x);
        }
    }
    return sum;
}

/* The concatenation of states, zeros in place of those that are unavailable; unavailable if all
 * are. */
static int cell_output(struct ghn__net_builder *nb, const struct cell_place *place,
                       const struct ghn_cell *cell, const int *states) {
    char prefix[GHN__PREFIX];
    int parts[GHN_MAX_STEPS + 2];
    int available = GHN__UNAVAILABLE, zeros = GHN__UNAVAILABLE;
    (void)snprintf(prefix, sizeof(prefix), "cells.%d", place->index);
    for (int i = cell->n_concat - 1; i >= 0; i--)
        if (states[cell->concat[i]] != GHN__UNAVAILABLE)
            available = states[cell->concat[i]];
    if (available == GHN__UNAVAILABLE || cell->n_concat == 1)
        return available;
    for (int i = 0; i < cell->n_concat; i++) {
        parts[i] = states[cell->concat[i]];
        if (parts[i] == GHN__UNAVAILABLE && zeros == GHN__UNAVAILABLE)
            zeros = ghn__layer(nb, "zeros_like", prefix, "zeros", NULL, available);
        if (parts[i] == GHN__UNAVAILABLE)
            parts[i] = zeros;
    }
    return ghn__concat(nb, prefix, "cat", parts, cell->n_concat);
}

static struct feature build_cell(struct ghn__net_builder *nb, const struct cell_place *place,
                                 const struct feature in[2]) {
    const struct ghn_cell *cell = place->reduction ? &nb->net->reduce : &nb->net->normal;
    int states[GHN_MAX_STEPS + 2];
    cell_inputs(nb, place, in, states);
    for (int step = 0; step < cell->n_steps; step++)
        states[step + 2] = cell_step(nb, place, cell, step, states);
    return (struct feature){cell_output(nb, place, cell, states), cell->n_concat * place->channels};
}

/* The cells, each fed by the two before it; `in` becomes the output of the last two. */
static void build_cells(struct ghn__net_builder *nb, struct feature in[2]) {
    const struct ghn_net *net = nb->net;
    struct cell_place place = {.channels = net->C};
    bool reduction_before = net->stem_type == 1;
    for (int i = 0; i < net->n_cells; i++) {
        place.index = i;
        place.reduction = ghn__is_reduction(i, net->n_cells);
        place.halve_input0 = reduction_before && !nb->vit;
        if (place.reduction)
            place.channels *= net->C_mult;
        struct feature out = build_cell(nb, &place, in);
        in[0] = in[1];
        in[1] = out;
        reduction_before = place.reduction;
    }
}

/* --- Head --- */

static int head(struct ghn__net_builder *nb, int x) {
    const struct ghn_net *net = nb->net;
    struct ghn_adaptive_pool2d_attrs pool = {{1, 1}};
    struct ghn_dropout_attrs half = {.p = 0.5};
    if (net->glob_avg)
        x = ghn__layer(nb, "adaptive_avg_pool2d", "", "global_pooling", &pool, x);
    x = ghn__layer(nb, "flatten", "", "flatten", NULL, x);
    for (int i = 0; i < net->fc_layers - 1; i++) {
        x = ghn__linear(nb, "classifier", "0", 0, net->fc_dim, true, x);
        x = ghn__relu(nb, "classifier", "1", x);
        x = ghn__layer(nb, "dropout", "classifier", "2", &half, x);
    }
    return ghn__linear(nb, "classifier", net->fc_layers == 1 ? "0" : "3", 0, net->num_classes, true,
                       x);
}

enum ghn_status ghn_net_to_arch(const struct ghn_net *net, const struct ghn_limits *limits,
                                struct ghn_arch **ret, struct ghn_err *err) {
    struct ghn_shape input = {3, {net->input[0], net->input[1], net->input[2]}};
    struct ghn__net_builder nb = {.net = net,
                                  .arch = ghn_arch_builder_new("", &input, limits),
                                  .vit = ghn__net_has_op(net, GHN_CELL_MSA),
                                  .small = ghn__net_is_small(net)};
    if (!nb.arch)
        return ghn_fail_memory(err);
    struct feature in[2];
    if (nb.vit)
        vit_stem(&nb, in);
    else if (net->stem_type == 0)
        simple_stem(&nb, in);
    else
        imagenet_stem(&nb, in);
    build_cells(&nb, in);
    if (in[1].x == GHN__UNAVAILABLE)
        ghn_arch_builder_fail(nb.arch, GHN_INVALID_GENOTYPE, "genotype",
                              "the output of the last cell is unavailable: every branch that leads "
                              "to it is \"none\" or reads a state that is unavailable");
    return ghn_arch_builder_finish(nb.arch, head(&nb, in[1].x), ret, err);
}
