#include "ghn/reference.h"

#include <string.h>

#include "base/mem.h"
#include "ghn/reference/reference_impl.h"
#include "ghn/space.h"

void ghn__ref_linear(struct ghn__ref *ref, const struct ghn__ref_linear *layer, const double *x,
                     double *y) {
    size_t in = (size_t)layer->in;
    for (size_t r = 0; r < (size_t)layer->out; r++) {
        size_t row = layer->first + r * layer->step;
        y[r] = ref->t[layer->bias][row];
        for (size_t k = 0; k < in; k++)
            y[r] += ref->t[layer->weight][row * in + k] * x[k];
        if (!layer->relu)
            continue;
        ref->pattern = (ref->pattern ^ (y[r] > 0.0)) * UINT64_C(0x100000001b3);
        y[r] = y[r] > 0.0 ? y[r] : 0.0;
    }
}

void ghn__ref_linear_back(struct ghn__ref *ref, const struct ghn__ref_linear *layer,
                          const double *x, const double *y, double *d, double *dx) {
    size_t in = (size_t)layer->in;
    for (size_t r = 0; r < (size_t)layer->out; r++) {
        size_t row = layer->first + r * layer->step;
        if (layer->relu && y[r] <= 0.0)
            d[r] = 0.0;
        ref->g[layer->bias][row] += d[r];
        for (size_t k = 0; k < in; k++) {
            ref->g[layer->weight][row * in + k] += d[r] * x[k];
            dx[k] += d[r] * ref->t[layer->weight][row * in + k];
        }
    }
}

static double *take(struct ghn__space *space, size_t n) {
    return ghn__take(space, n, sizeof(double));
}

static void place(struct ghn__ref *ref, struct ghn__space *space) {
    const int *max = ref->config.max_shape;
    size_t n = (size_t)ref->graph->n_nodes, h = (size_t)ref->h;
    size_t block = (size_t)max[0] * (size_t)max[1], widest = 8 * h;
    widest = block > widest ? block : widest;
    widest = (size_t)ref->config.num_classes > widest ? (size_t)ref->config.num_classes : widest;
    ref->features = take(space, n * h);
    ref->embeddings = take(space, n * h);
    ref->d_embeddings = take(space, n * h);
    for (int s = 0; s < 2; s++) {
        struct ghn__ref_sweep *sweep = &ref->sweep[s];
        double **rows[] = {&sweep->after,      &sweep->sum,        &sweep->reset,
                           &sweep->keep,       &sweep->new_,       &sweep->new_state,
                           &sweep->message[0], &sweep->message[1], &sweep->hidden[0],
                           &sweep->hidden[1]};
        for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
            *rows[k] = take(space, n * h);
        sweep->before = s == 0 ? ref->features : ref->sweep[0].after;
        ref->d_message[s] = take(space, n * h);
    }
    for (int k = 0; k < 6; k++)
        ref->row[k] = take(space, widest);
    ref->block = take(space, block * (size_t)max[2] * (size_t)max[3]);
    ref->d_block = take(space, block * (size_t)max[2] * (size_t)max[3]);
}

/* ref->storage is freed by the caller with ghn_free. */
static enum ghn_status ref_init(struct ghn__ref *ref, const struct ghn_config *config,
                                const double *values, const struct ghn_graph *graph,
                                struct ghn_err *err) {
    *ref = (struct ghn__ref){.config = *config, .graph = graph, .h = config->hid};
    ref->m = config->ve && config->hypernet == GHN_GATED_GNN ? config->hid / 2 : config->hid;
    ghn__shape_table_init(&ref->shapes, config->num_classes, config->max_shape[2]);
    ghn__tensor_specs(config, ref->specs);
    for (int i = 0; i < GHN__N_TENSORS; i++) {
        ref->t[i] = values;
        values += ref->specs[i].present ? ref->specs[i].numel : 0;
    }
    struct ghn__space space = {NULL, 0};
    place(ref, &space);
    ref->storage = ghn_calloc(space.used, 1);
    if (!ref->storage)
        return ghn_fail_memory(err);
    space = (struct ghn__space){(char *)ref->storage, 0};
    place(ref, &space);
    return GHN_OK;
}

static bool predicted(const struct ghn_config *config, const struct ghn_graph *graph, int slot) {
    enum ghn__maker maker = ghn__plan_slot(config, graph, slot).maker;
    return maker != GHN__MAKE_NOTHING && maker != GHN__MAKE_CONSTANT;
}

int64_t ghn__reference_n(const struct ghn_config *config, const struct ghn_graph *graph) {
    int64_t n = 0;
    for (int i = 0; i < graph->n_slots; i++)
        n += predicted(config, graph, i) ? graph->slots[i].numel : 0;
    return n;
}

static void forward(struct ghn__ref *ref, double *ret) {
    ghn__ref_embed(ref);
    for (int i = 0; i < ref->graph->n_slots; i++) {
        if (!predicted(&ref->config, ref->graph, i))
            continue;
        ghn__ref_decode(ref, i, ret);
        ret += ref->graph->slots[i].numel;
    }
}

enum ghn_status ghn__reference_forward(const struct ghn_config *config, const double *values,
                                       const struct ghn_graph *graph, double *ret,
                                       uint64_t *ret_pattern, struct ghn_err *err) {
    struct ghn__ref ref;
    enum ghn_status status = ref_init(&ref, config, values, graph, err);
    if (status != GHN_OK)
        return status;
    forward(&ref, ret);
    *ret_pattern = ref.pattern;
    ghn_free(ref.storage);
    return GHN_OK;
}

enum ghn_status ghn__reference_backward(const struct ghn_config *config, const double *values,
                                        const struct ghn_graph *graph, const double *d,
                                        double *gradient, struct ghn_err *err) {
    struct ghn__ref ref;
    enum ghn_status status = ref_init(&ref, config, values, graph, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < GHN__N_TENSORS; i++)
        ref.g[i] = gradient + (ref.t[i] - values);
    ghn__ref_embed(&ref);
    for (int i = 0; i < graph->n_slots; i++) {
        if (!predicted(config, graph, i))
            continue;
        ghn__ref_decode_back(&ref, i, d);
        d += graph->slots[i].numel;
    }
    ghn__ref_embed_back(&ref);
    ghn_free(ref.storage);
    return GHN_OK;
}
