/* What the scores of many networks come to. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "train/evaluate_nets.h"

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, int64_t n) {
    if (n == 0)
        return NAN;
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* Deviation of the n values from their mean, over the root of n. */
static double standard_error(const double *values, int64_t n, double mean) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1) / (double)n) : NAN;
}

static bool beats_chance(const struct ghn_evaluation *evaluation, int classes) {
    double chance = 1.0 / classes;
    return evaluation->top1 > chance + 2 * sqrt(chance * (1 - chance) / (double)evaluation->images);
}

enum ghn_status ghn_summarise_scores(const struct ghn_net_scores *scores, int64_t n, bool trained,
                                     int classes, struct ghn_scores_summary *ret,
                                     struct ghn_err *err) {
    struct ghn_scores_summary summary = {.max = NAN};
    double *values = ghn_malloc((size_t)n * sizeof *values), sum = 0;
    if (!values)
        return ghn_fail_memory(err);
    for (int64_t i = 0; i < n; i++) {
        const struct ghn_score *score = trained ? &scores[i].trained : &scores[i].predicted;
        const struct ghn_evaluation *evaluation = &score->evaluation;
        if (evaluation->images == 0)
            continue;
        values[summary.n++] = evaluation->top1;
        sum += evaluation->top1;
        summary.mean_top5 += evaluation->top5;
        summary.mean_loss += evaluation->loss;
        summary.max = fmax(summary.max, evaluation->top1);
        summary.not_finite += !score->finite;
        summary.better_than_chance += beats_chance(evaluation, classes);
    }
    double found = (double)summary.n;
    summary.mean = sum / found; /* 0 / 0 is the NaN that is promised */
    summary.mean_top5 /= found;
    summary.mean_loss /= found;
    summary.standard_error = standard_error(values, summary.n, summary.mean);
    summary.median = median_of(values, summary.n);
    ghn_free(values);
    *ret = summary;
    return GHN_OK;
}
