/* Threads: what jobs.h lists under "Main thread", and every callback here, is the main thread's,
 * but open_work, which libuv calls on a thread of its pool while the main thread leaves `opening`
 * alone. Lock rule: `lock` guards `live`, `speed`, `works` and the worker's id, which handlers
 * read, and `ledger` and `why`: the main thread sets them, and whoever was given the ledger under
 * the lock may go on to use it without, for it stays. The ledger and the events have locks of their
 * own, and none is taken while another is held. */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "dataset_name.h"
#include "job_files.h"
#include "job_worker.h"
#include "jobs_open.h"

enum {
    TICK_MS = 100,
    CLEANING_MS = 60000,
    NOTE_MS = 2000,        /* between two notes of a job's progress in the ledger, each of them an
                              fsync */
    CANCEL_GRACE_MS = 700, /* so that, with a tick, it is done within a second */
    RETRY_MS = 500,        /* between a worker's death and the next one */
    START_RETRY_MS = 5000, /* where none could be started, as while it is being replaced */
    MAX_ATTEMPTS = 3,
    MAX_REMOVED = 8,        /* a tick, each an fsync, so that the main thread is not held up */
    LEDGER_RETRY_MS = 2000, /* where the ledger failed, as on a full disk */
    OPEN_RETRY_MS = 5000,   /* where it could not be opened */
};

/* A place for a worker. */
struct slot {
    struct ghnd_worker worker;
    bool taken;
    bool cancelled;
    bool ended;          /* its worker has, but the ledger does not know yet */
    int64_t noted_ms;    /* when its progress was last written into the ledger */
    int64_t retry_ms;    /* its worker died: until then the job is not taken up again */
    char *live;          /* its latest line, from malloc; NULL: none */
    double speed;        /* images a second */
    bool works;          /* the worker's process has the job: its end is still to be entered */
    int64_t step, steps; /* of that line */
};

/* An attempt to open ledger and folders. */
struct opening {
    uv_work_t work;
    bool running;
    int64_t next_ms; /* not before */
    enum ghn_status status;
    struct ghnd_ledger *ledger; /* if the status is OK, like the next */
    int lock_fd;                /* of the folder: one daemon alone works on it */
    struct ghn_err err;         /* otherwise */
};

struct ghnd_jobs {
    struct ghnd_app *app;
    struct ghnd_ledger *ledger; /* NULL: `why` says why */
    struct ghn_err why;
    int lock_fd; /* of the folder, -1 without a ledger */
    struct opening opening;
    char state_dir[GHND_PATH], dir[GHND_PATH], program[GHND_PATH];
    struct ghnd_events events;
    pthread_mutex_t lock;
    uv_loop_t *loop; /* NULL until started */
    uv_async_t wake;
    uv_timer_t timer;
    int64_t cleaned_ms;
    int64_t again_ms; /* when the ledger, which failed, is asked again; 0: it did not */
    bool stopping;
    _Atomic uint64_t restarts;
    int n_slots;
    struct slot *slots;
};

/* --- Opening --- */

enum ghn_status ghnd_jobs_new(struct ghnd_app *app, struct ghnd_jobs **ret, struct ghn_err *err) {
    const struct ghnd_config *config = &app->snapshot->config;
    struct ghnd_jobs *jobs = calloc(1, sizeof(*jobs));
    struct slot *slots = calloc((size_t)config->workers + 1, sizeof(*slots));
    if (!jobs || !slots) {
        free(jobs);
        free(slots);
        return ghn_fail_memory(err);
    }
    jobs->app = app;
    jobs->slots = slots;
    jobs->n_slots = (int)config->workers;
    jobs->lock_fd = -1;
    pthread_mutex_init(&jobs->lock, NULL);
    ghnd_events_init(&jobs->events, (int)config->max_event_streams, &app->suspended);
    (void)snprintf(jobs->state_dir, sizeof(jobs->state_dir), "%s", config->state_dir);
    (void)snprintf(jobs->dir, sizeof(jobs->dir), "%s/jobs", config->state_dir);
    ghnd_jobs_find_program(config->worker, jobs->program, sizeof(jobs->program));
    struct ghn_err why = GHN_ERR_INIT;
    if (ghnd_jobs_open(jobs->state_dir, jobs->dir, true, &jobs->lock_fd, &jobs->ledger, &why) !=
        GHN_OK)
        jobs->why = why;
    *ret = jobs;
    return GHN_OK;
}

