#include "train/meta.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "train/meta_impl.h"
#include "train/optimizer.h"

/* Sums over the steps since some point. */
struct tally {
    double loss, norm;
    int64_t steps, networks, correct, images;
    double seconds;
};

struct training {
    const struct ghn_config *config;
    const struct ghn_model *start; /* NULL: random values */
    const struct ghn_dataset *dataset;
    const struct ghn_meta_recipe *recipe;
    const struct ghn_meta_options *options;

    struct ghn__meta_learner learner;
    struct ghn__meta_batch batch;
    struct ghn_loader *loader;
    json_t *history, *stages;
    struct ghn_arena arena;
    const char *state_path, *checkpoint_path; /* NULL: nothing is kept */

    struct tally since_point, since_report, sitting;
    double clock; /* when counters.seconds was right */
    double saved, reported, pointed;
    double validated; /* counters.seconds at the last validation, of an earlier sitting perhaps */
};

/* --- Setting up --- */

static enum ghn_status check(const struct training *t, struct ghn_err *err) {
    if (t->config->num_classes != t->dataset->n_classes)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, "num_classes",
                        "the hypernetwork is for %d classes, the data set has %d",
                        t->config->num_classes, t->dataset->n_classes);
    const int64_t chw[3] = {3, t->recipe->side, t->recipe->side};
    enum ghn_status status = ghn__meta_recipe_check(t->recipe, err);
    if (status != GHN_OK)
        return status;
    int64_t end = t->recipe->first + t->recipe->images, n = t->dataset->n[GHN_SPLIT_TRAIN];
    if (end > n)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "images", "%lld from %lld on; the data set has %lld",
                        (long long)t->recipe->images, (long long)t->recipe->first, (long long)n);
    return ghn_dataset_fits(t->dataset, chw, err);
}

static enum ghn_status open_loader(struct training *t, struct ghn_err *err) {
    bool folder = t->dataset->kind == GHN_DATASET_FOLDER;
    struct ghn_loader_options options = {
        .split = GHN_SPLIT_TRAIN,
        .batch = ghn__meta_images(t->recipe),
        .first = t->recipe->first,
        .count = t->recipe->images,
        .shuffle = true,
        .drop_last = true,
        .seed = t->recipe->seed,
        .augmentation = {.flip = t->recipe->augment,
                         .pad = t->recipe->augment && !folder ? 4 : 0,
                         .resized_crop = t->recipe->augment && folder},
        .chw = {3, t->recipe->side, t->recipe->side},
        .threads = folder ? ghn_pool_size(ghn__meta_workers_pool(t->learner.workers)) : 1,
    };
    return ghn_loader_new(t->dataset, &options, &t->loader, err);
}

static enum ghn_status open_paths(struct training *t, struct ghn_err *err) {
    if (!t->options->dir)
        return GHN_OK;
    t->state_path = ghn_arena_printf(&t->arena, "%s/%s", t->options->dir, GHN_META_STATE_FILE);
    t->checkpoint_path =
        ghn_arena_printf(&t->arena, "%s/%s", t->options->dir, GHN_META_CHECKPOINT_FILE);
    return t->state_path && t->checkpoint_path ? GHN_OK : ghn_fail_memory(err);
}

static enum ghn_status set_up(struct training *t, struct ghn_err *err) {
    enum ghn_status status = check(t, err);
    if (status == GHN_OK)
        status = ghn__meta_learner_init(&t->learner, t->config, t->start, t->recipe,
                                        t->options->threads, err);
    if (status == GHN_OK)
        status = open_loader(t, err);
    t->history = json_array();
    t->stages = ghn__meta_stages(t->start);
    if (status == GHN_OK && (!t->history || !t->stages))
        status = ghn_fail_memory(err);
    if (status == GHN_OK)
        status = ghn__meta_batch_init(&t->batch, t->recipe->meta_batch, err);
    return status == GHN_OK ? open_paths(t, err) : status;
}

static void tear_down(struct training *t) {
    ghn__meta_batch_done(&t->batch);
    ghn__meta_learner_done(&t->learner);
    ghn_loader_free(t->loader);
    json_decref(t->history);
    json_decref(t->stages);
    ghn_arena_done(&t->arena);
}

/* --- Keeping --- */

static struct ghn__meta_state state_of(struct training *t) {
    return (struct ghn__meta_state){.config = t->config,
                                    .dataset = t->dataset,
                                    .recipe = t->recipe,
                                    .counters = &t->learner.counters,
                                    .n = t->learner.n,
                                    .values = ghn_hypernet_values(t->learner.hypernet),
                                    .m = t->learner.m,
                                    .v = t->learner.v,
                                    .ema = t->learner.ema,
                                    .start = t->start ? ghn_model_sha256(t->start) : "",
                                    .history = &t->history,
                                    .stages = &t->stages};
}

