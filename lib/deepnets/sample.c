/* Drawing architectures (ghn2-spec A2 and A3). One candidate after the other is drawn until one
 * passes all rules; every rule is about the candidate alone, so their order does not matter to what
 * comes out, and the cheap ones come first. */
#include "deepnets/sample.h"

#include "deepnets/layers.h"
#include "deepnets/rules.h"

/* --- The genotype (A2) --- */

/* Operations below this have no parameters; they are all that a pool-only reduction cell may use.
 */
static const enum ghn_cell_op first_learnable = GHN_CELL_SEP_CONV_3X3;

/* Draws the branches of a cell: two different states for each step, in random order, and for each
 * branch one of the operations below last. A lone step always reads something. */
static void draw_branches(struct ghn_rng *rng, int steps, int last, struct ghn_cell *cell) {
    int first = steps > 1 ? GHN_CELL_NONE : GHN_CELL_NONE + 1;
    cell->n_steps = steps;
    for (int i = 0; i < steps; i++) {
        int *pred = &cell->pred[2 * i];
        pred[0] = ghn_rng_int(rng, 0, i + 1);
        pred[1] = ghn_rng_int(rng, 0, i);
        pred[1] += pred[1] >= pred[0];
        for (int j = 0; j < 2; j++)
            cell->op[2 * i + j] = (enum ghn_cell_op)ghn_rng_int(rng, first, last);
    }
}

/* Draws the states of the output: all of them, or the last and a random choice of the others. */
static void draw_concat(struct ghn_rng *rng, int steps, struct ghn_cell *cell) {
    bool drop = steps > 1 && ghn_rng_chance(rng, 0.5);
    cell->n_concat = 0;
    for (int state = 2; state < steps + 2; state++)
        if (!drop || state == steps + 1 || ghn_rng_chance(rng, 0.5))
            cell->concat[cell->n_concat++] = state;
}

static void draw_genotype(struct ghn_rng *rng, int steps, struct ghn_net *net) {
    bool only_pool = ghn_rng_chance(rng, 0.5);
    draw_branches(rng, steps, GHN_N_CELL_OPS - 1, &net->normal);
    draw_branches(rng, steps, only_pool ? (int)first_learnable - 1 : GHN_N_CELL_OPS - 1,
                  &net->reduce);
    draw_concat(rng, steps, &net->normal);
    net->reduce.n_concat = net->normal.n_concat;
    for (int i = 0; i < net->normal.n_concat; i++)
        net->reduce.concat[i] = net->normal.concat[i];
}

/* --- The other fields (A3.7 to A3.12) --- */

/* Preprocessing can be left out where a cell gives as many channels as it takes. */
static bool draw_preproc(struct ghn_rng *rng, enum ghn_deepnets_split split, int steps, bool vit,
                         int C_mult) {
    if (steps > 1 || C_mult == 2)
        return true;
    if (vit)
        return ghn_rng_chance(rng, 0.2);
    return split == GHN_DEEPNETS_SEARCH ? ghn_rng_chance(rng, 0.8) : true;
}

/* Only the smallest networks train without normalisation. */
static enum ghn_net_norm draw_norm(struct ghn_rng *rng, enum ghn_deepnets_split split, int cells,
                                   int steps) {
    const struct ghn__split *ranges = &ghn__splits[split];
    if (split == GHN_DEEPNETS_BNFREE)
        return GHN_NORM_NONE;
    if (split == GHN_DEEPNETS_SEARCH || cells > ranges->min_cells + 1 || steps > ranges->mid_steps)
        return GHN_NORM_BATCH;
    return ghn_rng_chance(rng, 0.5) ? GHN_NORM_NONE : GHN_NORM_BATCH;
}

/* A candidate that no rule has looked at. */
static struct ghn_net draw_net(struct ghn_rng *rng, enum ghn_deepnets_split split) {
    const struct ghn__split *ranges = &ghn__splits[split];
    struct ghn_net net = {
        .C = GHN__BASE_WIDTH, .fc_dim = GHN__BASE_HEAD, .input = {3, 32, 32}, .num_classes = 10};
    net.n_cells = ghn_rng_int(rng, ranges->min_cells, ranges->max_cells);
    bool deep = net.n_cells > ghn_rng_int(rng, ranges->min_deep, ranges->max_deep);
    int steps = ghn_rng_int(rng, ranges->min_steps, deep ? ranges->mid_steps : ranges->max_steps);
    draw_genotype(rng, steps, &net);
    bool vit = ghn__net_has_op(&net, GHN_CELL_MSA);
    net.ks = 3 + 2 * ghn_rng_int(rng, 0, 2);
    net.C_mult = ghn_rng_int(rng, 1, 2);
    net.preproc = draw_preproc(rng, split, steps, vit, net.C_mult);
    net.glob_avg = vit || deep || ghn_rng_chance(rng, 0.9);
    net.norm = draw_norm(rng, split, net.n_cells, steps);
    net.stem_type = ghn_rng_int(rng, 0, 1);
    net.stem_pool = net.stem_type == 0 && ghn_rng_chance(rng, 0.5);
    net.fc_layers = ghn_rng_int(rng, 1, 2);
    return net;
}

/* --- The rules --- */

