/* A bounded queue of jobs and the threads that take them. */
#ifndef GHND_QUEUE_H
#define GHND_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum ghnd_job_fate {
    GHND_FATE_RUN,       /* its turn has come; called by a queue thread */
    GHND_FATE_EXPIRED,   /* it waited until its deadline; called by who calls ghnd_queue_expire */
    GHND_FATE_CANCELLED, /* the queue gives up; called by who calls ghnd_queue_cancel */
};

/* A job, embedded in what it is about. Exactly one call of `run` ends its time in the queue. */
struct ghnd_job {
    void (*run)(struct ghnd_job *job, enum ghnd_job_fate fate);
    int64_t deadline_ms;
    struct ghnd_job *next; /* private */
};

struct ghnd_queue;

/* A queue of up to `capacity` waiting jobs, with n threads (0: one for every processor). */
enum ghn_status ghnd_queue_new(int n_threads, int capacity, struct ghnd_queue **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* Stops the threads after the jobs that they run; none may be waiting. NULL is allowed. */
void ghnd_queue_free(struct ghnd_queue *queue);

/* Reserves a place for one ghnd_queue_push; false if the queue is full. */
bool ghnd_queue_reserve(struct ghnd_queue *queue);

/* Adds a job at the end, on a place reserved before. It may be run before this returns. */
void ghnd_queue_push(struct ghnd_queue *queue, struct ghnd_job *job);

/* Ends the waiting of jobs whose deadline has passed, or of all. */
void ghnd_queue_expire(struct ghnd_queue *queue, int64_t now_ms);
void ghnd_queue_cancel(struct ghnd_queue *queue);

int ghnd_queue_capacity(const struct ghnd_queue *queue);

/* Jobs that wait, and jobs that are being run. */
int ghnd_queue_depth(struct ghnd_queue *queue);
int ghnd_queue_running(struct ghnd_queue *queue);

#endif
