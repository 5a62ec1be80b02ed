#include "train/state.h"

#include <math.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "tensor/tensors.h"

static const char format_name[] = "ghn-training/1";

enum { MAX_TENSORS = 4, MAX_THREADS = 4096 };

/* --- What is trained --- */

/* SHA-256 of the arch form, without the name, in hex; false if there is no memory. */
static bool arch_digest(const struct ghn_arch *arch, char ret[2 * SHA256_DIGEST_SIZE + 1]) {
    json_t *root = ghn_arch_to_json(arch);
    (void)json_object_del(root, "name");
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (!text)
        return false;
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    sha256_update(&sha, strlen(text), (const uint8_t *)text);
    sha256_digest(&sha, sizeof digest, digest);
    free(text);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return true;
}

static json_t *identity(const struct ghn__state *state) {
    char digest[2 * SHA256_DIGEST_SIZE + 1];
    if (!arch_digest(state->params->arch, digest))
        return NULL;
    const struct ghn_dataset *dataset = state->dataset;
    return json_pack("{s:s, s:{s:s, s:s, s:i, s:I, s:I}, s:o}", "arch_sha256", digest, "dataset",
                     "kind", ghn_dataset_kind_name(dataset->kind), "name", dataset->name, "classes",
                     dataset->n_classes, "train_images", (json_int_t)dataset->n[GHN_SPLIT_TRAIN],
                     "test_images", (json_int_t)dataset->n[GHN_SPLIT_TEST], "recipe",
                     ghn_recipe_to_json(state->recipe));
}

static json_t *counters_json(const struct ghn__state *state) {
    const struct ghn__counters *c = state->counters;
    return json_pack("{s:I, s:i, s:I, s:f, s:f, s:f, s:[f, I, I, I], s:I, s:I}", "step",
                     (json_int_t)c->step, "threads", c->threads, "settled", (json_int_t)c->settled,
                     "best_top1", c->best_top1, "seconds", c->seconds, "gradient_norm",
                     c->gradient_norm, "tally", c->tally.loss, (json_int_t)c->tally.batches,
                     (json_int_t)c->tally.images, (json_int_t)c->tally.correct, "optimizer_steps",
                     (json_int_t)state->optimizer->steps, "batches_tracked",
                     (json_int_t)state->params->batches_tracked);
}

/* --- Writing --- */

static struct ghn_tensor flat(const char *name, const float *data, int64_t n) {
    return (struct ghn_tensor){.name = name,
                               .dtype = GHN_F32,
                               .shape = {1, {n}},
                               .data = data,
                               .n_bytes = (size_t)n * sizeof *data};
}

/* The state's tensors; returns how many. */
static int list_tensors(const struct ghn__state *state, struct ghn_tensor ret[MAX_TENSORS]) {
    static const char *const names[] = {"optimizer.0", "optimizer.1"};
    int n = 0;
    ret[n++] = flat("values", state->params->values, state->params->n);
    if (state->params->n_statistics > 0)
        ret[n++] = flat("statistics", state->params->statistics, state->params->n_statistics);
    for (int i = 0; i < state->optimizer->n_slots; i++)
        ret[n++] = flat(names[i], state->optimizer->slots[i], state->optimizer->n);
    return n;
}

static unsigned long checksum(const char *training, const struct ghn_tensor *tensors, int n) {
    unsigned long crc = crc32_z(0, (const unsigned char *)training, strlen(training));
    for (int i = 0; i < n; i++)
        crc = crc32_z(crc, tensors[i].data, tensors[i].n_bytes);
    return crc;
}

/* The metadata's "training", to be freed with free; NULL if there is no memory. */
static char *training_text(const struct ghn__state *state) {
    json_t *root = identity(state);
    bool failed = !root || json_object_set_new(root, "counters", counters_json(state)) != 0 ||
                  json_object_set_new(root, "history", ghn__history_to_json(state->history)) != 0;
    char *text = failed ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    return text;
}

