/* Planning a forward pass: which weights and vectors there are, and how their lanes are ordered. */
#include <string.h>

#include "base/checked.h"
#include "ghn/tape_impl.h"

static bool is_weight(enum ghn__maker maker) {
    return maker == GHN__MAKE_WEIGHT || maker == GHN__MAKE_CLASS_WEIGHT;
}

static bool is_vector(enum ghn__maker maker) {
    return maker == GHN__MAKE_NORM_WEIGHT || maker == GHN__MAKE_BIAS ||
           maker == GHN__MAKE_CLASS_BIAS;
}

/* --- Counting --- */

/* Positions of a weight's block that go through the decoder: none for the mlp decoder's classifier,
 * which has a head of its own on an earlier layer. */
static int64_t n_positions(const struct ghn_config *config, const struct ghn__plan *plan) {
    if (plan->maker == GHN__MAKE_CLASS_WEIGHT)
        return config->decoder == GHN_DECODER_CONV;
    int64_t n = 1;
    for (int d = 2; d < plan->block.ndim; d++)
        n *= plan->block.dim[d];
    return n;
}

/* Counts nodes, slots, weights, vectors, classes and lanes; vectors stand for rows, lanes for runs.
 * GHN_TOO_LARGE if they are more than an int can number. */
static enum ghn_status count(struct ghn_tape *tape, const struct ghn_config *config,
                             const struct ghn_graph *const *graphs, int m, struct ghn_err *err) {
    int64_t n_lanes = 0, n_slots = 0;
    tape->n_weights = tape->n_vectors = tape->n_classes = 0;
    tape->n_nodes = 0;
    for (int i = 0; i < m; i++) {
        tape->n_nodes += (size_t)graphs[i]->n_nodes;
        n_slots += graphs[i]->n_slots;
        if (n_slots > INT32_MAX)
            break;
        for (int k = 0; k < graphs[i]->n_slots; k++) {
            struct ghn__plan plan = ghn__plan_slot(config, graphs[i], k);
            tape->n_vectors += is_vector(plan.maker);
            tape->n_classes += plan.maker == GHN__MAKE_CLASS_WEIGHT;
            if (is_weight(plan.maker)) {
                tape->n_weights++;
                n_lanes += n_positions(config, &plan);
            }
        }
    }
    if (n_slots > INT32_MAX || n_lanes > INT32_MAX)
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "the meta-batch has too many parameters");
    tape->n_slots = (int)n_slots;
    tape->n_lanes = (size_t)n_lanes;
    return GHN_OK;
}

static void place_plan(struct ghn_tape *tape, struct ghn__space *space, int m) {
    size_t n_weights = (size_t)tape->n_weights, n_vectors = (size_t)tape->n_vectors;
    tape->graphs = ghn__take(space, (size_t)m, sizeof(*tape->graphs));
    tape->by_size = ghn__take(space, (size_t)m, sizeof(*tape->by_size));
    tape->slots = ghn__take(space, (size_t)tape->n_slots, sizeof(*tape->slots));
    tape->weights = ghn__take(space, n_weights, sizeof(*tape->weights));
    tape->vectors = ghn__take(space, n_vectors, sizeof(*tape->vectors));
    tape->classes = ghn__take(space, (size_t)tape->n_classes, sizeof(*tape->classes));
    tape->groups = ghn__take(space, n_weights, sizeof(*tape->groups));
    tape->runs = ghn__take(space, tape->n_lanes, sizeof(*tape->runs));
    tape->row_node = ghn__take(space, n_vectors, sizeof(*tape->row_node));
    tape->lane_of = ghn__take(space, tape->n_lanes, sizeof(*tape->lane_of));
    tape->lane_weight = ghn__take(space, tape->n_lanes, sizeof(*tape->lane_weight));
}

/* --- Listing --- */

static int least(int64_t a, int64_t b) {
    return (int)ghn_min_i64(a, b);
}

/* The group of blocks like the weight's: sizes are rounded up, which costs a little arithmetic and
 * makes groups few and their products large. */
static int find_group(struct ghn_tape *tape, const struct ghn_config *config,
                      const struct ghn__tape_weight *weight) {
    const int *max = config->max_shape;
    int O = least(max[0], (weight->O + 15) / 16 * 16);
    int I = weight->I == 1 ? 1 : least(max[1], (weight->I + 7) / 8 * 8);
    if (config->decoder == GHN_DECODER_MLP)
        I = max[1];
    for (int g = 0; g < tape->n_groups; g++)
        if (tape->groups[g].O == O && tape->groups[g].I == I)
            return g;
    tape->groups[tape->n_groups] =
        (struct ghn__tape_group){.O = O, .I = I, .n = (size_t)O * (size_t)I};
    return tape->n_groups++;
}

static void add_weight(struct ghn_tape *tape, const struct ghn_config *config, int i, int slot,
                       const struct ghn__plan *plan, size_t *first) {
    const struct ghn_graph *graph = tape->graphs[i].graph;
    const struct ghn_slot *at = &graph->slots[slot];
    const int64_t *dim = plan->block.dim;
    struct ghn__tape_weight weight = {
        .node = tape->graphs[i].first_node + (size_t)at->node,
        .O = (int)dim[0],
        .I = (int)dim[1],
        .height = plan->block.ndim > 2 ? (int)dim[2] : 1,
        .width = plan->block.ndim > 3 ? (int)dim[3] : 1,
        .scale = ghn__weight_scale(config, &at->shape),
        .group = -1,
        .first = *first,
        .is_class = plan->maker == GHN__MAKE_CLASS_WEIGHT,
    };
    if (weight.is_class) {
        tape->classes[tape->n_classes++] =
            (struct ghn__tape_class){.weight = tape->n_weights, .rows = weight.O};
        weight.O = config->max_shape[0];
    }
    size_t n = (size_t)n_positions(config, plan);
    if (n > 0) {
        weight.group = find_group(tape, config, &weight);
        tape->groups[weight.group].n_lanes += n;
    }
    *first += n;
    tape->weights[tape->n_weights++] = weight;
}

