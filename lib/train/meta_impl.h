/* What the files of meta-training share. Private to lib/train. */
#ifndef GHN_TRAIN_META_IMPL_H
#define GHN_TRAIN_META_IMPL_H

#include "arch/arch.h"
#include "base/pool.h"
#include "data/loader.h"
#include "deepnets/deepnets.h"
#include "ghn/hypernet.h"
#include "graph/graph.h"
#include "train/meta.h"
#include "train/muon.h"

enum {
    GHN__META_POINTS = 2000,  /* of the history; when there would be more, every second one goes */
    GHN__META_BATCH_MAX = 64, /* architectures a step */
};

/* --- Recipes --- */

/* GHN_OUT_OF_RANGE naming the field. */
enum ghn_status ghn__meta_recipe_check(const struct ghn_meta_recipe *recipe,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* What identifies a training: every field but steps and decay_steps. A new reference; NULL: no
 * memory. */
json_t *ghn__meta_recipe_identity(const struct ghn_meta_recipe *recipe);

/* The images of a step. */
int ghn__meta_images(const struct ghn_meta_recipe *recipe);

/* Steps over which the learning rate falls: decay_steps, or all if there are fewer. */
int64_t ghn__meta_decay_steps(const struct ghn_meta_recipe *recipe);

/* The learning rate of step `step` (from 0). */
double ghn__meta_lr(const struct ghn_meta_recipe *recipe, int64_t step);

/* --- Networks --- */

/* A candidate. */
struct ghn__candidate {
    struct ghn_net net;
    struct ghn_arch *arch;
    struct ghn_graph *graph;
    uint64_t use; /* its number among all candidates of the training */
    double loss;  /* of the last step; */
    int correct;  /* images */
    bool finite;  /* loss and gradient */
};

/* A meta-batch. */
struct ghn__meta_batch {
    int m;
    struct ghn__candidate *candidates; /* (m) */
};

enum ghn_status ghn__meta_batch_init(struct ghn__meta_batch *batch, int m,
                                     struct ghn_err *err) GHN_MUST_CHECK;
void ghn__meta_batch_done(struct ghn__meta_batch *batch);

/* Draws the next candidates, from number *next_use on, which is moved on, and builds their graphs
 * on the pool's threads. Groups beyond recipe->max_nodes are passed over. */
enum ghn_status ghn__meta_batch_draw(struct ghn__meta_batch *batch,
                                     const struct ghn_meta_recipe *recipe,
                                     const struct ghn_dataset *dataset, struct ghn_pool *pool,
                                     uint64_t *next_use, struct ghn_err *err) GHN_MUST_CHECK;

/* The threads that run candidates, with a workspace each. */
struct ghn__meta_workers;
enum ghn_status ghn__meta_workers_new(int threads, struct ghn__meta_workers **ret,
                                      struct ghn_err *err) GHN_MUST_CHECK;
void ghn__meta_workers_free(struct ghn__meta_workers *workers);
struct ghn_pool *ghn__meta_workers_pool(const struct ghn__meta_workers *workers);

/* Runs every candidate on the images (ghn__meta_images of them), or on its share, forward and
 * backward and folds the gradients of the mean of their losses into the tape. A candidate whose
 * loss or gradient is not finite adds nothing. */
enum ghn_status ghn__meta_workers_run(struct ghn__meta_workers *workers,
                                      const struct ghn_meta_recipe *recipe,
                                      struct ghn__meta_batch *batch, struct ghn_tape *tape,
                                      const struct ghn_batch *images,
                                      struct ghn_err *err) GHN_MUST_CHECK;

/* --- Steps --- */

/* How far a training is. A learner's step counts, but for next_use and seconds, which are its
 * caller's. */
struct ghn__meta_counters {
    int64_t step;                  /* done */
    uint64_t next_use;             /* of candidates */
    int64_t updates;               /* of the optimiser; the other steps were skipped */
    int64_t architectures, images; /* networks trained on, images seen (once for all of a step's) */
    int64_t not_finite;
    double seconds; /* of training */
};

/* What a training learns with. */
struct ghn__meta_learner {
    const struct ghn_meta_recipe *recipe; /* borrowed */
    struct ghn_hypernet *hypernet;
    struct ghn_tape *tape;
    struct ghn__meta_workers *workers;
    int64_t n;             /* parameters of the hypernetwork */
    float *m, *v;          /* (n) Adam's moments; of matrices that are muon's, its momentum and 0 */
    float *ema;            /* (n) the average of the values; NULL: none */
    struct ghn__muon muon; /* empty for another optimiser */
    struct ghn__meta_counters counters;
    int failures; /* steps in a row from which nothing was learned */
};

/* What a step came to. */
struct ghn__meta_outcome {
    double loss;           /* summed over the networks that had a finite one, */
    int networks, correct; /* so many, and so many of their images */
    double norm;           /* of the gradient before clipping */
    bool learned;          /* norm is finite, and the optimiser made its step */
};

/* A learner that has done nothing, of PyTorch's initial values or, with `start`, a model's. To be
 * given back with ghn__meta_learner_done, also on failure. */
enum ghn_status ghn__meta_learner_init(struct ghn__meta_learner *learner,
                                       const struct ghn_config *config,
                                       const struct ghn_model *start,
                                       const struct ghn_meta_recipe *recipe, int threads,
                                       struct ghn_err *err) GHN_MUST_CHECK;
void ghn__meta_learner_done(struct ghn__meta_learner *learner);

/* One step on those candidates and images. GHN_DIVERGED when too many steps in a row came to
 * nothing. */
enum ghn_status ghn__meta_learner_step(struct ghn__meta_learner *learner,
                                       struct ghn__meta_batch *batch,
                                       const struct ghn_batch *images,
                                       struct ghn__meta_outcome *ret,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* What has been learned: the average, where there is one. As ghn_hypernet_to_model. */
enum ghn_status ghn__meta_learner_model(const struct ghn__meta_learner *learner,
                                        struct ghn_model **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* --- State --- */

struct ghn__meta_state {
    const struct ghn_config *config;
    const struct ghn_dataset *dataset;
    const struct ghn_meta_recipe *recipe;
    struct ghn__meta_counters *counters;
    int64_t n;
    float *values, *m, *v; /* (n): parameters, what the optimiser remembers */
    float *ema;            /* (n): their average, or NULL */
    const char *start;     /* sha256 of the model that it began with; "": none, or not known */
    json_t **history;      /* an array of points; replaced by loading */
    json_t **stages;       /* an array of the trainings behind that model; replaced by loading */
};

/* The trainings that made a model, as its metadata tells of them; empty for NULL. A new reference;
 * NULL: no memory. */
json_t *ghn__meta_stages(const struct ghn_model *model);

/* The latest point of a history that has a validation; NULL if none has. Borrowed. */
const json_t *ghn__meta_last_validation(const json_t *history);

/* What a checkpoint's metadata says of its training and of those before it, and `more`, strings, or
 * NULL. A new reference; NULL: no memory. */
json_t *ghn__meta_provenance(const struct ghn__meta_state *state, const json_t *more);

/* As ghn__state_save and ghn__state_load. */
enum ghn_status ghn__meta_state_save(const char *path, const struct ghn__meta_state *state,
                                     struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__meta_state_load(const char *path, const struct ghn__meta_state *state,
                                     struct ghn_err *err) GHN_MUST_CHECK;

#endif