static void advance_clock(struct training *t) {
    double time = ghn_seconds();
    t->learner.counters.seconds += time - t->clock;
    t->clock = time;
}

static enum ghn_status save_checkpoint(struct training *t, const struct ghn__meta_state *state,
                                       struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status = ghn__meta_learner_model(&t->learner, &model, err);
    if (status != GHN_OK)
        return status;
    json_t *metadata = ghn__meta_provenance(state, t->options->provenance);
    status =
        metadata ? ghn_model_save(model, t->checkpoint_path, metadata, err) : ghn_fail_memory(err);
    json_decref(metadata);
    ghn_model_unref(model);
    return status;
}

/* The checkpoint goes first: if the state is not written then, the steps since the last one are
 * done again, to the same numbers; the other way round it would stay behind. */
static enum ghn_status save(struct training *t, struct ghn_err *err) {
    t->saved = ghn_seconds();
    advance_clock(t);
    if (!t->state_path)
        return GHN_OK;
    const struct ghn__meta_state state = state_of(t);
    if (!isfinite(ghn__norm(state.values, state.n)))
        return ghn_fail(err, GHN_DIVERGED, NULL,
                        "the hypernetwork's parameters are no longer finite after step %lld; what "
                        "was saved before is kept",
                        (long long)state.counters->step);
    enum ghn_status status = save_checkpoint(t, &state, err);
    return status == GHN_OK ? ghn__meta_state_save(t->state_path, &state, err) : status;
}

/* --- Telling --- */

static double per(double sum, int64_t n) {
    return n > 0 ? sum / (double)n : NAN;
}

static struct ghn_meta_progress progress_of(struct training *t, const struct tally *tally) {
    int64_t step = t->learner.counters.step, left = t->recipe->steps - step;
    advance_clock(t);
    return (struct ghn_meta_progress){
        .step = step,
        .steps = t->recipe->steps,
        .loss = per(tally->loss, tally->networks),
        .accuracy = per((double)tally->correct, tally->images),
        .gradient_norm = per(tally->norm, tally->steps),
        .lr = step > 0 ? ghn__meta_lr(t->recipe, step - 1) : NAN,
        .architectures_per_second =
            tally->seconds > 0 ? (double)tally->networks / tally->seconds : NAN,
        .seconds = t->learner.counters.seconds,
        .seconds_left = per(t->sitting.seconds * (double)left, t->sitting.steps),
        .not_finite = t->learner.counters.not_finite,
        .skipped = step - t->learner.counters.updates,
        .validation = NAN,
    };
}

static void report(struct training *t) {
    struct ghn_meta_progress progress = progress_of(t, &t->since_report);
    if (t->options->report)
        t->options->report(t->options->context, &progress, false);
    t->since_report = (struct tally){0};
    t->reported = ghn_seconds();
}

/* Every second point goes, but for the latest and those with a validation. */
static void thin(json_t *history) {
    for (size_t i = 0; i + 2 < json_array_size(history); i++)
        if (json_is_null(json_object_get(json_array_get(history, i), "validation")))
            (void)json_array_remove(history, i);
}

static double or_default(double seconds, double otherwise) {
    return seconds > 0 ? seconds : otherwise;
}

static enum ghn_status validate(struct training *t, double *ret, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status = ghn__meta_learner_model(&t->learner, &model, err);
    if (status != GHN_OK)
        return status;
    *ret = t->options->validate(t->options->context, model);
    ghn_model_unref(model);
    t->validated = t->learner.counters.seconds;
    return GHN_OK;
}

static enum ghn_status add_point(struct training *t, bool last, struct ghn_err *err) {
    struct ghn_meta_progress progress = progress_of(t, &t->since_point);
    bool due = progress.seconds - t->validated >= or_default(t->options->validate_seconds, 1200);
    if (t->options->validate && (due || last)) {
        enum ghn_status status = validate(t, &progress.validation, err);
        if (status != GHN_OK)
            return status;
    }
    if (json_array_append_new(t->history, ghn_meta_progress_to_json(&progress)) != 0)
        return ghn_fail_memory(err);
    if (json_array_size(t->history) > GHN__META_POINTS)
        thin(t->history);
    if (t->options->report)
        t->options->report(t->options->context, &progress, true);
    t->since_point = (struct tally){0};
    t->clock = t->pointed = ghn_seconds(); /* validation is no training */
    return GHN_OK;
}

/* --- Steps --- */

static void add_to(struct tally *tally, const struct tally *step) {
    tally->loss += step->loss;
    tally->norm += step->norm;
    tally->steps += step->steps;
    tally->networks += step->networks;
    tally->correct += step->correct;
    tally->images += step->images;
    tally->seconds += step->seconds;
}

