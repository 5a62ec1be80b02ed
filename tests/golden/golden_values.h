/* Comparing predictions with the golden data. */
#ifndef GHN_TESTS_GOLDEN_VALUES_H
#define GHN_TESTS_GOLDEN_VALUES_H

#include <jansson.h>

#include "ghn/predict.h"

/* The worst errors seen so far, as multiples of the tolerance. */
struct golden_worst {
    double value, statistic, embedding;
};
extern struct golden_worst golden_worst;
void golden_print_worst(void);

/* Fails the test unless found is expected, up to 1e-5 of scale and of itself. */
void golden_close(const char *what, double found, double expected, double scale, double *worst);

/* A member that must be a number. */
double golden_real(const json_t *json, const char *key);

/* That what a case predicts is predicted, with its shape, statistics and sampled values, and all
 * else is omitted. */
void golden_check_params(const json_t *golden, const struct ghn_prediction *prediction);

#endif
