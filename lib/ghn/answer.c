#include "ghn/answer.h"

#include <nettle/base64.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/stats.h"

/* Values looked at in one go: 256 KiB of f32, which stays in the cache. */
enum { CHUNK = 65536 };

bool ghn_model_untrained(const struct ghn_model *model) {
    const char *trained = json_string_value(json_object_get(ghn_model_metadata(model), "trained"));
    return trained && strcmp(trained, "false") == 0;
}

json_t *ghn_answer_metadata(const struct ghn_model *model, const char *network,
                            const struct ghn_prediction *prediction) {
    const char *sha256 = ghn_model_sha256(model);
    char seed[24];
    (void)snprintf(seed, sizeof(seed), "%llu", (unsigned long long)prediction->seed);
    return json_pack("{s:s, s:s*, s:s, s:s*, s:s*, s:s}", "generator", "ghnd " GHN_VERSION,
                     "network", network && *network ? network : NULL, "hypernetwork",
                     ghn_config_kind(ghn_model_config(model)), "hypernetwork_sha256",
                     *sha256 ? sha256 : NULL, "hypernetwork_trained",
                     ghn_model_untrained(model) ? "false" : NULL, "seed", seed);
}

const char *ghn_outcome_name(enum ghn_outcome outcome) {
    switch (outcome) {
    case GHN_PREDICTED:
        return "predicted";
    case GHN_INITIALISED:
        return "initialised";
    case GHN_OMITTED:
        return "omitted";
    }
    return "";
}

struct ghn_count ghn_prediction_count(const struct ghn_prediction *prediction,
                                      enum ghn_outcome outcome) {
    struct ghn_count count = {0, 0};
    for (int i = 0; i < prediction->graph->n_slots; i++) {
        if (prediction->outcomes[i] != outcome)
            continue;
        count.tensors++;
        count.parameters += prediction->graph->slots[i].numel;
    }
    return count;
}

/* The values of a slot in base64, as options->dtype; NULL if there is no memory. */
static json_t *data_json(const struct ghn_prediction *prediction, int slot, enum ghn_dtype dtype,
                         float *chunk) {
    size_t size = ghn_dtype_size(dtype), n = (size_t)prediction->graph->slots[slot].numel;
    size_t text_size = BASE64_ENCODE_RAW_LENGTH(n * size);
    uint8_t *raw = ghn_malloc(n * size);
    char *text = ghn_malloc(text_size);
    json_t *json = NULL;
    if (raw && text) {
        for (size_t first = 0; first < n; first += CHUNK) {
            size_t count = n - first < CHUNK ? n - first : CHUNK;
            ghn_prediction_values(prediction, slot, (int64_t)first, (int64_t)count, chunk);
            ghn_dtype_from_f32(dtype, raw + first * size, chunk, count);
        }
        base64_encode_raw(text, n * size, raw);
        json = json_stringn(text, text_size);
    }
    ghn_free(raw);
    ghn_free(text);
    return json;
}

/* Adds mean, std, min, max (null where no value is finite) and not_finite. */
static int add_stats(json_t *entry, const struct ghn_prediction *prediction, int slot,
                     float *chunk) {
    struct ghn_stats stats = {0};
    int64_t n = prediction->graph->slots[slot].numel;
    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t count = n - first < CHUNK ? n - first : CHUNK;
        ghn_prediction_values(prediction, slot, first, count, chunk);
        ghn_stats_add(&stats, chunk, (size_t)count);
    }
    bool any = stats.n > 0;
    int failed =
        json_object_set_new(entry, "mean", any ? json_real(stats.mean) : json_null()) |
        json_object_set_new(entry, "std", any ? json_real(ghn_stats_std(&stats)) : json_null()) |
        json_object_set_new(entry, "min", any ? json_real((double)stats.min) : json_null()) |
        json_object_set_new(entry, "max", any ? json_real((double)stats.max) : json_null());
    if (stats.n_not_finite > 0)
        failed |= json_object_set_new(entry, "not_finite", json_integer(stats.n_not_finite));
    return failed;
}

