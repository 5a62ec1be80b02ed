/* Its standard input is a pipe that nothing is written to: when the daemon is gone, however that
 * came about, the pipe ends, and with it the worker. Standard output carries its events, a JSON
 * object a line; standard error is ours. */
#include "job_worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"
#include "clock.h"

/* Of processor time, in the time that a worker may be silent: what looking at a clock now and then
 * does not take. */
enum { SIGN_OF_LIFE_MS = 50 };

static void on_closed(uv_handle_t *handle) {
    struct ghnd_worker *worker = handle->data;
    if (--worker->handles > 0)
        return;
    worker->running = false;
    worker->on_end(worker);
}

static void close_handle(uv_handle_t *handle) {
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

/* --- What it says, and does --- */

/* Processor time that the worker has used so far; -1 if that cannot be told. */
static int64_t processor_ms(const struct ghnd_worker *worker) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(worker->process.pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return -1;
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static void copy_string(const json_t *object, const char *key, char *to, size_t n) {
    const char *text = json_string_value(json_object_get(object, key));
    (void)snprintf(to, n, "%s", text ? text : "");
    ghn_utf8_sanitise(to);
}

static void hear(struct ghnd_worker *worker, const char *line) {
    json_t *object = json_loads(line, 0, NULL);
    const char *event = json_string_value(json_object_get(object, "event"));
    if (!event) {
        json_decref(object);
        return; /* not ours, or cut by its death */
    }
    if (strcmp(event, "progress") == 0) {
        (void)json_object_del(object, "event");
        worker->on_progress(worker, line, object);
    } else if (strcmp(event, "done") == 0) {
        worker->outcome = GHND_DONE;
    } else if (strcmp(event, "stopped") == 0) {
        worker->outcome = GHND_STOPPED;
    } else if (strcmp(event, "failed") == 0) {
        worker->outcome = GHND_FAILED_TO;
        copy_string(object, "code", worker->code, sizeof(worker->code));
        copy_string(object, "where", worker->why.where, sizeof(worker->why.where));
        copy_string(object, "detail", worker->why.message, sizeof(worker->why.message));
    }
    json_decref(object);
}

static void hear_all(struct ghnd_worker *worker) {
    char *from = worker->line, *end;
    worker->line[worker->n] = '\0';
    while ((end = memchr(from, '\n', worker->n - (size_t)(from - worker->line)))) {
        *end = '\0';
        hear(worker, from);
        from = end + 1;
    }
    worker->n -= (size_t)(from - worker->line);
    memmove(worker->line, from, worker->n);
    if (worker->n == GHND_WORKER_LINE - 1)
        worker->n = 0; /* no line of ours is that long */
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
    (void)wanted;
    struct ghnd_worker *worker = handle->data;
    *buf = uv_buf_init(worker->line + worker->n, GHND_WORKER_LINE - 1 - (unsigned)worker->n);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    (void)buf;
    struct ghnd_worker *worker = stream->data;
    if (n < 0) {
        close_handle((uv_handle_t *)stream);
        return;
    }
    worker->n += (size_t)n;
    worker->alive_ms = ghnd_now_ms();
    worker->cpu_ms = processor_ms(worker);
    hear_all(worker);
}

/* --- Start and end --- */

static void on_gone(uv_process_t *process, int64_t status, int signal) {
    struct ghnd_worker *worker = process->data;
    if (worker->outcome == GHND_DIED && signal && !worker->why.message[0])
        (void)snprintf(worker->why.message, sizeof(worker->why.message),
                       "the worker was ended by signal %d (%s)", signal, strsignal(signal));
    else if (worker->outcome == GHND_DIED && !worker->why.message[0])
        (void)snprintf(worker->why.message, sizeof(worker->why.message),
                       "the worker ended with status %d and no word", (int)status);
    close_handle((uv_handle_t *)process);
    close_handle((uv_handle_t *)&worker->input);
}

/* Our environment for a worker, from malloc; NULL if there is no memory. Its threads must not spin
 * while they wait for one that a prediction has taken the processor from: under load that made
 * training several times slower. */
static char **environment(void) {
    static char policy[] = "OMP_WAIT_POLICY=PASSIVE";
    size_t n = 0;
    while (environ[n])
        n++;
    char **copy = malloc((n + 2) * sizeof(*copy));
    if (!copy)
        return NULL;
    memcpy(copy, environ, n * sizeof(*copy));
    copy[n] = getenv("OMP_WAIT_POLICY") ? NULL : policy;
    copy[n + 1] = NULL;
    return copy;
}

static int spawn(struct ghnd_worker *worker, uv_loop_t *loop,
                 const struct ghnd_worker_command *command) {
    char save[32], most[32];
    (void)snprintf(save, sizeof(save), "%.3f", (double)command->save_ms / 1000);
    (void)snprintf(most, sizeof(most), "%.3f", (double)command->max_ms / 1000);
    char *arguments[] = {(char *)(uintptr_t)command->program,
                         "--job",
                         (char *)(uintptr_t)command->job_dir,
                         "--data",
                         (char *)(uintptr_t)command->data,
                         "--save-seconds",
                         save,
                         "--max-seconds",
                         most,
                         NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&worker->input},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&worker->output},
        {.flags = UV_INHERIT_FD, .data.fd = 2}};
    char **variables = environment();
    const uv_process_options_t options = {.env = variables,
                                          .exit_cb = on_gone,
                                          .file = command->program,
                                          .args = arguments,
                                          .stdio = stdio,
                                          .stdio_count = 3};
    int error = uv_spawn(loop, &worker->process, &options);
    free(variables);
    return error;
}

