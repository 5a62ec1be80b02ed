#include "train/tape.h"

#include "arch/initialise.h"
#include "base/mem.h"
#include "base/names.h"

static enum ghn_status check_shape(const struct ghn_graph *graph, int slot,
                                   const struct ghn_param *param, struct ghn_err *err) {
    if (slot < 0 || ghn_shape_equal(&graph->slots[slot].shape, &param->shape))
        return GHN_OK;
    return ghn_fail(err, GHN_SHAPE_MISMATCH, param->name,
                    "the tape's network is another one: the shapes differ");
}

/* slots[p] = the tensor of the graph that parameter p of params is, or -1 if it is not predicted.
 */
static enum ghn_status map_names(const struct ghn_tape *tape, int i,
                                 const struct ghn_params *params, int *slots, struct ghn_err *err) {
    const struct ghn_graph *graph = ghn_tape_graph(tape, i);
    struct ghn_names names = GHN_NAMES_INIT;
    enum ghn_status status = GHN_OK;
    for (int k = 0; k < graph->n_slots && status == GHN_OK; k++)
        if (ghn_names_add(&names, graph->slots[k].name, k) == GHN_NAMES_NO_MEMORY)
            status = ghn_fail_memory(err);
    for (int p = 0; p < params->arch->n_params && status == GHN_OK; p++) {
        int slot = ghn_names_find(&names, params->arch->params[p].name);
        status = check_shape(graph, slot, &params->arch->params[p], err);
        slots[p] = slot >= 0 && ghn_tape_predicts(tape, i, slot) ? slot : -1;
    }
    ghn_names_done(&names);
    return status;
}

/* The same in *ret, which the caller frees with ghn_free. */
static enum ghn_status map(const struct ghn_tape *tape, int i, const struct ghn_params *params,
                           int **ret, struct ghn_err *err) {
    int *slots = ghn_calloc((size_t)params->arch->n_params, sizeof *slots);
    enum ghn_status status = slots ? map_names(tape, i, params, slots, err) : ghn_fail_memory(err);
    if (status == GHN_OK)
        *ret = slots;
    else
        ghn_free(slots);
    return status;
}

enum ghn_status ghn_tape_write(const struct ghn_tape *tape, int i, uint64_t seed,
                               struct ghn_params *params, struct ghn_err *err) {
    int *slots = NULL;
    enum ghn_status status = map(tape, i, params, &slots, err);
    if (status != GHN_OK)
        return status;
    for (int p = 0; p < params->arch->n_params; p++) {
        const struct ghn_param *param = &params->arch->params[p];
        float *values = params->values + params->offsets[p];
        if (slots[p] >= 0)
            ghn_tape_read(tape, i, slots[p], values);
        else
            ghn_initialise(&param->init, param->name, seed, 0,
                           params->offsets[p + 1] - params->offsets[p], values);
    }
    ghn_free(slots);
    return GHN_OK;
}

enum ghn_status ghn_tape_add_gradient(struct ghn_tape *tape, int i, const struct ghn_params *params,
                                      const float *gradient, struct ghn_err *err) {
    int *slots = NULL;
    enum ghn_status status = map(tape, i, params, &slots, err);
    if (status != GHN_OK)
        return status;
    for (int p = 0; p < params->arch->n_params; p++)
        if (slots[p] >= 0)
            ghn_tape_fold(tape, i, slots[p], gradient + params->offsets[p]);
    ghn_free(slots);
    return GHN_OK;
}
