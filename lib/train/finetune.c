#include "train/finetune.h"

#include <math.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "data/loader.h"
#include "nn/loss.h"
#include "nn/parallel.h"
#include "nn/run.h"
#include "tensor/tensors.h"
#include "train/evaluate.h"
#include "train/history.h"
#include "train/optimizer.h"
#include "train/state.h"

/* Points of the history besides evaluations, at most. */
enum { POINTS = 500 };

/* Everything that a training works with. */
struct training {
    const struct ghn_arch *arch;
    const struct ghn_dataset *dataset;
    const struct ghn_recipe *recipe;
    const struct ghn_finetune_options *options;
    struct ghn_params *params;

    struct ghn_loader *loader;
    struct ghn_workspace *workspace; /* of steps and evaluations, which take turns */
    struct ghn_run *run;
    struct ghn__optimizer *optimizer;
    struct ghn__evaluator *evaluator; /* NULL if there is nothing to test on */
    float *gradient;                  /* as params->values */
    float *logits, *dlogits;          /* (batch, classes) */
    int batch, classes;
    int64_t steps, stride; /* in all; between points of the history */
    int64_t every;         /* between evaluations */
    int team;              /* threads of the caller's, to be given back */

    struct ghn__history history;
    struct ghn__counters counters;
    struct ghn_arena arena;
    const char *state_path, *parameters_path; /* NULL: nothing is kept */

    /* Of this sitting; times are those of a clock that only goes forward. */
    struct ghn__tally since_report;
    double seconds_since_report; /* of steps */
    int64_t sitting_steps;
    double sitting_seconds;    /* of steps */
    double evaluation_seconds; /* of the last one */
    double clock;              /* when counters.seconds was right */
    double saved, reported;
};

static bool is_stopped(const struct training *t) {
    return t->options->stop && atomic_load(t->options->stop);
}

/* --- Setting up --- */

static struct ghn_augmentation augmentation_of(const struct training *t) {
    const struct ghn_dataset *dataset = t->dataset;
    struct ghn_augmentation ret = {.cutout = t->recipe->cutout};
    if (!t->recipe->augment)
        return ret;
    int side = dataset->height < dataset->width ? dataset->height : dataset->width;
    ret.flip = true;
    ret.resized_crop = dataset->kind == GHN_DATASET_FOLDER;
    ret.pad = ret.resized_crop ? 0 : side / 8;
    return ret;
}

/* The loader of full batches. How many images there are, and so how large a batch can be, is known
 * from a loader only. */
static enum ghn_status open_loader(struct training *t, struct ghn_err *err) {
    struct ghn_loader_options options = {
        .split = GHN_SPLIT_TRAIN,
        .batch = 1,
        .n_shots = t->recipe->n_shots,
        .shuffle = true,
        .augmentation = augmentation_of(t),
        .seed = t->recipe->seed,
        .threads = t->options->loader_threads,
    };
    for (int i = 0; i < 3; i++)
        options.chw[i] = t->arch->nodes[0].shape.dim[i];
    enum ghn_status status = ghn_loader_new(t->dataset, &options, &t->loader, err);
    if (status != GHN_OK)
        return status;
    t->steps = ghn_finetune_steps(t->recipe, ghn_loader_images(t->loader), &t->batch);
    t->stride = (t->steps + POINTS - 1) / POINTS;
    ghn_loader_free(t->loader);
    t->loader = NULL;
    options.batch = t->batch;
    options.drop_last = true;
    return ghn_loader_new(t->dataset, &options, &t->loader, err);
}

/* Where the recipe does not say how often to evaluate: at most ten times, and so that it takes
 * about a tenth of the time, an image forwards costing a third of one in a step. */
static int64_t evaluation_interval(const struct training *t) {
    int64_t images = t->dataset->n[GHN_SPLIT_TEST], most = t->recipe->eval_images;
    if (t->recipe->eval_every > 0)
        return t->recipe->eval_every;
    if (most > 0 && most < images)
        images = most;
    int64_t cost = images / (3 * (int64_t)t->batch) + 1, tenth = (t->steps + 9) / 10;
    return tenth > 10 * cost ? tenth : 10 * cost;
}

