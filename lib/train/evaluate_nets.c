/* Lock rule: job->lock guards status, err and done, and is held during report, so that calls come
 * one at a time. Scores are written by the one thread that has the network. */
#include "train/evaluate_nets.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#include "base/pool.h"
#include "ghn/predict.h"
#include "graph/graph.h"
#include "nn/parallel.h"
#include "train/evaluate.h"

enum { PAPER_BATCH = 64, PICTURE_SIDE = 224 };

static const int64_t default_hold_bytes = INT64_C(512) << 20;

struct job {
    const struct ghn_model *model;
    const struct ghn_dataset *dataset;
    struct ghn_evaluate_nets_options options; /* defaults filled in */
    struct ghn__held_images *held;            /* NULL: too many to be held */
    struct ghn_net_scores *scores;
    int sharing; /* networks at a time */

    pthread_mutex_t lock;
    enum ghn_status status;
    struct ghn_err err;
    int64_t done;      /* networks, by this call */
    atomic_bool ended; /* no further network is begun */
};

/* --- Checks and defaults --- */

static enum ghn_status check_networks(const struct ghn_evaluate_nets_options *options,
                                      struct ghn_err *err) {
    int64_t size = ghn_deepnets_split_size(options->split), first = options->first,
            count = options->count;
    const char *name = ghn_deepnets_split_name(options->split);
    if ((unsigned)options->split >= GHN_N_DEEPNETS_SPLITS)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "split", "%d is no split of DeepNets-1M",
                        (int)options->split);
    if (first < 0 || count < 1 || count > INT32_MAX || first > INT64_MAX - count)
        return ghn_fail(err, GHN_OUT_OF_RANGE, name,
                        "%lld networks from number %lld on; expected at least one, from 0 on",
                        (long long)count, (long long)first);
    if (options->split == GHN_DEEPNETS_PREDEFINED && first + count > size)
        return ghn_fail(err, GHN_OUT_OF_RANGE, name,
                        "%lld networks from number %lld on; there are %lld in all",
                        (long long)count, (long long)first, (long long)size);
    return GHN_OK;
}

static enum ghn_status check(const struct job *job, struct ghn_err *err) {
    const struct ghn_evaluate_nets_options *options = &job->options;
    const struct ghn_dataset *dataset = job->dataset;
    int classes = ghn_model_config(job->model)->num_classes;
    enum ghn_status status = check_networks(options, err);
    if (status == GHN_OK)
        status = ghn_precision_check(options->precision, "precision", err);
    if (status != GHN_OK)
        return status;
    if (classes != dataset->n_classes)
        return ghn_fail(err, GHN_SHAPE_MISMATCH, dataset->name,
                        "the data set has %d classes; the hypernetwork predicts classifiers of %d",
                        dataset->n_classes, classes);
    if (options->sgd_steps < 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "sgd_steps", "found %lld, expected 0 or more",
                        (long long)options->sgd_steps);
    if (options->sgd_steps > 0 && options->images == GHN_SPLIT_TRAIN)
        return ghn_fail(err, GHN_OUT_OF_RANGE, "sgd_steps",
                        "networks are trained on all training images, so that only those of the "
                        "test split can tell how good they are");
    return GHN_OK;
}

static void fill_in_defaults(struct job *job) {
    struct ghn_evaluate_nets_options *options = &job->options;
    if (options->batch == 0)
        options->batch = PAPER_BATCH;
    if (options->side == 0)
        options->side = job->dataset->height ? (job->dataset->height + 7) / 8 * 8 : PICTURE_SIDE;
    if (options->hold_bytes == 0)
        options->hold_bytes = default_hold_bytes;
}

/* Decodes the images, if they are few enough. */
static enum ghn_status hold_images(struct job *job, struct ghn_err *err) {
    const struct ghn_evaluate_nets_options *options = &job->options;
    const struct ghn_loader_options loader = {.split = options->images,
                                              .batch = PAPER_BATCH,
                                              .chw = {3, options->side, options->side},
                                              .first = options->first_image,
                                              .count = options->max_images,
                                              .threads = options->threads};
    int64_t n = job->dataset->n[options->images] - options->first_image;
    if (options->max_images > 0 && options->max_images < n)
        n = options->max_images;
    enum ghn_status status = ghn_dataset_fits(job->dataset, loader.chw, err);
    if (status != GHN_OK)
        return status;
    if (options->first_image < 0 || n < 1)
        return ghn_fail(err, GHN_OUT_OF_RANGE, job->dataset->name,
                        "there are no images from number %lld on; the %s split has %lld",
                        (long long)options->first_image,
                        options->images == GHN_SPLIT_TEST ? "test" : "train",
                        (long long)job->dataset->n[options->images]);
    int64_t image = 3 * options->side * options->side * (int64_t)sizeof(float);
    if (n > options->hold_bytes / image)
        return GHN_OK;
    return ghn__held_images_new(job->dataset, &loader, &job->held, err);
}

