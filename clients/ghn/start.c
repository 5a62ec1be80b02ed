#include "start.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/pool.h"
#include "ghn/blocks.h"
#include "ghn/model.h"
#include "ghn/predict.h"
#include "tensor/tensors.h"
#include "train/finetune.h"

static enum ghn_status load(struct cli_start *start, const char *path, const char **ret_next,
                            struct ghn_err *err) {
    struct ghn_tensors *tensors = NULL;
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_read(path, &tensors, err);
    if (status == GHN_OK && ghn_blocks_is(tensors)) {
        *ret_next = "ghn convert IN OUT.safetensors makes them full";
        status = ghn_fail(err, GHN_UNSUPPORTED_FILE, path, "it holds blocks, not tensors in full");
    }
    if (status == GHN_OK) {
        status = ghn_params_load(start->params, tensors, &inner);
        if (status != GHN_OK)
            (void)ghn_fail(err, status, path, "%.200s: %s", inner.where, inner.message);
        memcpy(start->origin, tensors->sha256, sizeof(start->origin));
    }
    ghn_tensors_free(tensors);
    return status;
}

static enum ghn_status predict(struct cli_start *start, const struct cli_source *source,
                               struct ghn_err *err) {
    struct ghn_model *model = NULL;
    struct ghn_pool *pool = NULL;
    struct ghn_prediction *prediction = NULL;
    const json_t *wanted = json_object_get(start->request.root, "predict_class_layers");
    bool predict_class_layers = true;
    enum ghn_status status =
        wanted ? ghn_json_bool(wanted, "predict_class_layers", &predict_class_layers, err) : GHN_OK;
    if (status == GHN_OK)
        status = ghn_model_load(source->checkpoint, &model, err);
    if (status == GHN_OK)
        status = ghn_pool_new(0, &pool, err);
    if (status == GHN_OK) {
        int classes = ghn_model_config(model)->num_classes;
        bool fits = classes == start->dataset->n_classes;
        if (predict_class_layers && !fits)
            (void)fprintf(stderr,
                          "note: the class layers are initialised, not predicted: the hypernetwork "
                          "is for %d classes, the data set has %d\n",
                          classes, start->dataset->n_classes);
        const struct ghn_predict_options options = {
            .keep_class_layers = !predict_class_layers || !fits,
            .seed = source->seed,
        };
        status = ghn_predict(model, start->request.graph, &options, pool, &prediction, err);
    }
    if (status == GHN_OK)
        status = ghn_params_from_prediction(start->params, prediction, err);
    if (status == GHN_OK)
        (void)snprintf(start->origin, sizeof(start->origin), "%s", ghn_model_sha256(model));
    ghn_prediction_free(prediction);
    ghn_pool_free(pool);
    ghn_model_unref(model);
    return status;
}

enum ghn_status cli_start_open(struct cli_start *start, const char *network, const char *data,
                               const struct cli_source *source, const char **ret_next,
                               struct ghn_err *err) {
    *start = (struct cli_start){0};
    enum ghn_status status = cli_request_read(network, &start->request, err);
    if (status == GHN_OK)
        status = cli_request_decode(&start->request, network, err);
    if (status == GHN_OK && !start->request.arch)
        return ghn_fail(err, GHN_MISSING_FIELD, network,
                        "it holds a graph, which says too little to run a network; expected an "
                        "arch or a genotype");
    if (status == GHN_OK)
        status = ghn_dataset_open(data, &start->dataset, err);
    if (status == GHN_OK)
        status = ghn_params_new(start->request.arch, &start->params, err);
    if (status != GHN_OK)
        return status;
    if (source->parameters)
        return load(start, source->parameters, ret_next, err);
    if (source->checkpoint)
        return predict(start, source, err);
    ghn_params_initialise(start->params, source->seed);
    return GHN_OK;
}

void cli_start_done(struct cli_start *start) {
    ghn_params_free(start->params);
    ghn_dataset_free(start->dataset);
    cli_request_done(&start->request);
}
