#include "train/held_images.h"

#include <string.h>

#include "base/mem.h"

static enum ghn_status fill(struct ghn__held_images *held, struct ghn_loader *loader,
                            struct ghn_err *err) {
    for (int64_t at = 0; at < held->n;) {
        const struct ghn_batch *batch = NULL;
        enum ghn_status status = ghn_loader_next(loader, &batch, err);
        if (status != GHN_OK)
            return status;
        size_t n = (size_t)batch->n;
        memcpy(held->images + at * held->size, batch->images,
               n * (size_t)held->size * sizeof *batch->images);
        memcpy(held->labels + at, batch->labels, n * sizeof *batch->labels);
        at += batch->n;
    }
    return GHN_OK;
}

enum ghn_status ghn__held_images_new(const struct ghn_dataset *dataset,
                                     const struct ghn_loader_options *options,
                                     struct ghn__held_images **ret, struct ghn_err *err) {
    struct ghn_loader *loader = NULL;
    enum ghn_status status = ghn_loader_new(dataset, options, &loader, err);
    if (status != GHN_OK)
        return status;
    const int64_t *chw = options->chw;
    struct ghn__held_images *held = ghn_calloc(1, sizeof *held);
    if (held) {
        held->n = ghn_loader_images(loader);
        held->size = chw[0] * chw[1] * chw[2];
        held->images = ghn_calloc((size_t)held->n, (size_t)held->size * sizeof *held->images);
        held->labels = ghn_calloc((size_t)held->n, sizeof *held->labels);
    }
    status = held && held->images && held->labels ? fill(held, loader, err) : ghn_fail_memory(err);
    ghn_loader_free(loader);
    if (status != GHN_OK) {
        ghn__held_images_free(held);
        return status;
    }
    *ret = held;
    return GHN_OK;
}

void ghn__held_images_free(struct ghn__held_images *held) {
    if (!held)
        return;
    ghn_free(held->images);
    ghn_free(held->labels);
    ghn_free(held);
}

struct ghn_batch ghn__held_images_batch(const struct ghn__held_images *held, int64_t number,
                                        int size) {
    int64_t first = number * size, left = held->n - first;
    return (struct ghn_batch){.number = number,
                              .n = left < size ? (int)left : size,
                              .images = held->images + first * held->size,
                              .labels = held->labels + first};
}