void ghnd_jobs_free(struct ghnd_jobs *jobs) {
    if (!jobs)
        return;
    for (int i = 0; i < jobs->n_slots; i++)
        free(jobs->slots[i].live);
    free(jobs->slots);
    ghnd_ledger_close(jobs->ledger);
    if (jobs->lock_fd >= 0)
        close(jobs->lock_fd);
    ghnd_events_done(&jobs->events);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

/* --- For handlers --- */

struct ghnd_ledger *ghnd_jobs_ledger(struct ghnd_jobs *jobs, struct ghn_err *err) {
    pthread_mutex_lock(&jobs->lock);
    struct ghnd_ledger *ledger = jobs->ledger;
    if (!ledger)
        *err = jobs->why;
    pthread_mutex_unlock(&jobs->lock);
    return ledger;
}

const char *ghnd_jobs_dir(const struct ghnd_jobs *jobs) {
    return jobs->dir;
}

struct ghnd_events *ghnd_jobs_events(struct ghnd_jobs *jobs) {
    return &jobs->events;
}

void ghnd_jobs_wake(struct ghnd_jobs *jobs) {
    (void)uv_async_send(&jobs->wake);
}

json_t *ghnd_jobs_point(struct ghnd_jobs *jobs, const char *id) {
    char *line = NULL;
    pthread_mutex_lock(&jobs->lock);
    for (int i = 0; i < jobs->n_slots; i++)
        if (jobs->slots[i].live && strcmp(jobs->slots[i].worker.id, id) == 0)
            line = strdup(jobs->slots[i].live);
    pthread_mutex_unlock(&jobs->lock);
    json_t *point = line ? json_loads(line, 0, NULL) : NULL;
    free(line);
    if (point)
        (void)json_object_del(point, "event");
    return point;
}

bool ghnd_jobs_works_on(struct ghnd_jobs *jobs, const char *id) {
    bool works = false;
    pthread_mutex_lock(&jobs->lock);
    for (int i = 0; i < jobs->n_slots; i++)
        works |= jobs->slots[i].works && strcmp(jobs->slots[i].worker.id, id) == 0;
    pthread_mutex_unlock(&jobs->lock);
    return works;
}

double ghnd_jobs_speed(struct ghnd_jobs *jobs) {
    double speed = 0;
    pthread_mutex_lock(&jobs->lock);
    for (int i = 0; i < jobs->n_slots; i++)
        speed += jobs->slots[i].speed;
    pthread_mutex_unlock(&jobs->lock);
    return speed;
}

uint64_t ghnd_jobs_restarts(const struct ghnd_jobs *jobs) {
    return atomic_load(&jobs->restarts);
}

void ghnd_jobs_publish(struct ghnd_jobs *jobs, const char *id) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool found = false;
    if (!ghnd_events_wanted(&jobs->events, id) ||
        ghnd_ledger_get(jobs->ledger, id, &found, &row, &err) != GHN_OK || !found)
        return;
    json_t *point = ghnd_jobs_point(jobs, id);
    char *text = ghnd_job_event(&row, point);
    if (text)
        ghnd_events_publish(&jobs->events, id, text, row.state > GHND_JOB_RUNNING);
    free(text);
    json_decref(point);
}

/* --- Log --- */

static void log_job(const struct ghnd_jobs *jobs, enum ghnd_level level, const char *message,
                    const char *id, const char *detail) {
    struct ghnd_line line;
    ghnd_line_begin(&line, &jobs->app->log, level, message);
    ghnd_line_text(&line, "job", id);
    ghnd_line_text(&line, "detail", detail);
    ghnd_line_end(&line);
}

/* A ledger that fails is told of, and asked again later; the job stays as the ledger has it.
 * Returns false. */
