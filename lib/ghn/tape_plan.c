/* Planning a forward pass: which weights and vectors there are, how their lanes are ordered, where
 * everything lies. */
#include <string.h>

#include "base/checked.h"
#include "ghn/pack.h"
#include "ghn/tape_impl.h"

enum ghn_status ghn__memory_need(struct ghn__memory *memory, size_t n, struct ghn_err *err) {
    if (memory->size >= n)
        return GHN_OK;
    /* Meta-batches differ in size: room to spare saves most later growth. */
    size_t size = n + n / 4;
    ghn_free(memory->base); /* what it holds is not wanted any more, so that both never exist */
    *memory = (struct ghn__memory){ghn_malloc(size), size};
    if (memory->base)
        return GHN_OK;
    memory->size = 0;
    return ghn_fail_memory(err);
}

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
        .graph = i,
        .slot = slot,
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
        .graph = i,
        .slot = slot,
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

/* --- Memory --- */

static void place_sweep(struct ghn__tape_sweep *sweep, struct ghn__space *space, size_t n,
                        size_t hid, size_t m, bool ve) {
    sweep->after = ghn__take_floats(space, n * hid);
    sweep->sum = ghn__take_floats(space, n * hid);
    sweep->gates = ghn__take_floats(space, n * 3 * hid);
    sweep->new_state = ghn__take_floats(space, n * hid);
    sweep->hidden = ghn__take_floats(space, n * m);
    sweep->message = ghn__take_floats(space, n * hid);
    sweep->virtual_hidden = ve ? ghn__take_floats(space, n * m) : NULL;
    sweep->virtual_message = ve ? ghn__take_floats(space, n * hid) : NULL;
}

static void place_layers(struct ghn__tape_layers *layers, struct ghn__space *space,
                         const struct ghn_hypernet *h) {
    float *const *t = h->tensors;
    int hid = h->config.hid, m = h->config.ve ? hid / 2 : hid;
    if (h->config.hypernet == GHN_MLP) {
        layers->message[0] = ghn__pack_dense(space, t[GHN__NODE0_W], t[GHN__NODE0_B], hid, 1, hid);
        layers->message[1] = ghn__pack_dense(space, t[GHN__NODE2_W], t[GHN__NODE2_B], hid, 1, hid);
        layers->d_message[0] = ghn__pack_transposed(space, t[GHN__NODE0_W], hid, 1, hid);
        layers->d_message[1] = ghn__pack_transposed(space, t[GHN__NODE2_W], hid, 1, hid);
        return;
    }
    layers->message[0] = ghn__pack_dense(space, t[GHN__MSG0_W], t[GHN__MSG0_B], hid, 1, m);
    layers->message[1] = ghn__pack_dense(space, t[GHN__MSG2_W], t[GHN__MSG2_B], m, 1, hid);
    layers->d_message[0] = ghn__pack_transposed(space, t[GHN__MSG0_W], hid, 1, m);
    layers->d_message[1] = ghn__pack_transposed(space, t[GHN__MSG2_W], m, 1, hid);
    layers->gru_in = ghn__pack_dense(space, t[GHN__GRU_IH_W], t[GHN__GRU_IH_B], hid, 3, hid);
    layers->gru_state = ghn__pack_dense(space, t[GHN__GRU_HH_W], t[GHN__GRU_HH_B], hid, 3, hid);
    layers->d_gru_in = ghn__pack_transposed(space, t[GHN__GRU_IH_W], hid, 3, hid);
    layers->d_gru_state = ghn__pack_transposed(space, t[GHN__GRU_HH_W], hid, 3, hid);
    if (!h->config.ve)
        return;
    layers->virtual_[0] = ghn__pack_dense(space, t[GHN__VE0_W], t[GHN__VE0_B], hid, 1, m);
    layers->virtual_[1] = ghn__pack_dense(space, t[GHN__VE2_W], t[GHN__VE2_B], m, 1, hid);
    layers->d_virtual[0] = ghn__pack_transposed(space, t[GHN__VE0_W], hid, 1, m);
    layers->d_virtual[1] = ghn__pack_transposed(space, t[GHN__VE2_W], m, 1, hid);
}

