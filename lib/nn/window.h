/* window_attention's geometry and position bias. Private to lib/nn. */
#ifndef GHN_NN_WINDOW_H
#define GHN_NN_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "nn/layer.h"

/* A map of in[0] x in[1] tokens, padded to whole windows and shifted as torchvision's
 * shifted_window_attention does: a shift is dropped along an axis that one window covers. */
struct ghn__windows {
    int64_t in[2], padded[2], size[2], shift[2], count[2]; /* count: windows along each axis */
    int64_t tokens;                                        /* of a window */
    int64_t heads, table;                                  /* rows of the bias table */
};

struct ghn__windows ghn__windows_of(const struct ghn__site *site);

/* The token that place `at` of window `window` stands for, as row * in[1] + column; -1 for padding.
 * *region tells which tokens may see each other. */
int64_t ghn__window_token(const struct ghn__windows *w, int64_t window, int64_t at, int *region);

/* The row of the bias table for places t and s of a window. */
int64_t ghn__window_row(const struct ghn__windows *w, int64_t t, int64_t s);

/* Units of the hidden layer of the network that makes Swin v2's table. */
enum { GHN__WINDOW_HIDDEN = 512 };

/* Swin v2's table: 16 sigmoid(mlp(coordinates)), (table, heads), from cpb_mlp.0.weight, .0.bias and
 * .2.weight. */
void ghn__window_table(const struct ghn__windows *w, const float *const mlp[3], float *table);

/* The gradient by the three parameters from that by the table; added to them. */
void ghn__window_table_backward(const struct ghn__windows *w, const float *const mlp[3],
                                const float *dtable, float *const dmlp[3]);

#endif
