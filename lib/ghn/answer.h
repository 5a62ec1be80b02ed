/* What an answer says besides its tensors: where they come from, and the report that is the answer
 * as JSON. The one maker for daemon and command line, so that both give the same bytes. */
#ifndef GHN_GHN_ANSWER_H
#define GHN_GHN_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "ghn/encode.h"
#include "ghn/model.h"
#include "ghn/predict.h"
#include "tensor/dtype.h"

/* The __metadata__ of an answer, for ghn_encoder_new: an object of the strings "generator",
 * "network" (its name, if it has one), "hypernetwork" (its kind), "hypernetwork_sha256" (if it
 * comes from a file), "hypernetwork_trained" ("false", if its file says so) and "seed". A new
 * reference; NULL if there is no memory. */
json_t *ghn_answer_metadata(const struct ghn_model *model, const char *network,
                            const struct ghn_prediction *prediction);

/* Whether the file of a model says that it was never trained (metadata "trained": "false"). */
bool ghn_model_untrained(const struct ghn_model *model);

/* How a tensor of the prediction came about: "predicted", "initialised", "omitted". */
const char *ghn_outcome_name(enum ghn_outcome outcome);

/* How many tensors and parameters had that outcome. */
struct ghn_count {
    int tensors;
    int64_t parameters;
};
struct ghn_count ghn_prediction_count(const struct ghn_prediction *prediction,
                                      enum ghn_outcome outcome);

struct ghn_report_options {
    bool data;            /* with the values of every tensor, little-endian in base64 */
    enum ghn_dtype dtype; /* of those: f32, f16, bf16 */
};

/* The report of a prediction: the metadata above, the sizes of network and graph, totals of each
 * outcome, warnings, and for every tensor name, shape, outcome, reason (where it was not
 * predicted), block shape, mean, std, min, max, and "not_finite" where there are such values. A new
 * reference; NULL if there is no memory. Takes time in proportion to the network's parameters. */
json_t *ghn_answer_report(const struct ghn_model *model, const char *network,
                          const struct ghn_prediction *prediction,
                          const struct ghn_report_options *options);

#endif
