/* What is kept of a forward pass over a meta-batch (private to this folder, its tests and
 * benchmarks).
 *
 * The nodes of all graphs stand one after another: a node of graph i is row first_node[i] + v of
 * every matrix over nodes. A decoded weight is a set of *lanes*: the position (y, x) of its block
 * is one lane, a column through the decoder (ghn2-spec C5). Lanes of blocks of like size form a
 * *group*; within a group they are sorted by position, and those of one position are a *run*. So
 * every product of the decoder is one of large matrices whose rows are lanes. */
#ifndef GHN_GHN_TAPE_IMPL_H
#define GHN_GHN_TAPE_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/pool.h"
#include "ghn/hypernet_impl.h"
#include "ghn/plan.h"
#include "ghn/space.h"

/* A decoded weight; the classifier's among them, of which the decoder makes W at position (0, 0).
 */
struct ghn__tape_weight {
    size_t node;             /* its row of the embeddings */
    int O, I, height, width; /* of the block */
    float scale;
    int group;
    size_t first; /* its positions' lanes are lane_of[first], lane_of[first + 1], ... */
    bool is_class;
};

struct ghn__tape_group {
    int O, I; /* of its blocks, at least */
    size_t n; /* O * I */
    size_t first_lane, n_lanes;
    float *values, *gradient; /* (n_lanes, n): row o * I + i of W, unscaled; d loss / d that */
    /* The convolutional decoder: the rows of conv2 that the group needs, (n, 8 hid), or NULL where
     * they are its first ones; and their biases (n). */
    float *packed, *bias;
};

struct ghn__tape_run {
    int group, position; /* y * S + x */
    size_t first_lane, n_lanes;
};

/* A vector of the 1-D decoder. */
struct ghn__tape_vector {
    int row; /* of the decoder's rows */
    int n;   /* of the block */
    enum ghn__maker maker;
    float *values, *gradient; /* (n), squashed */
};

/* The weight of a classifier (C8). */
struct ghn__tape_class {
    int weight;               /* of the list of weights */
    int rows;                 /* of the block; its columns are the weight's I */
    float *values, *gradient; /* (rows, I), scaled */
};

/* What a slot is decoded as. */
struct ghn__tape_slot {
    enum ghn__maker maker;
    int index; /* of weights, classes or vectors, by maker */
};

/* One sweep of the gated GNN over one graph (C3), or its states before and after, by nodes. All
 * rows are padded. */
struct ghn__tape_sweep {
    float *after;                            /* (N, hid): the states that it leaves */
    float *sum;                              /* (N, hid): messages received */
    float *gates;                            /* (N, 3 hid): reset, update, new */
    float *new_state;                        /* (N, hid): W_hn h + b_hn */
    float *hidden, *message;                 /* (N, m), (N, hid): A */
    float *virtual_hidden, *virtual_message; /* B */
};

/* Gradients within one graph, by nodes; rows are padded. */
struct ghn__tape_back {
    float *state;                            /* (N, hid): first of the states after a sweep, then,
                                                node by node, of those before it */
    float *sum;                              /* (N, hid) */
    float *gates_in, *gates_state;           /* (N, 3 hid): of both parts, before the sigmoids */
    float *message, *hidden;                 /* (N, hid), (N, m) */
    float *virtual_message, *virtual_hidden; /* likewise */
};

struct ghn__tape_graph {
    const struct ghn_graph *graph;
    size_t first_node;
    int first_slot;  /* of slots */
    float *features; /* (N, hid), padded */
    float *scratch;  /* (N padded + 6 hid): of whichever thread has this graph's task */
    struct ghn__tape_back back;
    struct ghn__tape_sweep sweep[2]; /* forward, backward; of the MLP baseline only the last one's
                                        after and hidden */
};

/* The gated GNN's layers (or the MLP baseline's, in message) for ghn__kernels.dense, and for the
 * way back. */
struct ghn__tape_layers {
    struct ghn__dense message[2], virtual_[2], gru_in, gru_state;
    struct ghn__dense d_message[2], d_virtual[2], d_gru_in, d_gru_state;
};

/* Memory that grows and is kept. */
struct ghn__memory {
    char *base;
    size_t size;
};

