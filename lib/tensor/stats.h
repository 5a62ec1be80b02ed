/* Mean, spread and range of a tensor's values, gathered piece by piece. */
#ifndef GHN_TENSOR_STATS_H
#define GHN_TENSOR_STATS_H

#include <stddef.h>
#include <stdint.h>

/* Statistics of the finite values seen so far; zeroed is the starting state. */
struct ghn_stats {
    int64_t n;            /* finite values */
    int64_t n_not_finite; /* NaN and infinite ones, which count nowhere else */
    double mean;
    double m2; /* sum of squared differences from the mean */
    float min, max;
};

/* Adds n values. */
void ghn_stats_add(struct ghn_stats *stats, const float *values, size_t n);

/* The standard deviation with n - 1 below (PyTorch's std); 0 for fewer than two values. */
double ghn_stats_std(const struct ghn_stats *stats);

#endif