enum ghn_status ghn__state_save(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) {
    struct ghn_tensor tensors[MAX_TENSORS];
    int n = list_tensors(state, tensors);
    char *text = training_text(state);
    if (!text)
        return ghn_fail_memory(err);
    char crc[16];
    (void)snprintf(crc, sizeof crc, "%08lx", checksum(text, tensors, n));
    json_t *metadata =
        json_pack("{s:s, s:s, s:s}", "format", format_name, "training", text, "crc32", crc);
    enum ghn_status status =
        metadata ? ghn_safetensors_write(path, tensors, n, metadata, err) : ghn_fail_memory(err);
    json_decref(metadata);
    free(text);
    return status;
}

/* --- Reading --- */

static enum ghn_status damaged(const char *path, const char *what, struct ghn_err *err) {
    return ghn_fail(err, GHN_INVALID_FILE, path, "the saved state of the training is damaged: %s",
                    what);
}

/* Says which field of two objects differs, the other's value and ours; false if none does. */
static bool find_difference(const json_t *there, const json_t *here, char *ret, size_t n) {
    const char *key;
    json_t *ours;
    json_object_foreach((json_t *)here, key, ours) {
        const json_t *theirs = json_object_get(there, key);
        if (json_equal((json_t *)theirs, ours))
            continue;
        char *a = theirs ? json_dumps(theirs, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(ours, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        (void)snprintf(ret, n, "%.40s is %.80s there and %.80s here", key, a ? a : "absent",
                       b ? b : "different");
        free(a);
        free(b);
        return true;
    }
    return false;
}

/* Refuses the state of another training. */
static enum ghn_status check_identity(const char *path, const struct ghn__state *state,
                                      const json_t *training, struct ghn_err *err) {
    json_t *ours = identity(state);
    /* Through text, as theirs came. */
    char *text = ours ? json_dumps(ours, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(ours);
    ours = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (!ours)
        return ghn_fail_memory(err);
    char difference[256];
    enum ghn_status status = GHN_OK;
    if (!json_equal(json_object_get(training, "arch_sha256"), json_object_get(ours, "arch_sha256")))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training of another network");
    else if (find_difference(json_object_get(training, "dataset"), json_object_get(ours, "dataset"),
                             difference, sizeof difference))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training with another data set: %s", difference);
    else if (find_difference(json_object_get(training, "recipe"), json_object_get(ours, "recipe"),
                             difference, sizeof difference))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training with another recipe: %s", difference);
    json_decref(ours);
    return status;
}

/* The counters; false if they are none. */
static bool read_counters(const json_t *object, struct ghn__counters *ret, int64_t *ret_steps,
                          int64_t *ret_tracked) {
    json_int_t step, settled, batches, images, correct, steps, tracked;
    if (json_unpack((json_t *)object, "{s:I, s:i, s:I, s:F, s:F, s:F, s:[F, I, I, I], s:I, s:I}",
                    "step", &step, "threads", &ret->threads, "settled", &settled, "best_top1",
                    &ret->best_top1, "seconds", &ret->seconds, "gradient_norm", &ret->gradient_norm,
                    "tally", &ret->tally.loss, &batches, &images, &correct, "optimizer_steps",
                    &steps, "batches_tracked", &tracked) != 0)
        return false;
    ret->step = step;
    ret->settled = settled;
    ret->tally.batches = batches;
    ret->tally.images = images;
    ret->tally.correct = correct;
    *ret_steps = steps;
    *ret_tracked = tracked;
    return step >= 0 && settled >= -1 && settled <= step && ret->threads >= 1 &&
           ret->threads <= MAX_THREADS;
}

/* Checks the checksum, before anything in the file is believed. */
static enum ghn_status check_sum(const char *path, const struct ghn_tensors *file, const char *text,
                                 struct ghn_err *err) {
    const char *crc = json_string_value(json_object_get(file->metadata, "crc32"));
    char expected[16];
    (void)snprintf(expected, sizeof expected, "%08lx", checksum(text, file->items, file->n));
    if (!crc || strcmp(crc, expected) != 0)
        return damaged(path, "its checksum is wrong", err);
    return GHN_OK;
}

/* Whether the tensors that the state should have are there, in their types and sizes. */
static enum ghn_status check_tensors(const char *path, const struct ghn_tensors *file,
                                     const struct ghn_tensor *wanted, int n, struct ghn_err *err) {
    for (int i = 0; i < n; i++) {
        const struct ghn_tensor *tensor = ghn_tensors_find(file, wanted[i].name);
        if (!tensor || tensor->dtype != GHN_F32 || tensor->n_bytes != wanted[i].n_bytes)
            return damaged(path, "a tensor is missing, or has another size", err);
    }
    return GHN_OK;
}

/* Everything but counters and history, once all is checked. */
static void copy_tensors(const struct ghn_tensors *file, const struct ghn_tensor *wanted, int n) {
    for (int i = 0; i < n; i++)
        memcpy((void *)wanted[i].data, ghn_tensors_find(file, wanted[i].name)->data,
               wanted[i].n_bytes);
}

/* What the file says of the training, once its checksum is right. */
static enum ghn_status read_training(const char *path, const struct ghn_tensors *file, json_t **ret,
                                     struct ghn_err *err) {
    const char *format = json_string_value(json_object_get(file->metadata, "format")),
               *text = json_string_value(json_object_get(file->metadata, "training"));
    if (!format || strcmp(format, format_name) != 0 || !text)
        return ghn_fail(err, GHN_INVALID_FILE, path, "it is no saved state of a training");
    enum ghn_status status = check_sum(path, file, text, err);
    if (status == GHN_OK && ghn_json_load(text, strlen(text), NULL, ret, NULL) != GHN_OK)
        return damaged(path, "its description is unreadable", err);
    return status;
}

static enum ghn_status load(const char *path, const struct ghn_tensors *file,
                            const struct ghn__state *state, struct ghn_err *err) {
    json_t *training = NULL;
    struct ghn_tensor wanted[MAX_TENSORS];
    int n = list_tensors(state, wanted);
    struct ghn__counters counters = {0};
    struct ghn__history history = {0};
    int64_t steps = 0, tracked = 0;
    enum ghn_status status = read_training(path, file, &training, err);
    if (status == GHN_OK)
        status = check_identity(path, state, training, err);
    if (status == GHN_OK)
        status = check_tensors(path, file, wanted, n, err);
    if (status == GHN_OK)
        status = ghn__history_init(&history, err);
    if (status == GHN_OK &&
        (!read_counters(json_object_get(training, "counters"), &counters, &steps, &tracked) ||
         !ghn__history_from_json(&history, json_object_get(training, "history"))))
        status = damaged(path, "its counters or its history are none", err);
    if (status == GHN_OK) {
        copy_tensors(file, wanted, n);
        state->params->batches_tracked = tracked;
        state->optimizer->steps = steps;
        *state->counters = counters;
        struct ghn__history old = *state->history;
        *state->history = history;
        history = old;
    }
    ghn__history_done(&history);
    json_decref(training);
    return status;
}

/* A file that is not read as safetensors is a damaged one. */
static enum ghn_status read_file(const char *path, struct ghn_tensors **ret, struct ghn_err *err) {
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_read(path, ret, &inner);
    if (status == GHN_IO || status == GHN_NO_MEMORY)
        return ghn_fail(err, status, path, "%s", inner.message);
    return status == GHN_OK ? GHN_OK : damaged(path, inner.message, err);
}

enum ghn_status ghn__state_load(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) {
    struct ghn_tensors *file = NULL;
    enum ghn_status status = read_file(path, &file, err);
    if (status == GHN_OK)
        status = load(path, file, state, err);
    ghn_tensors_free(file);
    return status;
}

enum ghn_status ghn_finetune_history(const char *dir, json_t **ret, struct ghn_err *err) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    const char *path = ghn_arena_printf(&arena, "%s/%s", dir, GHN_STATE_FILE);
    enum ghn_status status = path ? read_file(path, &file, err) : ghn_fail_memory(err);
    if (status == GHN_OK)
        status = read_training(path, file, &training, err);
    if (status == GHN_OK && !json_is_array(json_object_get(training, "history")))
        status = damaged(path, "it has no history", err);
    if (status == GHN_OK)
        *ret = json_incref(json_object_get(training, "history"));
    json_decref(training);
    ghn_tensors_free(file);
    ghn_arena_done(&arena);
    return status;
}
