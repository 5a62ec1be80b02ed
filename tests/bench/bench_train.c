/* Times training steps of networks: compiling, the first step, and steps after that.
 *
 *   bench_train [--precision f32|bf16|auto] [--batch N] [--seconds S] [--profile TOP]
 * REQUEST.json...
 *
 * A REQUEST is a request of any form but `graph`, or a bare arch. A step is what fine-tuning does
 * but for loading images: forward, cross-entropy, backward, SGD with momentum. For each network a
 * line of JSON: compile and first step in ms, the median step in ms, images per second by that,
 * ms of processor time a step over all threads (which other work disturbs least), MiB that the run
 * holds, and the most the process has held so far (so for memory give one network at a time).
 * --profile adds to each the TOP operations by time, those of one kind and size taken together: ms
 * of a step forward and backward, and for convolutions and linear layers GFLOP/s. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "arch/op.h"
#include "base/mem.h"
#include "graph/form.h"
#include "nn/loss.h"
#include "nn/params.h"
#include "nn/profile.h"
#include "nn/run.h"

enum { MAX_STEPS = 2000 };

struct bench {
    struct ghn_run_options options;
    double seconds;
    int profile; /* lines; 0: none */
    struct ghn_arch *arch;
    struct ghn_params *params;
    struct ghn_run *run;
    int64_t n_in, n_out;
    float *images, *output, *doutput, *gradient, *velocity;
    int32_t *labels;
};

