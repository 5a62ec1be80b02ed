/* The progress of a meta-training on standard error. */
#ifndef GHN_CLIENT_TRAIN_PROGRESS_H
#define GHN_CLIENT_TRAIN_PROGRESS_H

#include <stdbool.h>

#include "progress.h"
#include "train/meta.h"

struct cli_train_progress {
    struct cli_progress bar;
    struct ghn_meta_progress last; /* what was last told; step -1: nothing */
};

/* Plain lines come every 30 seconds. */
void cli_train_progress_init(struct cli_train_progress *progress);

/* For the report of ghn_meta_train. */
void cli_train_progress_show(struct cli_train_progress *progress,
                             const struct ghn_meta_progress *news, bool point);

#endif
