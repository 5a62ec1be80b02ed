#include "train/history.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

enum ghn_status ghn__history_init(struct ghn__history *history, struct ghn_err *err) {
    *history = (struct ghn__history){0};
    history->points = ghn_calloc(GHN__HISTORY_MAX, sizeof *history->points);
    return history->points ? GHN_OK : ghn_fail_memory(err);
}

void ghn__history_done(struct ghn__history *history) {
    ghn_free(history->points);
    *history = (struct ghn__history){0};
}

void ghn__history_add(struct ghn__history *history, const struct ghn_progress *point) {
    if (history->n == GHN__HISTORY_MAX) {
        history->n = 0;
        for (int i = 0; i < GHN__HISTORY_MAX; i += 2)
            history->points[history->n++] = history->points[i];
    }
    history->points[history->n++] = *point;
}

/* --- JSON --- */

struct number {
    const char *name;
    size_t offset;
};

#define NUMBER(name)                                                                               \
    { #name, offsetof(struct ghn_progress, name) }
static const struct number numbers[] = {
    NUMBER(loss),      NUMBER(train_accuracy), NUMBER(lr),        NUMBER(gradient_norm),
    NUMBER(test_loss), NUMBER(test_top1),      NUMBER(test_top5), NUMBER(images_per_second),
    NUMBER(seconds),   NUMBER(seconds_left),
};
enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };

json_t *ghn_progress_to_json(const struct ghn_progress *point) {
    json_t *object =
        json_pack("{s:I, s:I}", "step", (json_int_t)point->step, "steps", (json_int_t)point->steps);
    for (int i = 0; object && i < N_NUMBERS; i++) {
        double value = *(const double *)((const char *)point + numbers[i].offset);
        if (json_object_set_new(object, numbers[i].name,
                                isfinite(value) ? json_real(value) : json_null()) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static bool point_from_json(const json_t *object, struct ghn_progress *ret) {
    const json_t *step = json_object_get(object, "step"), *steps = json_object_get(object, "steps");
    if (!json_is_integer(step) || !json_is_integer(steps))
        return false;
    ret->step = json_integer_value(step);
    ret->steps = json_integer_value(steps);
    for (int i = 0; i < N_NUMBERS; i++) {
        const json_t *value = json_object_get(object, numbers[i].name);
        if (!json_is_number(value) && !json_is_null(value))
            return false;
        *(double *)((char *)ret + numbers[i].offset) =
            json_is_null(value) ? NAN : json_number_value(value);
    }
    return true;
}

json_t *ghn__history_to_json(const struct ghn__history *history) {
    json_t *array = json_array();
    for (int i = 0; i < history->n; i++)
        if (json_array_append_new(array, ghn_progress_to_json(&history->points[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

bool ghn__history_from_json(struct ghn__history *history, const json_t *array) {
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > GHN__HISTORY_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!point_from_json(json_array_get(array, i), &history->points[i]))
            return false;
    history->n = (int)n;
    return true;
}