static bool ledger_failed(struct ghnd_jobs *jobs, const char *id, const struct ghn_err *err) {
    log_job(jobs, GHND_ERROR_LEVEL, "the ledger of jobs failed", id, err->message);
    if (jobs->again_ms == 0)
        jobs->again_ms = ghnd_now_ms() + LEDGER_RETRY_MS;
    return false;
}

/* --- From the ledger to workers --- */

/* What a worker's program says of itself is new with every worker. */
static void set_live(struct ghnd_jobs *jobs, struct slot *slot, const char *line, double speed) {
    char *copy = line ? strdup(line) : NULL;
    pthread_mutex_lock(&jobs->lock);
    free(slot->live);
    slot->live = copy;
    slot->speed = speed;
    pthread_mutex_unlock(&jobs->lock);
}

static void start(struct ghnd_jobs *jobs, struct slot *slot, const struct ghnd_job_row *row) {
    const struct ghnd_config *config = &jobs->app->snapshot->config;
    char folder[GHND_PATH], data[GHND_PATH];
    ghnd_job_path(jobs->dir, row->id, NULL, folder);
    ghnd_dataset_path(config->data_dir, row->dataset, data, sizeof(data));
    const struct ghnd_worker_command command = {.program = jobs->program,
                                                .job_dir = folder,
                                                .data = data,
                                                .save_ms = config->save_interval,
                                                .max_ms = config->job_timeout,
                                                .silence_ms = config->worker_silence};
    slot->taken = true;
    slot->cancelled = false;
    slot->noted_ms = slot->retry_ms = 0;
    slot->step = slot->steps = 0;
    pthread_mutex_lock(&jobs->lock);
    memcpy(slot->worker.id, row->id, sizeof(slot->worker.id));
    slot->works = true;
    pthread_mutex_unlock(&jobs->lock);
    log_job(jobs, GHND_INFO, "job started", row->id,
            row->state == GHND_JOB_RUNNING ? "goes on" : NULL);
    ghnd_worker_start(&slot->worker, jobs->loop, &command);
    ghnd_jobs_publish(jobs, row->id);
}

/* The next job that no slot has; false if there is none. */
static bool find_next(struct ghnd_jobs *jobs, struct ghnd_job_row *row) {
    const char *taken[64];
    int n = 0;
    bool found = false, moved = false;
    struct ghn_err err = GHN_ERR_INIT;
    for (int i = 0; i < jobs->n_slots; i++)
        if (jobs->slots[i].taken)
            taken[n++] = jobs->slots[i].worker.id;
    enum ghn_status status = ghnd_ledger_next(jobs->ledger, taken, n, &found, row, &err);
    if (status == GHN_OK && found)
        status =
            ghnd_ledger_move(jobs->ledger, row->id, GHND_JOB_RUNNING, NULL, NULL, &moved, &err);
    if (status != GHN_OK)
        (void)ledger_failed(jobs, found ? row->id : "", &err);
    return moved;
}

static void start_workers(struct ghnd_jobs *jobs) {
    struct ghnd_job_row row;
    for (int i = 0; i < jobs->n_slots && !jobs->stopping; i++) {
        struct slot *slot = &jobs->slots[i];
        if (slot->taken)
            continue;
        if (!find_next(jobs, &row))
            break;
        start(jobs, slot, &row);
    }
}

/* Stops workers whose jobs the ledger no longer has as running. */
static void stop_cancelled(struct ghnd_jobs *jobs) {
    for (int i = 0; i < jobs->n_slots; i++) {
        struct slot *slot = &jobs->slots[i];
        struct ghn_err err = GHN_ERR_INIT;
        struct ghnd_job_row row;
        bool found = false;
        if (!slot->worker.running || slot->cancelled)
            continue;
        if (ghnd_ledger_get(jobs->ledger, slot->worker.id, &found, &row, &err) != GHN_OK)
            (void)ledger_failed(jobs, slot->worker.id, &err);
        else if (!found || row.state != GHND_JOB_RUNNING) {
            slot->cancelled = true;
            ghnd_worker_stop(&slot->worker, CANCEL_GRACE_MS);
        }
    }
}

/* --- From workers to the ledger --- */

