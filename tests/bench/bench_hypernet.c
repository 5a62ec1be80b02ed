/* Times the training passes of a hypernetwork: bench_hypernet [THREADS [NETWORKS [META-BATCHES]]]
 *
 * Draws meta-batches of DeepNets-1M's training networks and goes through each forward, reading
 * every tensor, giving every tensor a gradient, and backward, with the default GHN-2. Prints the
 * mean time of every part in ms per meta-batch: by the clock on the wall, and of processors, which
 * other programs on the machine disturb less. The first meta-batch, which makes the tape grow, does
 * not count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "deepnets/sample.h"
#include "ghn/tape_impl.h"

enum part {
    PLAN,
    EMBED,
    VECTORS,
    DECODE,
    CLASSES,
    READ,
    FOLD,
    BACK_CLASSES,
    BACK_DECODE,
    BACK_VECTORS,
    BACK_EMBED,
    FORWARD,
    BACKWARD,
    N_PARTS
};

static const char *const names[N_PARTS] = {
    [PLAN] = "plan",
    [EMBED] = "embeddings",
    [VECTORS] = "vectors",
    [DECODE] = "decoder",
    [CLASSES] = "classifiers",
    [READ] = "reading all tensors",
    [FOLD] = "folding all gradients",
    [BACK_CLASSES] = "back: classifiers",
    [BACK_DECODE] = "back: decoder",
    [BACK_VECTORS] = "back: vectors",
    [BACK_EMBED] = "back: embeddings",
    [FORWARD] = "ghn_hypernet_forward in all",
    [BACKWARD] = "ghn_hypernet_backward in all",
};

struct bench {
    struct ghn_hypernet *h;
    struct ghn_tape *tape;
    struct ghn_pool *pool;
    const struct ghn_graph **graphs;
    int m;
    float **tensors; /* by network: room for its tensors one after another */
    double wall[N_PARTS], cpu[N_PARTS];
};

static void check(enum ghn_status status, const struct ghn_err *err) {
    if (status == GHN_OK)
        return;
    fprintf(stderr, "bench_hypernet: %s: %s\n", err->where, err->message);
    exit(1);
}

static double read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void embed_task(void *context, int i) {
    struct bench *b = context;
    ghn__tape_embed(b->h, b->tape, b->tape->by_size[i]);
}

static void embed_back_task(void *context, int i) {
    struct bench *b = context;
    ghn__tape_embed_back(b->h, b->tape, b->tape->by_size[i]);
}

/* Reads every tensor of network i, or gives it its own values as gradient. */
static void each_slot(struct bench *b, int i, bool fold) {
    float *at = b->tensors[i];
    for (int k = 0; k < b->graphs[i]->n_slots; k++) {
        if (!ghn_tape_predicts(b->tape, i, k))
            continue;
        if (fold)
            ghn_tape_fold(b->tape, i, k, at);
        else
            ghn_tape_read(b->tape, i, k, at);
        at += b->graphs[i]->slots[k].numel;
    }
}

static void run(struct bench *b, enum part part) {
    struct ghn_err err = GHN_ERR_INIT;
    switch (part) {
    case PLAN:
        check(ghn__tape_plan(b->tape, b->h, b->graphs, b->m, &err), &err);
        break;
    case EMBED:
        ghn_pool_run(b->pool, b->m, embed_task, b);
        break;
    case VECTORS:
        ghn__tape_vectors(b->h, b->tape, b->pool);
        break;
    case DECODE:
        ghn__tape_conv(b->h, b->tape, b->pool);
        break;
    case CLASSES:
        ghn__tape_classes(b->h, b->tape);
        break;
    case READ:
    case FOLD:
        for (int i = 0; i < b->m; i++)
            each_slot(b, i, part == FOLD);
        break;
    case BACK_CLASSES:
        check(ghn__tape_lay_out_back(b->tape, b->h, &err), &err);
        memset(b->tape->d_embeddings, 0, b->tape->n_nodes * 32 * sizeof(float));
        ghn__tape_classes_back(b->h, b->tape);
        break;
    case BACK_DECODE:
        ghn__tape_conv_back(b->h, b->tape, b->pool);
        break;
    case BACK_VECTORS:
        ghn__tape_vectors_back(b->h, b->tape, b->pool);
        break;
    case BACK_EMBED:
        ghn_pool_run(b->pool, b->m, embed_back_task, b);
        break;
    case FORWARD:
        check(ghn_hypernet_forward(b->h, b->graphs, b->m, b->pool, b->tape, &err), &err);
        break;
    case BACKWARD:
        check(ghn_hypernet_backward(b->h, b->tape, b->pool, &err), &err);
        break;
    case N_PARTS:
        break;
    }
}

