/* Where everything of a planned forward pass lies, and of the way back. */
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

/* Gives what place_all places memory of its size: once to find that, once to place it there. */
static enum ghn_status
lay_out(struct ghn__memory *memory,
        void (*place_all)(struct ghn_tape *, struct ghn__space *, const struct ghn_hypernet *),
        struct ghn_tape *tape, const struct ghn_hypernet *h, struct ghn_err *err) {
    struct ghn__space space = {NULL, 0};
    place_all(tape, &space, h);
    enum ghn_status status = ghn__memory_need(memory, space.used, err);
    if (status != GHN_OK)
        return status;
    space = (struct ghn__space){memory->base, 0};
    place_all(tape, &space, h);
    return GHN_OK;
}

enum ghn_status ghn__tape_lay_out(struct ghn_tape *tape, const struct ghn_hypernet *h,
                                  struct ghn_err *err) {
    return lay_out(&tape->memory, place, tape, h, err);
}

enum ghn_status ghn__tape_lay_out_back(struct ghn_tape *tape, const struct ghn_hypernet *h,
                                       struct ghn_err *err) {
    return lay_out(&tape->back_memory, place_back, tape, h, err);
}
