/* A step of meta-training on given networks and images: predict, run, go back, learn
 * (ghn2-spec D). */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/kernels.h"
#include "train/meta_impl.h"
#include "train/optimizer.h"

enum { MAX_FAILURES = 100 }; /* steps in a row without a finite network or gradient */

/* --- Life --- */

static enum ghn_status begin_average(struct ghn__meta_learner *learner, struct ghn_err *err) {
    size_t size = (size_t)learner->n * sizeof *learner->ema;
    learner->ema = ghn_malloc(size);
    if (!learner->ema)
        return ghn_fail_memory(err);
    memcpy(learner->ema, ghn_hypernet_values(learner->hypernet), size);
    return GHN_OK;
}

enum ghn_status ghn__meta_learner_init(struct ghn__meta_learner *learner,
                                       const struct ghn_config *config,
                                       const struct ghn_model *start,
                                       const struct ghn_meta_recipe *recipe, int threads,
                                       struct ghn_err *err) {
    *learner = (struct ghn__meta_learner){.recipe = recipe};
    enum ghn_status status = start
                                 ? ghn_hypernet_for_classes(start, config->num_classes,
                                                            recipe->seed, &learner->hypernet, err)
                                 : ghn_hypernet_new(config, recipe->seed, &learner->hypernet, err);
    if (status != GHN_OK)
        return status;
    learner->n = ghn_hypernet_n(learner->hypernet);
    learner->m = ghn_calloc((size_t)learner->n, sizeof *learner->m);
    learner->v = ghn_calloc((size_t)learner->n, sizeof *learner->v);
    status = learner->m && learner->v ? ghn_tape_new(&learner->tape, err) : ghn_fail_memory(err);
    if (status == GHN_OK && recipe->ema_decay > 0)
        status = begin_average(learner, err);
    if (status == GHN_OK && recipe->optimizer == GHN_META_MUON)
        status = ghn__muon_init(&learner->muon, learner->hypernet, err);
    return status == GHN_OK ? ghn__meta_workers_new(threads, &learner->workers, err) : status;
}

void ghn__meta_learner_done(struct ghn__meta_learner *learner) {
    ghn__meta_workers_free(learner->workers);
    ghn_tape_free(learner->tape);
    ghn_hypernet_free(learner->hypernet);
    ghn_free(learner->m);
    ghn_free(learner->v);
    ghn_free(learner->ema);
    ghn__muon_done(&learner->muon);
    *learner = (struct ghn__meta_learner){0};
}

enum ghn_status ghn__meta_learner_model(const struct ghn__meta_learner *learner,
                                        struct ghn_model **ret, struct ghn_err *err) {
    return ghn_hypernet_to_model(learner->hypernet, learner->ema, ret, err);
}

/* --- Learning --- */

/* AdamW's step, or without weight decay Adam's, on elements [first, end). */
static void adam(struct ghn__meta_learner *l, int64_t first, int64_t end, double lr, float scale) {
    const struct ghn_meta_recipe *r = l->recipe;
    double decay = r->optimizer == GHN_META_ADAM ? 0 : r->weight_decay;
    const struct ghn__adamw coefficients =
        ghn__adamw_coefficients(r->beta1, r->beta2, r->eps, decay, lr, (double)l->counters.updates);
    ghn__nn_kernels()->adamw(ghn_hypernet_values(l->hypernet), l->m, l->v,
                             ghn_hypernet_gradient(l->hypernet), first, end, scale, &coefficients);
}

/* Muon for the matrices, AdamW for what lies between them. */
static void muon(struct ghn__meta_learner *l, float scale, double lr) {
    const struct ghn_meta_recipe *r = l->recipe;
    int64_t first = 0;
    for (int i = 0; i < l->muon.n_matrices; i++) {
        const struct ghn_matrix *matrix = &l->muon.matrices[i];
        adam(l, first, matrix->first, lr, scale);
        ghn__muon_step(&l->muon, i, ghn_hypernet_values(l->hypernet), l->m,
                       ghn_hypernet_gradient(l->hypernet), scale, r->beta1, lr, r->weight_decay);
        first = matrix->first + (int64_t)matrix->rows * matrix->cols;
    }
    adam(l, first, l->n, lr, scale);
}

