/* Images that are decoded once and evaluated on many times, by several threads at once. Private to
 * lib/train. */
#ifndef GHN_TRAIN_HELD_IMAGES_H
#define GHN_TRAIN_HELD_IMAGES_H

#include <stdint.h>

#include "base/status.h"
#include "data/loader.h"

struct ghn__held_images {
    int64_t n;
    int64_t size;    /* floats of an image, H * W * C */
    float *images;   /* (n, H, W, C), normalised */
    int32_t *labels; /* (n) */
};

/* The images that a loader with these options gives in its first epoch. Errors as ghn_loader_new's
 * and ghn_loader_next's. The caller frees with ghn__held_images_free. */
enum ghn_status ghn__held_images_new(const struct ghn_dataset *dataset,
                                     const struct ghn_loader_options *options,
                                     struct ghn__held_images **ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Frees images; NULL is allowed. */
void ghn__held_images_free(struct ghn__held_images *held);

/* Batch `number` of `size` images (the last one may have fewer), which points into held. */
struct ghn_batch ghn__held_images_batch(const struct ghn__held_images *held, int64_t number,
                                        int size);

#endif
