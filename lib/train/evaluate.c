#include "train/evaluate.h"

#include "base/mem.h"
#include "data/loader.h"
#include "nn/loss.h"
#include "nn/run.h"

/* A data set ends with a smaller batch, which wants a run of its own. */
enum { FULL, LAST, N_RUNS };

struct ghn__evaluator {
    struct ghn__evaluation_plan plan;
    struct ghn_loader *loader; /* NULL if the plan has images */
    int64_t batches;
    enum ghn_mode mode; /* of the runs */
    struct ghn_run *runs[N_RUNS];
    float *logits; /* (batch, classes) */
};

/* Images of the plan; none if it begins beyond the end. */
static int64_t count_images(const struct ghn__evaluation_plan *plan) {
    if (plan->held)
        return plan->held->n;
    int64_t images = plan->dataset->n[plan->split] - plan->first;
    return plan->max_images > 0 && plan->max_images < images ? plan->max_images : images;
}

static enum ghn_status open_images(struct ghn__evaluator *evaluator, struct ghn_err *err) {
    struct ghn__evaluation_plan *plan = &evaluator->plan;
    int64_t images = count_images(plan);
    if (plan->batch > images)
        plan->batch = images > 0 ? (int)images : 1;
    evaluator->batches = (images + plan->batch - 1) / plan->batch;
    if (plan->held)
        return GHN_OK;
    struct ghn_loader_options options = {.split = plan->split,
                                         .batch = plan->batch,
                                         .first = plan->first,
                                         .count = images,
                                         .threads = plan->threads};
    for (int i = 0; i < 3; i++)
        options.chw[i] = plan->arch->nodes[0].shape.dim[i];
    return ghn_loader_new(plan->dataset, &options, &evaluator->loader, err);
}

enum ghn_status ghn__evaluator_new(const struct ghn__evaluation_plan *plan,
                                   struct ghn__evaluator **ret, struct ghn_err *err) {
    if (plan->batch < 1)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "batch", "%d images at a time; expected at least 1",
                        plan->batch);
    enum ghn_status status = ghn_finetune_fits(plan->arch, plan->dataset, err);
    if (status != GHN_OK)
        return status;
    if (plan->dataset->n[plan->split] == 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, plan->dataset->name,
                        "the data set has no images to %s on",
                        plan->split == GHN_SPLIT_TEST ? "test" : "train");
    struct ghn__evaluator *evaluator = ghn_calloc(1, sizeof *evaluator);
    if (!evaluator)
        return ghn_fail_memory(err);
    evaluator->plan = *plan;
    evaluator->logits = ghn_calloc((size_t)plan->batch,
                                   (size_t)plan->dataset->n_classes * sizeof *evaluator->logits);
    status = evaluator->logits ? open_images(evaluator, err) : ghn_fail_memory(err);
    if (status != GHN_OK) {
        ghn__evaluator_free(evaluator);
        return status;
    }
    *ret = evaluator;
    return GHN_OK;
}

static void free_runs(struct ghn__evaluator *evaluator) {
    for (int i = 0; i < N_RUNS; i++) {
        ghn_run_free(evaluator->runs[i]);
        evaluator->runs[i] = NULL;
    }
}

void ghn__evaluator_free(struct ghn__evaluator *evaluator) {
    if (!evaluator)
        return;
    free_runs(evaluator);
    ghn_loader_free(evaluator->loader);
    ghn_free(evaluator->logits);
    ghn_free(evaluator);
}

/* The run for a batch of n images, compiled when it is first needed. */
static enum ghn_status find_run(struct ghn__evaluator *evaluator, int n, struct ghn_run **ret,
                                struct ghn_err *err) {
    struct ghn_run **run = &evaluator->runs[n == evaluator->plan.batch ? FULL : LAST];
    const struct ghn_run_options options = {.batch = n,
                                            .mode = evaluator->mode,
                                            .precision = evaluator->plan.precision,
                                            .workspace = evaluator->plan.workspace,
                                            .sharing = evaluator->plan.sharing};
    enum ghn_status status = *run ? GHN_OK : ghn_run_new(evaluator->plan.arch, &options, run, err);
    if (status == GHN_OK)
        *ret = *run;
    return status;
}

