/* The parameters of a network, counted from its genotype; network.c builds what is counted here,
 * and the tests compare the two. */
#include "deepnets/layers.h"
#include "deepnets/sample.h"

/* What a count needs to know of the network all the time. */
struct counter {
    bool norm; /* there are batch norms */
    bool vit;
    bool small; /* stems for small images */
};

/* Weight and bias of a batch norm. */
static int64_t batch_norm(const struct counter *counter, int64_t c) {
    return counter->norm ? 2 * c : 0;
}

static int64_t conv_norm(const struct counter *counter, int64_t in, int64_t out, int64_t area) {
    return in * out * area + batch_norm(counter, out);
}

/* Depthwise and 1x1 convolution, norm. */
static int64_t depthwise_separable(const struct counter *counter, int64_t c, int64_t area) {
    return c * area + conv_norm(counter, c, c, 1);
}

/* Two convolutions to half of the channels each, norm. */
static int64_t factorized_reduce(const struct counter *counter, int64_t in, int64_t out) {
    return conv_norm(counter, in, out, 1);
}

/* Two linear layers of half the channels between them, with biases. */
static int64_t cse(int64_t c) {
    int64_t hidden = c / 2;
    return c * hidden + hidden + hidden * c + c;
}

/* Two layer norms; q, k and v without biases; the projection of the heads; the two layers after. */
static int64_t msa(int64_t c) {
    int64_t inner = c / GHN__MSA_HEADS * GHN__MSA_HEADS;
    return 2 * 2 * c + 3 * inner * c + (inner * c + c) + 2 * (c * c + c);
}

static int64_t cell_op(const struct counter *counter, enum ghn_cell_op op, int64_t c,
                       int64_t stride) {
    switch (op) {
    case GHN_CELL_SKIP_CONNECT:
        return stride == 1 ? 0 : factorized_reduce(counter, c, c);
    case GHN_CELL_SEP_CONV_3X3:
        return 2 * depthwise_separable(counter, c, 9);
    case GHN_CELL_SEP_CONV_5X5:
        return 2 * depthwise_separable(counter, c, 25);
    case GHN_CELL_DIL_CONV_3X3:
        return depthwise_separable(counter, c, 9);
    case GHN_CELL_DIL_CONV_5X5:
        return depthwise_separable(counter, c, 25);
    case GHN_CELL_CONV_1X1:
        return conv_norm(counter, c, c, 1);
    case GHN_CELL_CONV_7X1_1X7:
        return c * c * 7 + conv_norm(counter, c, c, 7);
    case GHN_CELL_CONV_3X3:
        return conv_norm(counter, c, c, 9);
    case GHN_CELL_CONV_5X5:
        return conv_norm(counter, c, c, 25);
    case GHN_CELL_CONV_7X7:
        return conv_norm(counter, c, c, 49);
    case GHN_CELL_MSA:
        return msa(c);
    case GHN_CELL_CSE:
        return cse(c);
    case GHN_CELL_NONE:
    case GHN_CELL_MAX_POOL_3X3:
    case GHN_CELL_AVG_POOL_3X3:
    case GHN_N_CELL_OPS:
        break;
    }
    return 0;
}

/* --- Stems: each sets the channels of cell 0's inputs and the side of its input 1 --- */

/* The side of a map after a layer of that stride whose padding keeps the size at stride 1. */
static int64_t strided(int64_t side, int64_t stride) {
    return (side + stride - 1) / stride;
}

static int64_t stem(const struct counter *counter, const struct ghn_net *net, int64_t channels[2],
                    int64_t *side) {
    int64_t images = net->input[0], c = net->C, area = (int64_t)net->ks * net->ks;
    *side = net->input[1];
    channels[0] = channels[1] = c;
    if (counter->vit) {
        int64_t patch = ghn__patch_side(net);
        *side = ghn__grid_side(net);
        return images * c * patch * patch + c * *side * *side;
    }
    if (net->stem_type == 0) {
        if (net->preproc && counter->small)
            channels[0] = channels[1] = c = 3 * c;
        *side = strided(*side, counter->small ? 1 : 4);
        if (net->stem_pool)
            *side = strided(*side, 2);
        return conv_norm(counter, images, c, area);
    }
    int64_t stride = counter->small ? 1 : 2;
    *side = strided(strided(strided(*side, stride), stride), 2);
    return conv_norm(counter, images, c / 2, area) + conv_norm(counter, c / 2, c, 9) +
           conv_norm(counter, c, c, 9);
}

static int64_t cell(const struct counter *counter, const struct ghn_cell *cell, bool reduction,
                    int64_t c) {
    int64_t n = 0;
    for (int i = 0; i < 2 * cell->n_steps; i++) {
        bool halves = reduction && cell->pred[i] < 2 && !counter->vit;
        n += cell_op(counter, cell->op[i], c, halves ? 2 : 1);
    }
    return n;
}

static int64_t head(const struct ghn_net *net, int64_t features) {
    int64_t n = 0;
    if (net->fc_layers == 2) {
        n += features * net->fc_dim + net->fc_dim;
        features = net->fc_dim;
    }
    return n + features * net->num_classes + net->num_classes;
}

int64_t ghn_net_n_params(const struct ghn_net *net) {
    struct counter counter = {.norm = net->norm != GHN_NORM_NONE,
                              .vit = ghn__net_has_op(net, GHN_CELL_MSA),
                              .small = ghn__net_is_small(net)};
    int64_t in[2], side, c = net->C;
    int64_t n = stem(&counter, net, in, &side);
    for (int i = 0; i < net->n_cells; i++) {
        bool reduction = ghn__is_reduction(i, net->n_cells);
        const struct ghn_cell *kind = reduction ? &net->reduce : &net->normal;
        if (reduction)
            c *= net->C_mult;
        /* A FactorizedReduce in place of a 1x1 convolution has as many. */
        if (net->preproc)
            n += conv_norm(&counter, in[0], c, 1) + conv_norm(&counter, in[1], c, 1);
        n += cell(&counter, kind, reduction, c);
        in[0] = in[1];
        in[1] = kind->n_concat * c;
        if (reduction && !counter.vit)
            side = strided(side, 2);
    }
    return n + head(net, net->glob_avg ? in[1] : in[1] * side * side);
}
