/* Counters and histograms, as text in Prometheus' exposition format 0.0.4. */
#ifndef GHND_METRICS_H
#define GHND_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ledger.h"
#include "problem.h"
#include "route.h"

/* Steps of a prediction. */
enum ghnd_step {
    GHND_STEP_QUEUE,   /* waiting for a thread */
    GHND_STEP_PARSE,   /* JSON */
    GHND_STEP_GRAPH,   /* architecture and graph */
    GHND_STEP_PREDICT, /* the hypernetwork */
    GHND_STEP_ENCODE,  /* header of the stream, or the report */
    GHND_STEP_WRITE,   /* from the end of that to the last byte */
    GHND_N_STEPS,
};

extern const char *const ghnd_step_names[GHND_N_STEPS];

enum { GHND_N_BUCKETS = 15, GHND_N_STATUSES = 29 };

struct ghnd_histogram {
    _Atomic uint64_t buckets[GHND_N_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    _Atomic uint64_t sum_us;
};

/* All zero at the start. Counted by any thread without a lock. */
struct ghnd_metrics {
    _Atomic uint64_t requests[GHND_N_ROUTES][GHND_N_METHODS][GHND_N_STATUSES];
    _Atomic uint64_t rejects[GHND_N_ERRORS];
    struct ghnd_histogram duration[GHND_N_ROUTES];
    struct ghnd_histogram steps[GHND_N_STEPS];
    _Atomic uint64_t response_bytes;
    _Atomic uint64_t reloads[2]; /* failed, succeeded */
    _Atomic uint64_t jobs_ended[GHND_N_JOB_STATES];
};

/* What /metrics shows besides: gauges, read at the time. */
struct ghnd_gauges {
    int queue_depth, running, connections, models;
    int64_t in_flight, inflight_bytes, body_bytes;
    uint64_t missed[8]; /* deadlines, by connection phase */
    bool has_jobs;      /* the ledger can be read */
    int64_t jobs[GHND_N_JOB_STATES];
    int64_t waiting_ms; /* of the job that has waited longest; 0: none waits */
    uint64_t restarts;  /* workers that took the place of one that died */
    double images_per_second;
};

void ghnd_metrics_request(struct ghnd_metrics *metrics, enum ghnd_route route,
                          enum ghnd_method method, int status, int64_t duration_us, uint64_t bytes);
void ghnd_metrics_reject(struct ghnd_metrics *metrics, enum ghnd_error error);
void ghnd_histogram_add(struct ghnd_histogram *histogram, int64_t us);

/* The text, freed by the caller with free; NULL if there is no memory. */
char *ghnd_metrics_text(struct ghnd_metrics *metrics, const struct ghnd_gauges *gauges,
                        size_t *ret_size);

#endif
