/* The layers that DeepNets-1M networks are made of, for the files of this folder.
 *
 * A value is the number of the arch node that yields it, or GHN__UNAVAILABLE: what a "none" branch
 * and all that reads only such branches give (ghn2-spec A6, forward semantics). A layer of an
 * unavailable value is unavailable too, but its parameters exist all the same, as they do in the
 * module that PyTorch would build: they are declared as unused. So an operation is written once and
 * serves both cases.
 *
 * Names are `prefix` and `name` joined by a dot, as PyTorch joins a module's and its child's. */
#ifndef GHN_DEEPNETS_LAYERS_H
#define GHN_DEEPNETS_LAYERS_H

#include "arch/arch.h"
#include "deepnets/deepnets.h"

enum { GHN__UNAVAILABLE = -1 };

/* Bytes of any node's or parameter's name, and of a prefix of one. */
enum { GHN__NAME = 128, GHN__PREFIX = 48 };

struct ghn__net_builder {
    const struct ghn_net *net;
    struct ghn_arch_builder *arch;
    bool vit;     /* there is an msa somewhere: ViT stem, no strides */
    bool small;   /* the stems are those for 32-pixel images, not those for 224 */
    int64_t grid; /* ViT nets: the side of the token grid, the same throughout */
};

/* An operation of one input without parameters. */
int ghn__layer(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
               const void *attrs, int x);

/* relu; there are no parameters. */
int ghn__relu(struct ghn__net_builder *nb, const char *prefix, const char *name, int x);

/* A convolution; attrs is complete, in_channels included. */
int ghn__conv(struct ghn__net_builder *nb, const char *prefix, const char *name,
              const struct ghn_conv2d_attrs *attrs, int x);

/* The attributes of a square, bias-free convolution in -> out whose padding keeps the size at
 * stride 1. */
struct ghn_conv2d_attrs ghn__square(int64_t in, int64_t out, int64_t kernel, int64_t stride);

/* The convolution of ghn__square. */
int ghn__conv_same(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t in,
                   int64_t out, int64_t kernel, int64_t stride, int x);

/* A linear layer in -> out of the last dimension. */
int ghn__linear(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t in,
                int64_t out, bool bias, int x);

/* Batch norm as the net's `norm` has it: x itself if that is none. */
int ghn__batch_norm(struct ghn__net_builder *nb, const char *prefix, const char *name,
                    int64_t channels, int x);

/* Layer norm over the last dimension, the channels of tokens. */
int ghn__layer_norm(struct ghn__net_builder *nb, const char *prefix, const char *name,
                    int64_t channels, int x);

/* 3x3 pooling, padding 1; op is max_pool2d or avg_pool2d (padded cells not counted). */
int ghn__pool3(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
               int64_t stride, int x);

/* Rows and columns `start`, start + step, ... of a map; two nodes, the name ends in _rows and
 * _cols.
 */
int ghn__subsample(struct ghn__net_builder *nb, const char *prefix, const char *name, int64_t start,
                   int64_t step, int x);

/* op of two values, both available or neither. */
int ghn__binary(struct ghn__net_builder *nb, const char *op, const char *prefix, const char *name,
                int a, int b);

/* Concatenation of n available values along the channels. */
int ghn__concat(struct ghn__net_builder *nb, const char *prefix, const char *name, const int *x,
                int n);

/* ReLU, the convolution of ghn__square, norm: with a kernel of 1 a cell's preprocessing. */
int ghn__relu_conv_norm(struct ghn__net_builder *nb, const char *prefix, int64_t in, int64_t out,
                        int64_t kernel, int64_t stride, int x);

/* Halves the resolution with two 1x1 convolutions, one of them a pixel further on. out is even. */
int ghn__factorized_reduce(struct ghn__net_builder *nb, const char *prefix, int64_t in, int64_t out,
                           int x);

/* One operation of a cell, channels -> channels. */
int ghn__cell_op(struct ghn__net_builder *nb, enum ghn_cell_op op, const char *prefix,
                 int64_t channels, int64_t stride, int x);

/* Heads of an msa; where they do not divide its channels they are narrower together. */
enum { GHN__MSA_HEADS = 8 };

/* --- What follows from the fields of a net --- */

/* Whether an operation occurs in one of the cells. */
bool ghn__net_has_op(const struct ghn_net *net, enum ghn_cell_op op);

/* Whether its images get the stems made for 32 pixels, rather than those for 224. */
bool ghn__net_is_small(const struct ghn_net *net);

/* Whether a cell reduces: cells n/3 and 2n/3 of n do, but never the first. */
bool ghn__is_reduction(int cell, int n_cells);

/* ViT nets: the side of a patch, in pixels, and of the token grid. */
int64_t ghn__patch_side(const struct ghn_net *net);
int64_t ghn__grid_side(const struct ghn_net *net);

#endif
