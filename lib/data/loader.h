/* Batches of a data set, decoded and augmented on threads of their own while the network trains.
 *
 * Batch number i is a function of (data set, options, i) alone: any number of threads gives the
 * same bytes, and a job that resumes at batch i sees what it would have seen. */
#ifndef GHN_DATA_LOADER_H
#define GHN_DATA_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"

/* What is done to a training image, in this order. All zero: nothing but resizing and normalising.
 */
struct ghn_augmentation {
    int pad; /* zero pixels added on every side, then a random crop of the original size (CIFAR: 4)
              */
    bool flip;  /* mirrored left to right with probability 1/2 */
    int cutout; /* side of a square of zeros (after normalising), centred anywhere, clipped by the
                   border; 0: none */
    bool resized_crop; /* folders: a random crop of 8 to 100 % of the area and ratio 3/4 to 4/3,
                          resized (torchvision's RandomResizedCrop); without it the shorter side is
                          resized to size * 8 / 7 and the centre taken */
};

struct ghn_loader_options {
    enum ghn_split split;
    int batch;
    int64_t chw[3];       /* of the network's input; images as ghn_dataset_fits says */
    int n_shots;          /* first n images of each class in file order; 0: all */
    int64_t first, count; /* images [first, first + count) of the split, in file order; count 0: to
                             the end. With n_shots: taken first */
    bool shuffle;         /* a new permutation every epoch; else file order */
    bool drop_last;       /* an epoch ends with its last full batch; else with a smaller one */
    struct ghn_augmentation augmentation;
    uint64_t seed;
    int threads; /* that prepare; 0: one */
};

struct ghn_batch {
    int64_t number;  /* of the batch, from 0, over all epochs */
    int n;           /* images */
    float *images;   /* (n, H, W, C), normalised */
    int32_t *labels; /* (n) */
};

struct ghn_loader;

/* A loader over dataset, which must outlive it. GHN_OUT_OF_RANGE for an empty selection;
 * GHN_SHAPE_MISMATCH as ghn_dataset_fits. The caller frees with ghn_loader_free. */
enum ghn_status ghn_loader_new(const struct ghn_dataset *dataset,
                               const struct ghn_loader_options *options, struct ghn_loader **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* Stops the threads and frees; NULL is allowed. */
void ghn_loader_free(struct ghn_loader *loader);

/* Images of the selection, and batches of an epoch. */
int64_t ghn_loader_images(const struct ghn_loader *loader);
int64_t ghn_loader_batches(const struct ghn_loader *loader);

/* The next batch is number `number`. */
void ghn_loader_seek(struct ghn_loader *loader, int64_t number);

/* The next batch; epochs follow each other without end. *ret stays valid until the next call.
 * GHN_INVALID_FILE, naming the file, for a picture that cannot be decoded; GHN_IO. One caller at a
 * time. */
enum ghn_status ghn_loader_next(struct ghn_loader *loader, const struct ghn_batch **ret,
                                struct ghn_err *err) GHN_MUST_CHECK;

#endif
