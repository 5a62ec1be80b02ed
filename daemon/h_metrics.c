/* GET /metrics. */
#include "jobs.h"
#include "request.h"

void ghnd_h_metrics(struct ghnd_request *request) {
    struct ghnd_app *app = request->app;
    struct ghnd_gauges gauges = {
        .queue_depth = ghnd_queue_depth(app->queue),
        .running = ghnd_queue_running(app->queue),
        .connections = atomic_load(&app->conns.count),
        .models = request->snapshot->n_models,
        .in_flight = atomic_load(&app->active),
        .inflight_bytes = atomic_load(&app->inflight_bytes),
        .body_bytes = atomic_load(&app->body_bytes),
    };
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_ledger *ledger = ghnd_jobs_ledger(app->jobs, &err);
    gauges.has_jobs = ledger && ghnd_ledger_count(ledger, gauges.jobs, &err) == GHN_OK &&
                      ghnd_ledger_longest_wait(ledger, &gauges.waiting_ms, &err) == GHN_OK;
    gauges.restarts = ghnd_jobs_restarts(app->jobs);
    gauges.images_per_second = ghnd_jobs_speed(app->jobs);
    for (int phase = 0; phase < GHND_N_PHASES; phase++)
        gauges.missed[phase] = atomic_load(&app->conns.missed[phase]);
    struct ghnd_reply *reply = &request->reply;
    reply->body = ghnd_metrics_text(&app->metrics, &gauges, &reply->size);
    if (!reply->body) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    reply->status = 200;
    reply->type = "text/plain; version=0.0.4; charset=utf-8";
}
