/* Evaluating a hypernetwork on the networks of splits of DeepNets-1M. */
#include "eval_nets.h"

#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "stop.h"

/* What --split all stands for: the splits that numbers were published of. */
static const enum ghn_deepnets_split all_splits[] = {GHN_DEEPNETS_TEST,   GHN_DEEPNETS_WIDE,
                                                     GHN_DEEPNETS_DEEP,   GHN_DEEPNETS_DENSE,
                                                     GHN_DEEPNETS_BNFREE, GHN_DEEPNETS_PREDEFINED};
enum { N_ALL = sizeof all_splits / sizeof all_splits[0] };

struct evaluation {
    const struct cli_eval_nets *wanted;
    struct cli_eval_split splits[GHN_N_DEEPNETS_SPLITS];
    int n_splits;
    struct ghn_model *model;
    struct ghn_dataset *dataset;
    struct cli_eval_run run;
    struct cli_results results;

    struct cli_progress progress;
    const struct cli_eval_split *current;
    int64_t total, done, known; /* networks; done counts those that were known */
    double started, sum;        /* sum: of top-1 of the current split */
    int64_t summed;
    struct ghn_err kept; /* why a result could not be kept */
};

/* --- The command line --- */

/* Adds a split; the networks are as many as asked for, or as were published. */
static int add_split(struct evaluation *e, enum ghn_deepnets_split split) {
    const struct cli_eval_nets *wanted = e->wanted;
    const char *name = ghn_deepnets_split_name(split);
    int64_t size = ghn_deepnets_split_size(split), count = wanted->count;
    for (int i = 0; i < e->n_splits; i++)
        if (e->splits[i].split == split)
            return cli_usage("eval", "--split %s is given twice", name);
    if (count == 0 && (split == GHN_DEEPNETS_TRAIN || split == GHN_DEEPNETS_SEARCH))
        return cli_usage("eval", "--count N is missing: all %lld networks of %s would take months",
                         (long long)size, name);
    if (count == 0 || (split == GHN_DEEPNETS_PREDEFINED && wanted->first + count > size))
        count = size - wanted->first;
    if (count < 1)
        return cli_usage("eval", "--first %lld: %s has %lld networks", (long long)wanted->first,
                         name, (long long)size);
    e->splits[e->n_splits++] =
        (struct cli_eval_split){.split = split, .first = wanted->first, .count = count};
    e->total += count;
    return CLI_OK;
}

static int choose_splits(struct evaluation *e) {
    const struct cli_list *given = &e->wanted->splits;
    struct ghn_err err = GHN_ERR_INIT;
    int code = CLI_OK;
    if (given->n == 0)
        return cli_usage("eval", "--split is missing: test, wide, deep, dense, bnfree, predefined, "
                                 "val, search, train or all");
    for (int i = 0; i < given->n && code == CLI_OK; i++) {
        enum ghn_deepnets_split split = GHN_DEEPNETS_TEST;
        if (strcmp(given->items[i], "all") == 0) {
            for (int j = 0; j < N_ALL && code == CLI_OK; j++)
                code = add_split(e, all_splits[j]);
            continue;
        }
        if (ghn_deepnets_split_from_name(given->items[i], "--split", &split, &err) != GHN_OK)
            return cli_usage("eval", "%s: %s, or all", err.where, err.message);
        code = add_split(e, split);
    }
    return code;
}

/* --- Setting up --- */

/* All that the scores of a network depend on. */
static json_t *run_options(const struct evaluation *e) {
    const struct cli_eval_nets *wanted = e->wanted;
    const struct ghn_dataset *dataset = e->dataset;
    enum ghn_precision precision =
        wanted->precision == GHN_PRECISION_AUTO ? ghn_precision_best() : wanted->precision;
    return json_pack("{s:s, s:{s:s, s:s, s:i, s:I}, s:I, s:I, s:I, s:s, s:I, s:I, s:I}",
                     "hypernetwork_sha256", ghn_model_sha256(e->model), "dataset", "kind",
                     ghn_dataset_kind_name(dataset->kind), "name", dataset->name, "classes",
                     dataset->n_classes, "test_images", (json_int_t)dataset->n[GHN_SPLIT_TEST],
                     "images", (json_int_t)e->run.images, "size", (json_int_t)wanted->size, "batch",
                     (json_int_t)wanted->batch, "precision", ghn_precision_name(precision),
                     "sgd_steps", (json_int_t)wanted->sgd_steps, "seed", (json_int_t)wanted->seed,
                     "arch_seed", (json_int_t)wanted->arch_seed);
}

static enum ghn_status set_up(struct evaluation *e, struct ghn_err *err) {
    const struct cli_eval_nets *wanted = e->wanted;
    enum ghn_status status = ghn_model_load(wanted->checkpoint, &e->model, err);
    if (status == GHN_OK)
        status = ghn_dataset_open(wanted->data, &e->dataset, err);
    if (status != GHN_OK)
        return status;
    int64_t images = e->dataset->n[GHN_SPLIT_TEST];
    e->run = (struct cli_eval_run){
        .model = e->model,
        .dataset = e->dataset,
        .images = wanted->images > 0 && wanted->images < images ? wanted->images : images,
        .batch = wanted->batch,
        .sgd_steps = wanted->sgd_steps};
    e->run.options = run_options(e);
    if (!e->run.options)
        return ghn_fail_memory(err);
    status = cli_results_open(&e->results, wanted->results, e->run.options, err);
    for (int i = 0; i < e->n_splits && status == GHN_OK; i++) {
        struct cli_eval_split *split = &e->splits[i];
        split->scores = calloc((size_t)split->count, sizeof *split->scores);
        if (!split->scores)
            return ghn_fail_memory(err);
        e->known += cli_results_find(&e->results, split);
    }
    e->done = e->known;
    return status;
}

