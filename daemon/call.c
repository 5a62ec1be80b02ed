#include "call.h"

#include <string.h>

#include "graph/form.h"

/* The fields beside the network. */
static const char *const keys[] = {"model", "dtype",           "predict_class_layers",
                                   "seed",  "include_tensors", NULL};

static enum ghn_status get_model(const json_t *root, const char **ret, struct ghn_err *err) {
    const json_t *value = json_object_get(root, "model");
    if (!value)
        return GHN_OK;
    enum ghn_status status = ghn_json_expect(value, "model", JSON_STRING, err);
    if (status == GHN_OK)
        *ret = json_string_value(value);
    return status;
}

static enum ghn_status get_dtype(const json_t *root, enum ghn_dtype *ret, struct ghn_err *err) {
    static const struct {
        const char *name;
        enum ghn_dtype dtype;
    } dtypes[] = {{"f32", GHN_F32}, {"f16", GHN_F16}, {"bf16", GHN_BF16}};
    const json_t *value = json_object_get(root, "dtype");
    if (!value)
        return GHN_OK;
    enum ghn_status status = ghn_json_expect(value, "dtype", JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (strcmp(json_string_value(value), dtypes[i].name) == 0) {
            *ret = dtypes[i].dtype;
            return GHN_OK;
        }
    return ghn_fail(err, GHN_OUT_OF_RANGE, "dtype",
                    "expected \"f32\", \"f16\" or \"bf16\", found \"%s\"",
                    json_string_value(value));
}

static enum ghn_status get_bool(const json_t *root, const char *key, bool *ret,
                                struct ghn_err *err) {
    const json_t *value = json_object_get(root, key);
    return value ? ghn_json_bool(value, key, ret, err) : GHN_OK;
}

static enum ghn_status get_seed(const json_t *root, uint64_t *ret, struct ghn_err *err) {
    const json_t *value = json_object_get(root, "seed");
    int64_t seed = 0;
    enum ghn_status status = value ? ghn_json_int(value, "seed", 0, INT64_MAX, &seed, err) : GHN_OK;
    if (status == GHN_OK)
        *ret = (uint64_t)seed;
    return status;
}

enum ghn_status ghnd_call_fields(struct ghnd_call *ret, struct ghn_err *err) {
    struct ghnd_call call = {.root = ret->root, .dtype = GHN_F32, .predict_class_layers = true};
    enum ghn_status status = get_model(call.root, &call.model, err);
    if (status == GHN_OK)
        status = get_dtype(call.root, &call.dtype, err);
    if (status == GHN_OK)
        status = get_bool(call.root, "predict_class_layers", &call.predict_class_layers, err);
    if (status == GHN_OK)
        status = get_bool(call.root, "include_tensors", &call.include_tensors, err);
    if (status == GHN_OK)
        status = get_seed(call.root, &call.seed, err);
    if (status == GHN_OK)
        *ret = call;
    return status;
}

enum ghn_status ghnd_call_parse(const void *text, size_t n, const struct ghn_json_limits *limits,
                                struct ghnd_call *ret, struct ghn_err *err) {
    struct ghnd_call call = {0};
    enum ghn_status status = ghn_json_load(text, n, limits, &call.root, err);
    if (status == GHN_OK)
        status = ghnd_call_fields(&call, err);
    if (status == GHN_OK)
        *ret = call;
    else
        json_decref(call.root);
    return status;
}

bool ghnd_call_has(const char *key) {
    return ghn_json_one_of(key, keys);
}

void ghnd_call_done(struct ghnd_call *call) {
    json_decref(call->root);
    *call = (struct ghnd_call){0};
}

enum ghn_status ghnd_call_graph(const struct ghnd_call *call, const struct ghn_limits *limits,
                                struct ghn_graph **ret, struct ghn_arch **ret_arch,
                                struct ghn_err *err) {
    const struct ghn_request_options options = {.limits = limits, .also = keys};
    return ghn_graph_from_request(call->root, &options, ret, ret_arch, err);
}
