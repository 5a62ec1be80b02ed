/* ghn-worker: trains one job, in a process of its own, so that nothing it does can harm the daemon.
 *
 * ghn-worker --job DIR --data FOLDER [--save-seconds S] [--max-seconds S]. DIR holds request.json
 * and, unless the parameters are to be random, initial.safetensors (a prediction's blocks, or a
 * state_dict). It prints one JSON object a line: {"event": "progress", ...}, and at the end "done",
 * "stopped" or "failed" with code, where and detail. SIGTERM makes it save and stop. Standard input
 * is a pipe from the daemon: when that ends, the daemon is gone and so is the worker, at once; what
 * it had saved is where the next one goes on. A lock on DIR/lock keeps two workers from one folder:
 * one that does not get it ends without a word on standard output, as if it had died, and is
 * started again.
 *
 * Threads: the main thread trains and prints; another one waits for the end of standard input.
 *
 * Priority: nice 10, all processors, and threads that sleep at barriers (OMP_WAIT_POLICY=PASSIVE,
 * which the daemon sets). Measured with tests/bench/bench_polite, five rounds each, on two
 * processors that had other work too (a load of 5 to 7), from which the benchmark was shielded only
 * in part: idle p99 was 8 to 12 ms at a median of 4 ms, so that a quiet machine may show larger
 * ratios. p99 of ResNet-18 predictions while a job trained, in ms; the median of its ratio to that
 * without, and its range; ms from a cancellation to the worker's end, at most; the job's steps a
 * second alone and beside predictions:
 *
 *     nice 10           11.1   1.2 (0.9 to 1.5)   183   5.0   4.7
 *     SCHED_IDLE         9.6   0.9 (0.3 to 1.0)   455   2.7   2.6
 *     nice 0            24.8   1.7 (0.9 to 2.7)   258   5.3   5.0
 *     nice 0            17.1   2.0 (1.4 to 2.4)   217   4.7   4.1
 *     nice 0, 1 thread  14.3   1.2 (0.7 to 1.6)   335   3.3   4.0
 *
 * SCHED_IDLE is a little kinder to predictions, but halves the speed of training where anything
 * else runs, and at a load of 23 a cancelled worker did not end before it was killed. Where nice is
 * refused, as under the systemd unit, the margin to a ratio of three is small. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "data/dataset.h"
#include "ghn/blocks.h"
#include "graph/form.h"
#include "train/finetune.h"

enum { EXIT_STOPPED = 10, LOCK_SECONDS = 30 };

static atomic_bool stop;

static void on_terminate(int signal) {
    (void)signal;
    atomic_store(&stop, true);
}

static void *watch_parent(void *context) {
    char buf[64];
    (void)context;
    while (read(STDIN_FILENO, buf, sizeof(buf)) > 0 || errno == EINTR)
        errno = 0;
    _exit(EXIT_FAILURE);
}

/* --- What it prints --- */

static void print_line(json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!text)
        return;
    printf("%s\n", text);
    (void)fflush(stdout);
    free(text);
}

static int print_failure(const char *code, const struct ghn_err *err) {
    print_line(json_pack("{s:s, s:s, s:s, s:s}", "event", "failed", "code",
                         code ? code : ghn_status_code(err->status), "where", err->where, "detail",
                         err->message));
    return EXIT_FAILURE;
}

/* The history that clients are shown: a line for each point, with the gaps growing as the job does,
 * so that the file does not grow without bound: evaluations are all kept at first, then like other
 * points. The first and the last step always are, and what clients were told last before the worker
 * ends: another worker goes on from there, and what they have seen is not to be gone meanwhile. */
enum { ALL_EVALUATIONS = 512 << 10 /* bytes of file */ };

struct history {
    FILE *file;
    double next, next_evaluated; /* second of the next point that is kept */
    char *told;                  /* the line of a point that was told and not kept; NULL: none */
};

static bool is_kept(struct history *history, const struct ghn_progress *progress) {
    bool evaluated = progress->test_top1 == progress->test_top1;
    if (progress->step == 0 || progress->step == progress->steps)
        return true;
    if (evaluated && ftell(history->file) < ALL_EVALUATIONS)
        return true;
    return progress->seconds >= (evaluated ? history->next_evaluated : history->next);
}

static void open_history(struct history *history, const char *path) {
    char last = '\n';
    history->file = fopen(path, "a+e");
    if (!history->file)
        return;
    if (fseek(history->file, -1, SEEK_END) == 0 && fread(&last, 1, 1, history->file) == 1 &&
        last != '\n') { /* a line that the disk had no room for */
        (void)fseek(history->file, 0, SEEK_END);
        (void)fputc('\n', history->file);
    }
    (void)fseek(history->file, 0, SEEK_END);
}

static void keep_line(struct history *history, const char *line) {
    (void)fprintf(history->file, "%s\n", line);
    (void)fflush(history->file);
}