static double now_ms(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static enum ghn_status read_arch(const char *path, struct ghn_arch **ret, struct ghn_err *err) {
    const struct ghn_request_options options = {.allow_bare = true};
    struct ghn_graph *graph = NULL;
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        return ghn_fail(err, GHN_JSON, path, "%s", error.text);
    enum ghn_status status = ghn_graph_from_request(root, &options, &graph, ret, err);
    ghn_graph_free(graph);
    json_decref(root);
    if (status == GHN_OK && !*ret)
        status = ghn_fail(err, GHN_MISSING_FIELD, path, "it holds no arch or genotype");
    return status;
}

/* Images of noise and labels in turn: time depends on neither. */
static enum ghn_status make_data(struct bench *b, struct ghn_err *err) {
    size_t in = (size_t)(b->options.batch * b->n_in), out = (size_t)(b->options.batch * b->n_out);
    b->images = ghn_malloc(in * sizeof(float));
    b->output = ghn_malloc(out * sizeof(float));
    b->doutput = ghn_malloc(out * sizeof(float));
    b->gradient = ghn_calloc((size_t)b->params->n, sizeof(float));
    b->velocity = ghn_calloc((size_t)b->params->n, sizeof(float));
    b->labels = ghn_calloc((size_t)b->options.batch, sizeof *b->labels);
    if (!b->images || !b->output || !b->doutput || !b->gradient || !b->velocity || !b->labels)
        return ghn_fail_memory(err);
    uint32_t state = 1;
    for (size_t i = 0; i < in; i++) {
        state = state * 1664525u + 1013904223u;
        b->images[i] = (float)(state >> 8) / (float)(1 << 23) - 1.0f;
    }
    for (int i = 0; i < b->options.batch; i++)
        b->labels[i] = (int32_t)(i % b->n_out);
    return GHN_OK;
}

static enum ghn_status step(struct bench *b, int64_t number, struct ghn_err *err) {
    enum ghn_status status =
        ghn_run_forward(b->run, b->params, b->images, 0, (uint64_t)number, b->output, err);
    if (status != GHN_OK)
        return status;
    (void)ghn_cross_entropy(b->output, b->labels, b->options.batch, (int)b->n_out, 0, b->doutput);
    status = ghn_run_backward(b->run, b->params, b->doutput, b->gradient, err);
    float *values = b->params->values;
    for (int64_t i = 0; status == GHN_OK && i < b->params->n; i++) {
        b->velocity[i] = 0.9f * b->velocity[i] + b->gradient[i];
        values[i] -= 1e-3f * b->velocity[i];
    }
    return status;
}

/* --- The profile --- */

/* Steps of one kind and size. */
struct kind {
    char name[96];
    int steps;
    double forward, backward, gflop; /* of the forward pass */
};

static void name_kind(const struct ghn__site *site, char *ret, size_t size) {
    const struct ghn_arch_node *node = site->node;
    int n = snprintf(ret, size, "%s", node->op->name);
    for (int i = 1; n > 0 && (size_t)n < size && i < site->in[0].ndim; i++)
        n += snprintf(ret + n, size - (size_t)n, "%c%d", i == 1 ? ' ' : 'x',
                      (int)site->in[0].dims[i]);
    if (strcmp(node->op->name, "conv2d") == 0 && n > 0 && (size_t)n < size)
        (void)snprintf(ret + n, size - (size_t)n, " -> %d k%dx%d s%d d%d g%d",
                       (int)node->attrs.conv2d.out_channels, (int)node->attrs.conv2d.kernel[0],
                       (int)node->attrs.conv2d.kernel[1], (int)node->attrs.conv2d.stride[0],
                       (int)node->attrs.conv2d.dilation[0], (int)node->attrs.conv2d.groups);
}

static int by_time(const void *a, const void *b) {
    const struct kind *x = a, *y = b;
    double s = x->forward + x->backward, t = y->forward + y->backward;
    return (s < t) - (s > t);
}

/* Adds up the steps by kind; the kinds into a new array, freed by the caller. */
static struct kind *kinds_of(const struct bench *b, int *ret_n) {
    int steps = ghn__run_time(b->run, 0, NULL), n = 0;
    struct kind *kinds = calloc((size_t)steps + 1, sizeof *kinds);
    for (int s = 0; kinds && s < steps; s++) {
        struct ghn__step_time time;
        struct kind *kind = kinds;
        (void)ghn__run_time(b->run, s, &time);
        if (!time.site->node->op)
            continue;
        name_kind(time.site, kinds[n].name, sizeof kinds[n].name);
        while (strcmp(kind->name, kinds[n].name) != 0)
            kind++;
        n += kind == kinds + n;
        kind->steps++;
        kind->forward += time.forward;
        kind->backward += time.backward;
        kind->gflop += 2e-9 * (double)time.site->node->flops * b->options.batch;
    }
    *ret_n = n;
    return kinds;
}

static void print_profile(const struct bench *b, int64_t passes) {
    int n = 0;
    struct kind *kinds = kinds_of(b, &n);
    if (!kinds)
        return;
    qsort(kinds, (size_t)n, sizeof *kinds, by_time);
    for (int i = 0; i < n && i < b->profile; i++) {
        const struct kind *k = &kinds[i];
        double forward = k->forward / (double)passes, backward = k->backward / (double)passes;
        (void)printf("  %3d x %-56s %8.2f %8.2f ms", k->steps, k->name, forward * 1e3,
                     backward * 1e3);
        if (strncmp(k->name, "conv2d", 6) == 0 || strncmp(k->name, "linear", 6) == 0)
            (void)printf(" %7.1f %7.1f GFLOP/s", k->gflop / forward, 2 * k->gflop / backward);
        (void)printf("\n");
    }
    free(kinds);
}

/* --- Timing --- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Steps for so many seconds, at least three; the median into *ret_ms. */
static enum ghn_status time_steps(struct bench *b, double *ret_ms, double *ret_cpu_ms, int *ret_n,
                                  struct ghn_err *err) {
    static double times[MAX_STEPS];
    int n = 0;
    double begin = now_ms(CLOCK_MONOTONIC), cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID);
    enum ghn_status status = b->profile > 0 ? ghn__run_profile(b->run, err) : GHN_OK;
    while (status == GHN_OK && n < MAX_STEPS &&
           (n < 3 || now_ms(CLOCK_MONOTONIC) - begin < b->seconds * 1e3)) {
        double start = now_ms(CLOCK_MONOTONIC);
        status = step(b, n + 1, err);
        times[n++] = now_ms(CLOCK_MONOTONIC) - start;
    }
    qsort(times, (size_t)n, sizeof *times, by_size);
    *ret_ms = times[n / 2];
    *ret_cpu_ms = (now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu) / n;
    *ret_n = n;
    return status;
}

