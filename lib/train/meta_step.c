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

enum ghn_status ghn__meta_learner_init(struct ghn__meta_learner *learner,
                                       const struct ghn_config *config,
                                       const struct ghn_model *start,
                                       const struct ghn_meta_recipe *recipe, int threads,
                                       struct ghn_err *err) {
    *learner = (struct ghn__meta_learner){.recipe = recipe};
    enum ghn_status status = start
                                 ? ghn_hypernet_from_model(start, &learner->hypernet, err)
                                 : ghn_hypernet_new(config, recipe->seed, &learner->hypernet, err);
    if (status != GHN_OK)
        return status;
    learner->n = ghn_hypernet_n(learner->hypernet);
    learner->m = ghn_calloc((size_t)learner->n, sizeof *learner->m);
    learner->v = ghn_calloc((size_t)learner->n, sizeof *learner->v);
    status = learner->m && learner->v ? ghn_tape_new(&learner->tape, err) : ghn_fail_memory(err);
    return status == GHN_OK ? ghn__meta_workers_new(threads, &learner->workers, err) : status;
}

void ghn__meta_learner_done(struct ghn__meta_learner *learner) {
    ghn__meta_workers_free(learner->workers);
    ghn_tape_free(learner->tape);
    ghn_hypernet_free(learner->hypernet);
    ghn_free(learner->m);
    ghn_free(learner->v);
    *learner = (struct ghn__meta_learner){0};
}

/* --- Learning --- */

/* One step of Adam with the gradient times `scale`: with decoupled weight decay AdamW. */
static void update(struct ghn__meta_learner *l, float scale, double lr) {
    const struct ghn_meta_recipe *r = l->recipe;
    float *values = ghn_hypernet_values(l->hypernet),
          *gradient = ghn_hypernet_gradient(l->hypernet);
    double number = (double)++l->counters.updates;
    if (!r->decoupled)
        for (int64_t i = 0; i < l->n; i++)
            gradient[i] = scale * gradient[i] + (float)r->weight_decay * values[i];
    const struct ghn__adamw coefficients = {
        .beta1 = (float)r->beta1,
        .beta2 = (float)r->beta2,
        .eps = (float)r->eps,
        .keep = r->decoupled ? (float)(1 - lr * r->weight_decay) : 1.0f,
        .rate = (float)(lr / (1 - pow(r->beta1, number))),
        .inverse_root = (float)(1 / sqrt(1 - pow(r->beta2, number))),
    };
    ghn__nn_kernels()->adamw(values, l->m, l->v, gradient, 0, l->n, r->decoupled ? scale : 1.0f,
                             &coefficients);
    memset(gradient, 0, (size_t)l->n * sizeof *gradient);
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
    double norm = ghn__norm(gradient, l->n), clip = l->recipe->clip_norm;
    if (!isfinite(norm)) {
        memset(gradient, 0, (size_t)l->n * sizeof *gradient);
        return learned_nothing(l, err);
    }
    ret->norm = norm;
    ret->learned = true;
    l->failures = 0;
    update(l, clip > 0 ? (float)fmin(1, clip / (norm + 1e-6)) : 1.0f,
           ghn__meta_lr(l->recipe, l->counters.step));
    return GHN_OK;
}

enum ghn_status ghn__meta_learner_step(struct ghn__meta_learner *learner,
                                       struct ghn__meta_batch *batch,
                                       const struct ghn_batch *images,
                                       struct ghn__meta_outcome *ret, struct ghn_err *err) {
    const struct ghn_graph *graphs[64];
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
