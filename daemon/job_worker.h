/* A worker process: ghn-worker on one job, from its start to its end. Main thread only. */
#ifndef GHND_JOB_WORKER_H
#define GHND_JOB_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "ledger.h"

/* How a worker says that it ended. */
enum ghnd_outcome {
    GHND_DIED,        /* it said nothing: killed, crashed */
    GHND_NOT_STARTED, /* there was no process: no program, or no room for one */
    GHND_DONE,
    GHND_STOPPED, /* as it was asked to: it saved, and can go on */
    GHND_FAILED_TO,
};

enum { GHND_WORKER_LINE = 16384 };

struct ghnd_worker {
    /* Set by who starts it. */
    void *context;
    void (*on_progress)(struct ghnd_worker *worker, const char *line, const json_t *point);
    void (*on_end)(struct ghnd_worker *worker); /* the process is gone and all it said was read */

    char id[GHND_JOB_ID + 1]; /* of the job */
    bool running;
    enum ghnd_outcome outcome;
    char code[64];      /* FAILED_TO: why; else empty */
    struct ghn_err why; /* FAILED_TO: where and message; DIED, NOT_STARTED: message */

    /* Private. */
    uv_process_t process;
    uv_pipe_t input, output;
    int handles; /* not yet closed */
    int64_t kill_ms;
    char line[GHND_WORKER_LINE];
    size_t n;
};

struct ghnd_worker_command {
    const char *program, *job_dir, *data;
    int64_t save_ms; /* between checkpoints */
    int64_t max_ms;  /* of training, in all */
};

/* Starts a worker on the job worker->id. Failing to is an end like another: on_end is called,
 * later, with outcome DIED. */
void ghnd_worker_start(struct ghnd_worker *worker, uv_loop_t *loop,
                       const struct ghnd_worker_command *command);

/* Asks the worker to save and stop; kills it if it still runs after so many milliseconds. */
void ghnd_worker_stop(struct ghnd_worker *worker, int64_t grace_ms);

/* To be called often: does the killing. */
void ghnd_worker_tick(struct ghnd_worker *worker, int64_t now_ms);

#endif
