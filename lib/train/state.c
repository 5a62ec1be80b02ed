#include "train/state.h"

#include <math.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/state_file.h"

static const struct ghn__state_kind kind = {"ghn-training/1", "a training"};

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

/* The state's tensors; returns how many. */
static int list_tensors(const struct ghn__state *state, struct ghn_tensor ret[MAX_TENSORS]) {
    static const char *const names[] = {"optimizer.0", "optimizer.1"};
    int n = 0;
    ret[n++] = ghn__state_tensor("values", state->params->values, state->params->n);
    if (state->params->n_statistics > 0)
        ret[n++] =
            ghn__state_tensor("statistics", state->params->statistics, state->params->n_statistics);
    for (int i = 0; i < state->optimizer->n_slots; i++)
        ret[n++] = ghn__state_tensor(names[i], state->optimizer->slots[i], state->optimizer->n);
    return n;
}

/* The description; NULL if there is no memory. */
static json_t *describe(const struct ghn__state *state) {
    json_t *root = identity(state);
    if (root && json_object_set_new(root, "counters", counters_json(state)) == 0 &&
        json_object_set_new(root, "start", json_string(state->start)) == 0 &&
        json_object_set_new(root, "history", ghn__history_to_json(state->history)) == 0)
        return root;
    json_decref(root);
    return NULL;
}

enum ghn_status ghn__state_save(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) {
    struct ghn_tensor tensors[MAX_TENSORS];
    int n = list_tensors(state, tensors);
    return ghn__state_file_write(path, &kind, describe(state), tensors, n, err);
}

/* --- Reading --- */

static bool is_other_start(const struct ghn__state *state, const char *theirs) {
    return *state->start && theirs && *theirs && strcmp(theirs, state->start) != 0;
}

/* Refuses the state of another training. */
static enum ghn_status check_identity(const char *path, const struct ghn__state *state,
                                      const json_t *training, struct ghn_err *err) {
    json_t *ours = ghn__state_through_text(identity(state)); /* as theirs came */
    json_t *before = ghn__state_through_text(ghn_recipe_to_json(&ghn_recipe_default));
    char difference[GHN__STATE_DIFFERENCE];
    enum ghn_status status = GHN_OK;
    if (!ours || !before)
        status = ghn_fail_memory(err);
    else if (!json_equal(json_object_get(training, "arch_sha256"),
                         json_object_get(ours, "arch_sha256")))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training of another network");
    else if (ghn__state_difference(json_object_get(training, "dataset"),
                                   json_object_get(ours, "dataset"), NULL, difference))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training with another data set: %s", difference);
    else if (ghn__state_difference(json_object_get(training, "recipe"),
                                   json_object_get(ours, "recipe"), before, difference))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training with another recipe: %s", difference);
    else if (is_other_start(state, json_string_value(json_object_get(training, "start"))))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                          "it is the state of a training that began with other parameters");
    json_decref(before);
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

static enum ghn_status load(const char *path, const struct ghn_tensors *file,
                            const json_t *training, const struct ghn__state *state,
                            struct ghn_err *err) {
    struct ghn_tensor wanted[MAX_TENSORS];
    int n = list_tensors(state, wanted);
    struct ghn__counters counters = {0};
    struct ghn__history history = {0};
    int64_t steps = 0, tracked = 0;
    enum ghn_status status = check_identity(path, state, training, err);
    if (status == GHN_OK)
        status = ghn__state_check_tensors(path, file, wanted, n, err);
    if (status == GHN_OK)
        status = ghn__history_init(&history, err);
    if (status == GHN_OK &&
        (!read_counters(json_object_get(training, "counters"), &counters, &steps, &tracked) ||
         !ghn__history_from_json(&history, json_object_get(training, "history"))))
        status = ghn__state_damaged(path, "its counters or its history are none", err);
    if (status == GHN_OK) {
        ghn__state_copy_tensors(file, wanted, n);
        state->params->batches_tracked = tracked;
        state->optimizer->steps = steps;
        *state->counters = counters;
        struct ghn__history old = *state->history;
        *state->history = history;
        history = old;
    }
    ghn__history_done(&history);
    return status;
}

enum ghn_status ghn__state_load(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) {
    struct ghn_tensors *file = NULL;
    json_t *training = NULL;
    enum ghn_status status = ghn__state_file_read(path, &kind, &file, &training, err);
    if (status == GHN_OK)
        status = load(path, file, training, state, err);
    json_decref(training);
    ghn_tensors_free(file);
    return status;
}

enum ghn_status ghn_finetune_history(const char *dir, json_t **ret, struct ghn_err *err) {
    return ghn__state_history(dir, GHN_STATE_FILE, &kind, ret, err);
}