/* How often an operation of first to last occurs in a cell. */
static int count_ops(const struct ghn_cell *cell, enum ghn_cell_op first, enum ghn_cell_op last) {
    int n = 0;
    for (int i = 0; i < 2 * cell->n_steps; i++)
        n += cell->op[i] >= first && cell->op[i] <= last;
    return n;
}

bool ghn__genotype_allowed(const struct ghn_net *net) {
    int cse = 0, conv = 0, learnable = 0;
    const struct ghn_cell *cells[] = {&net->normal, &net->reduce};
    for (int i = 0; i < 2; i++) {
        int cse_here = count_ops(cells[i], GHN_CELL_CSE, GHN_CELL_CSE);
        if (cse_here > 1 || count_ops(cells[i], GHN_CELL_CONV_5X5, GHN_CELL_CONV_7X7) > 1)
            return false;
        cse += cse_here;
        conv += count_ops(cells[i], GHN_CELL_SEP_CONV_3X3, GHN_CELL_CONV_7X7);
        learnable += count_ops(cells[i], first_learnable, GHN_N_CELL_OPS - 1);
    }
    return learnable > 0 && (cse == 0 || conv > 0);
}

bool ghn__net_size_allowed(const struct ghn_net *net, int64_t max) {
    struct ghn_net sized = *net;
    sized.C = GHN__BASE_WIDTH;
    sized.num_classes = 10;
    for (int64_t side = 32; side <= 224; side += 192) {
        sized.input[1] = sized.input[2] = side;
        if (ghn_net_n_params(&sized) > max)
            return false;
    }
    return true;
}

static bool accepted(enum ghn_deepnets_split split, const struct ghn_net *net) {
    const struct ghn__split *ranges = &ghn__splits[split];
    return ghn__genotype_allowed(net) && ghn__side_of(ghn_net_structure(net)) == ranges->side &&
           ghn__net_has_output(net) && ghn__net_size_allowed(net, ranges->max_params);
}

/* The next candidate of a stream that passes the rules. */
static struct ghn_net draw_accepted(struct ghn_rng *rng, enum ghn_deepnets_split split) {
    struct ghn_net net;
    do {
        net = draw_net(rng, split);
    } while (!accepted(split, &net));
    return net;
}

/* --- Network by network --- */

/* Each network has a stream of its own. */
static struct ghn_rng start(enum ghn_deepnets_split split, uint64_t seed, int64_t index) {
    uint64_t stream = ghn_rng_stream(ghn__splits[split].name);
    return (struct ghn_rng){.seed = ghn_rng_bits(seed, stream, (uint64_t)index), .stream = stream};
}

/* Whether one of the networks before this one was drawn with its structure; then it is drawn again.
 * What those were drawn as a second time is not asked, so that no draw depends on more than the
 * first ones. Cells of more than one step are too many for two to meet. */
static bool repeats(enum ghn_deepnets_split split, uint64_t seed, int64_t index,
                    const struct ghn_net *net) {
    int64_t first = index - (ghn__splits[split].distinct - 1);
    uint64_t structure = ghn_net_structure(net);
    if (net->normal.n_steps > 1)
        return false;
    for (int64_t i = first > 0 ? first : 0; i < index; i++) {
        struct ghn_rng rng = start(split, seed, i);
        struct ghn_net earlier = draw_accepted(&rng, split);
        if (ghn_net_structure(&earlier) == structure)
            return true;
    }
    return false;
}

enum ghn_status ghn_sample_net(enum ghn_deepnets_split split, uint64_t seed, int64_t index,
                               struct ghn_net *ret, struct ghn_err *err) {
    if ((unsigned)split >= GHN_N_DEEPNETS_SPLITS)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "split", "%d is no split of DeepNets-1M",
                        (int)split);
    if (index < 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "index", "found %lld, expected 0 or more",
                        (long long)index);
    if (split == GHN_DEEPNETS_PREDEFINED)
        return ghn__predefined_net(index, ret, err);
    enum ghn_deepnets_split drawn = split == GHN_DEEPNETS_WIDE ? GHN_DEEPNETS_TEST : split;
    struct ghn_rng rng = start(drawn, seed, index);
    struct ghn_net net = draw_accepted(&rng, drawn);
    while (repeats(drawn, seed, index, &net))
        net = draw_accepted(&rng, drawn);
    if (split != GHN_DEEPNETS_TRAIN)
        net.C = ghn_evaluation_width(&net);
    if (split == GHN_DEEPNETS_WIDE)
        net.C *= GHN__WIDE_FACTOR;
    *ret = net;
    return GHN_OK;
}

bool ghn_deepnets_side_is_valid(int64_t side) {
    return side > 0 && side % (side <= 64 ? 8 : 32) == 0;
}

void ghn_sample_for_images(enum ghn_deepnets_split split, int64_t side, int num_classes,
                           struct ghn_net *net) {
    bool was_small = ghn__net_is_small(net);
    net->input[1] = net->input[2] = side;
    net->num_classes = num_classes;
    if (split != GHN_DEEPNETS_WIDE || ghn__net_is_small(net) == was_small)
        return;
    net->C = was_small ? net->C / 2 : net->C * 2;
}