static void close_history(struct history *history) {
    if (!history->file)
        return;
    if (history->told)
        keep_line(history, history->told);
    free(history->told);
    (void)fclose(history->file);
}

static void report(void *context, const struct ghn_progress *progress) {
    struct history *history = context;
    json_t *object = ghn_progress_to_json(progress);
    if (!object)
        return;
    free(history->told);
    history->told = history->file ? json_dumps(object, JSON_COMPACT) : NULL;
    if (history->told && is_kept(history, progress)) {
        keep_line(history, history->told);
        free(history->told);
        history->told = NULL;
        history->next = history->next_evaluated = progress->seconds * 1.004 + 1;
    }
    (void)json_object_set_new(object, "event", json_string("progress"));
    print_line(object);
}

/* --- The job --- */

struct job {
    const char *dir, *data;
    double save_seconds, max_seconds;
    int lock;
    const char *code; /* of a failure, where the library's own would mislead; or NULL */
    json_t *request;
    struct ghn_arch *arch;
    struct ghn_recipe recipe;
    struct ghn_dataset *dataset;
    struct ghn_params *params;
    struct history history;
};

static void path_of(const struct job *job, const char *name, char *path, size_t n) {
    (void)snprintf(path, n, "%s/%s", job->dir, name);
}

static enum ghn_status open_lock(struct job *job, struct ghn_err *err) {
    char path[4096];
    path_of(job, "lock", path, sizeof(path));
    job->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (job->lock >= 0)
        return GHN_OK;
    job->code = errno == ENOENT ? "damaged_job" : NULL;
    return ghn_fail(err, GHN_IO, path, "cannot be opened: %s", strerror(errno));
}

/* Waits for a worker that is about to end. */
static bool take_lock(const struct job *job) {
    for (int i = 0; i < LOCK_SECONDS * 10 && !atomic_load(&stop); i++) {
        if (flock(job->lock, LOCK_EX | LOCK_NB) == 0)
            return true;
        usleep(100000);
    }
    return false;
}

/* Removes what a worker left that was killed while it wrote. */
static void remove_leftovers(const struct job *job) {
    char path[4096];
    path_of(job, "initial-full.safetensors", path, sizeof(path));
    (void)unlink(path);
    ghn_atomic_file_sweep(job->dir);
}

static enum ghn_status read_request(struct job *job, struct ghn_err *err) {
    char path[4096];
    json_error_t why;
    path_of(job, "request.json", path, sizeof(path));
    job->request = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!job->request)
        return ghn_fail(err, GHN_INVALID_FILE, path, "line %d: %s", why.line, why.text);
    struct ghn_graph *graph = NULL;
    /* The daemon has held the network to its limits, which may be higher than the usual ones. */
    const struct ghn_limits limits = {.max_nodes = INT_MAX / 4,
                                      .max_graph_nodes = 1 << 16,
                                      .max_edges = INT_MAX / 4,
                                      .max_params = INT64_C(1) << 40,
                                      .max_flops = INT64_MAX / 4,
                                      .max_activation = INT64_C(1) << 40};
    const struct ghn_request_options options = {.limits = &limits};
    enum ghn_status status = ghn_graph_from_request(json_object_get(job->request, "network"),
                                                    &options, &graph, &job->arch, err);
    ghn_graph_free(graph);
    if (status == GHN_OK && !job->arch)
        status = ghn_fail(err, GHN_INVALID_FILE, path, "holds a graph, which cannot be trained");
    if (status == GHN_OK)
        status = ghn_recipe_from_json(json_object_get(job->request, "recipe"), "recipe",
                                      &job->recipe, err);
    return status;
}

/* Tiles the blocks of a prediction in full, by way of a file beside them. */
static enum ghn_status expand(struct job *job, struct ghn_tensors **tensors, struct ghn_err *err) {
    char full[4096];
    path_of(job, "initial-full.safetensors", full, sizeof(full));
    enum ghn_status status = ghn_blocks_write_full(*tensors, full, err);
    ghn_tensors_free(*tensors);
    *tensors = NULL;
    if (status == GHN_IO)
        job->code = NULL; /* the disk's fault, not the job's */
    if (status == GHN_OK)
        status = ghn_tensors_read(full, tensors, err);
    (void)unlink(full);
    return status;
}

/* The initial parameters. A prediction leaves out the class layers where the data set's classes are
 * not as many as the hypernetwork's: those are initialised. What was uploaded is complete, and
 * never taken for blocks, whatever it says of itself. */