/* A norm's weight and bias come from one row. */
static void add_vector(struct ghn_tape *tape, int i, int slot, const struct ghn__plan *plan) {
    size_t node = tape->graphs[i].first_node + (size_t)tape->graphs[i].graph->slots[slot].node;
    if (tape->n_rows == 0 || tape->row_node[tape->n_rows - 1] != node)
        tape->row_node[tape->n_rows++] = node;
    tape->vectors[tape->n_vectors++] = (struct ghn__tape_vector){
        .row = tape->n_rows - 1,
        .n = (int)plan->numel,
        .maker = plan->maker,
    };
}

static void list(struct ghn_tape *tape, const struct ghn_config *config) {
    tape->n_weights = tape->n_vectors = tape->n_classes = tape->n_groups = tape->n_rows = 0;
    size_t first = 0;
    for (int i = 0; i < tape->m; i++) {
        const struct ghn_graph *graph = tape->graphs[i].graph;
        for (int k = 0; k < graph->n_slots; k++) {
            struct ghn__plan plan = ghn__plan_slot(config, graph, k);
            struct ghn__tape_slot *slot = &tape->slots[tape->graphs[i].first_slot + k];
            *slot = (struct ghn__tape_slot){plan.maker, -1};
            if (plan.maker == GHN__MAKE_CLASS_WEIGHT)
                slot->index = tape->n_classes;
            else if (plan.maker == GHN__MAKE_WEIGHT)
                slot->index = tape->n_weights;
            else if (is_vector(plan.maker))
                slot->index = tape->n_vectors;
            if (is_weight(plan.maker))
                add_weight(tape, config, i, k, &plan, &first);
            else if (is_vector(plan.maker))
                add_vector(tape, i, k, &plan);
        }
    }
}

/* --- Ordering lanes --- */

/* Appends the lanes of a group at position (y, x). */
static void add_run(struct ghn_tape *tape, int g, int y, int x, int side, size_t *lane) {
    struct ghn__tape_run run = {.group = g, .position = y * side + x, .first_lane = *lane};
    for (int w = 0; w < tape->n_weights; w++) {
        const struct ghn__tape_weight *weight = &tape->weights[w];
        if (weight->group != g || y >= weight->height || x >= weight->width)
            continue;
        tape->lane_of[weight->first + (size_t)(y * weight->width + x)] = *lane;
        tape->lane_weight[(*lane)++] = w;
    }
    run.n_lanes = *lane - run.first_lane;
    if (run.n_lanes > 0)
        tape->runs[tape->n_runs++] = run;
}

static void order_lanes(struct ghn_tape *tape, int side) {
    size_t lane = 0;
    tape->n_runs = 0;
    for (int g = 0; g < tape->n_groups; g++) {
        int height = 0, width = 0;
        for (int w = 0; w < tape->n_weights; w++) {
            const struct ghn__tape_weight *weight = &tape->weights[w];
            if (weight->group != g)
                continue;
            height = weight->height > height ? weight->height : height;
            width = weight->width > width ? weight->width : width;
        }
        tape->groups[g].first_lane = lane;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                add_run(tape, g, y, x, side, &lane);
    }
}

/* Graphs in the order in which tasks take them: large ones last would leave threads idle. */
static void order_graphs(struct ghn_tape *tape) {
    for (int i = 0; i < tape->m; i++) {
        int k = i, n = tape->graphs[i].graph->n_nodes;
        for (; k > 0 && tape->graphs[tape->by_size[k - 1]].graph->n_nodes < n; k--)
            tape->by_size[k] = tape->by_size[k - 1];
        tape->by_size[k] = i;
    }
}

enum ghn_status ghn__tape_plan(struct ghn_tape *tape, const struct ghn_hypernet *h,
                               const struct ghn_graph *const *graphs, int m, struct ghn_err *err) {
    struct ghn__space space = {NULL, 0};
    tape->m = 0;
    enum ghn_status status = count(tape, &h->config, graphs, m, err);
    if (status != GHN_OK)
        return status;
    place_plan(tape, &space, m);
    status = ghn__memory_need(&tape->plan_memory, space.used, err);
    if (status != GHN_OK)
        return status;
    space = (struct ghn__space){tape->plan_memory.base, 0};
    place_plan(tape, &space, m);
    tape->config = h->config;
    size_t node = 0;
    int slot = 0;
    for (int i = 0; i < m; i++) {
        tape->graphs[i] =
            (struct ghn__tape_graph){.graph = graphs[i], .first_node = node, .first_slot = slot};
        node += (size_t)graphs[i]->n_nodes;
        slot += graphs[i]->n_slots;
    }
    tape->m = m;
    list(tape, &h->config);
    order_lanes(tape, h->config.max_shape[3]);
    order_graphs(tape);
    status = ghn__tape_lay_out(tape, h, err);
    if (status != GHN_OK)
        tape->m = 0;
    return status;
}
