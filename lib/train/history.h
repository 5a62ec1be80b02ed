/* The course of a training: points of it, at most so many. Private to lib/train. */
#ifndef GHN_TRAIN_HISTORY_H
#define GHN_TRAIN_HISTORY_H

#include <jansson.h>

#include "base/status.h"
#include "train/finetune.h"

/* When one more point would exceed this, every second one goes. */
enum { GHN__HISTORY_MAX = 1000 };

struct ghn__history {
    int n;
    struct ghn_progress *points; /* (GHN__HISTORY_MAX), by step */
};

enum ghn_status ghn__history_init(struct ghn__history *history, struct ghn_err *err) GHN_MUST_CHECK;
void ghn__history_done(struct ghn__history *history);

/* Appends a point; the first and the latest are always kept. */
void ghn__history_add(struct ghn__history *history, const struct ghn_progress *point);

/* The points as a JSON array of objects with the fields of struct ghn_progress, NaN as null; a new
 * reference, NULL if there is no memory. Numbers come back to the bit if the array is written with
 * JSON_REAL_PRECISION(17). */
json_t *ghn__history_to_json(const struct ghn__history *history);

/* Reads what ghn__history_to_json made; false, with *history unspecified, for anything else. */
bool ghn__history_from_json(struct ghn__history *history, const json_t *array);

#endif
