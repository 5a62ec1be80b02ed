#include "tensor/stats.h"

#include <math.h>

/* Values summed at a time: the sums of one piece are exact enough in double, and pieces are merged
 * by Chan's formula, so that the mean of a billion values loses nothing. */
enum { PIECE = 4096 };

static void merge(struct ghn_stats *stats, int64_t n, double mean, double m2) {
    double total = (double)(stats->n + n), delta = mean - stats->mean;
    stats->m2 += m2 + delta * delta * (double)stats->n * (double)n / total;
    stats->mean += delta * (double)n / total;
    stats->n += n;
}

static void add_piece(struct ghn_stats *stats, const float *values, size_t n) {
    double sum = 0, m2 = 0;
    int64_t finite = 0;
    float min = INFINITY, max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            continue;
        finite++;
        sum += (double)values[i];
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    stats->n_not_finite += (int64_t)n - finite;
    if (finite == 0)
        return;
    double mean = sum / (double)finite;
    for (size_t i = 0; i < n; i++)
        if (isfinite(values[i]))
            m2 += ((double)values[i] - mean) * ((double)values[i] - mean);
    stats->min = stats->n == 0 || min < stats->min ? min : stats->min;
    stats->max = stats->n == 0 || max > stats->max ? max : stats->max;
    merge(stats, finite, mean, m2);
}

void ghn_stats_add(struct ghn_stats *stats, const float *values, size_t n) {
    for (size_t i = 0; i < n; i += PIECE)
        add_piece(stats, values + i, n - i < PIECE ? n - i : PIECE);
}

double ghn_stats_std(const struct ghn_stats *stats) {
    return stats->n < 2 ? 0 : sqrt(stats->m2 / (double)(stats->n - 1));
}