/* Batch `number`; they are asked for in order. */
static enum ghn_status next_batch(struct ghn__evaluator *evaluator, int64_t number,
                                  struct ghn_batch *ret, struct ghn_err *err) {
    const struct ghn_batch *batch = NULL;
    if (evaluator->plan.held) {
        *ret = ghn__held_images_batch(evaluator->plan.held, number, evaluator->plan.batch);
        return GHN_OK;
    }
    enum ghn_status status = ghn_loader_next(evaluator->loader, &batch, err);
    if (status == GHN_OK)
        *ret = *batch;
    return status;
}

/* Adds batch `number` to sums over images. */
static enum ghn_status add_batch(struct ghn__evaluator *evaluator, int64_t number,
                                 struct ghn_params *params, struct ghn_evaluation *sums,
                                 struct ghn_err *err) {
    struct ghn_batch batch = {0};
    struct ghn_run *run = NULL;
    int classes = evaluator->plan.dataset->n_classes;
    enum ghn_status status = next_batch(evaluator, number, &batch, err);
    if (status == GHN_OK)
        status = find_run(evaluator, batch.n, &run, err);
    if (status == GHN_OK)
        status = ghn_run_forward(run, params, batch.images, 0, 0, evaluator->logits, err);
    if (status != GHN_OK)
        return status;
    sums->images += batch.n;
    sums->loss +=
        batch.n * ghn_cross_entropy(evaluator->logits, batch.labels, batch.n, classes, 0, NULL);
    sums->top1 += ghn_count_correct(evaluator->logits, batch.labels, batch.n, classes, 1);
    sums->top5 += ghn_count_correct(evaluator->logits, batch.labels, batch.n, classes, 5);
    return GHN_OK;
}

enum ghn_status ghn__evaluator_run(struct ghn__evaluator *evaluator, struct ghn_params *params,
                                   enum ghn_mode mode, const atomic_bool *stop,
                                   struct ghn_evaluation *ret, struct ghn_err *err) {
    if (evaluator->mode != mode)
        free_runs(evaluator);
    evaluator->mode = mode;
    struct ghn_evaluation sums = {0};
    if (evaluator->loader)
        ghn_loader_seek(evaluator->loader, 0);
    for (int64_t number = 0; number < evaluator->batches; number++) {
        if (stop && atomic_load(stop))
            return ghn_fail(err, GHN_STOPPED, NULL, "stopped while evaluating");
        enum ghn_status status = add_batch(evaluator, number, params, &sums, err);
        if (status != GHN_OK)
            return status;
    }
    double n = (double)sums.images;
    *ret = (struct ghn_evaluation){
        .images = sums.images, .loss = sums.loss / n, .top1 = sums.top1 / n, .top5 = sums.top5 / n};
    return GHN_OK;
}

enum ghn_status ghn_evaluate(const struct ghn_arch *arch, struct ghn_params *params,
                             const struct ghn_dataset *dataset, enum ghn_split split,
                             int64_t max_images, int batch, enum ghn_mode mode,
                             enum ghn_precision precision, const atomic_bool *stop,
                             struct ghn_evaluation *ret, struct ghn_err *err) {
    const struct ghn__evaluation_plan plan = {.arch = arch,
                                              .dataset = dataset,
                                              .split = split,
                                              .max_images = max_images,
                                              .batch = batch,
                                              .precision = precision};
    struct ghn__evaluator *evaluator = NULL;
    enum ghn_status status = ghn__evaluator_new(&plan, &evaluator, err);
    if (status == GHN_OK)
        status = ghn__evaluator_run(evaluator, params, mode, stop, ret, err);
    ghn__evaluator_free(evaluator);
    return status;
}
