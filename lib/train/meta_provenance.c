/* What a checkpoint says of its training: strings only, as safetensors has them. What names the
 * training itself begins with "training_". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/meta_impl.h"

static const char prefix[] = "training_", stages_key[] = "training_stages";

json_t *ghn__meta_stages(const struct ghn_model *model) {
    if (!model)
        return json_array();
    json_t *metadata = (json_t *)(uintptr_t)ghn_model_metadata(model), *value;
    const char *before = json_string_value(json_object_get(metadata, stages_key)), *key;
    json_t *stages = before ? json_loads(before, 0, NULL) : NULL, *stage = json_object();
    if (!json_is_array(stages)) {
        json_decref(stages);
        stages = json_array();
    }
    json_object_foreach(metadata, key, value) {
        if (strncmp(key, prefix, strlen(prefix)) == 0 && strcmp(key, stages_key) != 0)
            (void)json_object_set(stage, key + strlen(prefix), value);
    }
    if (json_object_size(stage) > 0)
        (void)json_array_append(stages, stage);
    json_decref(stage);
    return stages;
}

/* The object as JSON in a string; takes the reference. */
static json_t *as_text(json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_t *string = text ? json_string(text) : NULL;
    free(text);
    json_decref(value);
    return string;
}

static json_t *number(int64_t value) {
    return json_sprintf("%lld", (long long)value);
}

const json_t *ghn__meta_last_validation(const json_t *history) {
    for (size_t i = json_array_size(history); i > 0; i--) {
        const json_t *point = json_array_get(history, i - 1);
        if (json_is_number(json_object_get(point, "validation")))
            return point;
    }
    return NULL;
}

/* Adds what the latest validation found, if there was one; false if there is no memory. */
static bool add_validation(json_t *root, const json_t *history) {
    const json_t *point = ghn__meta_last_validation(history);
    return !point || json_object_set_new(
                         root, "training_validation",
                         as_text(json_pack("{s:O, s:O}", "step", json_object_get(point, "step"),
                                           "top1", json_object_get(point, "validation")))) == 0;
}

json_t *ghn__meta_provenance(const struct ghn__meta_state *state, const json_t *more) {
    const struct ghn__meta_counters *c = state->counters;
    const struct ghn_dataset *dataset = state->dataset;
    int side = state->recipe->side;
    json_t *root = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "training_steps",
        number(c->step), "training_steps_skipped", number(c->step - c->updates),
        "training_architectures", number(c->architectures), "training_images", number(c->images),
        "training_not_finite", number(c->not_finite), "training_hours",
        json_sprintf("%.2f", c->seconds / 3600), "input", json_sprintf("[3,%d,%d]", side, side),
        "training_recipe", as_text(ghn__meta_recipe_identity(state->recipe)),
        "training_decay_steps", number(ghn__meta_decay_steps(state->recipe)), "dataset",
        dataset->name, "dataset_kind", ghn_dataset_kind_name(dataset->kind), "trained", "true");
    bool failed = !root || !add_validation(root, *state->history);
    if (more && !failed)
        failed = json_object_update(root, (json_t *)(uintptr_t)more) != 0;
    if (json_array_size(*state->stages) > 0 && !failed)
        failed = json_object_set_new(root, stages_key, as_text(json_incref(*state->stages))) != 0;
    if (!failed)
        return root;
    json_decref(root);
    return NULL;
}
