/* What sampled networks are like, as a table. */
#ifndef GHN_CLIENT_SAMPLE_STATS_H
#define GHN_CLIENT_SAMPLE_STATS_H

#include <stdint.h>

#include "deepnets/sample.h"

/* Sums over networks. */
struct cli_sample_stats {
    int64_t n;
    int64_t steps[GHN_MAX_STEPS + 1]; /* networks of so many steps a cell */
    int64_t cells, vit, no_norm, flat, no_preproc, stem1, stem_pool, C_mult2, fc_layers2;
    int64_t normal[GHN_N_CELL_OPS], reduce[GHN_N_CELL_OPS]; /* branches of each operation */
    int64_t *params;                                        /* of each network */
    int64_t *C;
    int64_t capacity;
};

/* Room for n networks; GHN_NO_MEMORY. The caller frees with cli_sample_stats_done. */
enum ghn_status cli_sample_stats_init(struct cli_sample_stats *stats, int64_t n,
                                      struct ghn_err *err) GHN_MUST_CHECK;
void cli_sample_stats_done(struct cli_sample_stats *stats);

/* Counts a network; at most as many as there is room for. */
void cli_sample_stats_add(struct cli_sample_stats *stats, const struct ghn_net *net);

/* Prints the table, of one network at least. Sorts what it holds. */
void cli_sample_stats_print(struct cli_sample_stats *stats);

#endif
