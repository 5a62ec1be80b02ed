/* Threads: everything here is the main thread's, but reload_work, which libuv calls on a thread of
 * its pool while the main thread leaves `reload` alone. */
#include "daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "app.h"
#include "clock.h"
#include "jobs.h"
#include "listener.h"
#include "notify.h"
#include "server.h"

enum {
    TICK_MS = 100,
    HANGUPS_MS = 250,
    EXIT_USAGE = 2,
    LEDGER_QUEUE = 256, /* requests that may wait for the ledger, each for milliseconds */
};

struct reload {
    uv_work_t work;
    bool running, again; /* a SIGHUP came while one was under way */
    struct ghnd_snapshot *snapshot;
    enum ghn_status status;
    struct ghn_err err;
    char fixed[512]; /* names of options whose new values need a restart */
};

struct daemon {
    int argc;
    char **argv;
    struct ghnd_app app;
    struct ghnd_listener listener;
    struct ghnd_server *server;
    uv_loop_t loop;
    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t tick, hangups, watchdog;
    struct reload reload;
    bool hurried;     /* it was asked twice to end: nothing is waited for any more */
    bool gave_up;     /* requests were cut off */
    bool cut_off;     /* workers are no longer waited for */
    int64_t until_ms; /* the end of draining, then that of closing */
};

static int complain(const struct ghn_err *err, int status) {
    (void)fprintf(stderr, "ghnd: %s%s%s\n", err->where, err->where[0] ? ": " : "", err->message);
    return status;
}

/* --- Shutdown: serving, draining, closing, stopping --- */

static void enter(struct daemon *daemon, enum ghnd_life life, int64_t limit_ms) {
    atomic_store(&daemon->app.life, (int)life);
    daemon->until_ms = ghnd_now_ms() + limit_ms;
}

static void on_terminate(uv_signal_t *handle, int signal) {
    struct daemon *daemon = handle->data;
    enum ghnd_life life = ghnd_app_life(&daemon->app);
    ghnd_log(&daemon->app.log, GHND_INFO, "stopping", "signal %d", signal);
    ghnd_notify("STOPPING=1");
    ghnd_jobs_stop(daemon->app.jobs, daemon->app.snapshot->config.drain_delay +
                                         daemon->app.snapshot->config.shutdown_timeout);
    if (life < GHND_DRAINING)
        enter(daemon, GHND_DRAINING, daemon->app.snapshot->config.drain_delay);
    else
        daemon->hurried = true;
}

/* What is still under way after all waiting is cut off: waiting jobs are answered, running ones are
 * waited for, connections are ended. */
static void give_up(struct daemon *daemon) {
    ghnd_log(&daemon->app.log, GHND_WARNING, "requests are cut off", "%lld under way",
             (long long)atomic_load(&daemon->app.active));
    enter(daemon, GHND_STOPPING, 0);
    daemon->gave_up = true;
    ghnd_queue_cancel(daemon->app.queue);
    ghnd_queue_cancel(daemon->app.ledger_queue);
    ghnd_conns_sever(&daemon->app.conns);
}

static void shut_down_further(struct daemon *daemon, int64_t now_ms) {
    struct ghnd_app *app = &daemon->app;
    bool due = daemon->hurried || now_ms >= daemon->until_ms;
    switch (ghnd_app_life(app)) {
    case GHND_STARTING:
    case GHND_SERVING:
        break;
    case GHND_DRAINING:
        if (!due)
            break;
        ghnd_server_quiesce(daemon->server);
        ghnd_events_close(ghnd_jobs_events(app->jobs)); /* or they would never end */
        enter(daemon, GHND_CLOSING, app->snapshot->config.shutdown_timeout);
        break;
    case GHND_CLOSING:
        if (atomic_load(&app->active) == 0)
            enter(daemon, GHND_STOPPING, daemon->until_ms - now_ms);
        else if (due)
            give_up(daemon);
        break;
    case GHND_STOPPING:
        /* A connection that is suspended when the library stops would make it abort. */
        if (due && !daemon->cut_off) {
            daemon->cut_off = true;
            ghnd_jobs_stop(app->jobs, 0);
        }
        if (atomic_load(&app->suspended) == 0 && ghnd_jobs_idle(app->jobs))
            uv_stop(&daemon->loop);
        break;
    }
}

/* --- Timers --- */

static void on_tick(uv_timer_t *handle) {
    struct daemon *daemon = handle->data;
    int64_t now = ghnd_now_ms();
    ghnd_conns_sweep(&daemon->app.conns, now);
    ghnd_queue_expire(daemon->app.queue, now);
    ghnd_queue_expire(daemon->app.ledger_queue, now);
    shut_down_further(daemon, now);
}

static void on_hangups(uv_timer_t *handle) {
    struct daemon *daemon = handle->data;
    ghnd_conns_notice_hangups(&daemon->app.conns);
}

static void on_watchdog(uv_timer_t *handle) {
    (void)handle;
    ghnd_notify("WATCHDOG=1");
}