static void average(struct ghn__meta_learner *l) {
    double t = (double)l->counters.updates;
    float take = (float)(1 - fmin(l->recipe->ema_decay, (1 + t) / (10 + t)));
    const float *values = ghn_hypernet_values(l->hypernet);
    for (int64_t i = 0; i < l->n; i++)
        l->ema[i] += take * (values[i] - l->ema[i]);
}

/* A step of the optimiser with the gradient times `scale`. */
static void update(struct ghn__meta_learner *l, float scale, double lr) {
    const struct ghn_meta_recipe *r = l->recipe;
    float *values = ghn_hypernet_values(l->hypernet),
          *gradient = ghn_hypernet_gradient(l->hypernet);
    l->counters.updates++;
    if (r->optimizer == GHN_META_MUON) {
        muon(l, scale, lr);
    } else if (r->optimizer == GHN_META_ADAMW) {
        adam(l, 0, l->n, lr, scale);
    } else {
        for (int64_t i = 0; i < l->n; i++)
            gradient[i] = scale * gradient[i] + (float)r->weight_decay * values[i];
        adam(l, 0, l->n, lr, 1.0f);
    }
    memset(gradient, 0, (size_t)l->n * sizeof *gradient);
    if (l->ema)
        average(l);
}

static void count(struct ghn__meta_learner *l, const struct ghn__meta_batch *batch, int n_images,
                  struct ghn__meta_outcome *ret) {
    *ret = (struct ghn__meta_outcome){0};
    for (int i = 0; i < batch->m; i++) {
        const struct ghn__candidate *candidate = &batch->candidates[i];
        l->counters.architectures++;
        if (!candidate->finite) {
            l->counters.not_finite++;
            continue;
        }
        ret->loss += candidate->loss;
        ret->correct += candidate->correct;
        ret->networks++;
    }
    l->counters.images += n_images;
}

/* A step from which nothing could be learned; too many of them in a row are the end. */
static enum ghn_status learned_nothing(struct ghn__meta_learner *l, struct ghn_err *err) {
    if (++l->failures < MAX_FAILURES)
        return GHN_OK;
    return ghn_fail(
        err, GHN_DIVERGED, NULL,
        "no network had a finite loss, or the gradient was not finite, in %d steps in a "
        "row; a lower learning rate than %g may help",
        MAX_FAILURES, l->recipe->lr);
}

/* Backward through the hypernetwork, and the optimiser's step, unless no candidate was finite. */
static enum ghn_status learn(struct ghn__meta_learner *l, struct ghn__meta_outcome *ret,
                             struct ghn_err *err) {
    if (ret->networks == 0)
        return learned_nothing(l, err);
    enum ghn_status status =
        ghn_hypernet_backward(l->hypernet, l->tape, ghn__meta_workers_pool(l->workers), err);
    if (status != GHN_OK)
        return status;
    float *gradient = ghn_hypernet_gradient(l->hypernet);
    double norm = ghn__norm(gradient, l->n);
    if (!isfinite(norm)) {
        memset(gradient, 0, (size_t)l->n * sizeof *gradient);
        return learned_nothing(l, err);
    }
    ret->norm = norm;
    ret->learned = true;
    l->failures = 0;
    update(l, ghn__clip_scale(norm, l->recipe->clip_norm),
           ghn__meta_lr(l->recipe, l->counters.step));
    return GHN_OK;
}

enum ghn_status ghn__meta_learner_step(struct ghn__meta_learner *learner,
                                       struct ghn__meta_batch *batch,
                                       const struct ghn_batch *images,
                                       struct ghn__meta_outcome *ret, struct ghn_err *err) {
    const struct ghn_graph *graphs[GHN__META_BATCH_MAX];
    struct ghn_pool *pool = ghn__meta_workers_pool(learner->workers);
    for (int i = 0; i < batch->m; i++)
        graphs[i] = batch->candidates[i].graph;
    enum ghn_status status =
        ghn_hypernet_forward(learner->hypernet, graphs, batch->m, pool, learner->tape, err);
    if (status == GHN_OK)
        status = ghn__meta_workers_run(learner->workers, learner->recipe, batch, learner->tape,
                                       images, err);
    if (status != GHN_OK)
        return status;
    count(learner, batch, images->n, ret);
    status = learn(learner, ret, err);
    learner->counters.step++;
    return status;
}
