#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "conns.h"

const char *const ghnd_step_names[GHND_N_STEPS] = {"queue",   "parse",  "graph",
                                                   "predict", "encode", "write"};

/* Upper bounds of the buckets in microseconds. */
static const int64_t bounds[GHND_N_BUCKETS] = {500,     1000,    2500,    5000,     10000,
                                               25000,   50000,   100000,  250000,   500000,
                                               1000000, 2500000, 5000000, 10000000, 30000000};

/* Every status that is sent; 0 is a connection that broke before there was one. */
static const int statuses[GHND_N_STATUSES] = {0,   200, 202, 204, 206, 304, 400, 401, 403, 404,
                                              405, 406, 408, 411, 412, 413, 414, 415, 416, 417,
                                              422, 429, 431, 499, 500, 501, 503, 505, 507};

static int status_index(int status) {
    for (int i = 1; i < GHND_N_STATUSES && statuses[i]; i++)
        if (statuses[i] == status)
            return i;
    return 0;
}

void ghnd_histogram_add(struct ghnd_histogram *histogram, int64_t us) {
    int i = 0;
    while (i < GHND_N_BUCKETS && us > bounds[i])
        i++;
    atomic_fetch_add(&histogram->buckets[i], 1);
    atomic_fetch_add(&histogram->sum_us, (uint64_t)(us > 0 ? us : 0));
}

void ghnd_metrics_request(struct ghnd_metrics *metrics, enum ghnd_route route,
                          enum ghnd_method method, int status, int64_t duration_us,
                          uint64_t bytes) {
    atomic_fetch_add(&metrics->requests[route][method][status_index(status)], 1);
    ghnd_histogram_add(&metrics->duration[route], duration_us);
    atomic_fetch_add(&metrics->response_bytes, bytes);
}

void ghnd_metrics_reject(struct ghnd_metrics *metrics, enum ghnd_error error) {
    atomic_fetch_add(&metrics->rejects[error], 1);
}