static enum ghn_status open_evaluator(struct training *t, struct ghn_err *err) {
    if (t->dataset->n[GHN_SPLIT_TEST] == 0)
        return GHN_OK;
    t->every = evaluation_interval(t);
    const struct ghn__evaluation_plan plan = {
        .arch = t->arch,
        .dataset = t->dataset,
        .split = GHN_SPLIT_TEST,
        .max_images = t->recipe->eval_images,
        .batch = t->recipe->batch_size,
        .precision = t->recipe->precision,
        .threads = t->options->loader_threads,
        .workspace = t->workspace,
    };
    return ghn__evaluator_new(&plan, &t->evaluator, err);
}

static enum ghn_status allocate(struct training *t, struct ghn_err *err) {
    size_t logits = (size_t)t->batch * (size_t)t->classes;
    t->gradient = ghn_calloc((size_t)t->params->n, sizeof *t->gradient);
    t->logits = ghn_calloc(logits, sizeof *t->logits);
    t->dlogits = ghn_calloc(logits, sizeof *t->dlogits);
    if (!t->gradient || !t->logits || !t->dlogits)
        return ghn_fail_memory(err);
    if (!t->options->dir)
        return GHN_OK;
    t->state_path = ghn_arena_printf(&t->arena, "%s/%s", t->options->dir, GHN_STATE_FILE);
    t->parameters_path = ghn_arena_printf(&t->arena, "%s/%s", t->options->dir, GHN_PARAMETERS_FILE);
    return t->state_path && t->parameters_path ? GHN_OK : ghn_fail_memory(err);
}

static enum ghn_status set_up(struct training *t, struct ghn_err *err) {
    enum ghn_status status = ghn_finetune_fits(t->arch, t->dataset, err);
    if (status == GHN_OK)
        status = open_loader(t, err);
    if (status == GHN_OK)
        status = ghn_workspace_new(&t->workspace, err);
    if (status == GHN_OK)
        status = open_evaluator(t, err);
    if (status == GHN_OK)
        status = allocate(t, err);
    if (status == GHN_OK)
        status = ghn__history_init(&t->history, err);
    return status == GHN_OK ? ghn__optimizer_new(t->recipe, t->params, &t->optimizer, err) : status;
}

/* Compiles the network, once the number of threads is settled. */
static enum ghn_status open_run(struct training *t, struct ghn_err *err) {
    const struct ghn_run_options options = {.batch = t->batch,
                                            .mode = GHN_MODE_TRAIN,
                                            .precision = t->recipe->precision,
                                            .workspace = t->workspace,
                                            .new_statistics = t->recipe->start == GHN_START_GHN};
    return ghn_run_new(t->arch, &options, &t->run, err);
}

static void tear_down(struct training *t) {
    ghn__parallel_set_threads(t->team);
    ghn_run_free(t->run);
    ghn_loader_free(t->loader);
    ghn__evaluator_free(t->evaluator);
    ghn_workspace_free(t->workspace);
    ghn__optimizer_free(t->optimizer);
    ghn__history_done(&t->history);
    ghn_free(t->gradient);
    ghn_free(t->logits);
    ghn_free(t->dlogits);
    ghn_arena_done(&t->arena);
}

/* --- Keeping --- */

static void advance_clock(struct training *t) {
    double time = ghn_seconds();
    t->counters.seconds += time - t->clock;
    t->clock = time;
}

static enum ghn_status diverged(const struct training *t, const char *what, struct ghn_err *err) {
    return ghn_fail(err, GHN_DIVERGED, NULL,
                    "%s no longer finite after step %lld of %lld; a lower learning rate than %g, "
                    "or warmup_steps, may help",
                    what, (long long)t->counters.step, (long long)t->steps, t->recipe->lr);
}

/* Nothing that is not finite is written. */
static enum ghn_status check_finite(const struct training *t, struct ghn_err *err) {
    if (!isfinite(ghn__norm(t->params->values, t->params->n)) ||
        !isfinite(ghn__norm(t->params->statistics, t->params->n_statistics)))
        return diverged(t, "parameters are", err);
    return GHN_OK;
}

static json_t *parameters_metadata(const struct training *t, const struct ghn_progress *tested) {
    char step[24], top1[32];
    (void)snprintf(step, sizeof step, "%lld", (long long)t->counters.step);
    (void)snprintf(top1, sizeof top1, "%.6f", tested ? tested->test_top1 : 0);
    return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "format", "pt", "network", t->arch->name,
                     "dataset", t->dataset->name, "step", step, "test_top1", tested ? top1 : NULL);
}

