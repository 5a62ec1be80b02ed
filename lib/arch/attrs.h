/* The attributes of every operation of the arch form. Names, meanings and defaults are PyTorch's.
 */
#ifndef GHN_ARCH_ATTRS_H
#define GHN_ARCH_ATTRS_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/shape.h"

/* A list of up to GHN_MAX_DIMS integers. */
struct ghn_ints {
    int n;
    int64_t at[GHN_MAX_DIMS];
};

/* conv2d: weight (out_channels, C / groups, kernel), bias (out_channels). (C, H, W) ->
 * (out_channels, H', W'). */
struct ghn_conv2d_attrs {
    int64_t in_channels; /* 0: whatever comes in; else checked against it */
    int64_t out_channels;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    int64_t groups;
    bool bias;
};

/* linear: weight (out_features, D), bias (out_features). (..., D) -> (..., out_features). */
struct ghn_linear_attrs {
    int64_t in_features; /* 0: whatever comes in; else checked against it */
    int64_t out_features;
    bool bias;
};

/* batch_norm2d: weight, bias (C). Shape kept; statistics over batch and space. Without
 * track_running_stats the batch's statistics serve in evaluation too. */
struct ghn_batch_norm2d_attrs {
    int64_t num_features; /* 0: whatever comes in; else checked against it */
    double eps, momentum;
    bool affine, track_running_stats;
};

/* layer_norm over the last normalized_shape.n dimensions: weight, bias (normalized_shape). An empty
 * list stands for the last dimension. */
struct ghn_layer_norm_attrs {
    struct ghn_ints normalized_shape;
    double eps;
    bool elementwise_affine;
};

/* group_norm: weight, bias (C), neither of them predicted. */
struct ghn_group_norm_attrs {
    int64_t num_groups;
    double eps;
    bool affine;
};

/* leaky_relu's negative_slope, elu's alpha. */
struct ghn_slope_attrs {
    double slope;
};

/* prelu: weight (num_parameters), not predicted. */
struct ghn_prelu_attrs {
    int64_t num_parameters; /* 1, or C */
    double init;
};

/* gelu: exact (erf), or the tanh approximation. */
struct ghn_gelu_attrs {
    int64_t approximate; /* 0 "none", 1 "tanh" */
};

/* softmax over dim. */
struct ghn_softmax_attrs {
    int64_t dim;
};

/* dropout with probability p; stochastic_depth too, which drops whole rows of the batch ("row") or
 * the batch ("batch"). */
struct ghn_dropout_attrs {
    double p;
    int64_t mode; /* stochastic_depth: 0 "batch", 1 "row" */
};

/* max_pool2d, avg_pool2d. stride 0 stands for the kernel. dilation: max_pool2d only;
 * count_include_pad: avg_pool2d only. */
struct ghn_pool2d_attrs {
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    bool ceil_mode, count_include_pad;
};

/* adaptive_avg_pool2d: (C, H, W) -> (C, output_size). 0 keeps a dimension (PyTorch's None). */
struct ghn_adaptive_pool2d_attrs {
    int64_t output_size[2];
};

/* mean over dims. */
struct ghn_mean_attrs {
    struct ghn_ints dims;
    bool keepdim;
};

/* flatten dimensions start_dim to end_dim into one. */
struct ghn_flatten_attrs {
    int64_t start_dim, end_dim;
};

/* reshape to `shape`, which leaves out the batch; one entry may be -1. permute by dims, dims[0] =
 * 0. */
struct ghn_dims_attrs {
    struct ghn_ints dims;
};

/* slice: elements start, start + step, ... before end of dimension dim (negative start and end
 * count from its end). */
struct ghn_slice_attrs {
    int64_t dim, start, end, step;
};

/* pad: PyTorch's order, last dimension first: left, right, top, bottom ..., filled with value. */
struct ghn_pad_attrs {
    struct ghn_ints pad;
    double value;
};

/* roll by shifts along dims. */
struct ghn_roll_attrs {
    struct ghn_ints shifts, dims;
};

/* channel_shuffle: (C, H, W) as (groups, C / groups, H, W), first two swapped. */
struct ghn_groups_attrs {
    int64_t groups;
};

/* concat along dim. */
struct ghn_concat_attrs {
    int64_t dim;
};

/* add, mul: two inputs of broadcastable shapes, or one input and a constant. */
struct ghn_binary_attrs {
    double value;
};

/* attention: scaled dot-product self-attention of packed q | k | v, heads split head-major: (...,
 * T, 3D) -> (..., T, D). scale 0 stands for (D / num_heads)^-0.5. relative_position [h, w] (T = h
 * w; [0, 0]: none) adds relative_position_bias_table ((2h - 1)(2w - 1), num_heads), not predicted.
 */
struct ghn_attention_attrs {
    int64_t num_heads;
    double scale;
    int64_t relative_position[2];
};

/* window_attention: Swin's shifted-window self-attention with its projections, (H, W, C) -> (H, W,
 * C): qkv.weight (3C, C), qkv.bias, proj.weight (C, C), proj.bias, and, not predicted,
 * relative_position_bias_table; with `cosine` (Swin v2) logit_scale (num_heads, 1, 1),
 * cpb_mlp.0.weight (512, 2), cpb_mlp.0.bias, cpb_mlp.2.weight (num_heads, 512) in its place. */
struct ghn_window_attention_attrs {
    int64_t window_size[2], shift_size[2];
    int64_t num_heads;
    bool qkv_bias, proj_bias, cosine;
};

/* pos_enc, parameter: a learned tensor as a source without inputs. `shape` is the tensor's own;
 * with `batched` (always, for pos_enc) its first dimension, 1, stands for the batch. */
struct ghn_parameter_attrs {
    struct ghn_ints shape;
    bool batched;
    int64_t init; /* enum ghn_init_kind */
    double value; /* the constant, or the standard deviation or bound */
};

union ghn_attrs {
    struct ghn_conv2d_attrs conv2d;
    struct ghn_linear_attrs linear;
    struct ghn_batch_norm2d_attrs batch_norm2d;
    struct ghn_layer_norm_attrs layer_norm;
    struct ghn_group_norm_attrs group_norm;
    struct ghn_slope_attrs slope;
    struct ghn_prelu_attrs prelu;
    struct ghn_gelu_attrs gelu;
    struct ghn_softmax_attrs softmax;
    struct ghn_dropout_attrs dropout;
    struct ghn_pool2d_attrs pool2d;
    struct ghn_adaptive_pool2d_attrs adaptive_pool2d;
    struct ghn_mean_attrs mean;
    struct ghn_flatten_attrs flatten;
    struct ghn_dims_attrs dims;
    struct ghn_slice_attrs slice;
    struct ghn_pad_attrs pad;
    struct ghn_roll_attrs roll;
    struct ghn_groups_attrs groups;
    struct ghn_concat_attrs concat;
    struct ghn_binary_attrs binary;
    struct ghn_attention_attrs attention;
    struct ghn_window_attention_attrs window_attention;
    struct ghn_parameter_attrs parameter;
};

#endif