static void on_progress(struct ghnd_worker *worker, const char *line, const json_t *point) {
    struct ghnd_jobs *jobs = worker->context;
    struct slot *slot = (struct slot *)worker; /* its first member */
    struct ghn_err err = GHN_ERR_INIT;
    int64_t now = ghnd_now_ms(), step = json_integer_value(json_object_get(point, "step")),
            steps = json_integer_value(json_object_get(point, "steps"));
    set_live(jobs, slot, line, json_number_value(json_object_get(point, "images_per_second")));
    slot->step = step;
    slot->steps = steps;
    if (now - slot->noted_ms >= NOTE_MS) {
        slot->noted_ms = now;
        if (ghnd_ledger_progress(jobs->ledger, worker->id, step, steps, &err) != GHN_OK)
            (void)ledger_failed(jobs, worker->id, &err);
    }
    if (slot->cancelled || !ghnd_events_wanted(&jobs->events, worker->id))
        return;
    char *text = ghnd_point_event(point);
    if (text)
        ghnd_events_publish(&jobs->events, worker->id, text, false);
    free(text);
}

/* Ends a job in the ledger; nothing happens if it was cancelled meanwhile. Like the next three,
 * false if the ledger failed. */
static bool finish(struct ghnd_jobs *jobs, const struct ghnd_worker *worker,
                   enum ghnd_job_state state, const char *code) {
    struct ghn_err err = GHN_ERR_INIT;
    bool moved = false, failure = state == GHND_JOB_FAILED;
    if (ghnd_ledger_move(jobs->ledger, worker->id, state, code, failure ? &worker->why : NULL,
                         &moved, &err) != GHN_OK)
        return ledger_failed(jobs, worker->id, &err);
    if (moved) {
        atomic_fetch_add(&jobs->app->metrics.jobs_ended[state], 1);
        log_job(jobs, failure ? GHND_WARNING : GHND_INFO, failure ? "job failed" : "job succeeded",
                worker->id, worker->why.message);
    }
    ghnd_job_folder_trim(jobs->dir, worker->id);
    return true;
}

static bool on_death(struct ghnd_jobs *jobs, struct slot *slot) {
    const struct ghnd_worker *worker = &slot->worker;
    struct ghn_err err = GHN_ERR_INIT;
    int attempts = 0;
    log_job(jobs, GHND_WARNING, "worker died", worker->id, worker->why.message);
    if (ghnd_ledger_died(jobs->ledger, worker->id, &attempts, &err) != GHN_OK)
        return ledger_failed(jobs, worker->id, &err);
    if (attempts >= MAX_ATTEMPTS)
        return finish(jobs, worker, GHND_JOB_FAILED, "worker_died");
    atomic_fetch_add(&jobs->restarts, 1);
    slot->retry_ms = ghnd_now_ms() + RETRY_MS;
    return true;
}

/* No fault of the job's, and none of its attempts. */
static bool on_no_start(struct ghnd_jobs *jobs, struct slot *slot) {
    log_job(jobs, GHND_WARNING, "worker not started", slot->worker.id, slot->worker.why.message);
    slot->retry_ms = ghnd_now_ms() + START_RETRY_MS;
    return true;
}

/* Whether the job was cancelled, also while the worker was about to end by itself. */
static bool find_cancelled(struct ghnd_jobs *jobs, struct slot *slot) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool found = true;
    if (ghnd_ledger_get(jobs->ledger, slot->worker.id, &found, &row, &err) != GHN_OK)
        return ledger_failed(jobs, slot->worker.id, &err);
    slot->cancelled = slot->cancelled || !found || row.state > GHND_JOB_RUNNING;
    return true;
}

static bool enter_end(struct ghnd_jobs *jobs, struct slot *slot) {
    const struct ghnd_worker *worker = &slot->worker;
    struct ghn_err err = GHN_ERR_INIT;
    if (!find_cancelled(jobs, slot))
        return false;
    if (slot->cancelled) {
        log_job(jobs, GHND_INFO, "job cancelled", worker->id, NULL);
        ghnd_job_folder_trim(jobs->dir, worker->id);
        return true;
    }
    /* How far it came counts, also where that was not noted yet. */
    if (slot->steps > 0 &&
        ghnd_ledger_progress(jobs->ledger, worker->id, slot->step, slot->steps, &err) != GHN_OK)
        return ledger_failed(jobs, worker->id, &err);
    switch (worker->outcome) {
    case GHND_DONE:
        return finish(jobs, worker, GHND_JOB_SUCCEEDED, NULL);
    case GHND_FAILED_TO:
        return finish(jobs, worker, GHND_JOB_FAILED, worker->code);
    case GHND_DIED:
        return jobs->stopping || on_death(jobs, slot);
    case GHND_NOT_STARTED:
        return jobs->stopping || on_no_start(jobs, slot);
    case GHND_STOPPED:
        break;
    }
    return true;
}