/* Writes parameters.safetensors; tested is the evaluation of these parameters, or NULL. */
static enum ghn_status save_parameters(struct training *t, const struct ghn_progress *tested,
                                       struct ghn_err *err) {
    if (!t->parameters_path)
        return GHN_OK;
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_tensor *items = NULL;
    int n = 0;
    json_t *metadata = NULL;
    enum ghn_status status = check_finite(t, err);
    if (status == GHN_OK)
        status = ghn_params_tensors(t->params, &arena, &items, &n, err);
    if (status == GHN_OK) {
        metadata = parameters_metadata(t, tested);
        status = metadata ? ghn_safetensors_write(t->parameters_path, items, n, metadata, err)
                          : ghn_fail_memory(err);
    }
    json_decref(metadata);
    ghn_free(items);
    ghn_arena_done(&arena);
    return status;
}

/* Whether parameters.safetensors holds the best, and not just the latest. */
static bool has_best(const struct training *t) {
    return t->counters.best_top1 >= 0;
}

/* Whether it is at its first or its last step. */
static bool is_end(const struct training *t) {
    return t->counters.step == 0 || t->counters.step == t->steps;
}

static struct ghn__state state_of(struct training *t) {
    return (struct ghn__state){.recipe = t->recipe,
                               .start = t->options->start ? t->options->start : "",
                               .dataset = t->dataset,
                               .params = t->params,
                               .optimizer = t->optimizer,
                               .history = &t->history,
                               .counters = &t->counters};
}

/* A checkpoint. */
static enum ghn_status save(struct training *t, struct ghn_err *err) {
    t->saved = ghn_seconds();
    if (!t->state_path)
        return GHN_OK;
    advance_clock(t);
    const struct ghn__state state = state_of(t);
    enum ghn_status status = check_finite(t, err);
    if (status == GHN_OK)
        status = ghn__state_save(t->state_path, &state, err);
    bool kept = t->counters.settled == t->counters.step && is_end(t);
    if (status == GHN_OK && !has_best(t) && !kept)
        status = save_parameters(t, NULL, err);
    return status;
}

/* --- Telling --- */

static double seconds_left(const struct training *t) {
    if (t->sitting_steps == 0)
        return t->counters.step == t->steps ? 0 : NAN;
    int64_t left = t->steps - t->counters.step, evaluations = 0;
    if (t->evaluator && left > 0)
        evaluations = (left + t->every - 1) / t->every;
    return (double)left * t->sitting_seconds / (double)t->sitting_steps +
           (double)evaluations * t->evaluation_seconds;
}

/* How far it is, with the mean of the batches in tally. */
static struct ghn_progress progress_of(struct training *t, const struct ghn__tally *tally) {
    bool begun = t->counters.step > 0;
    advance_clock(t);
    return (struct ghn_progress){
        .step = t->counters.step,
        .steps = t->steps,
        .loss = tally->batches ? tally->loss / (double)tally->batches : NAN,
        .train_accuracy = tally->images ? (double)tally->correct / (double)tally->images : NAN,
        .lr = begun ? ghn_recipe_lr(t->recipe, t->counters.step - 1, t->steps) : NAN,
        .gradient_norm = begun ? t->counters.gradient_norm : NAN,
        .test_loss = NAN,
        .test_top1 = NAN,
        .test_top5 = NAN,
        .images_per_second = t->seconds_since_report > 0
                                 ? (double)t->since_report.images / t->seconds_since_report
                                 : 0,
        .seconds = t->counters.seconds,
        .seconds_left = seconds_left(t),
    };
}

static void report(struct training *t, const struct ghn_evaluation *tested) {
    struct ghn_progress progress = progress_of(t, &t->since_report);
    if (tested) {
        progress.test_loss = tested->loss;
        progress.test_top1 = tested->top1;
        progress.test_top5 = tested->top5;
    }
    if (t->options->report)
        t->options->report(t->options->context, &progress);
    t->since_report = (struct ghn__tally){0};
    t->seconds_since_report = 0;
    t->reported = ghn_seconds();
}

/* --- Between steps --- */

static bool evaluation_is_due(const struct training *t) {
    return t->evaluator && (is_end(t) || t->counters.step % t->every == 0);
}