static enum ghn_status bench(struct bench *b, const char *path, struct ghn_err *err) {
    double compile = 0, first = 0, median = 0, cpu = 0;
    int steps = 0;
    enum ghn_status status = read_arch(path, &b->arch, err);
    if (status == GHN_OK)
        status = ghn_params_new(b->arch, &b->params, err);
    if (status == GHN_OK && (!ghn_shape_numel(&b->arch->nodes[0].shape, &b->n_in) ||
                             !ghn_shape_numel(&b->arch->nodes[b->arch->output].shape, &b->n_out)))
        status = ghn_fail(err, GHN_TOO_LARGE, path, "the network is too large");
    if (status == GHN_OK)
        status = make_data(b, err);
    if (status == GHN_OK) {
        ghn_params_initialise(b->params, 0);
        double start = now_ms(CLOCK_MONOTONIC);
        status = ghn_run_new(b->arch, &b->options, &b->run, err);
        compile = now_ms(CLOCK_MONOTONIC) - start;
    }
    if (status == GHN_OK) {
        double start = now_ms(CLOCK_MONOTONIC);
        status = step(b, 0, err);
        first = now_ms(CLOCK_MONOTONIC) - start;
    }
    if (status == GHN_OK)
        status = time_steps(b, &median, &cpu, &steps, err);
    if (status != GHN_OK)
        return status;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf(
        "{\"network\": \"%s\", \"precision\": \"%s\", \"batch\": %d, \"compile_ms\": %.1f, "
        "\"first_ms\": %.1f, \"step_ms\": %.2f, \"cpu_ms\": %.2f, \"images_per_second\": %.1f, "
        "\"run_mib\": %.1f, \"peak_mib\": %.1f}\n",
        path, ghn_precision_name(ghn_run_precision(b->run)), b->options.batch, compile, first,
        median, cpu, b->options.batch / median * 1e3, (double)ghn_run_bytes(b->run) / 1048576.0,
        (double)usage.ru_maxrss / 1024.0);
    print_profile(b, steps);
    (void)fflush(stdout);
    return GHN_OK;
}

static void done(struct bench *b) {
    ghn_run_free(b->run);
    ghn_free(b->images);
    ghn_free(b->output);
    ghn_free(b->doutput);
    ghn_free(b->gradient);
    ghn_free(b->velocity);
    ghn_free(b->labels);
    ghn_params_free(b->params);
    ghn_arch_free(b->arch);
}

int main(int argc, char **argv) {
    struct ghn_run_options options = {.batch = 64, .mode = GHN_MODE_TRAIN};
    double seconds = 3;
    int profile = 0, i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--batch") == 0)
            options.batch = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--profile") == 0)
            profile = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--precision") != 0 ||
                 !ghn_precision_parse(argv[i + 1], &options.precision))
            break;
    }
    if (i >= argc || strncmp(argv[i], "--", 2) == 0 || options.batch < 1) {
        (void)fprintf(stderr, "usage: see %s\n", __FILE__);
        return 2;
    }
    for (; i < argc; i++) {
        struct ghn_err err = GHN_ERR_INIT;
        struct bench b = {.options = options, .seconds = seconds, .profile = profile};
        enum ghn_status status = bench(&b, argv[i], &err);
        done(&b);
        if (status != GHN_OK) {
            (void)fprintf(stderr, "%s: %s: %s: %s\n", argv[i], ghn_status_code(status), err.where,
                          err.message);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
