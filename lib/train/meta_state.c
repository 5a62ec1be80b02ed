/* The state of a meta-training, in one safetensors file: tensors "values", "adam.m" and "adam.v",
 * flat and in f32; __metadata__ "format", "training" (a JSON object as a string: what identifies
 * it, counters, history) and "crc32" of all that. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "ghn/model.h"
#include "tensor/tensors.h"
#include "train/meta_impl.h"

static const char format_name[] = "ghn-meta-training/1";

enum { TENSORS = 3 };

static void list_tensors(const struct ghn__meta_state *state, struct ghn_tensor ret[TENSORS]) {
    static const char *const names[] = {"values", "adam.m", "adam.v"};
    float *const data[] = {state->values, state->m, state->v};
    for (int i = 0; i < TENSORS; i++)
        ret[i] = (struct ghn_tensor){.name = names[i],
                                     .dtype = GHN_F32,
                                     .shape = {1, {state->n}},
                                     .data = data[i],
                                     .n_bytes = (size_t)state->n * sizeof(float)};
}

/* --- Writing --- */

static json_t *identity(const struct ghn__meta_state *state) {
    const struct ghn_config *c = state->config;
    const struct ghn_dataset *d = state->dataset;
    return json_pack("{s:{s:i, s:[i, i, i, i], s:i, s:i, s:i, s:b, s:b, s:b}, s:{s:s, s:s, s:i, "
                     "s:I}, s:o}",
                     "config", "hid", c->hid, "max_shape", c->max_shape[0], c->max_shape[1],
                     c->max_shape[2], c->max_shape[3], "num_classes", c->num_classes, "hypernet",
                     (int)c->hypernet, "decoder", (int)c->decoder, "weight_norm", c->weight_norm,
                     "ve", c->ve, "layernorm", c->layernorm, "dataset", "kind",
                     ghn_dataset_kind_name(d->kind), "name", d->name, "classes", d->n_classes,
                     "train_images", (json_int_t)d->n[GHN_SPLIT_TRAIN], "recipe",
                     ghn__meta_recipe_identity(state->recipe));
}

static json_t *counters_json(const struct ghn__meta_counters *c) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "step", (json_int_t)c->step, "next_use",
                     (json_int_t)c->next_use, "updates", (json_int_t)c->updates, "architectures",
                     (json_int_t)c->architectures, "images", (json_int_t)c->images, "not_finite",
                     (json_int_t)c->not_finite, "seconds", c->seconds);
}

static unsigned long checksum(const char *training, const struct ghn_tensor *tensors) {
    unsigned long crc = crc32_z(0, (const unsigned char *)training, strlen(training));
    for (int i = 0; i < TENSORS; i++)
        crc = crc32_z(crc, tensors[i].data, tensors[i].n_bytes);
    return crc;
}

enum ghn_status ghn__meta_state_save(const char *path, const struct ghn__meta_state *state,
                                     struct ghn_err *err) {
    struct ghn_tensor tensors[TENSORS];
    list_tensors(state, tensors);
    json_t *root = identity(state), *metadata = NULL;
    bool failed = !root ||
                  json_object_set_new(root, "counters", counters_json(state->counters)) != 0 ||
                  json_object_set(root, "history", *state->history) != 0;
    char *text = failed ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text) {
        char crc[16];
        (void)snprintf(crc, sizeof crc, "%08lx", checksum(text, tensors));
        metadata =
            json_pack("{s:s, s:s, s:s}", "format", format_name, "training", text, "crc32", crc);
    }
    enum ghn_status status = metadata ? ghn_safetensors_write(path, tensors, TENSORS, metadata, err)
                                      : ghn_fail_memory(err);
    json_decref(metadata);
    free(text);
    return status;
}

/* --- Reading --- */

static enum ghn_status damaged(const char *path, const char *what, struct ghn_err *err) {
    return ghn_fail(err, GHN_INVALID_FILE, path, "the saved state of the training is damaged: %s",
                    what);
}