static enum ghn_status evaluate(struct training *t, struct ghn_evaluation *ret,
                                struct ghn_err *err) {
    double started = ghn_seconds();
    enum ghn_mode mode = t->params->batches_tracked > 0 ? GHN_MODE_EVAL : GHN_MODE_BATCH_STATISTICS;
    enum ghn_status status =
        ghn__evaluator_run(t->evaluator, t->params, mode, t->options->stop, ret, err);
    t->evaluation_seconds = ghn_seconds() - started;
    return status;
}

/* Writes the parameters of this step if they are the ones to keep. Those of a start without running
 * statistics are of little use, whatever their accuracy with those of a batch is: they only count
 * where evaluations were asked for. */
static enum ghn_status keep(struct training *t, const struct ghn_progress *point, bool tested,
                            struct ghn_err *err) {
    if (!t->evaluator)
        return is_end(t) ? save_parameters(t, NULL, err) : GHN_OK;
    if (!tested || point->test_top1 < t->counters.best_top1)
        return GHN_OK;
    bool counts =
        t->params->batches_tracked > 0 || t->params->n_statistics == 0 || t->recipe->eval_every > 0;
    enum ghn_status status = save_parameters(t, point, err);
    if (status == GHN_OK && counts)
        t->counters.best_top1 = point->test_top1;
    return status;
}

/* What is due at this step, once: an evaluation, a point of the history. Interrupted, it is as if
 * it had not begun. */
static enum ghn_status settle(struct training *t, struct ghn_err *err) {
    if (t->counters.settled == t->counters.step)
        return GHN_OK;
    struct ghn_evaluation tested;
    bool due = evaluation_is_due(t);
    enum ghn_status status = due ? evaluate(t, &tested, err) : GHN_OK;
    if (status != GHN_OK)
        return status;
    if (due && !isfinite(tested.loss))
        return diverged(t, "the loss on the test images is", err);
    if (due || is_end(t) || t->counters.step % t->stride == 0) {
        struct ghn_progress point = progress_of(t, &t->counters.tally);
        if (due) {
            point.test_loss = tested.loss;
            point.test_top1 = tested.top1;
            point.test_top5 = tested.top5;
        }
        status = keep(t, &point, due, err);
        if (status != GHN_OK)
            return status;
        ghn__history_add(&t->history, &point);
        t->counters.tally = (struct ghn__tally){0};
    }
    t->counters.settled = t->counters.step;
    if (due || is_end(t))
        report(t, due ? &tested : NULL);
    return GHN_OK;
}

/* --- Steps --- */

static void add_to_tally(struct ghn__tally *tally, double loss, int images, int correct) {
    tally->loss += loss;
    tally->batches++;
    tally->images += images;
    tally->correct += correct;
}

/* One batch forward and backward, and the parameters after it. Its number is the step's, so that
 * batch and random draws are the same in any sitting. */
static enum ghn_status train_step(struct training *t, struct ghn_err *err) {
    double started = ghn_seconds();
    const struct ghn_batch *batch = NULL;
    uint64_t step = (uint64_t)t->counters.step;
    enum ghn_status status = ghn_loader_next(t->loader, &batch, err);
    if (status == GHN_OK && (batch->n != t->batch || batch->number != t->counters.step))
        status = ghn_fail(err, GHN_INTERNAL, NULL, "batch %lld of %d images came for step %lld",
                          (long long)batch->number, batch->n, (long long)t->counters.step);
    if (status == GHN_OK)
        status = ghn_run_forward(t->run, t->params, batch->images, t->recipe->seed, step, t->logits,
                                 err);
    if (status != GHN_OK)
        return status;
    double loss = ghn_cross_entropy(t->logits, batch->labels, batch->n, t->classes,
                                    t->recipe->label_smoothing, t->dlogits);
    if (!isfinite(loss))
        return diverged(t, "the loss is", err);
    status = ghn_run_backward(t->run, t->params, t->dlogits, t->gradient, err);
    if (status != GHN_OK)
        return status;
    double norm = ghn__norm(t->gradient, t->params->n);
    if (!isfinite(norm))
        return diverged(t, "the gradient is", err);
    ghn__optimizer_step(t->optimizer, t->params->values, t->gradient, norm,
                        ghn_recipe_lr(t->recipe, t->counters.step, t->steps));
    int correct = ghn_count_correct(t->logits, batch->labels, batch->n, t->classes, 1);
    add_to_tally(&t->counters.tally, loss, batch->n, correct);
    add_to_tally(&t->since_report, loss, batch->n, correct);
    t->counters.gradient_norm = norm;
    t->counters.step++;
    double seconds = ghn_seconds() - started;
    t->seconds_since_report += seconds;
    t->sitting_seconds += seconds;
    t->sitting_steps++;
    return GHN_OK;
}