static void tear_down(struct evaluation *e) {
    cli_results_done(&e->results);
    for (int i = 0; i < e->n_splits; i++)
        free(e->splits[i].scores);
    json_decref(e->run.options);
    ghn_dataset_free(e->dataset);
    ghn_model_unref(e->model);
}

/* --- Evaluating --- */

static void show(struct evaluation *e) {
    char text[128] = "", left[CLI_DURATION];
    int64_t fresh = e->done - e->known;
    int n = snprintf(text, sizeof text, "%s", ghn_deepnets_split_name(e->current->split));
    if (e->summed > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "  top-1 %.1f %%",
                      100 * e->sum / (double)e->summed);
    if (fresh > 0 && e->done < e->total)
        (void)snprintf(text + n, sizeof text - (size_t)n, "  %s left",
                       cli_duration((ghn_seconds() - e->started) * (double)(e->total - e->done) /
                                        (double)fresh,
                                    left));
    cli_progress_count(&e->progress, e->done, e->total, "networks", text);
}

static void add_to_sum(struct evaluation *e, const struct ghn_net_scores *scores) {
    if (scores->predicted.evaluation.images == 0)
        return;
    e->sum += scores->predicted.evaluation.top1;
    e->summed++;
}

/* Told of every network by the thread that did it, one at a time. */
static void on_network(void *context, const struct ghn_net_scores *scores) {
    struct evaluation *e = context;
    if (cli_results_add(&e->results, e->current->split, scores, &e->kept) != GHN_OK)
        atomic_store(&cli_stop, true);
    e->done++;
    add_to_sum(e, scores);
    show(e);
}

static enum ghn_status evaluate_split(struct evaluation *e, const struct cli_eval_split *split,
                                      struct ghn_err *err) {
    const struct cli_eval_nets *wanted = e->wanted;
    const struct ghn_evaluate_nets_options options = {
        .split = split->split,
        .first = split->first,
        .count = split->count,
        .arch_seed = (uint64_t)wanted->arch_seed,
        .images = GHN_SPLIT_TEST,
        .max_images = wanted->images,
        .side = wanted->size,
        .batch = (int)wanted->batch,
        .precision = wanted->precision,
        .sgd_steps = wanted->sgd_steps,
        .seed = (uint64_t)wanted->seed,
        .threads = (int)wanted->threads,
        .stop = &cli_stop,
        .report = on_network,
        .context = e,
    };
    e->current = split;
    e->sum = 0;
    e->summed = 0;
    for (int64_t i = 0; i < split->count; i++)
        add_to_sum(e, &split->scores[i]);
    show(e);
    return ghn_evaluate_nets(e->model, e->dataset, &options, split->scores, err);
}

/* Tells why it ended early, after a table of what there is. */
static int fail(struct evaluation *e, enum ghn_status status, const struct ghn_err *err) {
    if (e->kept.status != GHN_OK)
        return cli_fail(&e->kept, NULL);
    if (status != GHN_STOPPED)
        return cli_fail(err, NULL);
    return cli_failf(
        NULL,
        e->results.path ? "the same command goes on from there"
                        : "with --results FILE the same command would go on from there",
        "stopped after %lld of %lld networks", (long long)e->done, (long long)e->total);
}

static int evaluate(struct evaluation *e) {
    struct ghn_err err = GHN_ERR_INIT, failure = GHN_ERR_INIT;
    enum ghn_status status = set_up(e, &err);
    if (status == GHN_INVALID_FILE && e->wanted->results &&
        strcmp(err.where, e->wanted->results) == 0)
        return cli_fail(&err,
                        "--results takes a file that ghn eval made, or that is not there yet");
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    cli_stop_catch();
    cli_progress_init(&e->progress);
    e->started = ghn_seconds();
    for (int i = 0; i < e->n_splits && status == GHN_OK; i++)
        status = evaluate_split(e, &e->splits[i], &err);
    e->run.seconds = ghn_seconds() - e->started;
    cli_progress_end(&e->progress);
    if (e->done > 0 &&
        cli_eval_report(&e->run, e->splits, e->n_splits, e->wanted->json, &failure) != GHN_OK)
        return cli_fail(&failure, NULL);
    if (status != GHN_OK || e->kept.status != GHN_OK)
        return fail(e, status, &err);
    return CLI_OK;
}

int cli_eval_nets(const struct cli_eval_nets *wanted) {
    struct evaluation e = {.wanted = wanted, .results = {.fd = -1}, .kept = GHN_ERR_INIT};
    int code = choose_splits(&e);
    if (code == CLI_OK)
        code = evaluate(&e);
    tear_down(&e);
    return code;
}
