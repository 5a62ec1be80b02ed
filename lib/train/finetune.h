/* Training one network on a data set, from given parameters, so that it can be stopped at any
 * instant and goes on to the same numbers.
 *
 * A training folder holds
 *   state.safetensors       everything that resuming needs: parameters, statistics, optimiser
 * state, step, history (in __metadata__) parameters.safetensors  the best parameters so far as a
 * state_dict: those of the highest test accuracy, else the latest both written atomically. A
 * checkpoint with a loss that is not finite is never written. */
#ifndef GHN_TRAIN_FINETUNE_H
#define GHN_TRAIN_FINETUNE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "data/dataset.h"
#include "ghn/predict.h"
#include "nn/params.h"
#include "train/recipe.h"

/* A point of the history. */
struct ghn_progress {
    int64_t step, steps;   /* steps done, of how many */
    double loss;           /* mean training loss since the last point; NaN before the first step */
    double train_accuracy; /* top-1 of the same batches, in [0, 1] */
    double lr, gradient_norm;
    double test_loss, test_top1, test_top5; /* NaN where there was no evaluation at this point */
    double images_per_second;
    double seconds;      /* of training so far, over all sittings */
    double seconds_left; /* an estimate; NaN if there is none yet */
};

struct ghn_finetune_options {
    const char *dir;         /* the training folder, which exists; NULL: nothing is kept */
    double save_seconds;     /* between checkpoints; 0 for the default, 30 */
    double report_seconds;   /* between calls of report; 0 for the default, 1 */
    int loader_threads;      /* 0: one */
    const atomic_bool *stop; /* set by another thread or a signal handler: a checkpoint is written
                                and GHN_STOPPED comes back; or NULL */
    void (*report)(void *context, const struct ghn_progress *progress);
    void *context;
};

/* Parameters of arch as the hypernetwork predicted them; those it did not predict are initialised
 * by prediction->seed. */
enum ghn_status ghn_params_from_prediction(struct ghn_params *params,
                                           const struct ghn_prediction *prediction,
                                           struct ghn_err *err) GHN_MUST_CHECK;

/* GHN-orth (ghn2-spec D; Knyazev et al. 2022): weights of two or more dimensions, counted from 1 in
 * the arch's order, from number `from` on but for the classifier, get noise and are orthogonalised
 * by QR. */
enum ghn_status ghn_orthogonalise(struct ghn_params *params, int from, double noise, uint64_t seed,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* Trains params by recipe; if options->dir holds a state, goes on from that instead. Step 0 is
 * evaluated and reported first. On success params are the last ones. GHN_STOPPED; GHN_DIVERGED when
 * the loss is no longer finite (the folder keeps the last good parameters); GHN_SHAPE_MISMATCH for
 * a data set that does not fit; GHN_IO. */
enum ghn_status ghn_finetune(const struct ghn_arch *arch, const struct ghn_dataset *dataset,
                             const struct ghn_recipe *recipe,
                             const struct ghn_finetune_options *options, struct ghn_params *params,
                             struct ghn_err *err) GHN_MUST_CHECK;

struct ghn_evaluation {
    int64_t images;
    double loss, top1, top5; /* means over the images */
};

/* Loss and accuracy of params on the first max_images (0: all) of a split, in file order, `batch`
 * at a time. `mode` is EVAL or BATCH_STATISTICS (for networks whose running statistics are unknown,
 * as right after a prediction; the papers' protocol has batches of 64). */
enum ghn_status ghn_evaluate(const struct ghn_arch *arch, struct ghn_params *params,
                             const struct ghn_dataset *dataset, enum ghn_split split,
                             int64_t max_images, int batch, enum ghn_mode mode,
                             enum ghn_precision precision, const atomic_bool *stop,
                             struct ghn_evaluation *ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
