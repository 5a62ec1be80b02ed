/* Training a hypernetwork: gradient descent over random architectures of DeepNets-1M and batches of
 * images (Knyazev et al. 2021, section 3; ghn2-spec D).
 *
 * A step takes images and a meta-batch of architectures, predicts the parameters of each, runs it
 * on the images, or on its share of them, and goes back from the mean of the losses through
 * networks and hypernetwork into the latter's parameters.
 *
 * A training folder holds
 *
 *   meta.safetensors        everything that going on needs: parameters, what the optimiser
 *                           remembers, counters, the history
 *   checkpoint.safetensors  the hypernetwork, as ghnd and ghn load it, with its provenance in the
 *                           metadata
 *
 * each written atomically, the checkpoint first. A training that was stopped, or killed and so
 * thrown back to its last state, goes on to the same numbers as one that was not, as long as it is
 * on a machine with the same instruction set; the number of threads does not matter. (But for
 * networks that do not fit into a thread's part of the memory on one machine and do on another, or
 * with fewer threads: they are left out of their step.) */
#ifndef GHN_TRAIN_META_H
#define GHN_TRAIN_META_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"
#include "ghn/model.h"
#include "nn/run.h"

#define GHN_META_STATE_FILE "meta.safetensors"
#define GHN_META_CHECKPOINT_FILE "checkpoint.safetensors"

/* Adam as the paper has it, weight decay added to the gradient; AdamW, apart from it; Muon for the
 * matrices (train/muon.h), with beta1 as its momentum, and AdamW for all else. */
enum ghn_meta_optimizer { GHN_META_ADAM, GHN_META_ADAMW, GHN_META_MUON };

/* "adam", "adamw", "muon"; false for another name. */
const char *ghn_meta_optimizer_name(enum ghn_meta_optimizer optimizer);
bool ghn_meta_optimizer_parse(const char *name, enum ghn_meta_optimizer *ret);

/* For decay_steps: however many there are. */
enum { GHN_META_ALL_STEPS = 1000000000 };

/* How a hypernetwork is trained; what is given first is ghn_meta_recipe_paper's. */
struct ghn_meta_recipe {
    int64_t steps;     /* 100,000; 1 to 10^9. A training may be given more later */
    int meta_batch;    /* 8 architectures a step (the paper's m); 1 to 64 */
    int max_nodes;     /* 2200: meta-batches with more nodes in all are left out (A5); 0: none */
    int64_t pool;      /* 0: ever new architectures; else of so many one at random */
    int64_t max_flops; /* 0: any; else an architecture with more multiply-adds for one image is
                          replaced by another draw */
    int side;          /* 32; of the square images, 8 to 224. Data sets of a fixed size are shrunk
                          by a whole factor */
    bool widths;       /* true: widths drawn anew for every use (A4); else C = 32 */
    double wide;       /* 0; the share of networks that get the width of evaluation ones (A4)
                          instead, on average three times the channels */
    int batch_size;    /* 64 images a network; 1 to 4096 */
    bool own_images;   /* false: all architectures of a meta-batch see the same images (the
                          paper's way); true: each sees batch_size images of its own */
    double lr;         /* 1e-3 */
    int64_t warmup_steps; /* 0; lr grows linearly from 0 over so many steps */
    int64_t decay_steps;  /* 0; over the last so many steps, or all if there are fewer, it falls
                             linearly to 1 %. As steps, this may be said later */
    enum ghn_meta_optimizer optimizer; /* adam */
    double weight_decay;               /* 1e-5 */
    double beta1, beta2;               /* 0.9, 0.999 */
    double eps;                        /* 1e-8 */
    double ema_decay;       /* 0: none; else checkpoints and validations are of the exponential
                               moving average of the parameters with this decay a step (at the
                               beginning less: (1 + t) / (10 + t)) instead of the last ones */
    double clip_norm;       /* 5; largest norm of the gradient, 0: no limit */
    double clip_network;    /* 0: no limit; else the largest norm of the gradient of one
                               network's loss by its parameters */
    double label_smoothing; /* 0 */
    enum ghn_precision precision; /* auto; of the candidate networks */
    uint64_t seed;                /* 0; to 2^63 - 1 */
    int64_t first, images; /* 0, 0: which of the training images, in file order; images 0: all */
    bool augment;          /* true: pad-crop and flip */
};

