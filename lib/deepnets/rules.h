/* What the sampler accepts (ghn2-spec A3), for the files of this folder and their tests. */
#ifndef GHN_DEEPNETS_RULES_H
#define GHN_DEEPNETS_RULES_H

#include "deepnets/deepnets.h"
#include "deepnets/sample.h"

enum {
    GHN__BASE_WIDTH = 32, /* C and fc_dim of an architecture as it is drawn */
    GHN__BASE_HEAD = 256,
    GHN__EVALUATION_PARAMS = 2500000, /* at least so many has a network of an evaluation split */
    GHN__WIDE_FACTOR = 4,             /* C of the wide split, against test */
};

/* The space is divided by the hash of a structure into so many parts, of which one is for
 * validation and one for the other evaluation splits. */
enum { GHN__PARTS = 16 };

/* Which side of the division an architecture is on. */
enum ghn__side { GHN__SIDE_TRAIN, GHN__SIDE_VAL, GHN__SIDE_TEST };

/* A row of splits.def. */
struct ghn__split {
    const char *name;
    int min_cells, max_cells;
    int min_deep, max_deep;              /* range of the deep threshold */
    int min_steps, mid_steps, max_steps; /* networks above the threshold have up to mid_steps */
    int64_t max_params;
    int64_t size; /* as published */
    enum ghn__side side;
    int distinct; /* so many networks in a row do not repeat */
};

extern const struct ghn__split ghn__splits[GHN_N_DEEPNETS_SPLITS];

/* Whether a genotype can learn and is no monster (A3.6): something with parameters in it, a
 * convolution if there is a cse, in each cell at most one cse and at most one convolution of 5x5 or
 * 7x7. */
bool ghn__genotype_allowed(const struct ghn_net *net);

/* At most max parameters with C = 32 and ten classes, for images of 32 and of 224 pixels (A3.13).
 */
bool ghn__net_size_allowed(const struct ghn_net *net, int64_t max);

/* Whether the output is available (A6, forward semantics), and with it the graph connected (A3.14):
 * whatever is available has been computed from the input, and what does not lead to the output is
 * no part of the graph. */
bool ghn__net_has_output(const struct ghn_net *net);

/* The side of the space that a structure hash is on. */
enum ghn__side ghn__side_of(uint64_t structure);

/* Network `index` of the predefined split. */
enum ghn_status ghn__predefined_net(int64_t index, struct ghn_net *ret,
                                    struct ghn_err *err) GHN_MUST_CHECK;

#endif