void ghnd_worker_start(struct ghnd_worker *worker, uv_loop_t *loop,
                       const struct ghnd_worker_command *command) {
    worker->running = true;
    worker->outcome = GHND_DIED;
    worker->code[0] = '\0';
    worker->why = (struct ghn_err)GHN_ERR_INIT;
    worker->kill_ms = 0;
    worker->silence_ms = command->silence_ms;
    worker->alive_ms = ghnd_now_ms();
    worker->until_ms = worker->alive_ms + command->max_ms + GHND_WORKER_MARGIN_MS;
    worker->cpu_ms = 0;
    worker->n = 0;
    worker->handles = 3;
    (void)uv_pipe_init(loop, &worker->input, 0);
    (void)uv_pipe_init(loop, &worker->output, 0);
    worker->process.data = worker->input.data = worker->output.data = worker;
    int error = spawn(worker, loop, command);
    worker->process.data = worker;
    if (error == 0)
        error = uv_read_start((uv_stream_t *)&worker->output, on_room, on_read);
    else
        close_handle((uv_handle_t *)&worker->output);
    if (error == 0)
        return;
    (void)snprintf(worker->why.message, sizeof(worker->why.message),
                   "the worker %s could not be started: %s", command->program, uv_strerror(error));
    if (uv_is_active((uv_handle_t *)&worker->process)) {
        (void)uv_process_kill(&worker->process, SIGKILL);
        close_handle((uv_handle_t *)&worker->output);
        return;
    }
    worker->outcome = GHND_NOT_STARTED;
    close_handle((uv_handle_t *)&worker->process);
    close_handle((uv_handle_t *)&worker->input);
}

void ghnd_worker_stop(struct ghnd_worker *worker, int64_t grace_ms) {
    int64_t due = ghnd_now_ms() + grace_ms;
    if (!worker->running)
        return;
    if (worker->kill_ms == 0 && uv_is_active((uv_handle_t *)&worker->process))
        (void)uv_process_kill(&worker->process, SIGTERM);
    if (worker->kill_ms == 0 || due < worker->kill_ms)
        worker->kill_ms = due;
}

/* Whether the worker hangs, after noting why it is going to be killed. */
static bool hangs(struct ghnd_worker *worker, int64_t now_ms) {
    if (now_ms >= worker->until_ms) {
        (void)snprintf(worker->why.message, sizeof(worker->why.message),
                       "the worker did not end long after its time was over, and was killed");
        return true;
    }
    if (now_ms - worker->alive_ms < worker->silence_ms)
        return false;
    int64_t used = processor_ms(worker);
    bool works = used < 0 || used - worker->cpu_ms >= SIGN_OF_LIFE_MS;
    worker->cpu_ms = used;
    worker->alive_ms = now_ms;
    if (!works)
        (void)snprintf(worker->why.message, sizeof(worker->why.message),
                       "the worker did and said nothing for %lld seconds, and was killed",
                       (long long)(worker->silence_ms / 1000));
    return !works;
}

void ghnd_worker_tick(struct ghnd_worker *worker, int64_t now_ms) {
    if (!worker->running || !uv_is_active((uv_handle_t *)&worker->process))
        return;
    if (worker->kill_ms == 0 && hangs(worker, now_ms))
        worker->kill_ms = now_ms;
    if (worker->kill_ms && now_ms >= worker->kill_ms)
        (void)uv_process_kill(&worker->process, SIGKILL);
}
