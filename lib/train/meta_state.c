/* The state of a meta-training (train/state_file.h): tensors "values", "adam.m", "adam.v" and,
 * where there is an average, "ema"; "training" holds what identifies it, counters, history
 * and the stages before it. */
#include <stdlib.h>
#include <string.h>

#include "train/meta_impl.h"
#include "train/state_file.h"

enum { MAX_TENSORS = 4 };

static const struct ghn__state_kind kind = {"ghn-meta-training/1", "a meta-training"};

/* Fills ret with the tensors of a state; returns how many. */
static int list_tensors(const struct ghn__meta_state *state, struct ghn_tensor ret[MAX_TENSORS]) {
    static const char *const names[] = {"values", "adam.m", "adam.v", "ema"};
    float *const data[] = {state->values, state->m, state->v, state->ema};
    int n = state->ema ? 4 : 3;
    for (int i = 0; i < n; i++)
        ret[i] = ghn__state_tensor(names[i], data[i], state->n);
    return n;
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

/* The description; NULL if there is no memory. */
static json_t *describe(const struct ghn__meta_state *state) {
    json_t *root = identity(state);
    if (root && json_object_set_new(root, "counters", counters_json(state->counters)) == 0 &&
        json_object_set_new(root, "start", json_string(state->start)) == 0 &&
        json_object_set(root, "history", *state->history) == 0 &&
        json_object_set(root, "stages", *state->stages) == 0)
        return root;
    json_decref(root);
    return NULL;
}

enum ghn_status ghn__meta_state_save(const char *path, const struct ghn__meta_state *state,
                                     struct ghn_err *err) {
    struct ghn_tensor tensors[MAX_TENSORS];
    int n = list_tensors(state, tensors);
    return ghn__state_file_write(path, &kind, describe(state), tensors, n, err);
}

/* --- Reading --- */

/* Refuses the state of another training, naming the first field that differs. */
static enum ghn_status check_identity(const char *path, const struct ghn__meta_state *state,
                                      const json_t *training, struct ghn_err *err) {
    json_t *ours = ghn__state_through_text(identity(state)), /* as theirs came */
        *before = ghn__state_through_text(ghn__meta_recipe_identity(&ghn_meta_recipe_paper));
    enum ghn_status status = ours && before ? GHN_OK : ghn_fail_memory(err);
    char difference[GHN__STATE_DIFFERENCE];
    const char *part;
    json_t *fields;
    json_object_foreach(ours, part, fields) {
        const json_t *known = strcmp(part, "recipe") == 0 ? before : NULL;
        if (status == GHN_OK &&
            ghn__state_difference(json_object_get(training, part), fields, known, difference))
            status = ghn_fail(err, GHN_OUT_OF_RANGE, path,
                              "it is the state of another training: %s.%s", part, difference);
    }
    json_decref(before);
    json_decref(ours);
    return status;
}

/* Refuses to go on from another model than the one that the training began with. */
static enum ghn_status check_start(const char *path, const struct ghn__meta_state *state,
                                   const json_t *training, struct ghn_err *err) {
    const char *theirs = json_string_value(json_object_get(training, "start"));
    if (!*state->start || (theirs && strcmp(theirs, state->start) == 0))
        return GHN_OK;
    return ghn_fail(err, GHN_OUT_OF_RANGE, path,
                    "it is the state of a training that began with another hypernetwork");
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

static enum ghn_status load(const char *path, const struct ghn_tensors *file,
                            const json_t *training, const struct ghn__meta_state *state,
                            struct ghn_err *err) {
    struct ghn_tensor wanted[MAX_TENSORS];
    int n = list_tensors(state, wanted);
    struct ghn__meta_counters counters;
    json_t *history = json_object_get(training, "history"),
           *stages = json_object_get(training, "stages");
    enum ghn_status status = check_identity(path, state, training, err);
    if (status == GHN_OK)
        status = check_start(path, state, training, err);
    if (status == GHN_OK)
        status = ghn__state_check_tensors(path, file, wanted, n, err);
    if (status == GHN_OK && (!read_counters(json_object_get(training, "counters"), &counters) ||
                             !json_is_array(history) || !json_is_array(stages)))
        status = ghn__state_damaged(path, "its counters, history or stages are none", err);
    if (status != GHN_OK)
        return status;
    ghn__state_copy_tensors(file, wanted, n);
    *state->counters = counters;
    json_decref(*state->history);
    *state->history = json_incref(history);
    json_decref(*state->stages);
    *state->stages = json_incref(stages);
    return GHN_OK;
}

enum ghn_status ghn__meta_state_load(const char *path, const struct ghn__meta_state *state,
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

enum ghn_status ghn_meta_history(const char *dir, json_t **ret, struct ghn_err *err) {
    return ghn__state_history(dir, GHN_META_STATE_FILE, &kind, ret, err);
}
