#include "arch/initialise.h"
#include "base/mem.h"
#include "base/names.h"
#include "ghn/encode.h"
#include "train/finetune.h"

/* Parameter i of params from its slot; slot -1: by its initialiser. */
static enum ghn_status fill(const struct ghn_params *params, int i,
                            const struct ghn_prediction *prediction, int slot, float *values,
                            struct ghn_err *err) {
    const struct ghn_param *param = &params->arch->params[i];
    int64_t n = params->offsets[i + 1] - params->offsets[i];
    if (slot >= 0 && !ghn_shape_equal(&prediction->graph->slots[slot].shape, &param->shape))
        return ghn_fail(err, GHN_SHAPE_MISMATCH, param->name,
                        "the prediction is not one for this network: the shapes differ");
    if (slot >= 0 && prediction->outcomes[slot] != GHN_OMITTED)
        ghn_prediction_values(prediction, slot, 0, n, values);
    else
        ghn_initialise(&param->init, param->name, prediction->seed, 0, n, values);
    return GHN_OK;
}

/* Fills values from the slots of the same names. */
static enum ghn_status fill_all(const struct ghn_params *params,
                                const struct ghn_prediction *prediction, float *values,
                                struct ghn_err *err) {
    const struct ghn_graph *graph = prediction->graph;
    struct ghn_names names = GHN_NAMES_INIT;
    enum ghn_status status = GHN_OK;
    for (int k = 0; k < graph->n_slots && status == GHN_OK; k++)
        if (ghn_names_add(&names, graph->slots[k].name, k) == GHN_NAMES_NO_MEMORY)
            status = ghn_fail_memory(err);
    for (int i = 0; i < params->arch->n_params && status == GHN_OK; i++)
        status = fill(params, i, prediction, ghn_names_find(&names, params->arch->params[i].name),
                      values + params->offsets[i], err);
    ghn_names_done(&names);
    return status;
}

enum ghn_status ghn_params_from_prediction(struct ghn_params *params,
                                           const struct ghn_prediction *prediction,
                                           struct ghn_err *err) {
    float *values = ghn_malloc((size_t)params->n * sizeof *values);
    if (!values)
        return ghn_fail_memory(err);
    enum ghn_status status = fill_all(params, prediction, values, err);
    if (status != GHN_OK) {
        ghn_free(values);
        return status;
    }
    ghn_free(params->values);
    params->values = values;
    return GHN_OK;
}