/* One tensor of the report; NULL if there is no memory. */
static json_t *tensor_json(const struct ghn_prediction *prediction, int i,
                           const struct ghn_report_options *options, float *chunk) {
    const struct ghn_slot *slot = &prediction->graph->slots[i];
    const struct ghn_block *block = &prediction->blocks[i];
    enum ghn_outcome outcome = prediction->outcomes[i];
    json_t *entry = json_pack("{s:s, s:o, s:s, s:s*}", "name", slot->name, "shape",
                              ghn_shape_to_json(&slot->shape), "outcome", ghn_outcome_name(outcome),
                              "reason", prediction->reasons[i]);
    int failed = !entry;
    if (!failed && outcome == GHN_PREDICTED)
        failed = json_object_set_new(entry, "block", ghn_shape_to_json(&block->shape));
    if (!failed && outcome != GHN_OMITTED)
        failed = add_stats(entry, prediction, i, chunk);
    if (!failed && outcome != GHN_OMITTED && options->data)
        failed =
            json_object_set_new(entry, "dtype", json_string(ghn_dtype_name(options->dtype))) |
            json_object_set_new(entry, "data", data_json(prediction, i, options->dtype, chunk));
    if (failed) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

/* Every tensor of the report; NULL if there is no memory. */
static json_t *tensors_json(const struct ghn_prediction *prediction,
                            const struct ghn_report_options *options) {
    json_t *array = json_array();
    float *chunk = ghn_malloc(CHUNK * sizeof(*chunk));
    int failed = !array || !chunk;
    for (int i = 0; i < prediction->graph->n_slots && !failed; i++)
        failed = json_array_append_new(array, tensor_json(prediction, i, options, chunk));
    ghn_free(chunk);
    if (failed) {
        json_decref(array);
        return NULL;
    }
    return array;
}

static json_t *count_json(const struct ghn_prediction *prediction, enum ghn_outcome outcome) {
    struct ghn_count count = ghn_prediction_count(prediction, outcome);
    return json_pack("{s:i, s:I}", "tensors", count.tensors, "parameters",
                     (json_int_t)count.parameters);
}

static json_t *warnings_json(const struct ghn_model *model,
                             const struct ghn_prediction *prediction) {
    json_t *array = json_array();
    int failed = !array;
    if (!failed && ghn_model_untrained(model))
        failed = json_array_append_new(
            array, json_string("the hypernetwork was never trained: these parameters are no "
                               "better than random ones"));
    int n = ghn_prediction_count(prediction, GHN_INITIALISED).tensors;
    if (!failed && n > 0)
        failed = json_array_append_new(
            array, json_sprintf("%d tensor%s not predicted but initialised; see each one's reason",
                                n, n == 1 ? " was" : "s were"));
    if (failed) {
        json_decref(array);
        return NULL;
    }
    return array;
}

json_t *ghn_answer_report(const struct ghn_model *model, const char *network,
                          const struct ghn_prediction *prediction,
                          const struct ghn_report_options *options) {
    const struct ghn_graph *graph = prediction->graph;
    /* A NULL among these makes the whole NULL, and the others are given back. */
    return json_pack(
        "{s:o, s:{s:i, s:i, s:I, s:I}, s:o, s:o, s:o, s:o, s:o}", "metadata",
        ghn_answer_metadata(model, network, prediction), "graph", "nodes", graph->n_nodes, "edges",
        graph->n_edges, "virtual_edges", (json_int_t)graph->n_virtual_edges, "distance_sum",
        (json_int_t)graph->distance_sum, "predicted", count_json(prediction, GHN_PREDICTED),
        "initialised", count_json(prediction, GHN_INITIALISED), "omitted",
        count_json(prediction, GHN_OMITTED), "warnings", warnings_json(model, prediction),
        "tensors", tensors_json(prediction, options));
}