/* --- One network --- */

/* Network `index`; with tracked its batch norms have running statistics, as those that are trained
 * need. */
static enum ghn_status make_arch(const struct job *job, int64_t index, bool tracked,
                                 struct ghn_arch **ret, struct ghn_err *err) {
    const struct ghn_evaluate_nets_options *options = &job->options;
    struct ghn_net net;
    if (options->split == GHN_DEEPNETS_PREDEFINED)
        return ghn_predefined_arch(index, options->side, job->dataset->n_classes,
                                   &ghn_limits_default, ret, err);
    enum ghn_status status = ghn_sample_net(options->split, options->arch_seed, index, &net, err);
    if (status != GHN_OK)
        return status;
    ghn_sample_for_images(options->split, options->side, job->dataset->n_classes, &net);
    if (tracked && net.norm == GHN_NORM_BATCH)
        net.norm = GHN_NORM_BATCH_TRACK;
    return ghn_net_to_arch(&net, &ghn_limits_default, ret, err);
}

static enum ghn_status predict(const struct job *job, const struct ghn_arch *arch,
                               struct ghn_params *params, struct ghn_err *err) {
    const struct ghn_predict_options options = {.seed = job->options.seed};
    struct ghn_graph *graph = NULL;
    struct ghn_prediction *prediction = NULL;
    enum ghn_status status = ghn_graph_from_arch(arch, &ghn_limits_default, &graph, err);
    if (status == GHN_OK)
        status = ghn_predict(job->model, graph, &options, NULL, &prediction, err);
    if (status == GHN_OK)
        status = ghn_params_from_prediction(params, prediction, err);
    ghn_prediction_free(prediction);
    ghn_graph_free(graph);
    return status;
}

static enum ghn_status train(const struct job *job, const struct ghn_arch *arch,
                             struct ghn_params *params, struct ghn_err *err) {
    struct ghn_recipe recipe = ghn_recipe_default;
    recipe.steps = job->options.sgd_steps;
    recipe.batch_size = 96;
    recipe.optimizer = GHN_SGD;
    recipe.lr = 0.025;
    recipe.momentum = 0.9;
    recipe.weight_decay = 3e-4;
    recipe.schedule = GHN_COSINE;
    recipe.clip_norm = 5;
    recipe.precision = job->options.precision;
    recipe.seed = job->options.seed;
    recipe.start = GHN_START_RANDOM;
    recipe.eval_images = PAPER_BATCH; /* as few as make sense: what counts comes afterwards */
    const struct ghn_finetune_options options = {.stop = job->options.stop};
    ghn_params_initialise(params, job->options.seed);
    return ghn_finetune(arch, job->dataset, &recipe, &options, params, err);
}

static struct ghn_score guessing(const struct job *job) {
    int classes = job->dataset->n_classes;
    return (struct ghn_score){.evaluation = {.images = 1,
                                             .loss = log(classes),
                                             .top1 = 1.0 / classes,
                                             .top5 = classes > 5 ? 5.0 / classes : 1}};
}

static enum ghn_status evaluate(const struct job *job, const struct ghn_arch *arch,
                                struct ghn_params *params, enum ghn_mode mode,
                                struct ghn_score *ret, struct ghn_err *err) {
    const struct ghn_evaluate_nets_options *options = &job->options;
    const struct ghn__evaluation_plan plan = {.arch = arch,
                                              .dataset = job->dataset,
                                              .split = options->images,
                                              .first = options->first_image,
                                              .max_images = options->max_images,
                                              .batch = options->batch,
                                              .precision = options->precision,
                                              .sharing = job->sharing,
                                              .held = job->held};
    struct ghn__evaluator *evaluator = NULL;
    struct ghn_score score = {.finite = true};
    enum ghn_status status = ghn__evaluator_new(&plan, &evaluator, err);
    if (status == GHN_OK)
        status = ghn__evaluator_run(evaluator, params, mode, options->stop, &score.evaluation, err);
    ghn__evaluator_free(evaluator);
    if (status != GHN_OK)
        return status;
    /* One logit that is not finite makes the loss of its image so, and with it the mean. */
    int64_t images = score.evaluation.images;
    if (!isfinite(score.evaluation.loss))
        score = guessing(job);
    score.evaluation.images = images;
    *ret = score;
    return GHN_OK;
}

