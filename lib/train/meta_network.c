/* Candidates on their images: forward, loss, backward, and the gradients onto the tape.
 *
 * Threads: every worker runs whole networks, alone, with an OpenMP team of one: networks side by
 * side need no barriers, of which a network's steps would have hundreds, and a thread that other
 * work keeps from running holds up nobody. A worker takes the next candidate by an atomic counter,
 * the largest first; its workspace and buffers are its own. A candidate is written to by the worker
 * that took it only, the tape at that candidate's place only. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "nn/loss.h"
#include "nn/parallel.h"
#include "train/meta_impl.h"
#include "train/optimizer.h"
#include "train/tape.h"

struct worker {
    struct ghn_workspace *workspace;
    enum ghn_status status;
    struct ghn_err err;
};

struct ghn__meta_workers {
    int n;
    struct ghn_pool *pool;
    struct worker *workers; /* (n) */
};

enum ghn_status ghn__meta_workers_new(int threads, struct ghn__meta_workers **ret,
                                      struct ghn_err *err) {
    struct ghn__meta_workers *workers = ghn_calloc(1, sizeof *workers);
    if (!workers)
        return ghn_fail_memory(err);
    enum ghn_status status = ghn_pool_new(threads, &workers->pool, err);
    workers->n = status == GHN_OK ? ghn_pool_size(workers->pool) : 0;
    workers->workers = ghn_calloc((size_t)workers->n + 1, sizeof *workers->workers);
    if (status == GHN_OK && !workers->workers)
        status = ghn_fail_memory(err);
    for (int i = 0; i < workers->n && status == GHN_OK; i++)
        status = ghn_workspace_new(&workers->workers[i].workspace, err);
    if (status != GHN_OK) {
        ghn__meta_workers_free(workers);
        return status;
    }
    *ret = workers;
    return GHN_OK;
}

void ghn__meta_workers_free(struct ghn__meta_workers *workers) {
    if (!workers)
        return;
    for (int i = 0; workers->workers && i < workers->n; i++)
        ghn_workspace_free(workers->workers[i].workspace);
    ghn_free(workers->workers);
    ghn_pool_free(workers->pool);
    ghn_free(workers);
}

struct ghn_pool *ghn__meta_workers_pool(const struct ghn__meta_workers *workers) {
    return workers->pool;
}

/* One call of ghn__meta_workers_run. */
struct step {
    struct ghn__meta_workers *workers;
    const struct ghn_meta_recipe *recipe;
    struct ghn__meta_batch *batch;
    struct ghn_tape *tape;
    const struct ghn_batch *images; /* of all candidates */
    int order[GHN__META_BATCH_MAX]; /* candidates, the largest first */
    atomic_int next;
};

/* What one candidate's passes work with. */
struct passes {
    struct ghn_params *params;
    struct ghn_run *run;
    float *logits, *dlogits, *gradient;
};

/* The images of candidate i. */
static struct ghn_batch images_of(const struct step *step, int i) {
    struct ghn_batch ret = *step->images;
    if (step->recipe->own_images) {
        int n = ret.n / step->batch->m;
        int64_t side = step->recipe->side;
        ret.images += (int64_t)i * n * side * side * 3;
        ret.labels += (int64_t)i * n;
        ret.n = n;
    }
    return ret;
}

static enum ghn_status prepare(const struct step *step, const struct worker *worker, int i,
                               struct passes *ret, struct ghn_err *err) {
    const struct ghn__candidate *candidate = &step->batch->candidates[i];
    int n_images = images_of(step, i).n;
    size_t logits = (size_t)n_images * (size_t)candidate->net.num_classes;
    const struct ghn_run_options options = {.batch = n_images,
                                            .mode = GHN_MODE_TRAIN,
                                            .precision = step->recipe->precision,
                                            .workspace = worker->workspace,
                                            .sharing = step->workers->n};
    enum ghn_status status = ghn_params_new(candidate->arch, &ret->params, err);
    if (status == GHN_OK)
        status = ghn_tape_write(step->tape, i, step->recipe->seed, ret->params, err);
    if (status == GHN_OK)
        status = ghn_run_new(candidate->arch, &options, &ret->run, err);
    if (status != GHN_OK)
        return status;
    ret->logits = ghn_malloc(logits * sizeof(float));
    ret->dlogits = ghn_malloc(logits * sizeof(float));
    ret->gradient = ghn_malloc((size_t)ret->params->n * sizeof(float));
    return ret->logits && ret->dlogits && ret->gradient ? GHN_OK : ghn_fail_memory(err);
}