static void place_graphs(struct ghn_tape *tape, struct ghn__space *space,
                         const struct ghn_config *config) {
    size_t hid = (size_t)ghn__padded(config->hid);
    size_t m = config->ve ? (size_t)ghn__padded(config->hid / 2) : hid;
    for (int i = 0; i < tape->m; i++) {
        struct ghn__tape_graph *graph = &tape->graphs[i];
        size_t n = (size_t)graph->graph->n_nodes;
        graph->features = ghn__take_floats(space, n * hid);
        graph->scratch = ghn__take_floats(space, (size_t)ghn__padded((int)n) + 6 * hid);
        if (config->hypernet == GHN_GATED_GNN)
            place_sweep(&graph->sweep[0], space, n, hid, m, config->ve);
        place_sweep(&graph->sweep[1], space, n, hid, config->hypernet == GHN_MLP ? hid : m,
                    config->ve && config->hypernet == GHN_GATED_GNN);
    }
}

static void place_decoded(struct ghn_tape *tape, struct ghn__space *space) {
    const struct ghn_config *config = &tape->config;
    bool conv = config->decoder == GHN_DECODER_CONV;
    for (int g = 0; g < tape->n_groups; g++) {
        struct ghn__tape_group *group = &tape->groups[g];
        bool apart = conv && group->I < config->max_shape[1];
        group->bias = conv ? ghn__take_floats(space, group->n) : NULL;
        group->packed = apart ? ghn__take_floats(space, group->n * 8 * (size_t)config->hid) : NULL;
        group->values = ghn__take_floats(space, group->n_lanes * group->n);
    }
    for (int c = 0; c < tape->n_classes; c++) {
        struct ghn__tape_class *class = &tape->classes[c];
        size_t n = (size_t) class->rows * (size_t)tape->weights[class->weight].I;
        class->values = ghn__take_floats(space, n);
        class->gradient = ghn__take_floats(space, n);
    }
    for (int k = 0; k < tape->n_vectors; k++) {
        struct ghn__tape_vector *vector = &tape->vectors[k];
        size_t n = (size_t)ghn__padded(vector->n);
        vector->values = ghn__take_floats(space, n);
        vector->gradient = ghn__take_floats(space, n);
    }
    for (int g = 0; g < tape->n_groups; g++) {
        struct ghn__tape_group *group = &tape->groups[g];
        group->gradient = ghn__take_floats(space, group->n_lanes * group->n);
    }
}

static void place(struct ghn_tape *tape, struct ghn__space *space, const struct ghn_hypernet *h) {
    const struct ghn_config *config = &h->config;
    const int *max = config->max_shape;
    size_t hid = (size_t)config->hid, M = (size_t)(max[0] > max[1] ? max[0] : max[1]);
    size_t lanes = tape->n_lanes, rows = (size_t)tape->n_rows;
    place_layers(&tape->layers, space, h);
    place_graphs(tape, space, config);
    tape->embeddings = ghn__take_floats(space, tape->n_nodes * hid);
    tape->rows_e = ghn__take_floats(space, rows * hid);
    tape->rows_hidden = ghn__take_floats(space, rows * 2 * hid);
    tape->rows = ghn__take_floats(space, rows * 2 * M);
    if (config->decoder == GHN_DECODER_CONV) {
        tape->lanes_e = ghn__take_floats(space, lanes * hid);
        tape->lanes_a = ghn__take_floats(space, lanes * 4 * hid);
        tape->lanes_b = ghn__take_floats(space, lanes * 8 * hid);
        tape->class_hidden =
            ghn__take_floats(space, (size_t)tape->n_classes * (size_t)max[0] * (size_t)max[1]);
    } else {
        tape->weights_e = ghn__take_floats(space, (size_t)tape->n_weights * hid);
        tape->hidden = ghn__take_floats(space, (size_t)tape->n_weights * 2 * hid);
        tape->lanes_hidden = ghn__take_floats(space, lanes * 2 * hid);
    }
    place_decoded(tape, space);
}

