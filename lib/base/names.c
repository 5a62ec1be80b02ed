#include "base/names.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

struct ghn_name_slot {
    const char *name; /* NULL: free */
    int value;
};

/* Linear probing. The hash is seeded by the process's own addresses, so that a client cannot
 * prepare names that collide. */
static size_t slot_of(const struct ghn_names *names, const char *name) {
    uint64_t seed = (uint64_t)(uintptr_t)&ghn_names_add;
    size_t i = (size_t)ghn_rng_bits(seed, ghn_rng_stream(name), 0) & (names->n_slots - 1);
    while (names->slots[i].name && strcmp(names->slots[i].name, name) != 0)
        i = (i + 1) & (names->n_slots - 1);
    return i;
}

static int grow(struct ghn_names *names) {
    struct ghn_names larger = {.n_slots = names->n_slots ? names->n_slots * 2 : 64, .n = names->n};
    larger.slots = ghn_calloc(larger.n_slots, sizeof(larger.slots[0]));
    if (!larger.slots)
        return 0;
    for (size_t i = 0; i < names->n_slots; i++)
        if (names->slots[i].name)
            larger.slots[slot_of(&larger, names->slots[i].name)] = names->slots[i];
    ghn_free(names->slots);
    *names = larger;
    return 1;
}

int ghn_names_add(struct ghn_names *names, const char *name, int value) {
    if (names->n * 2 >= names->n_slots && !grow(names))
        return GHN_NAMES_NO_MEMORY;
    struct ghn_name_slot *slot = &names->slots[slot_of(names, name)];
    if (slot->name)
        return slot->value;
    slot->name = name;
    slot->value = value;
    names->n++;
    return value;
}

int ghn_names_find(const struct ghn_names *names, const char *name) {
    if (!names->n_slots)
        return -1;
    const struct ghn_name_slot *slot = &names->slots[slot_of(names, name)];
    return slot->name ? slot->value : -1;
}

void ghn_names_done(struct ghn_names *names) {
    ghn_free(names->slots);
    *names = (struct ghn_names)GHN_NAMES_INIT;
}