/* A network in a hundred has a gradient a hundred times as large as the others; without this it
 * alone would say where the step goes. */
static void clip(float *gradient, int64_t n, double norm, double most) {
    if (most <= 0 || !isfinite(norm) || norm <= most)
        return;
    float scale = (float)(most / norm);
    for (int64_t i = 0; i < n; i++)
        gradient[i] *= scale;
}

static enum ghn_status run(const struct step *step, int i, struct passes *p, struct ghn_err *err) {
    struct ghn__candidate *candidate = &step->batch->candidates[i];
    const struct ghn_batch images = images_of(step, i);
    int classes = candidate->net.num_classes;
    enum ghn_status status = ghn_run_forward(p->run, p->params, images.images, step->recipe->seed,
                                             candidate->use, p->logits, err);
    if (status != GHN_OK)
        return status;
    candidate->loss = ghn_cross_entropy(p->logits, images.labels, images.n, classes,
                                        step->recipe->label_smoothing, p->dlogits);
    candidate->correct = ghn_count_correct(p->logits, images.labels, images.n, classes, 1);
    candidate->finite = isfinite(candidate->loss);
    if (!candidate->finite)
        return GHN_OK;
    for (int k = 0; k < images.n * classes; k++)
        p->dlogits[k] /= (float)step->batch->m;
    status = ghn_run_backward(p->run, p->params, p->dlogits, p->gradient, err);
    if (status != GHN_OK)
        return status;
    double norm = ghn__norm(p->gradient, p->params->n);
    candidate->finite = isfinite(norm);
    clip(p->gradient, p->params->n, norm, step->recipe->clip_network / step->batch->m);
    return candidate->finite ? ghn_tape_add_gradient(step->tape, i, p->params, p->gradient, err)
                             : GHN_OK;
}

static enum ghn_status train_candidate(const struct step *step, const struct worker *worker, int i,
                                       struct ghn_err *err) {
    struct passes passes = {0};
    enum ghn_status status = prepare(step, worker, i, &passes, err);
    if (status == GHN_OK)
        status = run(step, i, &passes, err);
    if (status == GHN_TOO_LARGE) { /* for the memory: another draw would be no smaller */
        step->batch->candidates[i].finite = false;
        status = GHN_OK;
    }
    ghn_free(passes.logits);
    ghn_free(passes.dlogits);
    ghn_free(passes.gradient);
    ghn_run_free(passes.run);
    ghn_params_free(passes.params);
    return status;
}

static void work(void *context, int number) {
    struct step *step = context;
    struct worker *worker = &step->workers->workers[number];
    int team = ghn__parallel_threads();
    ghn__parallel_set_threads(1);
    worker->status = GHN_OK;
    worker->err = (struct ghn_err)GHN_ERR_INIT;
    while (worker->status == GHN_OK) {
        int next = atomic_fetch_add(&step->next, 1);
        if (next >= step->batch->m)
            break;
        worker->status = train_candidate(step, worker, step->order[next], &worker->err);
    }
    ghn__parallel_set_threads(team);
}

/* Candidates by their multiply-adds, the largest first: the last to end is then a small one. */
static void sort(const struct ghn__meta_batch *batch, int order[]) {
    for (int i = 0; i < batch->m; i++) {
        int at = i;
        for (; at > 0 &&
               batch->candidates[order[at - 1]].arch->flops < batch->candidates[i].arch->flops;
             at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

enum ghn_status ghn__meta_workers_run(struct ghn__meta_workers *workers,
                                      const struct ghn_meta_recipe *recipe,
                                      struct ghn__meta_batch *batch, struct ghn_tape *tape,
                                      const struct ghn_batch *images, struct ghn_err *err) {
    struct step step = {
        .workers = workers, .recipe = recipe, .batch = batch, .tape = tape, .images = images};
    sort(batch, step.order);
    ghn_pool_run(workers->pool, workers->n, work, &step);
    for (int i = 0; i < workers->n; i++)
        if (workers->workers[i].status != GHN_OK) {
            if (err)
                *err = workers->workers[i].err;
            return workers->workers[i].status;
        }
    return GHN_OK;
}