struct ghn_tape {
    int m;
    struct ghn_config config;
    /* The plan: what is decoded, and in which order. */
    struct ghn__memory plan_memory;
    struct ghn__tape_graph *graphs; /* (m) */
    int *by_size;                   /* (m): graphs, the largest first */
    struct ghn__tape_slot *slots;
    struct ghn__tape_weight *weights;
    struct ghn__tape_vector *vectors;
    struct ghn__tape_class *classes;
    struct ghn__tape_group *groups;
    struct ghn__tape_run *runs;
    size_t *row_node; /* (n_rows): the node of every row of the 1-D decoder */
    size_t *lane_of;  /* (n_lanes): by weight and position */
    int *lane_weight; /* (n_lanes): the weight of a lane */
    size_t n_nodes, n_lanes;
    int n_slots, n_weights, n_vectors, n_classes, n_groups, n_runs, n_rows;

    /* Values. */
    struct ghn__memory memory;
    struct ghn__tape_layers layers;
    float *embeddings;         /* (n_nodes, hid) */
    float *rows_e;             /* (n_rows, hid): embeddings for the 1-D decoder, ... */
    float *rows_hidden, *rows; /* (n_rows, 2 hid), (n_rows, 2 M): ... and its layers */
    /* The convolutional decoder: (n_lanes, hid), (.., 4 hid), (.., 8 hid); and ReLU(W) transposed,
     * (n_classes, I, O) of max_shape, which the classifiers' head works on. */
    float *lanes_e, *lanes_a, *lanes_b, *class_hidden;
    /* The mlp decoder: (n_weights, hid), (n_weights, 2 hid); and the latter by lanes. */
    float *weights_e, *hidden, *lanes_hidden;

    /* Gradients; allocated by the first backward pass. */
    struct ghn__memory back_memory;
    float *d_embeddings, *d_rows_e, *d_rows_hidden, *d_rows, *d_lanes_e, *d_lanes_a, *d_lanes_b;
    float *d_class_hidden, *d_weights_e, *d_hidden, *d_lanes_hidden;
    float *conv2_sums; /* parts of its gradient, by tasks */
    float *partial;    /* (m, n_embedder): the embedder's gradient by graph */
};

/* Outputs of conv2 of a task that makes its gradient. */
enum { GHN__CONV2_OUTPUTS = 8 };

/* memory of at least n bytes, contents undefined; GHN_NO_MEMORY. */
enum ghn_status ghn__memory_need(struct ghn__memory *memory, size_t n,
                                 struct ghn_err *err) GHN_MUST_CHECK;

/* Plans a forward pass over graphs and lays out its memory. */
enum ghn_status ghn__tape_plan(struct ghn_tape *tape, const struct ghn_hypernet *h,
                               const struct ghn_graph *const *graphs, int m,
                               struct ghn_err *err) GHN_MUST_CHECK;

/* Lays out the memory of a planned forward pass, and of its backward pass (tape_memory.c). */
enum ghn_status ghn__tape_lay_out(struct ghn_tape *tape, const struct ghn_hypernet *h,
                                  struct ghn_err *err) GHN_MUST_CHECK;
enum ghn_status ghn__tape_lay_out_back(struct ghn_tape *tape, const struct ghn_hypernet *h,
                                       struct ghn_err *err) GHN_MUST_CHECK;

/* --- The parts of the passes. Those of one network's embeddings are tasks of their own. --- */

/* The embeddings of graph i (C2 to C4), and back: the embedder's gradient of that graph goes into
 * its row of tape->partial, which is zeroed first. */
void ghn__tape_embed(const struct ghn_hypernet *h, struct ghn_tape *tape, int i);
void ghn__tape_embed_back(const struct ghn_hypernet *h, struct ghn_tape *tape, int i);

/* Vectors and their decoder (C5, C8), and back. */
void ghn__tape_vectors(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);
void ghn__tape_vectors_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);

/* Weights by the convolutional decoder, and by the mlp decoder (C5), and back. */
void ghn__tape_conv(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);
void ghn__tape_conv_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);
void ghn__tape_mlp(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);
void ghn__tape_mlp_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool);

/* The classifiers' weights from what the decoders made (C8), and back: forward after, backward
 * before the decoder. */
void ghn__tape_classes(const struct ghn_hypernet *h, struct ghn_tape *tape);
void ghn__tape_classes_back(struct ghn_hypernet *h, struct ghn_tape *tape);

/* The row of the group's matrices that lane is. */
static inline float *ghn__lane_row(const struct ghn__tape_group *group, float *matrix,
                                   size_t lane) {
    return matrix + (lane - group->first_lane) * group->n;
}

#endif