/* Refuses the state of another training, naming the first field that differs. */
static enum ghn_status check_identity(const char *path, const struct ghn__meta_state *state,
                                      const json_t *training, struct ghn_err *err) {
    json_t *built = identity(state);
    /* Through text, as theirs came. */
    char *text = built ? json_dumps(built, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_t *ours = text ? json_loads(text, 0, NULL) : NULL;
    json_decref(built);
    free(text);
    if (!ours)
        return ghn_fail_memory(err);
    enum ghn_status status = GHN_OK;
    const char *part, *key;
    json_t *fields, *value;
    json_object_foreach(ours, part, fields) json_object_foreach(fields, key, value) {
        json_t *theirs = json_object_get(json_object_get(training, part), key);
        if (status != GHN_OK || json_equal(theirs, value))
            continue;
        char *a = theirs ? json_dumps(theirs, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL,
             *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of another training: %s.%s is %s there and %s here",
                          part, key, a ? a : "absent", b ? b : "different");
        free(a);
        free(b);
    }
    json_decref(ours);
    return status;
}

static bool read_counters(const json_t *object, struct ghn__meta_counters *ret) {
    json_int_t step, use, updates, architectures, images, not_finite;
    double seconds;
    if (json_unpack((json_t *)object, "{s:I, s:I, s:I, s:I, s:I, s:I, s:F}", "step", &step,
                    "next_use", &use, "updates", &updates, "architectures", &architectures,
                    "images", &images, "not_finite", &not_finite, "seconds", &seconds) != 0 ||
        step < 0 || use < 0 || updates < 0)
        return false;
    *ret = (struct ghn__meta_counters){.step = step,
                                       .next_use = (uint64_t)use,
                                       .updates = updates,
                                       .architectures = architectures,
                                       .images = images,
                                       .not_finite = not_finite,
                                       .seconds = seconds};
    return true;
}

/* The file, checked by its checksum before anything in it is believed, and its description. */
static enum ghn_status read_file(const char *path, struct ghn_tensors **ret, json_t **ret_training,
                                 struct ghn_err *err) {
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_read(path, ret, &inner);
    if (status == GHN_IO || status == GHN_NO_MEMORY)
        return ghn_fail(err, status, path, "%s", inner.message);
    if (status != GHN_OK)
        return damaged(path, inner.message, err);
    const json_t *metadata = (*ret)->metadata;
    const char *format = json_string_value(json_object_get(metadata, "format")),
               *text = json_string_value(json_object_get(metadata, "training")),
               *crc = json_string_value(json_object_get(metadata, "crc32"));
    if (!format || strcmp(format, format_name) != 0 || !text || (*ret)->n != TENSORS)
        return ghn_fail(err, GHN_INVALID_FILE, path, "it is no saved state of a meta-training");
    char expected[16];
    (void)snprintf(expected, sizeof expected, "%08lx", checksum(text, (*ret)->items));
    if (!crc || strcmp(crc, expected) != 0)
        return damaged(path, "its checksum is wrong", err);
    if (ghn_json_load(text, strlen(text), NULL, ret_training, NULL) != GHN_OK)
        return damaged(path, "its description is unreadable", err);
    return GHN_OK;
}

static enum ghn_status load(const char *path, const struct ghn_tensors *file,
                            const json_t *training, const struct ghn__meta_state *state,
                            struct ghn_err *err) {
    struct ghn_tensor wanted[TENSORS];
    list_tensors(state, wanted);
    struct ghn__meta_counters counters;
    json_t *history = json_object_get(training, "history");
    enum ghn_status status = check_identity(path, state, training, err);
    for (int i = 0; i < TENSORS && status == GHN_OK; i++) {
        const struct ghn_tensor *tensor = ghn_tensors_find(file, wanted[i].name);
        if (!tensor || tensor->dtype != GHN_F32 || tensor->n_bytes != wanted[i].n_bytes)
            status = damaged(path, "a tensor is missing, or has another size", err);
    }
    if (status == GHN_OK && (!read_counters(json_object_get(training, "counters"), &counters) ||
                             !json_is_array(history)))
        status = damaged(path, "its counters or its history are none", err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < TENSORS; i++)
        memcpy((void *)(uintptr_t)wanted[i].data, ghn_tensors_find(file, wanted[i].name)->data,
               wanted[i].n_bytes);
    *state->counters = counters;
    json_decref(*state->history);
    *state->history = json_incref(history);
    return GHN_OK;
}

enum ghn_status ghn__meta_state_load(const char *path, const struct ghn__meta_state *state,
                                     struct ghn_err *err) {
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    enum ghn_status status = read_file(path, &file, &training, err);
    if (status == GHN_OK)
        status = load(path, file, training, state, err);
    json_decref(training);
    ghn_tensors_free(file);
    return status;
}

enum ghn_status ghn_meta_history(const char *dir, json_t **ret, struct ghn_err *err) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    const char *path = ghn_arena_printf(&arena, "%s/%s", dir, GHN_META_STATE_FILE);
    enum ghn_status status = path ? read_file(path, &file, &training, err) : ghn_fail_memory(err);
    json_t *history = json_object_get(training, "history");
    if (status == GHN_OK && !json_is_array(history))
        status = damaged(path, "it has no history", err);
    if (status == GHN_OK)
        *ret = json_incref(history);
    json_decref(training);
    ghn_tensors_free(file);
    ghn_arena_done(&arena);
    return status;
}
