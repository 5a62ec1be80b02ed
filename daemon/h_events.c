/* GET /jobs/ID/events: a job's progress as server-sent events. Runs on a worker.
 *
 * First come the points of the history after the one that Last-Event-ID names, then the job as it
 * is, then whatever happens. */
#include <stdio.h>
#include <stdlib.h>

#include "job_files.h"
#include "jobs.h"
#include "request.h"

enum { RECONNECT_MS = 2000 };

/* The step after which the client wants to know; -1 for all. */
static int64_t last_step(const struct ghnd_request *request) {
    if (!request->last_event)
        return -1;
    char *end;
    long long step = strtoll(request->last_event, &end, 10);
    return end != request->last_event && *end == '\0' && step >= 0 ? step : -1;
}

/* Writes an event, which it frees. */
static void put(FILE *out, char *event) {
    if (event)
        (void)fputs(event, out);
    free(event);
}

/* What the stream begins with, from malloc; NULL if there is no memory. */
static char *beginning(struct ghnd_request *request, const struct ghnd_job_row *row) {
    struct ghnd_jobs *jobs = request->app->jobs;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return NULL;
    json_t *history = ghnd_job_history(ghnd_jobs_dir(jobs), row->id, last_step(request));
    json_t *point = ghnd_jobs_point(jobs, row->id);
    (void)fprintf(out, "retry: %d\n\n", RECONNECT_MS);
    for (size_t i = 0; i < json_array_size(history); i++)
        put(out, ghnd_point_event(json_array_get(history, i)));
    put(out, ghnd_job_event(row, point));
    json_decref(point);
    json_decref(history);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static struct ghnd_subscription *subscribe(struct ghnd_request *request, const char *id) {
    const struct ghnd_subscriber subscriber = {.connection = request->connection,
                                               .conn = request->conn,
                                               .send_window_ms =
                                                   request->snapshot->config.send_window,
                                               .sent = &request->size};
    struct ghnd_subscription *subscription =
        ghnd_events_subscribe(ghnd_jobs_events(request->app->jobs), id, &subscriber);
    if (!subscription)
        ghnd_problem_set(&request->problem, GHND_E_TOO_MANY_STREAMS, "",
                         "%lld clients follow events already",
                         (long long)request->snapshot->config.max_event_streams);
    return subscription;
}

void ghnd_h_events(struct ghnd_request *request) {
    struct ghnd_job_row row;
    if (!ghnd_find_job(request, &row))
        return;
    struct ghnd_subscription *subscription = subscribe(request, row.id);
    if (!subscription)
        return;
    request->reply.events = subscription; /* which frees it whatever happens */
    if (!ghnd_find_job(request, &row))    /* again: its state may have changed meanwhile */
        return;
    char *text = beginning(request, &row);
    bool ok = text && ghnd_events_begin(subscription, text, row.state > GHND_JOB_RUNNING);
    free(text);
    if (!ok) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    request->reply.status = 200;
    request->reply.type = "text/event-stream";
}
