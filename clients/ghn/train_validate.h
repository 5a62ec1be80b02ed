/* How good a hypernetwork is while it is trained: what it predicts for a few networks of the
 * validation split, on images that it is not trained on. */
#ifndef GHN_CLIENT_TRAIN_VALIDATE_H
#define GHN_CLIENT_TRAIN_VALIDATE_H

#include "data/dataset.h"
#include "ghn/model.h"
#include "train/meta.h"

struct cli_train_validation {
    const struct ghn_dataset *dataset;
    const struct ghn_meta_recipe *recipe;
    int64_t networks; /* the first so many of the split */
    int threads;
};

/* The mean top-1 of the networks on up to 640 images: the training images behind those that the
 * recipe trains on or, if there are none, test images. NaN, with a line on standard error, if they
 * cannot be evaluated; NaN if the command is to stop. */
double cli_train_validate(const struct cli_train_validation *validation,
                          const struct ghn_model *model);

#endif