/* --- Reload --- */

static void reload_work(uv_work_t *work) {
    struct daemon *daemon = work->data;
    struct reload *reload = &daemon->reload;
    struct ghnd_config config;
    enum ghnd_command command;
    reload->status = ghnd_config_read(daemon->argc, daemon->argv, &command, &config, &reload->err);
    if (reload->status != GHN_OK)
        return;
    struct ghnd_snapshot *before = ghnd_app_snapshot(&daemon->app);
    reload->status = ghnd_config_keep_fixed(&before->config, &config, reload->fixed,
                                            sizeof(reload->fixed), &reload->err);
    ghnd_snapshot_unref(before);
    if (reload->status == GHN_OK)
        reload->status = ghnd_snapshot_new(&config, &reload->snapshot, &reload->err);
    else
        ghnd_config_done(&config);
}

static void start_reload(struct daemon *daemon);

static void reload_done(uv_work_t *work, int status) {
    (void)status;
    struct daemon *daemon = work->data;
    struct ghnd_app *app = &daemon->app;
    struct reload *reload = &daemon->reload;
    reload->running = false;
    bool ok = reload->status == GHN_OK;
    atomic_fetch_add(&app->metrics.reloads[ok], 1);
    if (ok) {
        if (reload->fixed[0])
            ghnd_log(&app->log, GHND_WARNING, "an option changed that needs a restart", "%s",
                     reload->fixed);
        ghnd_log(&app->log, GHND_INFO, "reloaded", "%d models, by default %s",
                 reload->snapshot->n_models, reload->snapshot->models[0].path);
        ghnd_app_replace(app, reload->snapshot);
    } else {
        ghnd_log(&app->log, GHND_ERROR_LEVEL, "reload failed, everything stays as it was", "%s: %s",
                 reload->err.where, reload->err.message);
    }
    if (ghnd_app_life(app) == GHND_SERVING)
        ghnd_notify("READY=1");
    if (reload->again)
        start_reload(daemon);
}

static void start_reload(struct daemon *daemon) {
    struct reload *reload = &daemon->reload;
    reload->again = reload->running;
    if (reload->running || ghnd_app_life(&daemon->app) != GHND_SERVING)
        return;
    reload->running = true;
    reload->snapshot = NULL;
    reload->err = (struct ghn_err)GHN_ERR_INIT;
    reload->work.data = daemon;
    ghnd_notify_reloading();
    if (uv_queue_work(&daemon->loop, &reload->work, reload_work, reload_done) != 0)
        reload->running = false;
}

static void on_reload(uv_signal_t *handle, int signal) {
    (void)signal;
    start_reload(handle->data);
}

/* --- The main loop --- */

static bool start_signal(struct daemon *daemon, uv_signal_t *handle, uv_signal_cb callback,
                         int signal) {
    handle->data = daemon;
    return uv_signal_init(&daemon->loop, handle) == 0 &&
           uv_signal_start(handle, callback, signal) == 0;
}

static bool start_timer(struct daemon *daemon, uv_timer_t *handle, uv_timer_cb callback,
                        int64_t ms) {
    handle->data = daemon;
    return uv_timer_init(&daemon->loop, handle) == 0 &&
           (ms == 0 || uv_timer_start(handle, callback, (uint64_t)ms, (uint64_t)ms) == 0);
}

static bool start_handles(struct daemon *daemon) {
    return start_signal(daemon, &daemon->sigterm, on_terminate, SIGTERM) &&
           start_signal(daemon, &daemon->sigint, on_terminate, SIGINT) &&
           start_signal(daemon, &daemon->sighup, on_reload, SIGHUP) &&
           start_timer(daemon, &daemon->tick, on_tick, TICK_MS) &&
           start_timer(daemon, &daemon->hangups, on_hangups, HANGUPS_MS) &&
           start_timer(daemon, &daemon->watchdog, on_watchdog, ghnd_watchdog_interval());
}

/* Signals stay with libuv until the process is gone: closing their handles would give them their
 * default action back, and a second SIGTERM would make a clean end look like a death. */