static enum ghn_status read_initial(struct job *job, struct ghn_err *err) {
    bool predicted = job->recipe.start == GHN_START_GHN;
    char path[4096];
    path_of(job, "initial.safetensors", path, sizeof(path));
    ghn_params_initialise(job->params, job->recipe.seed);
    if (job->recipe.start == GHN_START_RANDOM)
        return GHN_OK;
    struct ghn_tensors *tensors = NULL;
    enum ghn_status status = ghn_tensors_read(path, &tensors, err);
    if (status == GHN_OK && predicted && ghn_blocks_is(tensors))
        status = expand(job, &tensors, err);
    if (status == GHN_OK)
        status = predicted ? ghn_params_load_present(job->params, tensors, err)
                           : ghn_params_load(job->params, tensors, err);
    ghn_tensors_free(tensors);
    return status;
}

static enum ghn_status prepare(struct job *job, struct ghn_err *err) {
    char path[4096];
    job->code = "damaged_job";
    enum ghn_status status = read_request(job, err);
    if (status == GHN_OK) {
        status = ghn_dataset_open(job->data, &job->dataset, err);
        job->code = status == GHN_IO || status == GHN_UNSUPPORTED_FILE ? "unknown_dataset" : NULL;
    }
    if (status == GHN_OK) {
        job->code = NULL;
        status = ghn_params_new(job->arch, &job->params, err);
    }
    if (status == GHN_OK) {
        job->code = "damaged_job";
        status = read_initial(job, err);
    }
    if (status == GHN_NO_MEMORY || status == GHN_OK)
        job->code = NULL;
    path_of(job, "history.jsonl", path, sizeof(path));
    open_history(&job->history, path);
    return status;
}

static void clean_up(struct job *job) {
    close_history(&job->history);
    ghn_params_free(job->params);
    ghn_dataset_free(job->dataset);
    ghn_arch_free(job->arch);
    json_decref(job->request);
}

static bool is_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Puts `place` where a path in folder stands, and the rest of the path before the message: clients
 * are not told where the daemon keeps what. */
static bool hide_path(struct ghn_err *err, const char *folder, const char *place) {
    size_t n = strlen(folder);
    if (folder[0] != '/' || !is_below(err->where, folder))
        return false;
    struct ghn_err shown = GHN_ERR_INIT;
    const char *rest = err->where[n] ? err->where + n + 1 : "";
    ghn_record(&shown, err->status, place, "%s%s%s", rest, *rest ? ": " : "", err->message);
    *err = shown;
    return true;
}

static int fail(const struct job *job, struct ghn_err *err) {
    if (!hide_path(err, job->dir, "state-dir"))
        (void)hide_path(err, job->data, "dataset");
    return print_failure(job->code, err);
}

static int run(struct job *job) {
    struct ghn_err err = GHN_ERR_INIT;
    const struct ghn_finetune_options options = {.dir = job->dir,
                                                 .save_seconds = job->save_seconds,
                                                 .max_seconds = job->max_seconds,
                                                 .stop = &stop,
                                                 .report = report,
                                                 .context = &job->history};
    enum ghn_status status = open_lock(job, &err);
    if (status != GHN_OK)
        return fail(job, &err);
    if (!take_lock(job)) {
        (void)fprintf(stderr, "ghn-worker: another worker holds %s\n", job->dir);
        return EXIT_FAILURE;
    }
    remove_leftovers(job);
    status = prepare(job, &err);
    if (status == GHN_OK)
        status = ghn_finetune(job->arch, job->dataset, &job->recipe, &options, job->params, &err);
    if (status == GHN_INVALID_FILE && is_below(err.where, job->dir))
        job->code = "damaged_job"; /* its state */
    clean_up(job);
    if (status == GHN_STOPPED) {
        print_line(json_pack("{s:s}", "event", "stopped"));
        return EXIT_STOPPED;
    }
    err.status = status;
    if (status != GHN_OK)
        return fail(job, &err);
    print_line(json_pack("{s:s}", "event", "done"));
    return EXIT_SUCCESS;
}

/* Where memory runs out, the kernel is to end this process and not the daemon. */
static void volunteer(void) {
    FILE *file = fopen("/proc/self/oom_score_adj", "we");
    if (!file)
        return;
    (void)fputs("1000", file);
    (void)fclose(file);
}

int main(int argc, char **argv) {
    struct job job = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--job") == 0)
            job.dir = argv[i + 1];
        else if (strcmp(argv[i], "--data") == 0)
            job.data = argv[i + 1];
        else if (strcmp(argv[i], "--save-seconds") == 0)
            job.save_seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--max-seconds") == 0)
            job.max_seconds = strtod(argv[i + 1], NULL);
    }
    if (!job.dir || !job.data) {
        (void)fprintf(stderr, "usage: ghn-worker --job DIR --data FOLDER [--save-seconds S] "
                              "[--max-seconds S]\n"
                              "Trains one job of ghnd, which starts it; see ghnd --help.\n");
        return 2;
    }
    const struct sigaction action = {.sa_handler = on_terminate};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of writing like a full disk */
    errno = 0;
    (void)nice(10); /* predictions come first; where it is not allowed, training goes on without */
    volunteer();
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch_parent, NULL) != 0)
        return EXIT_FAILURE;
    return run(&job);
}