static struct tally tally_of(const struct ghn__meta_outcome *outcome, int n_images,
                             double seconds) {
    return (struct tally){.loss = outcome->loss,
                          .norm = outcome->norm,
                          .steps = outcome->learned,
                          .networks = outcome->networks,
                          .correct = outcome->correct,
                          .images = (int64_t)outcome->networks * n_images,
                          .seconds = seconds};
}

static enum ghn_status train_step(struct training *t, struct ghn_err *err) {
    double started = ghn_seconds();
    const struct ghn_batch *images = NULL;
    struct ghn_pool *pool = ghn__meta_workers_pool(t->learner.workers);
    struct ghn__meta_outcome outcome = {0};
    enum ghn_status status = ghn_loader_next(t->loader, &images, err);
    if (status == GHN_OK)
        status = ghn__meta_batch_draw(&t->batch, t->recipe, t->dataset, pool,
                                      &t->learner.counters.next_use, err);
    if (status == GHN_OK)
        status = ghn__meta_learner_step(&t->learner, &t->batch, images, &outcome, err);
    if (status != GHN_OK)
        return status;
    struct tally step = tally_of(&outcome, t->recipe->batch_size, ghn_seconds() - started);
    add_to(&t->since_point, &step);
    add_to(&t->since_report, &step);
    step.steps = 1;
    add_to(&t->sitting, &step);
    return GHN_OK;
}

/* --- The loop --- */

static bool is_stopped(const struct training *t) {
    return (t->options->stop && atomic_load(t->options->stop)) ||
           (t->options->stop_after > 0 && t->sitting.steps >= t->options->stop_after);
}

/* What is due between steps. */
static enum ghn_status settle(struct training *t, struct ghn_err *err) {
    double time = ghn_seconds();
    bool last = t->learner.counters.step >= t->recipe->steps;
    enum ghn_status status = GHN_OK;
    if (time - t->reported >= or_default(t->options->report_seconds, 1) || last)
        report(t);
    if ((time - t->pointed >= or_default(t->options->point_seconds, 60) || last) &&
        t->since_point.steps > 0)
        status = add_point(t, last, err);
    if (status == GHN_OK && (time - t->saved >= or_default(t->options->save_seconds, 300) || last))
        status = save(t, err);
    return status;
}

static enum ghn_status train(struct training *t, struct ghn_err *err) {
    enum ghn_status status = GHN_OK;
    ghn_loader_seek(t->loader, t->learner.counters.step);
    t->saved = t->pointed = t->clock = ghn_seconds();
    t->validated =
        json_number_value(json_object_get(ghn__meta_last_validation(t->history), "seconds"));
    report(t);
    if (t->learner.counters.step >= t->recipe->steps)
        return save(t, err); /* that it is all there, whatever became of the last checkpoint */
    while (status == GHN_OK && t->learner.counters.step < t->recipe->steps) {
        if (is_stopped(t))
            return ghn_fail(err, GHN_STOPPED, NULL, "stopped after step %lld of %lld",
                            (long long)t->learner.counters.step, (long long)t->recipe->steps);
        status = train_step(t, err);
        if (status == GHN_OK)
            status = settle(t, err);
    }
    return status;
}

static enum ghn_status begin(struct training *t, struct ghn_err *err) {
    const struct ghn__meta_state state = state_of(t);
    if (t->state_path && access(t->state_path, F_OK) == 0)
        return ghn__meta_state_load(t->state_path, &state, err);
    return GHN_OK;
}

enum ghn_status ghn_meta_train(const struct ghn_config *config, const struct ghn_model *start,
                               const struct ghn_dataset *dataset,
                               const struct ghn_meta_recipe *recipe,
                               const struct ghn_meta_options *options, struct ghn_model **ret,
                               struct ghn_err *err) {
    struct ghn_config continued = start ? *ghn_model_config(start) : *config;
    if (start)
        continued.num_classes = dataset->n_classes;
    struct training t = {.config = &continued,
                         .start = start,
                         .dataset = dataset,
                         .recipe = recipe,
                         .options = options,
                         .arena = GHN_ARENA_INIT};
    enum ghn_status status = set_up(&t, err);
    if (status == GHN_OK)
        status = begin(&t, err);
    if (status == GHN_OK)
        status = train(&t, err);
    if (status == GHN_STOPPED) {
        struct ghn_err failure = GHN_ERR_INIT;
        enum ghn_status saved = save(&t, &failure);
        if (saved != GHN_OK) {
            status = saved;
            if (err)
                *err = failure;
        }
    }
    if (status == GHN_OK)
        status = ghn__meta_learner_model(&t.learner, ret, err);
    tear_down(&t);
    return status;
}
