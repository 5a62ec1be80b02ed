/* Evaluating again and again on the same images. Private to lib/train. */
#ifndef GHN_TRAIN_EVALUATE_H
#define GHN_TRAIN_EVALUATE_H

#include "nn/run.h"
#include "train/finetune.h"
#include "train/held_images.h"

/* What is evaluated on what; all borrowed. */
struct ghn__evaluation_plan {
    const struct ghn_arch *arch;
    const struct ghn_dataset *dataset;
    enum ghn_split split;
    int64_t first;      /* image */
    int64_t max_images; /* from there on; 0: all */
    int batch;
    enum ghn_precision precision;
    int threads;                         /* of the loader; 0: one */
    struct ghn_workspace *workspace;     /* of the runs; NULL: each has its own */
    int sharing;                         /* as struct ghn_run_options's */
    const struct ghn__held_images *held; /* these images, whatever first and max_images say; NULL:
                                            they are decoded as they are wanted */
};

struct ghn__evaluator;

/* Errors as ghn_evaluate's. The caller frees with ghn__evaluator_free. */
enum ghn_status ghn__evaluator_new(const struct ghn__evaluation_plan *plan,
                                   struct ghn__evaluator **ret, struct ghn_err *err) GHN_MUST_CHECK;
void ghn__evaluator_free(struct ghn__evaluator *evaluator);

/* Compiled networks are kept from one call to the next as long as mode stays the same. */
enum ghn_status ghn__evaluator_run(struct ghn__evaluator *evaluator, struct ghn_params *params,
                                   enum ghn_mode mode, const atomic_bool *stop,
                                   struct ghn_evaluation *ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
