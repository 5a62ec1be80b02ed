/* Geometry of pooling, as its kernels want it. Private to lib/nn. */
#ifndef GHN_NN_POOL_H
#define GHN_NN_POOL_H

#include <stdint.h>

/* A sliding window over a map of in[0] x in[1] pixels. */
struct ghn__window {
    int64_t channels, in[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
};

/* One axis of average pooling: output o is the mean of inputs [start[o], end[o]), divided by
 * size[o]; input i is part of outputs [first[i], last[i]). */
struct ghn__axis {
    int64_t in, out;
    int64_t *start, *end, *size; /* (out) */
    int64_t *first, *last;       /* (in) */
};

#endif
