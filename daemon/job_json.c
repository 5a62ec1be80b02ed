/* Jobs as clients see them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs.h"

/* Milliseconds since 1970 as "2024-05-01T12:00:00.123Z"; null for 0. */
static json_t *time_json(int64_t ms) {
    char text[40], whole[32];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    if (ms <= 0 || !gmtime_r(&seconds, &tm))
        return json_null();
    (void)strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text, sizeof(text), "%s.%03dZ", whole, (int)(ms % 1000));
    return json_string(text);
}

static json_t *error_json(const struct ghnd_job_row *row) {
    if (row->state != GHND_JOB_FAILED)
        return json_null();
    return json_pack("{s:s, s:s, s:s}", "code", row->code, "where", row->where, "detail",
                     row->detail);
}

/* Seconds to the end, for a job that runs; null if nobody knows. */
static json_t *seconds_left(const struct ghnd_job_row *row, const json_t *point) {
    const json_t *left = json_object_get(point, "seconds_left");
    if (row->state != GHND_JOB_RUNNING || !json_is_number(left))
        return json_null();
    return json_real(json_number_value(left));
}

static json_t *text_or_null(const char *text) {
    return *text ? json_string(text) : json_null();
}

json_t *ghnd_job_json(const struct ghnd_job_row *row, const json_t *point) {
    int64_t step = row->step, steps = row->steps;
    if (row->state == GHND_JOB_RUNNING && json_is_integer(json_object_get(point, "step")))
        step = json_integer_value(json_object_get(point, "step"));
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:o, s:s, s:I, s:I, s:o, s:o, s:o, s:i, s:o, s:O?, s:o}", "id",
        row->id, "state", ghnd_job_state_name(row->state), "name", text_or_null(row->name),
        "dataset", row->dataset, "model", text_or_null(row->model), "init", row->init, "step",
        (json_int_t)step, "steps", (json_int_t)steps, "created", time_json(row->created), "started",
        time_json(row->started), "finished", time_json(row->finished), "attempts", row->attempts,
        "seconds_left", seconds_left(row, point), "progress", point, "error", error_json(row));
}

/* "id: ...", if id is not negative, "event: name" and "data: json"; takes the reference. */
static char *event_text(const char *name, int64_t id, json_t *json) {
    char *data = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!data)
        return NULL;
    size_t n = strlen(data) + 128;
    char *text = malloc(n), number[40] = "";
    if (id >= 0)
        (void)snprintf(number, sizeof(number), "id: %lld\n", (long long)id);
    if (text)
        (void)snprintf(text, n, "%sevent: %s\ndata: %s\n\n", number, name, data);
    free(data);
    return text;
}

char *ghnd_job_event(const struct ghnd_job_row *row, const json_t *point) {
    return event_text("job", -1, ghnd_job_json(row, point));
}

char *ghnd_point_event(const json_t *point) {
    json_t *step = json_object_get(point, "step");
    return event_text("progress", json_integer_value(step),
                      json_incref((json_t *)(uintptr_t)point));
}
