/* The random draws of dropout and stochastic depth, shared by the fast kernels and their reference
 * twins. Private to lib/nn. */
#ifndef GHN_NN_RANDOM_H
#define GHN_NN_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

/* The stream of node `node` in step `step`. */
static inline uint64_t ghn__drop_stream(uint64_t step, int node) {
    return step * 65536u + (uint64_t)node;
}

/* Whether draw i of that stream keeps what it stands for, which happens with probability 1 - p.
 * Dropout: i is the element's index in (N, ...) row-major order of the logical dimensions, whatever
 * the order in memory. Stochastic depth: i is the image's index ("row") or 0
 * ("batch"). */
static inline bool ghn__drop_keeps(double p, uint64_t seed, uint64_t stream, uint64_t i) {
    return (double)(ghn_rng_bits(seed, stream, i) >> 11) * 0x1p-53 >= p;
}

#endif
