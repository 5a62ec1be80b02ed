/* The checkpoint of a training: everything that going on needs, in one safetensors file. Private to
 * lib/train.
 *
 * Tensors: "values" and "statistics" of the parameters, "optimizer.0" and "optimizer.1", all flat
 * and in f32. __metadata__: "format", "training" (a JSON object as a string: what is trained and
 * how, counters, history) and "crc32" over both the text and the tensors, so that a damaged file is
 * recognised as one. */
#ifndef GHN_TRAIN_STATE_H
#define GHN_TRAIN_STATE_H

#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"
#include "nn/params.h"
#include "train/history.h"
#include "train/optimizer.h"
#include "train/recipe.h"

/* Sums over the batches since some point. */
struct ghn__tally {
    double loss; /* of batch losses */
    int64_t batches, images, correct;
};

struct ghn__counters {
    int64_t step;            /* done */
    int threads;             /* of OpenMP's team, since the first step */
    int64_t settled;         /* the last step that was evaluated, if due, and entered into the
                                history, if due; -1: none */
    double best_top1;        /* of the parameters in parameters.safetensors; -1: none yet */
    double seconds;          /* of training */
    double gradient_norm;    /* of the last step */
    struct ghn__tally tally; /* since the last point of the history */
};

/* All borrowed. What identifies the training: recipe, dataset and the arch of params. */
struct ghn__state {
    const struct ghn_recipe *recipe;
    const char *start; /* names the first parameters; "": not told */
    const struct ghn_dataset *dataset;
    struct ghn_params *params;
    struct ghn__optimizer *optimizer;
    struct ghn__history *history;
    struct ghn__counters *counters;
};

/* Writes the state, atomically. GHN_IO, GHN_NO_MEMORY. */
enum ghn_status ghn__state_save(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) GHN_MUST_CHECK;

/* Reads it back into the same things, all of it or, on failure, nothing. GHN_IO; GHN_INVALID_FILE
 * for a damaged file; GHN_OUT_OF_RANGE for the state of another network, data set, recipe or start
 * (if both are told), saying what differs. */
enum ghn_status ghn__state_load(const char *path, const struct ghn__state *state,
                                struct ghn_err *err) GHN_MUST_CHECK;

#endif