static void place_back_of_graph(struct ghn__tape_back *back, struct ghn__space *space, size_t n,
                                size_t hid, size_t m, bool ve) {
    back->state = ghn__take_floats(space, n * hid);
    back->sum = ghn__take_floats(space, n * hid);
    back->gates_in = ghn__take_floats(space, n * 3 * hid);
    back->gates_state = ghn__take_floats(space, n * 3 * hid);
    back->message = ghn__take_floats(space, n * hid);
    back->hidden = ghn__take_floats(space, n * m);
    back->virtual_message = ve ? ghn__take_floats(space, n * hid) : NULL;
    back->virtual_hidden = ve ? ghn__take_floats(space, n * m) : NULL;
}

static void place_back(struct ghn_tape *tape, struct ghn__space *space,
                       const struct ghn_hypernet *h) {
    const int *max = h->config.max_shape;
    size_t hid = (size_t)h->config.hid, M = (size_t)(max[0] > max[1] ? max[0] : max[1]);
    size_t block = (size_t)max[0] * (size_t)max[1], lanes = tape->n_lanes;
    size_t rows = (size_t)tape->n_rows, weights = (size_t)tape->n_weights;
    size_t padded = (size_t)ghn__padded((int)hid);
    size_t parts = ((size_t)max[0] + GHN__CONV2_OUTPUTS - 1) / GHN__CONV2_OUTPUTS;
    for (int i = 0; i < tape->m; i++)
        place_back_of_graph(&tape->graphs[i].back, space, (size_t)tape->graphs[i].graph->n_nodes,
                            padded, padded, h->config.ve);
    tape->partial = ghn__take_floats(space, (size_t)tape->m * (size_t)ghn__hypernet_n_embedder(h));
    tape->d_embeddings = ghn__take_floats(space, tape->n_nodes * hid);
    tape->d_rows_e = ghn__take_floats(space, rows * hid);
    tape->d_rows_hidden = ghn__take_floats(space, rows * 2 * hid);
    tape->d_rows = ghn__take_floats(space, rows * 2 * M);
    if (h->config.decoder == GHN_DECODER_CONV) {
        tape->d_lanes_e = ghn__take_floats(space, lanes * hid);
        tape->d_lanes_a = ghn__take_floats(space, lanes * 4 * hid);
        tape->d_lanes_b = ghn__take_floats(space, lanes * 8 * hid);
        tape->d_class_hidden = ghn__take_floats(space, block);
        tape->conv2_sums =
            ghn__take_floats(space, parts * GHN__CONV2_OUTPUTS * (size_t)max[1] * 8 * hid);
    } else {
        tape->d_weights_e = ghn__take_floats(space, weights * hid);
        tape->d_hidden = ghn__take_floats(space, weights * 2 * hid);
        tape->d_lanes_hidden = ghn__take_floats(space, lanes * 2 * hid);
    }
}

enum ghn_status ghn__tape_plan_back(struct ghn_tape *tape, const struct ghn_hypernet *h,
                                    struct ghn_err *err) {
    struct ghn__space space = {NULL, 0};
    place_back(tape, &space, h);
    enum ghn_status status = ghn__memory_need(&tape->back_memory, space.used, err);
    if (status != GHN_OK)
        return status;
    space = (struct ghn__space){tape->back_memory.base, 0};
    place_back(tape, &space, h);
    return GHN_OK;
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
    space = (struct ghn__space){NULL, 0};
    place(tape, &space, h);
    status = ghn__memory_need(&tape->memory, space.used, err);
    if (status != GHN_OK) {
        tape->m = 0;
        return status;
    }
    space = (struct ghn__space){tape->memory.base, 0};
    place(tape, &space, h);
    return GHN_OK;
}
