/* The progress of a meta-training on standard error, as progress.h's. */
#ifndef GHN_CLIENT_TRAIN_PROGRESS_H
#define GHN_CLIENT_TRAIN_PROGRESS_H

#include <stdbool.h>

#include "train/meta.h"

struct cli_train_progress {
    bool terminal;
    bool drawn;                    /* a bar stands in the terminal's current line */
    double shown;                  /* cli_seconds() of the last plain line */
    struct ghn_meta_progress last; /* what was last told; step -1: nothing */
};

void cli_train_progress_init(struct cli_train_progress *progress);

/* The report of ghn_meta_train. */
void cli_train_progress_show(struct cli_train_progress *progress,
                             const struct ghn_meta_progress *news, bool point);

/* Removes the bar, so that other text can follow. */
void cli_train_progress_end(struct cli_train_progress *progress);

#endif
