/* How wide architectures are made (ghn2-spec A4). */
#include "deepnets/layers.h"
#include "deepnets/rules.h"
#include "deepnets/sample.h"

/* Parameters with the width, head and classes that architectures are drawn with, for the net's own
 * image size. */
static int64_t base_params(const struct ghn_net *net) {
    struct ghn_net base = *net;
    base.C = GHN__BASE_WIDTH;
    base.fc_dim = GHN__BASE_HEAD;
    base.num_classes = 10;
    return ghn_net_n_params(&base);
}

/* The most channels a training architecture is drawn with. */
static int max_width(const struct ghn_net *net) {
    int64_t n = base_params(net);
    bool dense_conv =
        ghn__net_has_op(net, GHN_CELL_CONV_5X5) || ghn__net_has_op(net, GHN_CELL_CONV_7X7);
    if (n > 800000 || !net->glob_avg || dense_conv || net->n_cells > 12)
        return 32;
    if (n > 400000 || net->n_cells > 10)
        return 48;
    return n > 200000 || net->n_cells > 8 ? 64 : 128;
}

void ghn_draw_width(struct ghn_net *net, struct ghn_rng *rng) {
    int max = max_width(net);
    net->C = 16 * ghn_rng_int(rng, 2, max / 16);
    net->fc_dim = 64 * ghn_rng_int(rng, 1, 4);
    /* What a small network does not have in its body it may have in its head. */
    if (max == 128 && net->C <= 64)
        net->fc_dim = 64 * ghn_rng_int(rng, 1, 8);
}

int ghn_evaluation_width(const struct ghn_net *net) {
    struct ghn_net wider = *net;
    wider.num_classes = 10;
    wider.input[1] = wider.input[2] = 32;
    for (wider.C = GHN__BASE_WIDTH; ghn_net_n_params(&wider) < GHN__EVALUATION_PARAMS;)
        wider.C += 16;
    return wider.C;
}