/* The paper's recipe (ghn2-spec D) but for its length and the falls of its learning rate, and one
 * for hours of a processor instead of days. */
extern const struct ghn_meta_recipe ghn_meta_recipe_paper, ghn_meta_recipe_frugal;

/* How far a training is: a point of its history, and what report is told. Means are over the steps
 * since the last point (in a report: since the last report), NaN if there was none. */
struct ghn_meta_progress {
    int64_t step, steps;
    double loss, accuracy; /* of the candidate networks on their training batches */
    double gradient_norm;  /* before clipping */
    double lr;             /* of the last step */
    double architectures_per_second;
    double seconds;      /* of training so far, over all sittings */
    double seconds_left; /* an estimate; NaN: none yet */
    int64_t not_finite;  /* networks left out so far: their loss or gradient was not finite, or the
                            memory too small for them */
    int64_t skipped;     /* steps from which nothing was learned: no network was left, or the
                            hypernetwork's gradient was not finite */
    double validation;   /* mean top-1 of the validation of this step; NaN: none */
};

/* The fields as a JSON object, NaN as null; a new reference, NULL if there is no memory. */
json_t *ghn_meta_progress_to_json(const struct ghn_meta_progress *progress);

struct ghn_meta_options {
    const char *dir;          /* the training folder, which exists; NULL: nothing is kept */
    const json_t *provenance; /* strings for the checkpoint's metadata; or NULL */
    double save_seconds;      /* between states; 0 for the default, 300 */
    double report_seconds;    /* between calls of report; 0 for the default, 1 */
    double point_seconds;     /* between points of the history; 0 for the default, 60 */
    int threads;              /* that run networks side by side; 0: one for every processor */
    int64_t stop_after;       /* stop as if told to after so many steps of this sitting; 0: never */
    const atomic_bool *stop;  /* as struct ghn_finetune_options's */
    /* Called by the training's own thread, also for every point of the history (point true); or
     * NULL. */
    void (*report)(void *context, const struct ghn_meta_progress *progress, bool point);
    /* Called before a point of the history, the last one among them, with the hypernetwork as it
     * is; gives the mean top-1 in [0, 1], or NaN; or NULL. Does not count as training. */
    double (*validate)(void *context, const struct ghn_model *model);
    double validate_seconds; /* of training between calls of it, over all sittings; 0 for the
                                default, 1200 */
    void *context;
};

/* Trains a hypernetwork of that configuration, from PyTorch's initial values or, with `start`, from
 * a model's, which then also gives the configuration (config may be NULL) but for the number of
 * classes: where that is another than the data set's, what depends on it is new. If options->dir
 * holds a state, goes on from that instead; `start` may then be NULL, or must be what that training
 * began with. *ret, with a last state and checkpoint in the folder, is given back by the caller
 * with ghn_model_unref.
 *
 * GHN_STOPPED, after a state is written. GHN_SHAPE_MISMATCH for images that the networks cannot
 * take, or a configuration for another number of classes. GHN_DIVERGED if for 100 steps in a row
 * every network, or the gradient, was not finite. For a state in the folder that is damaged
 * GHN_INVALID_FILE, for that of another configuration, data set or recipe, or one that began with
 * another model, GHN_OUT_OF_RANGE. GHN_IO.
 */
enum ghn_status ghn_meta_train(const struct ghn_config *config, const struct ghn_model *start,
                               const struct ghn_dataset *dataset,
                               const struct ghn_meta_recipe *recipe,
                               const struct ghn_meta_options *options, struct ghn_model **ret,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* The history in a training folder's state, as a JSON array of points; a new reference. GHN_IO if
 * there is no state, GHN_INVALID_FILE. */
enum ghn_status ghn_meta_history(const char *dir, json_t **ret, struct ghn_err *err) GHN_MUST_CHECK;

#endif
