/* How many architectures a second the sampler makes, on one core:
 *
 *     build/tests/bench/bench_sample [SECONDS]
 *
 * Each split is sampled for SECONDS (0.5) from index 0 on; for train the widths are drawn too, as
 * training does it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "deepnets/sample.h"

static double seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void time_split(enum ghn_deepnets_split split, double limit) {
    struct ghn_rng rng = {.seed = 1};
    struct ghn_err err = GHN_ERR_INIT;
    double start = seconds(), passed = 0, params = 0;
    int64_t index = 0;
    for (; passed < limit; passed = seconds() - start) {
        struct ghn_net net;
        if (ghn_sample_net(split, 0, index++, &net, &err) != GHN_OK) {
            (void)fprintf(stderr, "%s: %s\n", err.where, err.message);
            exit(1);
        }
        if (split == GHN_DEEPNETS_TRAIN)
            ghn_draw_width(&net, &rng);
        params += (double)ghn_net_n_params(&net);
    }
    printf("%-8s %10.0f architectures/s, %6.2f million parameters on average\n",
           ghn_deepnets_split_name(split), (double)index / passed, 1e-6 * params / (double)index);
}

int main(int argc, char **argv) {
    double limit = argc > 1 ? atof(argv[1]) : 0.5;
    for (int split = 0; split < GHN_DEEPNETS_PREDEFINED; split++)
        time_split((enum ghn_deepnets_split)split, limit);
    return 0;
}
