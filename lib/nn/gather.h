/* Geometry of a depthwise convolution as its kernels want it. Private to lib/nn.
 *
 * A map is read as places of a grid and written at others:
 *
 *     y[start + t spread] (+)= sum over taps of weight x[t step + offset]
 *
 * along each axis, for t = 0, 1, ... The forward pass is one such gather with step = stride and
 * spread = 1. Its gradient by the input is stride x stride of them ("phases") with step = 1 and
 * spread = stride: pixels of dx whose coordinates leave the same remainders see the same taps.
 *
 * A kernel first brings one vector of channels of a band of rows into f32, with a border of zeros
 * wherever some tap reaches beyond the map, so that no tap needs a check. */
#ifndef GHN_NN_GATHER_H
#define GHN_NN_GATHER_H

#include <stdint.h>

struct ghn__tap {
    int64_t offset; /* from t step to what is read, in pixels of the packed band */
    int64_t weight; /* row of the weights, (kernel height * width, columns) */
};

struct ghn__phase {
    int64_t start[2], count[2]; /* places of t along each axis */
    int64_t n_taps;             /* 0: nothing reaches these pixels */
    struct ghn__tap *taps;
};

struct ghn__gather {
    int64_t channels, columns;    /* columns: floats from a row of weights to the next */
    int64_t in[2], out[2];        /* extents of x and y */
    int64_t step[2], spread[2];   /* of reading and of writing */
    int64_t low[2], reach[2];     /* the least offset; the greatest less the least */
    int64_t band, n_bands, width; /* t a band; bands; packed pixels a row */
    int n_phases;
    struct ghn__phase *phases;
};

#endif
