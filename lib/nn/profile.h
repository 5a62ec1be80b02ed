/* Where the time of a run goes, step by step: for benchmarks. Private to lib/nn and its benchmarks.
 */
#ifndef GHN_NN_PROFILE_H
#define GHN_NN_PROFILE_H

#include "nn/layer.h"

/* One step: what it computes (the site's node, for a batch_norm2d along with what is fused behind
 * it), and the seconds of its passes so far. */
struct ghn__step_time {
    const struct ghn__site *site;
    double forward, backward;
};

/* From now on the run measures. GHN_NO_MEMORY. */
enum ghn_status ghn__run_profile(struct ghn_run *run, struct ghn_err *err) GHN_MUST_CHECK;

/* The times of step i in [0, n), of a run that measures; returns n. ret may be NULL. */
int ghn__run_time(const struct ghn_run *run, int i, struct ghn__step_time *ret);

#endif
