/* What ghn eval prints of the networks of splits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval_nets.h"

/* Accuracies on CIFAR-10 in percent that were published (Knyazev et al. 2021, and its code);
 * index -1: the mean over a split. */
static const struct published {
    enum ghn_deepnets_split split;
    int64_t index;
    const char *name;
    double ghn2, ghn1; /* NaN: none */
} published[] = {
    {GHN_DEEPNETS_TEST, -1, "test", 66.9, 51.4},
    {GHN_DEEPNETS_WIDE, -1, "wide", 64.0, 43.1},
    {GHN_DEEPNETS_DEEP, -1, "deep", 60.5, 48.3},
    {GHN_DEEPNETS_DENSE, -1, "dense", 65.8, 51.8},
    {GHN_DEEPNETS_BNFREE, -1, "bnfree", 36.8, 13.7},
    {GHN_DEEPNETS_PREDEFINED, 0, "ResNet-50", 58.6, 19.2},
    {GHN_DEEPNETS_PREDEFINED, 1, "ViT", 11.4, NAN},
};

static const struct published *find_published(enum ghn_deepnets_split split, int64_t index) {
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++)
        if (published[i].split == split && published[i].index == index)
            return &published[i];
    return NULL;
}

/* --- As JSON --- */

/* null for what is not a number. */
static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *summary_to_json(const struct ghn_scores_summary *s) {
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "n", (json_int_t)s->n, "mean",
                     number(s->mean), "standard_error", number(s->standard_error), "median",
                     number(s->median), "max", number(s->max), "mean_top5", number(s->mean_top5),
                     "mean_loss", number(s->mean_loss), "not_finite", (json_int_t)s->not_finite,
                     "better_than_chance", (json_int_t)s->better_than_chance);
}