static void close_handle(uv_handle_t *handle, void *context) {
    (void)context;
    if (handle->type == UV_SIGNAL)
        uv_unref(handle);
    else if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Ends what the loop has, a reload under way included. */
static void end_loop(struct daemon *daemon) {
    uv_walk(&daemon->loop, close_handle, NULL);
    (void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
}

static void announce(struct daemon *daemon) {
    struct ghnd_app *app = &daemon->app;
    atomic_store(&app->life, GHND_SERVING);
    struct ghnd_line line;
    ghnd_line_begin(&line, &app->log, GHND_INFO, "serving");
    ghnd_line_text(&line, "address", daemon->listener.address);
    ghnd_line_number(&line, "port", daemon->listener.port);
    ghnd_line_number(&line, "models", app->snapshot->n_models);
    ghnd_line_text(&line, "default_model", app->snapshot->models[0].id);
    ghnd_line_text(&line, "file", app->snapshot->models[0].path);
    ghnd_line_text(&line, "version", GHN_VERSION);
    ghnd_line_end(&line);
    ghnd_notify("READY=1");
}

static enum ghn_status run(struct daemon *daemon, struct ghn_err *err) {
    struct ghnd_app *app = &daemon->app;
    if (uv_loop_init(&daemon->loop) != 0)
        return ghn_fail(err, GHN_IO, NULL, "the event loop could not be started");
    enum ghn_status status = GHN_OK;
    if (!start_handles(daemon))
        status = ghn_fail(err, GHN_IO, NULL, "the event loop could not be set up");
    if (status == GHN_OK)
        status = ghnd_jobs_start(app->jobs, &daemon->loop, err);
    if (status == GHN_OK)
        status = ghnd_server_start(app, &daemon->listener, &daemon->server, err);
    const char *port_file = app->snapshot->config.port_file;
    if (status == GHN_OK && port_file)
        status = ghnd_write_port(port_file, daemon->listener.port, err);
    if (status == GHN_OK) {
        announce(daemon);
        (void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
    }
    end_loop(daemon);
    if (daemon->server)
        ghnd_server_stop(daemon->server);
    else
        close(daemon->listener.fd);
    return status;
}

/* --- Start --- */

/* Every connection is an open file, and every download another: raises the soft limit, and says so
 * if even the hard one is too low. */
static void raise_file_limit(const struct ghnd_app *app) {
    struct rlimit limit;
    rlim_t wanted = 2 * (rlim_t)app->snapshot->config.max_connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        ghnd_log(&app->log, GHND_WARNING, "fewer connections than configured",
                 "the limit on open files is %llu; with as many downloads, %llu are needed",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

static enum ghn_status start_workers(struct ghnd_app *app, struct ghn_err *err) {
    const struct ghnd_config *config = &app->snapshot->config;
    enum ghn_status status = ghn_pool_new((int)config->threads, &app->pool, err);
    if (status == GHN_OK)
        status = ghnd_queue_new((int)config->threads, (int)config->queue_length, &app->queue, err);
    if (status == GHN_OK)
        status = ghnd_queue_new(1, LEDGER_QUEUE, &app->ledger_queue, err);
    if (status == GHN_OK)
        status = ghnd_jobs_new(app, &app->jobs, err);
    return status;
}

static enum ghn_status serve(struct daemon *daemon, struct ghnd_config *config,
                             struct ghn_err *err) {
    struct ghnd_app *app = &daemon->app;
    pthread_mutex_init(&app->lock, NULL);
    ghnd_conns_init(&app->conns);
    ghnd_datasets_init(&app->datasets);
    if (getrandom(&app->id_seed, sizeof(app->id_seed), 0) != (ssize_t)sizeof(app->id_seed))
        app->id_seed = (uint64_t)ghnd_now_us();
    enum ghn_status status = ghnd_snapshot_new(config, &app->snapshot, err);
    if (status == GHN_OK)
        status = ghnd_listen(app->snapshot->config.listen, &daemon->listener, err);
    if (status == GHN_OK) {
        raise_file_limit(app);
        status = start_workers(app, err);
        if (status == GHN_OK)
            status = run(daemon, err);
        else
            close(daemon->listener.fd);
    }
    ghnd_queue_free(app->queue);
    ghnd_queue_free(app->ledger_queue);
    ghnd_jobs_free(app->jobs);
    ghn_pool_free(app->pool);
    ghnd_snapshot_unref(app->snapshot);
    ghnd_datasets_done(&app->datasets);
    ghnd_conns_done(&app->conns);
    pthread_mutex_destroy(&app->lock);
    return status;
}

int ghnd_main(int argc, char **argv) {
    static struct daemon daemon; /* whose loop lives as long as the process */
    daemon.argc = argc;
    daemon.argv = argv;
    struct ghnd_config config;
    enum ghnd_command command;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghnd_config_read(argc, argv, &command, &config, &err) != GHN_OK)
        return complain(&err, EXIT_USAGE);
    if (command != GHND_SERVE) {
        if (command == GHND_HELP)
            ghnd_config_help();
        else
            printf("ghnd %s\n", GHN_VERSION);
        ghnd_config_done(&config);
        return EXIT_SUCCESS;
    }
    if (!ghnd_log_init(&daemon.app.log, config.log_format, config.log_level)) {
        (void)ghn_fail(&err, GHN_OUT_OF_RANGE, "--log-format, --log-level",
                       "expected logfmt or json, and error, warning, info or debug");
        ghnd_config_done(&config);
        return complain(&err, EXIT_USAGE);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of writing like a full disk */
    if (serve(&daemon, &config, &err) != GHN_OK)
        return complain(&err, EXIT_FAILURE);
    ghnd_log(&daemon.app.log, GHND_INFO, "stopped", "%s",
             daemon.gave_up ? "requests were cut off" : "every request was answered");
    return EXIT_SUCCESS;
}
