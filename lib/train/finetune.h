/* Training one network on a data set, from given parameters, so that it can be stopped at any
 * instant and goes on to the same numbers.
 *
 * To the bit they are a function of network, data set, recipe, first parameters and the number of
 * OpenMP's threads that the training is begun with, on one kind of processor: what goes on later
 * takes as many threads as that, whatever the team has become. Another instruction set, or another
 * version of oneDNN, rounds differently; a training that has moved to one goes on, to numbers that
 * are as good.
 *
 * A training folder holds, both written atomically,
 *   state.safetensors       everything that going on needs: parameters, statistics, what the
 *                           optimiser remembers, the step, the history
 *   parameters.safetensors  a state_dict, that of the best evaluation, never with values that are
 *                           not finite
 *
 * The best evaluation is that of the highest accuracy on the test split. Without eval_every one
 * with the statistics of the batch, there being no running ones yet, does not count. Until one
 * counts, or without test images, the latest parameters are kept. */
#ifndef GHN_TRAIN_FINETUNE_H
#define GHN_TRAIN_FINETUNE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/status.h"
#include "data/dataset.h"
#include "ghn/predict.h"
#include "nn/params.h"
#include "train/recipe.h"

/* The files of a training folder. */
#define GHN_STATE_FILE "state.safetensors"
#define GHN_PARAMETERS_FILE "parameters.safetensors"

/* How far a training is: a point of the history, and what report is told. */
struct ghn_progress {
    int64_t step, steps;   /* steps done, of how many */
    double loss;           /* mean training loss since the last point (of the history; in a report:
                              since the last report); NaN if there was no step */
    double train_accuracy; /* top-1 of the same batches, in [0, 1]; NaN likewise */
    double lr, gradient_norm; /* of the last step, before clipping; NaN before the first */
    double test_loss, test_top1, test_top5; /* NaN where there was no evaluation at this point */
    double images_per_second; /* of training, without evaluations; 0 if there was no step */
    double seconds;           /* of training so far, over all sittings */
    double seconds_left;      /* an estimate; NaN if there is none yet */
};

/* The fields of a point as a JSON object, NaN as null; a new reference, NULL if there is no memory.
 */
json_t *ghn_progress_to_json(const struct ghn_progress *progress);

struct ghn_finetune_options {
    const char *start;   /* names what params are, as the SHA-256 of a file: a state that began with
                            another is refused; NULL: not told */
    const char *dir;     /* the training folder, which exists; NULL: nothing is kept */
    double save_seconds; /* between checkpoints; 0 for the default, 30 */
    double max_seconds;  /* of training, over all sittings, looked at before every step; 0: any */
    double report_seconds;   /* between calls of report; 0 for the default, 1 */
    int loader_threads;      /* 0: one */
    const atomic_bool *stop; /* set by another thread or a signal handler: a checkpoint is written
                                and GHN_STOPPED comes back; or NULL. Looked at before every step
                                and every batch of an evaluation */
    /* Called by the thread that trains, at the start, after every evaluation, at the end, and every
     * report_seconds; or NULL. */
    void (*report)(void *context, const struct ghn_progress *progress);
    void *context;
};

/* Parameters of arch as the hypernetwork predicted them; those it did not predict are initialised
 * by prediction->seed. GHN_SHAPE_MISMATCH for the prediction of another network. */
enum ghn_status ghn_params_from_prediction(struct ghn_params *params,
                                           const struct ghn_prediction *prediction,
                                           struct ghn_err *err) GHN_MUST_CHECK;

/* GHN-orth (ghn2-spec D; Knyazev et al. 2022): weights of two or more dimensions, counted from 1 in
 * the arch's order, from number `from` on but for the classifier, get noise and are orthogonalised
 * by QR. On failure params are untouched. */
enum ghn_status ghn_orthogonalise(struct ghn_params *params, int from, double noise, uint64_t seed,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* Whether a network can be trained on a data set (which may only be described): its input can take
 * the images, and its output, [classes], has as many as there are. GHN_SHAPE_MISMATCH, saying both.
 */
enum ghn_status ghn_finetune_fits(const struct ghn_arch *arch, const struct ghn_dataset *dataset,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* The steps that a recipe comes to for a data set of so many training images (n_shots counted
 * already): its own, or as many full batches as its epochs have images for, rounded up; and the
 * images of a batch. */
int64_t ghn_finetune_steps(const struct ghn_recipe *recipe, int64_t images, int *ret_batch);

/* Bytes that the files of a training come to while it runs: parameters, the state and the next
 * state beside it; not counted are running statistics and what it starts from. */
int64_t ghn_finetune_bytes(const struct ghn_arch *arch, const struct ghn_recipe *recipe);

/* Trains params by recipe; if options->dir holds a state, goes on from that instead. A new training
 * begins with GHN-orth, if the recipe has orth_from, and an evaluation; evaluations use running
 * statistics, but as long as there are none those of the batch. On success params are the last
 * ones; on failure they are those of some step.
 *
 * The calling thread's team of OpenMP is what it was when this returns.
 *
 * GHN_STOPPED, and GHN_TIME_LIMIT after max_seconds, with a checkpoint. GHN_DIVERGED when loss or
 * gradient are no longer finite: the folder keeps what was good. GHN_SHAPE_MISMATCH for a data set
 * that does not fit. For a state in the folder that is damaged GHN_INVALID_FILE, for that of
 * another network, data set, recipe or start GHN_OUT_OF_RANGE. GHN_IO. */
enum ghn_status ghn_finetune(const struct ghn_arch *arch, const struct ghn_dataset *dataset,
                             const struct ghn_recipe *recipe,
                             const struct ghn_finetune_options *options, struct ghn_params *params,
                             struct ghn_err *err) GHN_MUST_CHECK;

/* The history in a training folder's state, as a JSON array of points (ghn_progress_to_json), at
 * most 1,000 of them: when there would be more, every second one goes; a new reference. GHN_IO if
 * there is no state, GHN_INVALID_FILE. */
enum ghn_status ghn_finetune_history(const char *dir, json_t **ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

struct ghn_evaluation {
    int64_t images;
    double loss, top1, top5; /* means over the images */
};

/* Loss and accuracy of params on the first max_images (0: all) of a split, in file order, `batch`
 * at a time. `mode` is EVAL or BATCH_STATISTICS (for networks whose running statistics are unknown,
 * as right after a prediction; the papers' protocol has batches of 64). GHN_SHAPE_MISMATCH,
 * GHN_OUT_OF_RANGE for a split without images, GHN_STOPPED. */
enum ghn_status ghn_evaluate(const struct ghn_arch *arch, struct ghn_params *params,
                             const struct ghn_dataset *dataset, enum ghn_split split,
                             int64_t max_images, int batch, enum ghn_mode mode,
                             enum ghn_precision precision, const atomic_bool *stop,
                             struct ghn_evaluation *ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
