/* Following a job to its end. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli.h"
#include "http.h"
#include "job.h"
#include "progress.h"

/* Bytes of an event; and how often in a row a server may be away, a second apart. */
enum { MAX_LINE = 1 << 20, PATIENCE = 60 };

/* Set by Ctrl-C. */
static volatile sig_atomic_t stopped;

static void on_signal(int signal) {
    (void)signal;
    stopped = 1;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* A stream of events, and what is shown of it. */
struct stream {
    struct cli_progress progress;
    char *line;
    size_t n, capacity;
    bool is_progress, is_job; /* of the event that is being read */
    bool ended;               /* the job has */
    bool waited;              /* it was said that the job is waiting */
};

static double number(const json_t *point, const char *key) {
    const json_t *value = json_object_get(point, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* A point as the server tells it; null is NaN, but for the rate, of which 0 is nothing. */
static struct ghn_progress point_of(const json_t *json) {
    double rate = number(json, "images_per_second");
    return (struct ghn_progress){
        .step = json_integer_value(json_object_get(json, "step")),
        .steps = json_integer_value(json_object_get(json, "steps")),
        .loss = number(json, "loss"),
        .train_accuracy = number(json, "train_accuracy"),
        .lr = number(json, "lr"),
        .gradient_norm = number(json, "gradient_norm"),
        .test_loss = number(json, "test_loss"),
        .test_top1 = number(json, "test_top1"),
        .test_top5 = number(json, "test_top5"),
        .images_per_second = isnan(rate) ? 0 : rate,
        .seconds = number(json, "seconds"),
        .seconds_left = number(json, "seconds_left"),
    };
}

static void show_point(struct stream *stream, const json_t *json) {
    if (!json_is_object(json))
        return;
    const struct ghn_progress point = point_of(json);
    /* One that was shown before comes again when a lost stream is taken up. */
    if (point.step != stream->progress.last.step || !isnan(point.test_top1))
        cli_progress_show(&stream->progress, &point);
}

static void show_job(struct stream *stream, const json_t *job) {
    char state[CLI_JOB_TEXT];
    if (!stream->waited && strcmp(cli_job_text(job, "state", state), "queued") == 0) {
        (void)fputs("waiting for a worker\n", stderr);
        stream->waited = true;
    }
    stream->ended = cli_job_is_final(job);
}

static void take_data(struct stream *stream, const char *text) {
    json_t *value = NULL;
    if (ghn_json_load(text, strlen(text), NULL, &value, NULL) != GHN_OK)
        return;
    if (stream->is_progress)
        show_point(stream, value);
    if (stream->is_job)
        show_job(stream, value);
    json_decref(value);
}

static void take_line(struct stream *stream) {
    const char *line = stream->line;
    if (strncmp(line, "event: ", 7) == 0) {
        stream->is_progress = strcmp(line + 7, "progress") == 0;
        stream->is_job = strcmp(line + 7, "job") == 0;
    } else if (strncmp(line, "data: ", 6) == 0) {
        take_data(stream, line + 6);
    } else if (!*line) {
        stream->is_progress = stream->is_job = false;
    }
}

static bool take(void *context, const char *data, size_t n) {
    struct stream *stream = context;
    for (size_t i = 0; i < n && !stream->ended; i++) {
        if (stream->n + 1 >= stream->capacity) {
            size_t capacity = stream->capacity ? 2 * stream->capacity : 1024;
            char *grown = capacity <= MAX_LINE ? realloc(stream->line, capacity) : NULL;
            if (!grown)
                return false;
            stream->line = grown;
            stream->capacity = capacity;
        }
        if (data[i] != '\n') {
            stream->line[stream->n++] = data[i];
            continue;
        }
        if (stream->n > 0 && stream->line[stream->n - 1] == '\r')
            stream->n--;
        stream->line[stream->n] = '\0';
        stream->n = 0;
        take_line(stream);
    }
    return !stream->ended;
}

/* Shows events for as long as they come. */
static void listen_to(const struct cli_link *link, const char *id, struct stream *stream) {
    char path[96];
    struct ghn_err err = GHN_ERR_INIT;
    long code = 0;
    (void)snprintf(path, sizeof path, "/jobs/%.64s/events", id);
    const struct cli_http http = {.server = link->server,
                                  .path = path,
                                  .token_file = link->token_file,
                                  .accept = "text/event-stream",
                                  .last_event = stream->progress.last.step,
                                  .silence = 45, /* the server says something every 15 s */
                                  .stop = &stopped,
                                  .take = take,
                                  .context = stream};
    stream->n = 0;
    stream->is_progress = stream->is_job = false;
    /* Whatever ends the stream, asking for the job says how things are. */
    if (cli_http_request(&http, NULL, &code, &err) != GHN_OK)
        return;
}

/* Waits until the job has ended: *ret is what it is then. */
static enum ghn_status wait_for(const struct cli_link *link, const char *id, struct stream *stream,
                                json_t **ret, const char **ret_next, struct ghn_err *err) {
    const struct timespec second = {1, 0};
    for (int lost = 0; !stopped;) {
        struct ghn_err failure = GHN_ERR_INIT;
        json_t *job = NULL;
        long code = 0;
        listen_to(link, id, stream);
        if (stopped)
            break;
        enum ghn_status status = cli_job_ask(link, id, NULL, &job, &code, &failure);
        if (status == GHN_OK && cli_job_is_final(job)) {
            show_point(stream, json_object_get(job, "progress"));
            *ret = job;
            return GHN_OK;
        }
        if (status == GHN_OK) {
            show_point(stream, json_object_get(job, "progress"));
            show_job(stream, job);
            lost = 0;
        } else if ((code != 0 && code != 503) || ++lost > PATIENCE) {
            *ret_next = cli_http_advice(code);
            return ghn_fail(err, status, failure.where, "%s", failure.message);
        }
        json_decref(job);
        (void)nanosleep(&second, NULL);
    }
    *ret_next = "the job goes on: ghn jobs watch ID shows it, ghn jobs cancel ID ends it";
    return ghn_fail(err, GHN_STOPPED, id, "no longer followed");
}

/* Says how a job ended. */
static int tell(const char *id, const json_t *job) {
    char state[CLI_JOB_TEXT], detail[CLI_JOB_TEXT], code[CLI_JOB_TEXT], time[CLI_DURATION];
    const json_t *error = json_object_get(job, "error");
    const struct ghn_progress last = point_of(json_object_get(job, "progress"));
    (void)cli_job_text(job, "state", state);
    if (strcmp(state, "failed") == 0)
        return cli_failf(id, NULL, "the job failed: %s (%s)", cli_job_text(error, "detail", detail),
                         cli_job_text(error, "code", code));
    printf("%s: %s at step %lld of %lld", id, state,
           (long long)json_integer_value(json_object_get(job, "step")),
           (long long)json_integer_value(json_object_get(job, "steps")));
    if (!isnan(last.test_top1))
        printf(", test top-1 %s%.2f %%%s", cli_bold(stdout), 100 * last.test_top1,
               cli_plain(stdout));
    if (!isnan(last.seconds))
        printf(", in %s", cli_duration(last.seconds, time));
    puts("");
    return strcmp(state, "succeeded") == 0 ? CLI_OK : CLI_FAILED;
}

int cli_job_follow(const struct cli_link *link, const char *id) {
    struct stream stream = {0};
    struct ghn_err err = GHN_ERR_INIT;
    const char *next = NULL;
    json_t *job = NULL;
    cli_progress_init(&stream.progress);
    catch_signals();
    enum ghn_status status = wait_for(link, id, &stream, &job, &next, &err);
    cli_progress_end(&stream.progress);
    free(stream.line);
    int code = status == GHN_OK ? tell(id, job) : cli_fail(&err, next);
    json_decref(job);
    return code;
}
