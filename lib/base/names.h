/* A map from names to numbers, for finding nodes and tensors and for noticing duplicates. */
#ifndef GHN_BASE_NAMES_H
#define GHN_BASE_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct ghn_names {
    struct ghn_name_slot *slots;
    size_t n_slots; /* a power of two, or 0 */
    size_t n;
};

/* A map in its starting state. */
#define GHN_NAMES_INIT                                                                             \
    { NULL, 0, 0 }

/* What ghn_names_add answers when there is no memory. */
enum { GHN_NAMES_NO_MEMORY = -2 };

/* Maps name to value unless it is mapped already; returns the value that name has afterwards
 * (another value than the one given means a duplicate), or GHN_NAMES_NO_MEMORY. The text is
 * borrowed: it must outlive the map. value >= 0. */
int ghn_names_add(struct ghn_names *names, const char *name, int value)
    __attribute__((warn_unused_result));

/* The value of name, or -1. */
int ghn_names_find(const struct ghn_names *names, const char *name);

/* Frees the map and puts it in its starting state. */
void ghn_names_done(struct ghn_names *names);

#endif
