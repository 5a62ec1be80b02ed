/* How good a hypernetwork is: the networks of a split of DeepNets-1M, which it has not seen, with
 * the parameters that it predicts, on images (Knyazev et al. 2021, section 5.1; ghn2-spec C9 and
 * D).
 *
 * By the papers' protocol every batch norm takes the statistics of its batch, of 64 images in file
 * order. A network that gives an image a logit that is not finite has failed: it counts as
 * guessing, with an accuracy of 1 / classes and a loss of log(classes), and is counted apart as
 * well.
 *
 * Networks are evaluated side by side, each by one thread: many small parallel loops collapse on a
 * shared machine, and nothing that comes out depends on the number of threads. */
#ifndef GHN_TRAIN_EVALUATE_NETS_H
#define GHN_TRAIN_EVALUATE_NETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"
#include "deepnets/sample.h"
#include "ghn/model.h"
#include "train/finetune.h"

/* How one network did with one set of parameters. */
struct ghn_score {
    struct ghn_evaluation evaluation; /* images = 0: there was none */
    bool finite;                      /* false: it counts as guessing */
    double seconds; /* of processor time of the thread that made the parameters and evaluated */
};

struct ghn_net_scores {
    int64_t index;        /* of the network in its split */
    int64_t n_parameters; /* of the network, all told */
    struct ghn_score predicted, trained;
};

struct ghn_evaluate_nets_options {
    enum ghn_deepnets_split split;
    int64_t first, count; /* networks [first, first + count) */
    uint64_t arch_seed;   /* of which networks the split has (ghn_sample_net) */

    /* The images: [first_image, first_image + max_images) of a part of the data set, max_images 0:
     * to its end. The authors validate on the last 5,000 training images of CIFAR-10: split TRAIN,
     * first_image 45000. */
    enum ghn_split images;
    int64_t first_image, max_images;
    int64_t side; /* of the networks' square input; 0: that of the images, 224 where they differ */
    int batch;    /* images at a time; 0 for the papers' 64 */
    enum ghn_precision precision;

    /* With sgd_steps every network is also trained from its own random initialisation, for so many
     * steps of the papers' recipe (batches of 96, momentum 0.9, learning rate 0.025 falling as a
     * cosine, weight decay 3e-4, gradients clipped to a norm of 5), and evaluated on the same
     * images, with the running statistics that training leaves. One that diverges counts as not
     * finite. */
    int64_t sgd_steps;
    uint64_t seed; /* of initial values and of training */

    int threads;        /* networks at a time; 0: one for every processor */
    int64_t hold_bytes; /* images are decoded once and kept for all networks if they take no more
                           memory than this, else by every network anew; 0: 512 MiB */
    const atomic_bool *stop; /* set by another thread or a signal handler; or NULL. Looked at before
                                every batch and every step */
    /* Called for each network that is done, by the thread that did it, one call at a time; or NULL.
     */
    void (*report)(void *context, const struct ghn_net_scores *scores);
    void *context;
};

/* Evaluates networks and fills scores, which has room for options->count, in the order of their
 * numbers. Those of which predicted.evaluation.images is not 0 are known already: they are left
 * alone, and not reported. After a failure too, those of networks that were done are filled in.
 *
 * The model's classes must be the data set's (GHN_SHAPE_MISMATCH). GHN_OUT_OF_RANGE for networks
 * that the split does not have, a selection without images, and for sgd_steps with images of the
 * training part, GHN_STOPPED. An error with one network, named in where as SPLIT[INDEX], ends it
 * all once the networks under way are done. */
enum ghn_status ghn_evaluate_nets(const struct ghn_model *model, const struct ghn_dataset *dataset,
                                  const struct ghn_evaluate_nets_options *options,
                                  struct ghn_net_scores *scores,
                                  struct ghn_err *err) GHN_MUST_CHECK;

/* What the scores of many networks come to. */
struct ghn_scores_summary {
    int64_t n;             /* networks that have scores, those that failed among them */
    double mean;           /* of top-1, as are the next three; NaN for n = 0 */
    double standard_error; /* of the mean: deviation (n - 1) / sqrt(n); NaN for n < 2 */
    double median, max;    /* NaN for n = 0 */
    double mean_top5, mean_loss;
    int64_t not_finite;
    int64_t better_than_chance; /* top-1 above 1 / classes by more than two standard errors of
                                   guessing on that many images */
};

/* Sums up n scores: what was predicted or, with trained, what was trained. GHN_NO_MEMORY. */
enum ghn_status ghn_summarise_scores(const struct ghn_net_scores *scores, int64_t n, bool trained,
                                     int classes, struct ghn_scores_summary *ret,
                                     struct ghn_err *err) GHN_MUST_CHECK;

#endif