/* Writes a worker's end into the ledger. Where that fails the slot stays as it is, and the end is
 * written as soon as it can be: what is done is not done again. */
static void conclude(struct ghnd_jobs *jobs, struct slot *slot) {
    pthread_mutex_lock(&jobs->lock);
    slot->works = false;
    pthread_mutex_unlock(&jobs->lock);
    slot->ended = !enter_end(jobs, slot);
    if (slot->ended)
        return;
    ghnd_jobs_publish(jobs, slot->worker.id);
    set_live(jobs, slot, NULL, 0);
    slot->taken = slot->retry_ms != 0;
}

static void on_end(struct ghnd_worker *worker) {
    struct ghnd_jobs *jobs = worker->context;
    conclude(jobs, (struct slot *)worker);
    if (!jobs->stopping)
        start_workers(jobs);
}

/* Makes what runs follow the ledger, and the ledger what has ended. */
static void follow(struct ghnd_jobs *jobs) {
    for (int i = 0; i < jobs->n_slots; i++)
        if (jobs->slots[i].ended)
            conclude(jobs, &jobs->slots[i]);
    stop_cancelled(jobs);
    start_workers(jobs);
}

static void on_wake(uv_async_t *handle) {
    follow(handle->data);
}

/* --- Opening later what could not be opened at the start --- */

static void log_unavailable(struct ghnd_jobs *jobs) {
    ghnd_log(&jobs->app->log, GHND_ERROR_LEVEL, "jobs are not available", "%s: %s", jobs->why.where,
             jobs->why.message);
}

static void open_work(uv_work_t *work) {
    struct ghnd_jobs *jobs = work->data;
    struct opening *opening = &jobs->opening;
    opening->err = (struct ghn_err)GHN_ERR_INIT;
    opening->status = ghnd_jobs_open(jobs->state_dir, jobs->dir, false, &opening->lock_fd,
                                     &opening->ledger, &opening->err);
}

static void open_done(uv_work_t *work, int status) {
    (void)status;
    struct ghnd_jobs *jobs = work->data;
    const struct opening *opening = &jobs->opening;
    bool opened = opening->status == GHN_OK,
         news = strcmp(opening->err.message, jobs->why.message) != 0;
    jobs->opening.running = false;
    jobs->opening.next_ms = ghnd_now_ms() + OPEN_RETRY_MS;
    pthread_mutex_lock(&jobs->lock);
    if (opened)
        jobs->ledger = opening->ledger;
    jobs->why = opening->err;
    pthread_mutex_unlock(&jobs->lock);
    if (!opened) {
        if (news)
            log_unavailable(jobs);
        return;
    }
    jobs->lock_fd = opening->lock_fd;
    ghnd_log(&jobs->app->log, GHND_INFO, "jobs are available", "%s", jobs->state_dir);
    if (!jobs->stopping)
        start_workers(jobs);
}

/* On a thread of its own: the ledger is read as a whole, from a disk that may not be well. */
static void open_again(struct ghnd_jobs *jobs, int64_t now_ms) {
    struct opening *opening = &jobs->opening;
    if (jobs->ledger || jobs->stopping || opening->running || now_ms < opening->next_ms)
        return;
    opening->work.data = jobs;
    opening->running = uv_queue_work(jobs->loop, &opening->work, open_work, open_done) == 0;
}

/* --- Time --- */

/* Removes a job that has ended: the folder gets another name before the entry goes, so that what is
 * left where the daemon is killed in between is known to be rubbish. false if the ledger failed. */
