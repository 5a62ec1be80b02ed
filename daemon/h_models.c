/* GET /models and GET /models/ID: what is loaded. */
#include "ghn/answer.h"
#include "request.h"

/* The images that a model is for, (C, H, W): those of its training, or where its file does not say,
 * of the data set that the published models with such blocks are for: CIFAR-10 or ImageNet. */
static json_t *input_json(const struct ghn_model *model) {
    const char *text = json_string_value(json_object_get(ghn_model_metadata(model), "input"));
    int c = 3, side = ghn_model_config(model)->max_shape[2] == 16 ? 224 : 32, h = side, w = side;
    json_t *told = text ? json_loads(text, 0, NULL) : NULL;
    (void)json_unpack(told, "[i, i, i!]", &c, &h, &w);
    json_decref(told);
    return json_pack("[i, i, i]", c, h, w);
}

/* What is told of a model; NULL if there is no memory. */
static json_t *model_json(const struct ghnd_snapshot *snapshot, const struct ghnd_model *model) {
    const struct ghn_config *config = ghn_model_config(model->model);
    const int *max = config->max_shape;
    return json_pack("{s:s, s:b, s:s, s:i, s:o, s:[i,i,i,i], s:i, s:I, s:b, s:s, s:O}", "id",
                     model->id, "default", model == &snapshot->models[0], "kind",
                     ghn_config_kind(config), "num_classes", config->num_classes, "input",
                     input_json(model->model), "max_shape", max[0], max[1], max[2], max[3], "hid",
                     config->hid, "parameters", (json_int_t)ghn_model_n_parameters(model->model),
                     "trained", !ghn_model_untrained(model->model), "sha256",
                     ghn_model_sha256(model->model), "metadata", ghn_model_metadata(model->model));
}

void ghnd_h_models(struct ghnd_request *request) {
    const struct ghnd_snapshot *snapshot = request->snapshot;
    json_t *models = json_array();
    for (int i = 0; i < snapshot->n_models && models; i++)
        if (json_array_append_new(models, model_json(snapshot, &snapshot->models[i])) != 0) {
            json_decref(models);
            models = NULL;
        }
    ghnd_reply_json(request, json_pack("{s:o}", "models", models));
}

const struct ghnd_model *ghnd_find_model(struct ghnd_request *request, const char *id,
                                         const char *where) {
    const struct ghnd_model *model = ghnd_snapshot_model(request->snapshot, id);
    if (!model)
        ghnd_problem_set(&request->problem, GHND_E_UNKNOWN_MODEL, where,
                         "no model \"%.64s\" is loaded; GET /models lists them", id);
    return model;
}

void ghnd_h_model(struct ghnd_request *request) {
    const struct ghnd_model *model = ghnd_find_model(request, request->path_id, "");
    if (model)
        ghnd_reply_json(request, model_json(request->snapshot, model));
}
