#include "train/recipe.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"

const struct ghn_recipe ghn_recipe_default = {
    .steps = 1000,
    .batch_size = 64,
    .optimizer = GHN_SGD,
    .lr = 0.025,
    .momentum = 0.9,
    .beta1 = 0.9,
    .beta2 = 0.999,
    .eps = 1e-8,
    .weight_decay = 3e-4,
    .schedule = GHN_COSINE,
    .gamma = 0.1,
    .clip_norm = 5,
    .precision = GHN_PRECISION_AUTO,
    .augment = true,
    .start = GHN_START_GHN,
    .orth_noise = 3e-5,
};

/* adamw's, where a request gives none. */
static const double adamw_lr = 0.001;

enum kind { INT, INT64, DOUBLE, BELOW, BOOL, CHOICE }; /* BELOW: a double below max */

struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    double min, max;            /* of numbers */
    const char *const *choices; /* of CHOICE: names of the enum's values, NULL-terminated */
};

static const char *const optimizers[] = {"sgd", "adamw", NULL};
static const char *const schedules[] = {"constant", "step", "cosine", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", NULL};
static const char *const starts[] = {"ghn", "random", "upload", NULL};

/* 2^63 - 1 is no double; what is stored as an int64_t may be anything that is not negative. */
#define ANY 0x1p63
#define FIELD(name, kind, min, max)                                                                \
    { #name, kind, offsetof(struct ghn_recipe, name), min, max, NULL }
#define PICK(name, field, choices)                                                                 \
    { name, CHOICE, offsetof(struct ghn_recipe, field), 0, 0, choices }

static const struct field fields[] = {
    FIELD(steps, INT64, 1, 1e9),
    FIELD(epochs, DOUBLE, 1e-6, 1e6),
    FIELD(batch_size, INT, 1, 65536),
    PICK("optimizer", optimizer, optimizers),
    FIELD(lr, DOUBLE, 0, 1e9),
    FIELD(momentum, BELOW, 0, 1),
    FIELD(nesterov, BOOL, 0, 0),
    FIELD(beta1, DOUBLE, 0, 0.9999999),
    FIELD(beta2, DOUBLE, 0, 0.9999999),
    FIELD(eps, DOUBLE, 1e-16, 1),
    FIELD(weight_decay, DOUBLE, 0, 1000),
    PICK("schedule", schedule, schedules),
    FIELD(warmup_steps, INT64, 0, 1e9),
    FIELD(step_size, INT64, 0, 1e9),
    FIELD(gamma, DOUBLE, 0, 1),
    FIELD(clip_norm, DOUBLE, 0, 1e9),
    FIELD(label_smoothing, BELOW, 0, 1),
    PICK("precision", precision, precisions),
    FIELD(seed, INT64, 0, ANY),
    FIELD(n_shots, INT, 0, 1e9),
    FIELD(augment, BOOL, 0, 0),
    FIELD(cutout, INT, 0, 65536),
    FIELD(eval_every, INT64, 0, 1e9),
    FIELD(eval_images, INT64, 0, 1e12),
    PICK("init", start, starts),
    FIELD(orth_from, INT, 0, 1e6),
    FIELD(orth_noise, DOUBLE, 0, 1),
};

enum { N_FIELDS = sizeof fields / sizeof fields[0] };

const char *ghn_start_name(enum ghn_start start) {
    return starts[start];
}

bool ghn_recipe_has(const char *key) {
    for (size_t i = 0; i < N_FIELDS; i++)
        if (strcmp(fields[i].name, key) == 0)
            return true;
    return false;
}

/* --- From JSON --- */

static enum ghn_status read_integer(const struct field *field, const json_t *value,
                                    const char *where, void *to, struct ghn_err *err) {
    int64_t number = 0, max = field->max < ANY ? (int64_t)field->max : INT64_MAX;
    enum ghn_status status = ghn_json_int(value, where, (int64_t)field->min, max, &number, err);
    if (status != GHN_OK)
        return status;
    if (field->kind == INT)
        *(int *)to = (int)number;
    else
        memcpy(to, &number, sizeof number);
    return GHN_OK;
}

static enum ghn_status read_double(const struct field *field, const json_t *value,
                                   const char *where, double *to, struct ghn_err *err) {
    if (!json_is_number(value))
        return ghn_fail(err, GHN_WRONG_TYPE, where, "expected a number, found %s",
                        ghn_json_kind(value));
    double number = json_number_value(value);
    bool fits =
        number >= field->min && (field->kind == BELOW ? number < field->max : number <= field->max);
    if (!fits)
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "%g is not in [%g, %g%c", number, field->min,
                        field->max, field->kind == BELOW ? ')' : ']');
    *to = number;
    return GHN_OK;
}

static enum ghn_status read_choice(const struct field *field, const json_t *value,
                                   const char *where, void *to, struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(value, where, JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    char names[64] = "";
    for (int i = 0; field->choices[i]; i++) {
        if (strcmp(json_string_value(value), field->choices[i]) == 0) {
            *(int *)to = i; /* an enum without negative values is an unsigned int */
            return GHN_OK;
        }
        size_t n = strlen(names);
        (void)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", field->choices[i]);
    }
    return ghn_fail(err, GHN_OUT_OF_RANGE, where, "'%s' is none of %s", json_string_value(value),
                    names);
}

static enum ghn_status read_field(const struct field *field, const json_t *value, const char *where,
                                  void *to, struct ghn_err *err) {
    switch (field->kind) {
    case INT:
    case INT64:
        return read_integer(field, value, where, to, err);
    case DOUBLE:
    case BELOW:
        return read_double(field, value, where, to, err);
    case BOOL:
        return ghn_json_bool(value, where, to, err);
    case CHOICE:
        return read_choice(field, value, where, to, err);
    }
    return ghn_fail(err, GHN_INTERNAL, where, "a field without a kind");
}

/* What depends on several fields. */
static enum ghn_status settle(const json_t *object, const char *where, struct ghn_recipe *recipe,
                              struct ghn_err *err) {
    char path[GHN_ERR_WHERE];
    bool steps = json_object_get(object, "steps"), epochs = json_object_get(object, "epochs");
    if (steps && epochs)
        return ghn_fail(err, GHN_OUT_OF_RANGE, ghn_json_path(path, sizeof path, where, "epochs"),
                        "steps and epochs exclude each other");
    if (epochs)
        recipe->steps = 0;
    if (recipe->optimizer == GHN_ADAMW && !json_object_get(object, "lr"))
        recipe->lr = adamw_lr;
    if (recipe->nesterov && recipe->optimizer == GHN_SGD && recipe->momentum <= 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, ghn_json_path(path, sizeof path, where, "nesterov"),
                        "it needs a momentum above 0");
    return GHN_OK;
}

enum ghn_status ghn_recipe_from_json(const json_t *object, const char *where,
                                     struct ghn_recipe *ret, struct ghn_err *err) {
    struct ghn_recipe recipe = ghn_recipe_default;
    enum ghn_status status = ghn_json_expect(object, where, JSON_OBJECT, err);
    for (size_t i = 0; i < N_FIELDS && status == GHN_OK; i++) {
        const json_t *value = json_object_get(object, fields[i].name);
        char path[GHN_ERR_WHERE];
        if (value)
            status = read_field(&fields[i], value,
                                ghn_json_path(path, sizeof path, where, fields[i].name),
                                (char *)&recipe + fields[i].offset, err);
    }
    if (status == GHN_OK)
        status = settle(object, where, &recipe, err);
    if (status == GHN_OK)
        *ret = recipe;
    return status;
}

/* --- To JSON --- */

static json_t *write_field(const struct field *field, const void *from) {
    int64_t number;
    switch (field->kind) {
    case INT:
        return json_integer(*(const int *)from);
    case INT64:
        memcpy(&number, from, sizeof number);
        return json_integer(number);
    case DOUBLE:
    case BELOW:
        return json_real(*(const double *)from);
    case BOOL:
        return json_boolean(*(const bool *)from);
    case CHOICE:
        return json_string(field->choices[*(const int *)from]);
    }
    return NULL;
}

json_t *ghn_recipe_to_json(const struct ghn_recipe *recipe) {
    json_t *object = json_object();
    for (size_t i = 0; i < N_FIELDS; i++) {
        const struct field *field = &fields[i];
        if (strcmp(field->name, recipe->epochs > 0 ? "steps" : "epochs") == 0)
            continue;
        if (json_object_set_new(object, field->name,
                                write_field(field, (const char *)recipe + field->offset)) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* --- Learning rates --- */

double ghn_recipe_lr(const struct ghn_recipe *recipe, int64_t step, int64_t steps) {
    const double pi = 3.141592653589793;
    int64_t warmup = recipe->warmup_steps;
    if (step < warmup)
        return recipe->lr * (double)(step + 1) / (double)warmup;
    int64_t size = recipe->step_size > 0 ? recipe->step_size : (steps + 2) / 3;
    switch (recipe->schedule) {
    case GHN_CONSTANT:
        break;
    case GHN_STEP:
        return recipe->lr * pow(recipe->gamma, size > 0 ? (double)(step / size) : 0);
    case GHN_COSINE:
        if (steps > warmup)
            return recipe->lr * 0.5 *
                   (1 + cos(pi * (double)(step - warmup) / (double)(steps - warmup)));
        break;
    }
    return recipe->lr;
}
