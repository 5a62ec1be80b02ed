/* Times predictions: bench_predict CHECKPOINT GRAPH...
 *
 * GRAPH is a file with the graph form, {"nodes": ..., "edges": ...}. For each, prints the best of
 * many runs: the virtual edges, the node embeddings, and the whole way from graph to blocks with
 * one and with two threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "ghn/embed.h"
#include "ghn/encode.h"
#include "ghn/predict.h"
#include "graph/distances.h"

enum { RUNS_MIN = 10 };
static const double seconds_min = 0.5; /* of runs for one figure */

static double read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct bench {
    struct ghn_model *model;
    struct ghn_graph *graph;
    struct ghn_pool *pool;
    uint8_t *dist, *dist_in;
    float *embeddings;
    struct ghn_prediction *prediction; /* for the encoder */
    char *buffer;
};

enum { BUFFER = 1 << 18 };

static void die(const struct ghn_err *err) {
    fprintf(stderr, "bench_predict: %s: %s\n", err->where, err->message);
    exit(1);
}

static void run_distances(struct bench *b) {
    ghn__distances(b->graph->nodes, b->graph->n_nodes, GHN_CUTOFF, b->dist, b->dist_in);
}

static void run_embed(struct bench *b) {
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn__embed(b->model, b->graph, b->embeddings, &err) != GHN_OK)
        die(&err);
}

static void run_predict(struct bench *b) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_prediction *prediction;
    if (ghn_predict(b->model, b->graph, NULL, b->pool, &prediction, &err) != GHN_OK)
        die(&err);
    ghn_prediction_free(prediction);
}

static void run_encode(struct bench *b) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_encoder *encoder;
    if (ghn_encoder_new(b->prediction, GHN_FORM_SAFETENSORS, GHN_F32, NULL, &encoder, &err) !=
        GHN_OK)
        die(&err);
    uint64_t at = 0;
    size_t n;
    while ((n = ghn_encoder_read(encoder, at, b->buffer, BUFFER)) > 0)
        at += n;
    ghn_encoder_free(encoder);
}

/* The least times of a run, in milliseconds: by the clock on the wall, and of processors, which
 * other programs on the machine disturb less. */
struct times {
    double wall, cpu;
};

static struct times best(struct bench *b, void (*run)(struct bench *)) {
    struct times least = {1e9, 1e9};
    double start = read_clock(CLOCK_MONOTONIC);
    for (int i = 0; i < RUNS_MIN || read_clock(CLOCK_MONOTONIC) - start < seconds_min; i++) {
        double wall = read_clock(CLOCK_MONOTONIC), cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        run(b);
        cpu = 1e3 * (read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        wall = 1e3 * (read_clock(CLOCK_MONOTONIC) - wall);
        least.wall = wall < least.wall ? wall : least.wall;
        least.cpu = cpu < least.cpu ? cpu : least.cpu;
    }
    return least;
}

static struct ghn_graph *load(const char *path) {
    json_error_t error;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_graph *graph;
    json_t *json = json_load_file(path, 0, &error);
    if (!json) {
        fprintf(stderr, "bench_predict: %s: %s\n", path, error.text);
        exit(1);
    }
    if (ghn_graph_from_json(json, path, &ghn_limits_default, &graph, &err) != GHN_OK)
        die(&err);
    json_decref(json);
    return graph;
}

static void bench(struct ghn_model *model, struct ghn_pool *two, const char *path) {
    struct bench b = {.model = model, .graph = load(path)};
    struct ghn_err err = GHN_ERR_INIT;
    size_t n = (size_t)b.graph->n_nodes;
    int64_t n_params = 0;
    for (int i = 0; i < b.graph->n_slots; i++)
        n_params += b.graph->slots[i].numel;
    b.dist = malloc(n * n);
    b.dist_in = malloc(n * n);
    b.embeddings = malloc(n * (size_t)ghn_model_config(model)->hid * sizeof(float));
    b.buffer = malloc(BUFFER);
    if (!b.dist || !b.dist_in || !b.embeddings || !b.buffer ||
        ghn_predict(model, b.graph, NULL, NULL, &b.prediction, &err) != GHN_OK)
        die(&err);
    struct times edges = best(&b, run_distances), embed = best(&b, run_embed);
    struct times one = best(&b, run_predict), encode = best(&b, run_encode);
    b.pool = two;
    struct times both = best(&b, run_predict);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    printf("%-18.18s %5d %7lld %6.2f M %9.3f %8.3f %8.3f %8.3f %8.3f %8.3f %8.3f %6.1f\n", name,
           b.graph->n_nodes, (long long)b.graph->n_virtual_edges, 1e-6 * (double)n_params,
           edges.wall, embed.wall, one.wall, one.cpu, both.wall, both.cpu, encode.wall,
           4e-6 * (double)n_params / encode.wall);
    ghn_prediction_free(b.prediction);
    ghn_graph_free(b.graph);
    free(b.dist);
    free(b.dist_in);
    free(b.embeddings);
    free(b.buffer);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: bench_predict CHECKPOINT GRAPH...\n");
        return 2;
    }
    struct ghn_model *model;
    struct ghn_pool *two;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_model_load(argv[1], &model, &err) != GHN_OK || ghn_pool_new(2, &two, &err) != GHN_OK)
        die(&err);
    printf("best times in ms                              virtual    node     predict, 1       "
           "predict, 2       encode\n"
           "                   nodes   edges   params     edges   embed.     wall      cpu     "
           "wall      cpu     wall   GB/s\n");
    for (int i = 2; i < argc; i++)
        bench(model, two, argv[i]);
    ghn_pool_free(two);
    ghn_model_unref(model);
    return 0;
}