/* One network of the training split; its tensors get room in *ret_tensors. */
static struct ghn_graph *draw(int64_t index, float **ret_tensors) {
    struct ghn_net net;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_arch *arch = NULL;
    struct ghn_graph *graph = NULL;
    struct ghn_rng rng = {.seed = 1, .stream = (uint64_t)index};
    check(ghn_sample_net(GHN_DEEPNETS_TRAIN, 1, index, &net, &err), &err);
    ghn_draw_width(&net, &rng);
    check(ghn_net_to_arch(&net, &ghn_limits_default, &arch, &err), &err);
    check(ghn_graph_from_arch(arch, &ghn_limits_default, &graph, &err), &err);
    ghn_arch_free(arch);
    int64_t n = 1;
    for (int k = 0; k < graph->n_slots; k++)
        n += graph->slots[k].numel;
    *ret_tensors = malloc((size_t)n * sizeof(float));
    if (!*ret_tensors)
        exit(1);
    memset(*ret_tensors, 1, (size_t)n * sizeof(float)); /* no page faults while time is taken */
    return graph;
}

static void meta_batch(struct bench *b, int number, bool counts) {
    for (int i = 0; i < b->m; i++)
        b->graphs[i] = draw((int64_t)number * b->m + i, &b->tensors[i]);
    static const enum part order[] = {PLAN,       EMBED,   VECTORS,      DECODE,      CLASSES,
                                      READ,       FOLD,    BACK_CLASSES, BACK_DECODE, BACK_VECTORS,
                                      BACK_EMBED, FORWARD, BACKWARD};
    for (size_t p = 0; p < sizeof(order) / sizeof(order[0]); p++) {
        double wall = read_clock(CLOCK_MONOTONIC), cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        run(b, order[p]);
        b->cpu[order[p]] += counts ? read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu : 0.0;
        b->wall[order[p]] += counts ? read_clock(CLOCK_MONOTONIC) - wall : 0.0;
    }
    double values = 0.0;
    for (int g = 0; g < b->tape->n_groups; g++)
        values += (double)(b->tape->groups[g].n_lanes * b->tape->groups[g].n);
    printf("meta-batch %d: %zu nodes, %d weights of %zu lanes in %d groups and %d runs, %.1f M "
           "values, tape %.0f + %.0f MB\n",
           number, b->tape->n_nodes, b->tape->n_weights, b->tape->n_lanes, b->tape->n_groups,
           b->tape->n_runs, 1e-6 * values, 1e-6 * (double)b->tape->memory.size,
           1e-6 * (double)b->tape->back_memory.size);
    for (int i = 0; i < b->m; i++) {
        ghn_graph_free((struct ghn_graph *)b->graphs[i]);
        free(b->tensors[i]);
    }
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2, n = argc > 3 ? atoi(argv[3]) : 5;
    struct bench b = {.m = argc > 2 ? atoi(argv[2]) : 8};
    struct ghn_err err = GHN_ERR_INIT;
    if (threads < 1 || b.m < 1 || n < 1) {
        fprintf(stderr, "usage: bench_hypernet [THREADS [NETWORKS [META-BATCHES]]]\n");
        return 2;
    }
    b.graphs = calloc((size_t)b.m, sizeof(*b.graphs));
    b.tensors = calloc((size_t)b.m, sizeof(*b.tensors));
    if (!b.graphs || !b.tensors)
        return 1;
    check(ghn_pool_new(threads, &b.pool, &err), &err);
    check(ghn_hypernet_new(&ghn_config_default, 1, &b.h, &err), &err);
    check(ghn_tape_new(&b.tape, &err), &err);
    for (int k = 0; k <= n; k++)
        meta_batch(&b, k, k > 0);
    printf("%-30s %10s %10s   (ms per meta-batch of %d, %d threads)\n", "", "wall", "cpu", b.m,
           threads);
    for (int p = 0; p < N_PARTS; p++)
        printf("%-30s %10.2f %10.2f\n", names[p], b.wall[p] / n, b.cpu[p] / n);
    ghn_tape_free(b.tape);
    ghn_hypernet_free(b.h);
    ghn_pool_free(b.pool);
    free(b.graphs);
    free(b.tensors);
    return 0;
}