/* Processor time of this thread, in seconds. */
static double thread_seconds(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The score of network `index` with parameters that are predicted or, with trained, learnt. */
static enum ghn_status score_net(const struct job *job, int64_t index, bool trained,
                                 int64_t *ret_n_parameters, struct ghn_score *ret,
                                 struct ghn_err *err) {
    double started = thread_seconds();
    struct ghn_arch *arch = NULL;
    struct ghn_params *params = NULL;
    struct ghn_err inner = GHN_ERR_INIT;
    struct ghn_score score = {0};
    enum ghn_status status = make_arch(job, index, trained, &arch, &inner);
    if (status == GHN_OK)
        status = ghn_params_new(arch, &params, &inner);
    if (status == GHN_OK)
        status = trained ? train(job, arch, params, &inner) : predict(job, arch, params, &inner);
    bool diverged = status == GHN_DIVERGED;
    if (status == GHN_OK) {
        bool running = trained && params->n_statistics > 0;
        status = evaluate(job, arch, params, running ? GHN_MODE_EVAL : GHN_MODE_BATCH_STATISTICS,
                          &score, &inner);
    } else if (diverged) {
        score = guessing(job);
        status = GHN_OK;
    }
    if (status == GHN_OK) {
        score.seconds = thread_seconds() - started;
        *ret_n_parameters = arch->n_parameters;
        *ret = score;
    } else {
        ghn_record(err, status, inner.where, "%s", inner.message);
    }
    ghn_params_free(params);
    ghn_arch_free(arch);
    return status;
}

/* --- All of them --- */

static bool is_stopped(const struct job *job) {
    return job->options.stop && atomic_load(job->options.stop);
}

static void finish(struct job *job, int i, const struct ghn_net_scores *scores,
                   enum ghn_status status, const struct ghn_err *err) {
    pthread_mutex_lock(&job->lock);
    if (status == GHN_OK) {
        job->scores[i] = *scores;
        job->done++;
        if (job->options.report)
            job->options.report(job->options.context, scores);
    } else {
        char where[64];
        (void)snprintf(where, sizeof where, "%s[%lld]", ghn_deepnets_split_name(job->options.split),
                       (long long)scores->index);
        /* an error takes the place of being stopped */
        if (status != GHN_STOPPED)
            ghn_record(&job->err, status, where, "%s%s%s", err->where, err->where[0] ? ": " : "",
                       err->message);
        if (job->status == GHN_OK || job->status == GHN_STOPPED)
            job->status = status;
        atomic_store(&job->ended, true);
    }
    pthread_mutex_unlock(&job->lock);
}

/* A task of the pool: one network. */
static void evaluate_net(void *context, int i) {
    struct job *job = context;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_net_scores scores = {.index = job->options.first + i};
    if (job->scores[i].predicted.evaluation.images > 0 || atomic_load(&job->ended))
        return;
    int team = ghn__parallel_threads();
    ghn__parallel_set_threads(1);
    enum ghn_status status =
        is_stopped(job)
            ? GHN_STOPPED
            : score_net(job, scores.index, false, &scores.n_parameters, &scores.predicted, &err);
    if (status == GHN_OK && job->options.sgd_steps > 0) {
        status = score_net(job, scores.index, true, &scores.n_parameters, &scores.trained, &err);
        scores.trained.evaluation.images = scores.predicted.evaluation.images;
    }
    ghn__parallel_set_threads(team);
    finish(job, i, &scores, status, &err);
}

/* Whether there is a network that is not known already. */
static bool has_work(const struct job *job) {
    for (int64_t i = 0; i < job->options.count; i++)
        if (job->scores[i].predicted.evaluation.images == 0)
            return true;
    return false;
}

/* Failures of the job, told to the caller. */
static enum ghn_status tell(const struct job *job, struct ghn_err *err) {
    if (job->status == GHN_STOPPED)
        return ghn_fail(err, GHN_STOPPED, ghn_deepnets_split_name(job->options.split),
                        "stopped after %lld networks", (long long)job->done);
    if (job->status != GHN_OK)
        ghn_record(err, job->status, job->err.where, "%s", job->err.message);
    return job->status;
}

enum ghn_status ghn_evaluate_nets(const struct ghn_model *model, const struct ghn_dataset *dataset,
                                  const struct ghn_evaluate_nets_options *options,
                                  struct ghn_net_scores *scores, struct ghn_err *err) {
    struct job job = {.model = model,
                      .dataset = dataset,
                      .options = *options,
                      .scores = scores,
                      .err = GHN_ERR_INIT};
    struct ghn_pool *pool = NULL;
    fill_in_defaults(&job);
    enum ghn_status status = check(&job, err);
    if (status != GHN_OK || !has_work(&job))
        return status;
    status = hold_images(&job, err);
    if (status == GHN_OK)
        status = ghn_pool_new(options->threads, &pool, err);
    if (status == GHN_OK) {
        int64_t most = ghn_pool_size(pool);
        job.sharing = (int)(options->count < most ? options->count : most);
        pthread_mutex_init(&job.lock, NULL);
        ghn_pool_run(pool, (int)options->count, evaluate_net, &job);
        pthread_mutex_destroy(&job.lock);
        status = tell(&job, err);
    }
    ghn_pool_free(pool);
    ghn__held_images_free(job.held);
    return status;
}
