/* Several arrays in one allocation: a first pass with `base` NULL counts the bytes, a second one
 * over the same calls hands them out. Private to this folder. */
#ifndef GHN_GHN_SPACE_H
#define GHN_GHN_SPACE_H

#include <stddef.h>

#include "base/mem.h"

struct ghn__space {
    char *base;
    size_t used;
};

/* count elements of size bytes, on a cache line of their own; NULL while counting. */
static inline void *ghn__take(struct ghn__space *space, size_t count, size_t size) {
    void *p = space->base ? space->base + space->used : NULL;
    space->used += (count * size + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
    return p;
}

static inline float *ghn__take_floats(struct ghn__space *space, size_t n) {
    return (float *)ghn__take(space, n, sizeof(float));
}

#endif