static json_t *networks_to_json(const struct cli_eval_split *split) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < split->count; i++) {
        const struct ghn_net_scores *scores = &split->scores[i];
        if (scores->predicted.evaluation.images > 0 &&
            json_array_append_new(list, cli_net_scores_to_json(split->split, scores)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* A split: what it comes to, and its networks. */
static enum ghn_status split_to_json(const struct cli_eval_run *run,
                                     const struct cli_eval_split *split, json_t **ret,
                                     struct ghn_err *err) {
    struct ghn_scores_summary predicted, trained;
    int classes = run->dataset->n_classes;
    enum ghn_status status =
        ghn_summarise_scores(split->scores, split->count, false, classes, &predicted, err);
    if (status == GHN_OK)
        status = ghn_summarise_scores(split->scores, split->count, true, classes, &trained, err);
    if (status != GHN_OK)
        return status;
    json_t *sgd = run->sgd_steps > 0 ? summary_to_json(&trained) : NULL;
    *ret = json_pack("{s:s, s:o, s:o*, s:o}", "split", ghn_deepnets_split_name(split->split),
                     "predicted", summary_to_json(&predicted), "sgd", sgd, "networks",
                     networks_to_json(split));
    return *ret ? GHN_OK : ghn_fail_memory(err);
}

static enum ghn_status print_json(const struct cli_eval_run *run,
                                  const struct cli_eval_split *splits, int n_splits,
                                  struct ghn_err *err) {
    json_t *list = json_array();
    enum ghn_status status = list ? GHN_OK : ghn_fail_memory(err);
    for (int i = 0; i < n_splits && status == GHN_OK; i++) {
        json_t *split = NULL;
        status = split_to_json(run, &splits[i], &split, err);
        if (status == GHN_OK && json_array_append_new(list, split) != 0)
            status = ghn_fail_memory(err);
    }
    json_t *root = status != GHN_OK
                       ? NULL
                       : json_pack("{s:s, s:O, s:f, s:O}", "hypernetwork",
                                   ghn_config_kind(ghn_model_config(run->model)), "run",
                                   run->options, "seconds", run->seconds, "splits", list);
    if (status == GHN_OK && (!root || json_dumpf(root, stdout, JSON_INDENT(2)) != 0))
        status = ghn_fail_memory(err);
    else if (status == GHN_OK)
        puts("");
    json_decref(root);
    json_decref(list);
    return status;
}

/* --- As a table --- */

static void print_head(const struct cli_eval_run *run, bool compare) {
    char count[CLI_NUMBER];
    printf("%s %.12s, %s, %s test images, %lld at a time in file order, %s\n\n",
           ghn_config_kind(ghn_model_config(run->model)), ghn_model_sha256(run->model),
           run->dataset->name, cli_count(run->images, count), (long long)run->batch,
           json_string_value(json_object_get(run->options, "precision")));
    printf("%s%-12s%6s%8s%7s%8s%8s%10s%12s%s%s\n", cli_bold(stdout), "top-1, %", "n", "mean",
           "s.e.", "median", "max", "> chance", "not finite", compare ? "   | GHN-2  GHN-1" : "",
           cli_plain(stdout));
}

/* A value in percent, "-" if there is none. */
static void print_percent(int width, int digits, double value) {
    if (isnan(value))
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, digits, value);
}

/* A line of the table; paper NULL: nothing was published. */
static void print_row(const char *name, const struct ghn_scores_summary *s,
                      const struct published *paper) {
    char share[24] = "-";
    if (s->n > 0)
        (void)snprintf(share, sizeof share, "%.0f %%",
                       100.0 * (double)s->better_than_chance / (double)s->n);
    printf("%-12s%6lld", name, (long long)s->n);
    print_percent(8, 2, 100 * s->mean);
    print_percent(7, 2, 100 * s->standard_error);
    print_percent(8, 2, 100 * s->median);
    print_percent(8, 2, 100 * s->max);
    printf("%10s%12lld", share, (long long)s->not_finite);
    if (paper) {
        printf("   |");
        print_percent(6, 1, paper->ghn2);
        print_percent(7, 1, paper->ghn1);
    }
    puts("");
}

/* The lines of n networks: predicted, and beside it trained. */
static enum ghn_status print_rows(const struct cli_eval_run *run, const char *name,
                                  const struct ghn_net_scores *scores, int64_t n,
                                  const struct published *paper, struct ghn_err *err) {
    struct ghn_scores_summary predicted, trained;
    int classes = run->dataset->n_classes;
    enum ghn_status status = ghn_summarise_scores(scores, n, false, classes, &predicted, err);
    if (status == GHN_OK)
        status = ghn_summarise_scores(scores, n, true, classes, &trained, err);
    if (status != GHN_OK)
        return status;
    print_row(name, &predicted, paper);
    if (run->sgd_steps > 0) {
        char label[32];
        (void)snprintf(label, sizeof label, "  SGD %lld", (long long)run->sgd_steps);
        print_row(label, &trained, NULL);
    }
    return GHN_OK;
}

/* The lines of a split; the predefined networks have one each. */
static enum ghn_status print_split(const struct cli_eval_run *run,
                                   const struct cli_eval_split *split, bool compare,
                                   struct ghn_err *err) {
    const struct published *paper = find_published(split->split, -1);
    enum ghn_status status = GHN_OK;
    if (split->split != GHN_DEEPNETS_PREDEFINED)
        return print_rows(run, ghn_deepnets_split_name(split->split), split->scores, split->count,
                          compare ? paper : NULL, err);
    for (int64_t i = 0; i < split->count && status == GHN_OK; i++) {
        paper = find_published(split->split, split->first + i);
        status = print_rows(run, paper ? paper->name : "?", &split->scores[i], 1,
                            compare ? paper : NULL, err);
    }
    return status;
}

enum ghn_status cli_eval_report(const struct cli_eval_run *run, const struct cli_eval_split *splits,
                                int n_splits, bool json, struct ghn_err *err) {
    if (json)
        return print_json(run, splits, n_splits, err);
    bool compare = run->dataset->kind == GHN_DATASET_CIFAR10;
    enum ghn_status status = GHN_OK;
    print_head(run, compare);
    for (int i = 0; i < n_splits && status == GHN_OK; i++)
        status = print_split(run, &splits[i], compare, err);
    if (compare)
        puts(
            "\nBehind the line: what Knyazev et al. (2021) published, of trained GHNs on networks\n"
            "that were drawn by the same rules, but are not the same.");
    return status;
}
