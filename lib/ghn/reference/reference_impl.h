/* What the files of this folder share. */
#ifndef GHN_GHN_REFERENCE_IMPL_H
#define GHN_GHN_REFERENCE_IMPL_H

#include <stddef.h>

#include "ghn/model_impl.h"
#include "ghn/plan.h"
#include "ghn/reference.h"

/* One sweep of the gated GNN; matrices by nodes. */
struct ghn__ref_sweep {
    double *before, *after;         /* (N, h): states; before is not its own */
    double *sum;                    /* (N, h): messages received */
    double *reset, *keep, *new_;    /* (N, h): gates */
    double *new_state;              /* (N, h): W_hn h + b_hn */
    double *hidden[2], *message[2]; /* (N, m), (N, h): of A and of B */
};

struct ghn__ref {
    struct ghn_config config;
    const struct ghn_graph *graph;
    struct ghn__shape_table shapes;
    struct ghn__tensor_spec specs[GHN__N_TENSORS];
    const double *t[GHN__N_TENSORS]; /* values */
    double *g[GHN__N_TENSORS];       /* gradients, in the backward pass */
    uint64_t pattern;                /* of the ReLUs so far */
    int h, m;                        /* hid; the message functions' hidden width */
    double *features, *embeddings;   /* (N, h) */
    struct ghn__ref_sweep sweep[2];
    double *d_embeddings;    /* (N, h) */
    double *d_message[2];    /* (N, h): while a sweep goes back */
    double *row[6];          /* scratch rows, as wide as anything */
    double *block, *d_block; /* a decoded block, unscaled, by position: (S * S, O * I) */
    double *storage;
};

/* y (out) = W x + b, and ReLU after it with `relu`; W (out, in) by rows of `step` rows each. */
struct ghn__ref_linear {
    enum ghn__tensor_id weight, bias;
    int out, in;
    size_t first, step; /* row r is row first + r * step of the tensors */
    bool relu;
};

void ghn__ref_linear(struct ghn__ref *ref, const struct ghn__ref_linear *layer, const double *x,
                     double *y);

/* d (out) becomes that before the ReLU; adds to the gradients of W and b, and to dx (in). */
void ghn__ref_linear_back(struct ghn__ref *ref, const struct ghn__ref_linear *layer,
                          const double *x, const double *y, double *d, double *dx);

/* Node embeddings (C2 to C4), from d_embeddings back. */
void ghn__ref_embed(struct ghn__ref *ref);
void ghn__ref_embed_back(struct ghn__ref *ref);

/* The tensor of slot i, in full; and back from d. */
void ghn__ref_decode(struct ghn__ref *ref, int i, double *ret);
void ghn__ref_decode_back(struct ghn__ref *ref, int i, const double *d);

#endif
