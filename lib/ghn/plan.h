/* What is to be decoded for a graph: for every slot the shape of its block, and how it is made
 * (ghn2-spec C5 to C8). Private to this folder and its tests. */
#ifndef GHN_GHN_PLAN_H
#define GHN_GHN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ghn/model.h"
#include "graph/graph.h"
#include "tensor/shape.h"

enum ghn__maker {
    GHN__MAKE_NOTHING,      /* no block: omitted, or generated while it is sent */
    GHN__MAKE_CONSTANT,     /* one value */
    GHN__MAKE_WEIGHT,       /* C5 */
    GHN__MAKE_CLASS_WEIGHT, /* C8 */
    GHN__MAKE_NORM_WEIGHT,  /* row 0 of the 1-D decoder */
    GHN__MAKE_BIAS,         /* row 1 */
    GHN__MAKE_CLASS_BIAS,   /* C8 */
};

struct ghn__plan {
    enum ghn__maker maker;
    struct ghn_shape block; /* with MAKE_NOTHING the tensor's own shape */
    int64_t numel;          /* of the block; 0 with MAKE_NOTHING */
};

/* The plan of slot i.
 *
 * Classifier (C8): the weight is the ungrouped one at node position N - 2 with two dimensions, or
 * with four of which the kernel is 1 x 1 if a bias follows it (the reference fails on that); the
 * bias is the bias node at position N - 1. Weights of three dimensions (O, I, k) are decoded as
 * (O, I, k, 1). A norm of several dimensions has the 1-D decoder's values along its first. */
struct ghn__plan ghn__plan_slot(const struct ghn_config *config, const struct ghn_graph *graph,
                                int i);

/* The factor of a weight of that shape (C6); 1 without weight_norm. */
float ghn__weight_scale(const struct ghn_config *config, const struct ghn_shape *shape);

#endif
