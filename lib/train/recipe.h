/* How a network is trained: the part of a fine-tuning request that is neither network nor data. */
#ifndef GHN_TRAIN_RECIPE_H
#define GHN_TRAIN_RECIPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "nn/run.h"

enum ghn_optimizer { GHN_SGD, GHN_ADAMW };
enum ghn_schedule { GHN_CONSTANT, GHN_STEP, GHN_COSINE };
enum ghn_start { GHN_START_GHN, GHN_START_RANDOM, GHN_START_UPLOAD };

/* The fields of a request, under the same names; every one has a default (ghn_recipe_default),
 * given first in its comment, and a range. */
struct ghn_recipe {
    int64_t steps;  /* one of steps and epochs is set, the other is 0. 1,000 steps; at most 10^9 */
    double epochs;  /* 0; at most 10^6; a fraction is allowed */
    int batch_size; /* 64; 1 to 65,536; no more are used than there are images */
    enum ghn_optimizer optimizer; /* sgd */
    double lr;                    /* 0.025, adamw 0.001; 0 to 10^9 */
    double momentum;              /* 0.9; [0, 1); sgd only */
    bool nesterov;                /* false; sgd only, with a momentum above 0 */
    double beta1, beta2, eps;     /* 0.9, 0.999, 1e-8; [0, 1), [0, 1), [1e-16, 1]; adamw only */
    double weight_decay;        /* 3e-4; [0, 1000]; sgd: added to the gradient, adamw: decoupled */
    enum ghn_schedule schedule; /* cosine, which comes to 0 after the last step */
    int64_t warmup_steps;       /* 0; lr grows linearly over so many steps at the start */
    int64_t step_size;          /* schedule step: every so many steps (0: a third of all) ... */
    double gamma;               /* ... lr is multiplied by this: 0.1; [0, 1] */
    double clip_norm;           /* 5; largest L2 norm of the whole gradient, 0: no limit */
    double label_smoothing;     /* 0; [0, 1) */
    enum ghn_precision precision; /* auto */
    uint64_t seed;                /* 0; to 2^63 - 1: of batches, augmentation, dropout, noise */
    int n_shots;                  /* 0: all images; else so many of each class */
    bool augment;         /* true: pad-crop (size / 8) and flip for small images, resized crop and
                             flip for folders */
    int cutout;           /* 0: none; side of a square of zeros, in pixels */
    int64_t eval_every;   /* steps between evaluations on the test split, beside those at the start
                             and the end; 0: so many that these take a tenth of the time, and at most
                             ten */
    int64_t eval_images;  /* 0: all; of the test split, in file order */
    enum ghn_start start; /* field "init": ghn, random, upload. After ghn, new running statistics
                             are means of the first batches (ghn_run_options.new_statistics) */
    int orth_from;        /* 0: off; else GHN-orth from that weight on, counted from 1 (ghn2-spec D)
                           */
    double orth_noise;    /* 3e-5; [0, 1] */
};

extern const struct ghn_recipe ghn_recipe_default;

/* Whether `key` is a field of a recipe, so that a caller can tell its own fields from these. */
bool ghn_recipe_has(const char *key);

/* The name of a way to start, as in the field "init". */
const char *ghn_start_name(enum ghn_start start);

/* Decodes the recipe's fields of a JSON object, passing over others. where is the path of the
 * object. WRONG_TYPE, OUT_OF_RANGE, naming the field and its range; both steps and epochs, and
 * nesterov without momentum: OUT_OF_RANGE. */
enum ghn_status ghn_recipe_from_json(const json_t *object, const char *where,
                                     struct ghn_recipe *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Every field as a JSON object, a new reference, NULL if there is no memory; of steps and epochs
 * the one that is set. ghn_recipe_from_json makes the same recipe of it. */
json_t *ghn_recipe_to_json(const struct ghn_recipe *recipe);

/* The learning rate of step `step` (from 0) of `steps`. */
double ghn_recipe_lr(const struct ghn_recipe *recipe, int64_t step, int64_t steps);

#endif
