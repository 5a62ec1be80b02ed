/* Networks for the tests of the sampler. */
#ifndef GHN_TESTS_SAMPLING_H
#define GHN_TESTS_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "deepnets/sample.h"

/* ghn_sample_net of a network that there is; the test fails if not. */
struct ghn_net sample(enum ghn_deepnets_split split, uint64_t seed, int64_t index);

/* Whether an operation occurs in a net whose cells have equally many steps. */
bool has_op(const struct ghn_net *net, enum ghn_cell_op op);

#endif