static bool remove_job(struct ghnd_jobs *jobs, int64_t number, const char *id) {
    struct ghn_err err = GHN_ERR_INIT;
    char name[GHND_JOB_ID + sizeof(GHND_REMOVED)];
    bool sound = id[0] != '\0';
    (void)snprintf(name, sizeof(name), "%s" GHND_REMOVED, id);
    if (sound)
        ghnd_job_folder_set_aside(jobs->dir, id, GHND_REMOVED);
    bool removed = ghnd_ledger_remove(jobs->ledger, number, &err) == GHN_OK;
    if (!removed)
        (void)ledger_failed(jobs, id, &err);
    if (sound && removed)
        ghnd_job_folder_remove(jobs->dir, name);
    else if (sound)
        ghnd_job_folder_bring_back(jobs->dir, id, GHND_REMOVED);
    return removed;
}

/* Removes finished jobs that are too many or too old. Returns whether there may be more of them. */
static bool clean(struct ghnd_jobs *jobs) {
    struct ghnd_snapshot *snapshot = ghnd_app_snapshot(jobs->app);
    const struct ghnd_config *config = &snapshot->config;
    bool more = true;
    for (int i = 0; i < MAX_REMOVED && more; i++) {
        struct ghn_err err = GHN_ERR_INIT;
        char id[GHND_JOB_ID + 1];
        int64_t number;
        more = false;
        if (ghnd_ledger_expired(jobs->ledger, config->max_jobs_kept, config->job_retention, &more,
                                &number, id, &err) != GHN_OK)
            (void)ledger_failed(jobs, "", &err);
        more = more && remove_job(jobs, number, id);
    }
    ghnd_snapshot_unref(snapshot);
    return more;
}

static void on_timer(uv_timer_t *handle) {
    struct ghnd_jobs *jobs = handle->data;
    int64_t now = ghnd_now_ms();
    ghnd_events_tick(&jobs->events, now);
    bool retry = false;
    for (int i = 0; i < jobs->n_slots; i++) {
        struct slot *slot = &jobs->slots[i];
        ghnd_worker_tick(&slot->worker, now);
        if (!slot->worker.running && slot->retry_ms && now >= slot->retry_ms) {
            slot->taken = false;
            slot->retry_ms = 0;
            retry = true;
        }
    }
    if (jobs->again_ms && now >= jobs->again_ms) {
        jobs->again_ms = 0;
        retry = true;
    }
    if (retry && !jobs->stopping)
        follow(jobs);
    open_again(jobs, now);
    if (jobs->ledger && now - jobs->cleaned_ms >= CLEANING_MS && !clean(jobs))
        jobs->cleaned_ms = now;
}

enum ghn_status ghnd_jobs_start(struct ghnd_jobs *jobs, uv_loop_t *loop, struct ghn_err *err) {
    jobs->loop = loop;
    jobs->wake.data = jobs->timer.data = jobs;
    jobs->cleaned_ms = ghnd_now_ms() - CLEANING_MS;
    for (int i = 0; i < jobs->n_slots; i++) {
        jobs->slots[i].worker.context = jobs;
        jobs->slots[i].worker.on_progress = on_progress;
        jobs->slots[i].worker.on_end = on_end;
    }
    if (uv_async_init(loop, &jobs->wake, on_wake) != 0 || uv_timer_init(loop, &jobs->timer) != 0 ||
        uv_timer_start(&jobs->timer, on_timer, TICK_MS, TICK_MS) != 0)
        return ghn_fail(err, GHN_IO, NULL, "the event loop could not be set up");
    jobs->opening.next_ms = ghnd_now_ms() + OPEN_RETRY_MS;
    if (jobs->ledger)
        start_workers(jobs);
    else
        log_unavailable(jobs);
    return GHN_OK;
}

void ghnd_jobs_stop(struct ghnd_jobs *jobs, int64_t grace_ms) {
    jobs->stopping = true;
    for (int i = 0; i < jobs->n_slots; i++)
        ghnd_worker_stop(&jobs->slots[i].worker, grace_ms);
}

bool ghnd_jobs_idle(const struct ghnd_jobs *jobs) {
    for (int i = 0; i < jobs->n_slots; i++)
        if (jobs->slots[i].worker.running)
            return false;
    return true;
}
