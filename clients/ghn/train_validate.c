#include "train_validate.h"

#include <math.h>

#include "base/mem.h"
#include "cli.h"
#include "stop.h"
#include "train/evaluate_nets.h"

enum { IMAGES = 640 };

static struct ghn_evaluate_nets_options options_of(const struct cli_train_validation *validation) {
    const struct ghn_meta_recipe *recipe = validation->recipe;
    int64_t behind = recipe->first + recipe->images;
    bool held_out = recipe->images > 0 && behind < validation->dataset->n[GHN_SPLIT_TRAIN];
    return (struct ghn_evaluate_nets_options){
        .split = GHN_DEEPNETS_VAL,
        .count = validation->networks,
        .images = held_out ? GHN_SPLIT_TRAIN : GHN_SPLIT_TEST,
        .first_image = held_out ? behind : 0,
        .max_images = IMAGES,
        .side = recipe->side,
        .precision = recipe->precision,
        .threads = validation->threads,
        .stop = &cli_stop,
    };
}

double cli_train_validate(const struct cli_train_validation *validation,
                          const struct ghn_model *model) {
    const struct ghn_evaluate_nets_options options = options_of(validation);
    int64_t n = validation->networks;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_scores_summary summary = {.mean = NAN};
    struct ghn_net_scores *scores = ghn_calloc((size_t)n, sizeof *scores);
    enum ghn_status status = scores ? GHN_OK : ghn_fail_memory(&err);
    if (status == GHN_OK)
        status = ghn_evaluate_nets(model, validation->dataset, &options, scores, &err);
    if (status == GHN_OK)
        status =
            ghn_summarise_scores(scores, n, false, validation->dataset->n_classes, &summary, &err);
    if (status != GHN_OK && status != GHN_STOPPED)
        (void)cli_fail(&err, "the training goes on without this validation");
    ghn_free(scores);
    return summary.mean;
}
