/* Values of parameters that nobody has predicted or learnt yet. */
#ifndef GHN_ARCH_INITIALISE_H
#define GHN_ARCH_INITIALISE_H

#include <stdint.h>

#include "arch/arch.h"

/* Values [first, first + n) of the parameter called name, drawn as init says, into ret. Each is a
 * function of seed, name and its index alone. */
void ghn_initialise(const struct ghn_init *init, const char *name, uint64_t seed, int64_t first,
                    int64_t n, float *ret);

#endif