static void head(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Writes the series of one histogram whose label is key="value"; nothing if it is empty. */
static void write_histogram(FILE *out, const char *name, const char *key, const char *value,
                            struct ghnd_histogram *histogram) {
    uint64_t counts[GHND_N_BUCKETS + 1], total = 0;
    for (int i = 0; i <= GHND_N_BUCKETS; i++)
        total += counts[i] = atomic_load(&histogram->buckets[i]);
    if (total == 0)
        return;
    uint64_t below = 0;
    for (int i = 0; i < GHND_N_BUCKETS; i++)
        fprintf(out, "%s_bucket{%s=\"%s\",le=\"%g\"} %llu\n", name, key, value,
                (double)bounds[i] / 1e6, (unsigned long long)(below += counts[i]));
    fprintf(out, "%s_bucket{%s=\"%s\",le=\"+Inf\"} %llu\n", name, key, value,
            (unsigned long long)total);
    fprintf(out, "%s_sum{%s=\"%s\"} %.6f\n", name, key, value,
            (double)atomic_load(&histogram->sum_us) / 1e6);
    fprintf(out, "%s_count{%s=\"%s\"} %llu\n", name, key, value, (unsigned long long)total);
}

static void write_requests(FILE *out, struct ghnd_metrics *metrics) {
    head(out, "ghnd_http_requests_total", "counter", "Requests answered.");
    for (int route = 0; route < GHND_N_ROUTES; route++)
        for (int method = 0; method < GHND_N_METHODS; method++)
            for (int i = 0; i < GHND_N_STATUSES; i++) {
                uint64_t n = atomic_load(&metrics->requests[route][method][i]);
                if (n)
                    fprintf(out,
                            "ghnd_http_requests_total{route=\"%s\",method=\"%s\",code=\"%d\"} "
                            "%llu\n",
                            ghnd_route_label((enum ghnd_route)route),
                            ghnd_method_name((enum ghnd_method)method), statuses[i],
                            (unsigned long long)n);
            }
    head(out, "ghnd_http_request_duration_seconds", "histogram",
         "From a request's first line to the last byte of its answer.");
    for (int route = 0; route < GHND_N_ROUTES; route++)
        write_histogram(out, "ghnd_http_request_duration_seconds", "route",
                        ghnd_route_label((enum ghnd_route)route), &metrics->duration[route]);
}

static void write_predictions(FILE *out, struct ghnd_metrics *metrics) {
    head(out, "ghnd_predict_duration_seconds", "histogram", "Steps of a prediction.");
    for (int step = 0; step < GHND_N_STEPS; step++)
        write_histogram(out, "ghnd_predict_duration_seconds", "phase", ghnd_step_names[step],
                        &metrics->steps[step]);
}

static void write_rejects(FILE *out, struct ghnd_metrics *metrics,
                          const struct ghnd_gauges *gauges) {
    head(out, "ghnd_reject_total", "counter", "Requests refused, by error code.");
    for (int error = 1; error < GHND_N_ERRORS; error++) {
        uint64_t n = atomic_load(&metrics->rejects[error]);
        if (n)
            fprintf(out, "ghnd_reject_total{reason=\"%s\"} %llu\n",
                    ghnd_error_code((enum ghnd_error)error), (unsigned long long)n);
    }
    head(out, "ghnd_deadlines_missed_total", "counter",
         "Connections shut down because the client was too slow, by what was waited for.");
    for (int phase = 0; phase < GHND_N_PHASES; phase++)
        fprintf(out, "ghnd_deadlines_missed_total{phase=\"%s\"} %llu\n", ghnd_phase_names[phase],
                (unsigned long long)gauges->missed[phase]);
}

static void write_one(FILE *out, const char *name, const char *type, const char *help,
                      int64_t value) {
    head(out, name, type, help);
    fprintf(out, "%s %lld\n", name, (long long)value);
}

static void write_gauges(FILE *out, struct ghnd_metrics *metrics,
                         const struct ghnd_gauges *gauges) {
    write_one(out, "ghnd_queue_depth", "gauge", "Requests waiting for a prediction thread.",
              gauges->queue_depth);
    write_one(out, "ghnd_predictions_running", "gauge", "Requests on a prediction thread.",
              gauges->running);
    write_one(out, "ghnd_in_flight", "gauge", "Requests between first line and last byte.",
              gauges->in_flight);
    write_one(out, "ghnd_prediction_bytes", "gauge", "Memory of the predictions under way.",
              gauges->inflight_bytes);
    write_one(out, "ghnd_body_bytes", "gauge", "Memory of the bodies of requests.",
              gauges->body_bytes);
    write_one(out, "ghnd_connections", "gauge", "Open connections.", gauges->connections);
    write_one(out, "ghnd_models_loaded", "gauge", "Hypernetworks served.", gauges->models);
    write_one(out, "ghnd_response_bytes_total", "counter", "Bytes of answers sent.",
              (int64_t)atomic_load(&metrics->response_bytes));
    head(out, "ghnd_reloads_total", "counter", "Reloads of checkpoints and configuration.");
    fprintf(out,
            "ghnd_reloads_total{result=\"failed\"} %llu\nghnd_reloads_total{result=\"ok\"} %llu\n",
            (unsigned long long)atomic_load(&metrics->reloads[0]),
            (unsigned long long)atomic_load(&metrics->reloads[1]));
    head(out, "ghnd_build_info", "gauge", "Always 1.");
    fprintf(out, "ghnd_build_info{version=\"%s\"} 1\n", GHN_VERSION);
}

static void write_jobs(FILE *out, struct ghnd_metrics *metrics, const struct ghnd_gauges *gauges) {
    write_one(out, "ghnd_ledger_available", "gauge", "Whether jobs can be taken and looked at.",
              gauges->has_jobs);
    if (gauges->has_jobs) {
        head(out, "ghnd_jobs", "gauge", "Jobs that are kept, by state.");
        for (int i = 0; i < GHND_N_JOB_STATES; i++)
            fprintf(out, "ghnd_jobs{state=\"%s\"} %lld\n",
                    ghnd_job_state_name((enum ghnd_job_state)i), (long long)gauges->jobs[i]);
        head(out, "ghnd_jobs_longest_wait_seconds", "gauge",
             "Since the oldest of the queued jobs was asked for.");
        fprintf(out, "ghnd_jobs_longest_wait_seconds %.3f\n", (double)gauges->waiting_ms / 1000);
    }
    head(out, "ghnd_jobs_ended_total", "counter", "Jobs that have ended, by how.");
    for (int i = GHND_JOB_SUCCEEDED; i < GHND_N_JOB_STATES; i++)
        fprintf(out, "ghnd_jobs_ended_total{state=\"%s\"} %llu\n",
                ghnd_job_state_name((enum ghnd_job_state)i),
                (unsigned long long)atomic_load(&metrics->jobs_ended[i]));
    write_one(out, "ghnd_worker_restarts_total", "counter",
              "Training workers that died and whose job was taken up again.",
              (int64_t)gauges->restarts);
    head(out, "ghnd_train_images_per_second", "gauge", "Images that all workers train on.");
    fprintf(out, "ghnd_train_images_per_second %.3f\n", gauges->images_per_second);
}

char *ghnd_metrics_text(struct ghnd_metrics *metrics, const struct ghnd_gauges *gauges,
                        size_t *ret_size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_size);
    if (!out)
        return NULL;
    write_requests(out, metrics);
    write_predictions(out, metrics);
    write_rejects(out, metrics, gauges);
    write_gauges(out, metrics, gauges);
    write_jobs(out, metrics, gauges);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