/* Begins a sitting's reports where the last one ended: with the history's last point, or what has
 * been added up since. */
static void report_again(struct training *t) {
    const struct ghn_progress *last =
        t->history.n > 0 ? &t->history.points[t->history.n - 1] : NULL;
    t->since_report = t->counters.tally;
    if (!last)
        return;
    if (last->step == t->counters.step && t->options->report)
        t->options->report(t->options->context, last);
    else if (last->step != t->counters.step)
        report(t, NULL);
}

static bool is_late(struct training *t) {
    advance_clock(t);
    return t->options->max_seconds > 0 && t->counters.seconds >= t->options->max_seconds;
}

static enum ghn_status train(struct training *t, struct ghn_err *err) {
    double save_seconds = t->options->save_seconds > 0 ? t->options->save_seconds : 30,
           report_seconds = t->options->report_seconds > 0 ? t->options->report_seconds : 1;
    ghn_loader_seek(t->loader, t->counters.step);
    t->saved = t->reported = ghn_seconds();
    if (t->counters.settled == t->counters.step)
        report_again(t);
    for (;;) {
        enum ghn_status status = settle(t, err);
        if (status != GHN_OK)
            return status;
        if (t->counters.step >= t->steps)
            return save(t, err);
        if (is_stopped(t))
            return ghn_fail(err, GHN_STOPPED, NULL, "stopped after step %lld of %lld",
                            (long long)t->counters.step, (long long)t->steps);
        if (is_late(t))
            return ghn_fail(err, GHN_TIME_LIMIT, NULL,
                            "%.0f seconds of training are over after step %lld of %lld",
                            t->options->max_seconds, (long long)t->counters.step,
                            (long long)t->steps);
        double time = ghn_seconds();
        if (time - t->reported >= report_seconds)
            report(t, NULL);
        if (time - t->saved >= save_seconds)
            status = save(t, err);
        if (status == GHN_OK)
            status = train_step(t, err);
        if (status != GHN_OK)
            return status;
    }
}

/* From the state in the folder, with as many threads as it was begun with (oneDNN's order of adding
 * up the gradient of a convolution depends on their number), or from the start. */
static enum ghn_status begin(struct training *t, struct ghn_err *err) {
    const struct ghn__state state = state_of(t);
    if (t->state_path && access(t->state_path, F_OK) == 0) {
        enum ghn_status status = ghn__state_load(t->state_path, &state, err);
        if (status == GHN_OK)
            ghn__parallel_set_threads(t->counters.threads);
        return status;
    }
    t->counters.threads = t->team;
    t->counters.settled = -1;
    t->counters.best_top1 = -1;
    if (t->recipe->orth_from > 0)
        return ghn_orthogonalise(t->params, t->recipe->orth_from, t->recipe->orth_noise,
                                 t->recipe->seed, err);
    return GHN_OK;
}

enum ghn_status ghn_finetune(const struct ghn_arch *arch, const struct ghn_dataset *dataset,
                             const struct ghn_recipe *recipe,
                             const struct ghn_finetune_options *options, struct ghn_params *params,
                             struct ghn_err *err) {
    struct training t = {.arch = arch,
                         .dataset = dataset,
                         .recipe = recipe,
                         .options = options,
                         .params = params,
                         .classes = dataset->n_classes,
                         .team = ghn__parallel_threads(),
                         .arena = GHN_ARENA_INIT,
                         .clock = ghn_seconds()};
    enum ghn_status status = set_up(&t, err);
    if (status == GHN_OK)
        status = begin(&t, err);
    if (status == GHN_OK)
        status = open_run(&t, err);
    if (status == GHN_OK)
        status = train(&t, err);
    if (status == GHN_STOPPED || status == GHN_TIME_LIMIT) {
        if (t.since_report.batches > 0)
            report(&t, NULL);
        struct ghn_err failure = GHN_ERR_INIT;
        enum ghn_status saved = save(&t, &failure);
        if (saved != GHN_OK) {
            status = saved;
            if (err)
                *err = failure;
        }
    }
    tear_down(&t);
    return status;
}
