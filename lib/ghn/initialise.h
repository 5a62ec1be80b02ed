/* Values of tensors that are not predicted. Private to this folder and its tests. */
#ifndef GHN_GHN_INITIALISE_H
#define GHN_GHN_INITIALISE_H

#include <stdint.h>

#include "graph/graph.h"

/* Values [first, first + n) of a slot of kind INIT, into ret. Each is a function of seed, the
 * slot's name and its index alone. */
void ghn__initialise(const struct ghn_slot *slot, uint64_t seed, int64_t first, int64_t n,
                     float *ret);

#endif
