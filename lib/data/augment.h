/* From a picture to what a network takes. Private to lib/data. */
#ifndef GHN_DATA_AUGMENT_H
#define GHN_DATA_AUGMENT_H

#include "data/dataset_impl.h"
#include "data/loader.h"

/* The random numbers of one image in one epoch: draw k. */
struct ghn__draws {
    uint64_t seed, stream;
    int64_t position;
};

/* Image i of options->split as a network takes it: decoded or read, brought to options->chw,
 * augmented as options->augmentation says (whose fields are off for test images), normalised;
 * into out (H, W, C). The same draws give the same image. Fails as reading its file does; out is
 * unspecified then. */
enum ghn_status ghn__prepare(const struct ghn_dataset *dataset,
                             const struct ghn_loader_options *options, int64_t i,
                             const struct ghn__draws *draws, float *out,
                             struct ghn_err *err) GHN_MUST_CHECK;

#endif
