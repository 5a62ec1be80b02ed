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

/* The margin is an evaluation's, after which a worker that computes looks at its time. */
enum { GHND_WORKER_LINE = 16384, GHND_WORKER_MARGIN_MS = 3600000 };

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
    int64_t silence_ms, until_ms; /* as commanded; the second on the clock */
    int64_t alive_ms;             /* when it last gave a sign of life */
    int64_t cpu_ms;               /* processor time that it had used by then */
    char line[GHND_WORKER_LINE];
    size_t n;
};

struct ghnd_worker_command {
    const char *program, *job_dir, *data;
    int64_t save_ms; /* between checkpoints */
    int64_t max_ms;  /* of training, in all */
    /* A worker that neither says anything nor uses the processor for so long is killed. It says
     * something every second, but in an evaluation or while it reads its images, which may take
     * hours; then it computes, which one that is stopped or waits for a dead disk does not. */
    int64_t silence_ms;
};

/* Starts a worker on the job worker->id. Failing to is an end like another: on_end is called,
 * later, with outcome DIED. */
void ghnd_worker_start(struct ghnd_worker *worker, uv_loop_t *loop,
                       const struct ghnd_worker_command *command);

/* Asks the worker to save and stop; kills it if it still runs after so many milliseconds. */
void ghnd_worker_stop(struct ghnd_worker *worker, int64_t grace_ms);

/* To be called often: does the killing of what was to stop, and of a worker that hangs: one that is
 * silent, or still there GHND_WORKER_MARGIN_MS after the time that it was given. Its outcome is
 * DIED then, and `why` tells. */
void ghnd_worker_tick(struct ghnd_worker *worker, int64_t now_ms);

#endif
