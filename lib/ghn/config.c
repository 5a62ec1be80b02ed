#include "ghn/config.h"

#include <string.h>

#include "base/json.h"

const struct ghn_config ghn_config_default = {
    .hid = 32,
    .max_shape = {64, 64, 11, 11},
    .num_classes = 10,
    .hypernet = GHN_GATED_GNN,
    .decoder = GHN_DECODER_CONV,
    .weight_norm = true,
    .ve = true,
    .layernorm = true,
};

static const char *const hypernets[] = {[GHN_GATED_GNN] = "gatedgnn", [GHN_MLP] = "mlp", NULL};
static const char *const decoders[] = {
    [GHN_DECODER_CONV] = "conv", [GHN_DECODER_MLP] = "mlp", NULL};

const char *ghn_config_kind(const struct ghn_config *config) {
    bool all = config->ve && config->layernorm && config->weight_norm;
    bool none = !config->ve && !config->layernorm && !config->weight_norm;
    if (config->hypernet == GHN_MLP)
        return "MLP";
    return all ? "GHN-2" : none ? "GHN-1" : "GHN";
}

static enum ghn_status check_range(const char *entry, int value, int min, int max,
                                   struct ghn_err *err) {
    if (value >= min && value <= max)
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, entry, "%s is %d, but must lie in [%d, %d]", entry,
                    value, min, max);
}

enum ghn_status ghn__config_check(const struct ghn_config *config, struct ghn_err *err) {
    const int *max = config->max_shape;
    enum ghn_status status = check_range("hid", config->hid, 4, GHN__HID_MAX, err);
    for (int i = 0; i < 4 && status == GHN_OK; i++)
        status =
            check_range("max_shape", max[i], 1, i < 2 ? GHN__CHANNELS_MAX : GHN__SIDE_MAX, err);
    if (status == GHN_OK)
        status = check_range("num_classes", config->num_classes, 1, GHN__CLASSES_MAX, err);
    if (status != GHN_OK)
        return status;
    if (config->hid % 4 != 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "hid", "hid is %d, but must be a multiple of 4",
                        config->hid);
    if (max[2] != max[3])
        return ghn_fail(err, GHN_OUT_OF_RANGE, "max_shape",
                        "max_shape ends in %d, %d, but the decoded block must be square", max[2],
                        max[3]);
    if (config->decoder == GHN_DECODER_MLP && max[0] != max[1])
        return ghn_fail(err, GHN_OUT_OF_RANGE, "max_shape",
                        "max_shape begins with %d, %d, but the mlp decoder's must be equal", max[0],
                        max[1]);
    return GHN_OK;
}

/* The index of json's text in a NULL-terminated list. */
static enum ghn_status read_choice(const json_t *json, const char *where, const char *const *list,
                                   int *ret, struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(json, where, JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; list[i]; i++) {
        if (strcmp(json_string_value(json), list[i]) == 0) {
            *ret = i;
            return GHN_OK;
        }
    }
    return ghn_fail(err, GHN_OUT_OF_RANGE, where, "\"%.60s\" is not \"%s\" or \"%s\"",
                    json_string_value(json), list[0], list[1]);
}

static enum ghn_status read_int(const json_t *json, const char *where, int *ret,
                                struct ghn_err *err) {
    int64_t value;
    enum ghn_status status = ghn_json_int(json, where, 1, INT32_MAX, &value, err);
    if (status == GHN_OK)
        *ret = (int)value;
    return status;
}

static enum ghn_status read_max_shape(const json_t *json, const char *where, int ret[4],
                                      struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(json, where, JSON_ARRAY, err);
    if (status == GHN_OK && json_array_size(json) != 4)
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "max_shape has 4 numbers, not %zu",
                        json_array_size(json));
    for (size_t i = 0; i < 4 && status == GHN_OK; i++)
        status = read_int(json_array_get(json, i), where, &ret[i], err);
    return status;
}

static enum ghn_status read_optional(const json_t *json, const char *where,
                                     struct ghn_config *config, struct ghn_err *err) {
    struct {
        const char *key;
        bool *ret;
    } flags[] = {{"weight_norm", &config->weight_norm},
                 {"ve", &config->ve},
                 {"layernorm", &config->layernorm}};
    char path[GHN_ERR_WHERE];
    const json_t *value;
    enum ghn_status status = GHN_OK;
    for (int i = 0; i < 3 && status == GHN_OK; i++)
        if ((value = json_object_get(json, flags[i].key)))
            status = ghn_json_bool(value, ghn_json_path(path, sizeof(path), where, flags[i].key),
                                   flags[i].ret, err);
    int hypernet = GHN_GATED_GNN, decoder = GHN_DECODER_CONV;
    if (status == GHN_OK && (value = json_object_get(json, "hid")))
        status =
            read_int(value, ghn_json_path(path, sizeof(path), where, "hid"), &config->hid, err);
    if (status == GHN_OK && (value = json_object_get(json, "hypernet")))
        status = read_choice(value, ghn_json_path(path, sizeof(path), where, "hypernet"), hypernets,
                             &hypernet, err);
    if (status == GHN_OK && (value = json_object_get(json, "decoder")))
        status = read_choice(value, ghn_json_path(path, sizeof(path), where, "decoder"), decoders,
                             &decoder, err);
    config->hypernet = hypernet;
    config->decoder = decoder;
    return status;
}

enum ghn_status ghn__config_from_json(const json_t *json, const char *where, struct ghn_config *ret,
                                      struct ghn_err *err) {
    static const char *const entries[] = {"hid",      "max_shape", "num_classes",
                                          "hypernet", "decoder",   "weight_norm",
                                          "ve",       "layernorm", NULL};
    struct ghn_config config = {.hid = 32};
    char path[GHN_ERR_WHERE];
    enum ghn_status status = ghn_json_expect(json, where, JSON_OBJECT, err);
    if (status == GHN_OK)
        status = ghn_json_only(json, where, entries, NULL, err);
    if (status == GHN_OK)
        status = read_max_shape(json_object_get(json, "max_shape"),
                                ghn_json_path(path, sizeof(path), where, "max_shape"),
                                config.max_shape, err);
    if (status == GHN_OK)
        status = read_int(json_object_get(json, "num_classes"),
                          ghn_json_path(path, sizeof(path), where, "num_classes"),
                          &config.num_classes, err);
    if (status == GHN_OK)
        status = read_optional(json, where, &config, err);
    if (status == GHN_OK)
        status = ghn__config_check(&config, err);
    if (status == GHN_OK)
        *ret = config;
    return status;
}

json_t *ghn__config_to_json(const struct ghn_config *config) {
    const int *max = config->max_shape;
    return json_pack("{s:i, s:[i, i, i, i], s:i, s:s, s:s, s:b, s:b, s:b}", "hid", config->hid,
                     "max_shape", max[0], max[1], max[2], max[3], "num_classes",
                     config->num_classes, "hypernet", hypernets[config->hypernet], "decoder",
                     decoders[config->decoder], "weight_norm", config->weight_norm, "ve",
                     config->ve, "layernorm", config->layernorm);
}
