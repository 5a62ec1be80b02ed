/* The table of splits. */
#include <string.h>

#include "deepnets/rules.h"

const struct ghn__split ghn__splits[GHN_N_DEEPNETS_SPLITS] = {
#define GHN_DEEPNETS_SPLIT(symbol, name, min_cells, max_cells, min_deep, max_deep, min_steps,      \
                           mid_steps, max_steps, max_params, size, side, distinct)                 \
    [GHN_DEEPNETS_##symbol] = {name,       min_cells, max_cells,        min_deep,                  \
                               max_deep,   min_steps, mid_steps,        max_steps,                 \
                               max_params, size,      GHN__SIDE_##side, distinct},
#include "deepnets/splits.def"
#undef GHN_DEEPNETS_SPLIT
};

const char *ghn_deepnets_split_name(enum ghn_deepnets_split split) {
    return (unsigned)split < GHN_N_DEEPNETS_SPLITS ? ghn__splits[split].name : "?";
}

enum ghn_status ghn_deepnets_split_from_name(const char *name, const char *where,
                                             enum ghn_deepnets_split *ret, struct ghn_err *err) {
    for (int split = 0; split < GHN_N_DEEPNETS_SPLITS; split++)
        if (strcmp(name, ghn__splits[split].name) == 0) {
            *ret = (enum ghn_deepnets_split)split;
            return GHN_OK;
        }
    return ghn_fail(err, GHN_OUT_OF_RANGE, where,
                    "\"%.64s\" is no split of DeepNets-1M; expected train, val, test, wide, deep, "
                    "dense, bnfree, search or predefined",
                    name);
}

int64_t ghn_deepnets_split_size(enum ghn_deepnets_split split) {
    return (unsigned)split < GHN_N_DEEPNETS_SPLITS ? ghn__splits[split].size : 0;
}
