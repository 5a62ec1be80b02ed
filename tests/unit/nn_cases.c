#include "nn_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "arch/op.h"
#include "base/mem.h"
#include "base/rng.h"

/* A node; its inputs as a JSON list. */
#define NODE(name, op, inputs, attrs)                                                              \
    "{'name':'" name "','op':'" op "','inputs':" inputs ",'attrs':{" attrs "}}"
/* The network of a single node. */
#define ONE(op, attrs) NODE("out", op, "['input']", attrs)
#define WITH_PARAMS(name, op, inputs, attrs, params)                                               \
    "{'name':'" name "','op':'" op "','inputs':" inputs ",'attrs':{" attrs "},'params':{" params   \
    "}}"

#define CASE(title, shape, list, ...)                                                              \
    { .name = title, .input = shape, .nodes = list, __VA_ARGS__ }

const struct nn_case nn_cases[] = {
    CASE("conv2d 3x3", "[3,5,6]", ONE("conv2d", "'out_channels':4,'kernel':3,'padding':1")),
    CASE("conv2d strided, no bias", "[3,7,6]",
         ONE("conv2d",
             "'out_channels':4,'kernel':[3,2],'stride':[2,1],'padding':[1,0],'bias':false")),
    CASE("conv2d grouped", "[4,5,5]",
         ONE("conv2d", "'out_channels':6,'kernel':3,'padding':1,'groups':2,'in_channels':4")),
    CASE("conv2d depthwise", "[4,6,5]",
         ONE("conv2d", "'out_channels':4,'kernel':3,'padding':1,'groups':4,'bias':false")),
    CASE("conv2d depthwise 5x5, strided", "[16,11,11]",
         ONE("conv2d", "'out_channels':16,'kernel':5,'padding':2,'stride':2,'groups':16")),
    CASE("conv2d depthwise, dilated and strided", "[33,8,7]",
         ONE("conv2d", "'out_channels':33,'kernel':3,'padding':2,'stride':2,'dilation':2,"
                       "'groups':33,'bias':false")),
    CASE("conv2d depthwise 5x5, dilated, smaller than its reach", "[24,4,4]",
         ONE("conv2d",
             "'out_channels':24,'kernel':5,'padding':4,'dilation':2,'groups':24,'bias':false")),
    CASE("conv2d depthwise of one channel", "[1,6,5]",
         ONE("conv2d", "'out_channels':1,'kernel':[2,3],'padding':[0,1],'stride':[1,3]")),
    CASE("conv2d depthwise, gradients that are added", "[3,6,6]",
         NODE("a", "conv2d", "['input']", "'out_channels':5,'kernel':1") "," NODE(
             "b", "conv2d", "['a']",
             "'out_channels':5,'kernel':3,'padding':1,"
             "'groups':5") "," WITH_PARAMS("c", "conv2d", "['a']",
                                           "'out_channels':5,'kernel':3,'padding':2,"
                                           "'dilation':2,'groups':5",
                                           "'weight':'b.weight','bias':'b."
                                           "bias'") "," NODE("out", "add", "['b','c']", "")),
    CASE("conv2d depthwise with multiplier", "[3,5,5]",
         ONE("conv2d", "'out_channels':6,'kernel':3,'padding':1,'groups':3")),
    CASE("conv2d dilated", "[2,7,8]",
         ONE("conv2d", "'out_channels':3,'kernel':[3,3],'dilation':[2,3],'padding':[2,3]")),
    CASE("conv2d 1x1", "[5,3,3]", ONE("conv2d", "'out_channels':4,'kernel':1")),
    CASE("conv2d patches", "[3,8,8]", ONE("conv2d", "'out_channels':5,'kernel':4,'stride':4")),
    CASE("conv2d on one pixel", "[6,1,1]",
         ONE("conv2d", "'out_channels':4,'kernel':3,'padding':1")),
    CASE("conv2d 3x3 strided, on one pixel", "[8,1,1]",
         ONE("conv2d", "'out_channels':16,'kernel':3,'padding':1,'stride':2,'bias':false")),
    CASE("conv2d 1x1 strided, of three channels", "[3,8,8]",
         ONE("conv2d", "'out_channels':20,'kernel':1,'stride':2,'bias':false")),
    CASE("conv2d 11x11 on 3x3, with taps that reach nothing", "[32,3,3]",
         ONE("conv2d", "'out_channels':20,'kernel':11,'padding':5,'bias':false")),
    CASE("conv2d 1x1 of many channels", "[64,4,4]",
         ONE("conv2d", "'out_channels':24,'kernel':1,'bias':false")),
    CASE("conv2d of many channels, in groups", "[64,3,3]",
         ONE("conv2d", "'out_channels':32,'kernel':3,'padding':1,'groups':2,'bias':false")),
    CASE("conv2d 5x5 dilated, beyond a map of 7x7", "[8,7,7]",
         ONE("conv2d", "'out_channels':64,'kernel':5,'padding':4,'dilation':2,'bias':false"),
         .batch = 2),
    CASE("conv2d of many channels, larger than its map", "[128,2,2]",
         ONE("conv2d", "'out_channels':8,'kernel':9,'padding':4")),
    CASE("conv2d with a stride beyond its map", "[24,12,2]",
         ONE("conv2d", "'out_channels':8,'kernel':[4,2],'padding':[2,1],'stride':[1,3]")),
    CASE("conv2d larger than its map one way", "[144,13,7]",
         ONE("conv2d", "'out_channels':128,'kernel':[5,9],'padding':[2,4],'stride':[2,1]")),
    CASE("conv2d of many channels, larger than a row", "[256,1,2]",
         ONE("conv2d", "'out_channels':48,'kernel':7,'padding':3")),
    CASE("conv2d larger than its map", "[16,2,9]",
         ONE("conv2d", "'out_channels':8,'kernel':9,'padding':4")),
    CASE("linear", "[7]", ONE("linear", "'out_features':5")),
    CASE("linear on tokens, no bias", "[4,6]",
         ONE("linear", "'out_features':3,'bias':false,'in_features':6")),
    CASE("linear on an image's last dimension", "[3,4,5]", ONE("linear", "'out_features':6")),
    CASE("batch_norm2d", "[3,4,5]", ONE("batch_norm2d", "")),
    CASE("batch_norm2d, all attributes", "[4,3,3]",
         ONE("batch_norm2d", "'eps':0.01,'momentum':0.3,'num_features':4"), .batch = 4),
    CASE("batch_norm2d without affine", "[3,4,4]", ONE("batch_norm2d", "'affine':false")),
    CASE("batch_norm2d of features", "[6]",
         NODE("a", "linear", "['input']",
              "'out_features':4,'bias':false") "," NODE("out", "batch_norm2d", "['a']", ""),
         .batch = 5),
    CASE("batch_norm2d of a sequence", "[4,6]", ONE("batch_norm2d", "")),
    CASE("batch_norm2d of a volume", "[4,2,3,3]", ONE("batch_norm2d", "")),
    CASE("batch_norm2d in evaluation", "[3,4,5]", ONE("batch_norm2d", "'eps':0.1"),
         .mode = GHN_MODE_EVAL),
    CASE("batch_norm2d with the batch's statistics", "[3,4,5]", ONE("batch_norm2d", ""),
         .mode = GHN_MODE_BATCH_STATISTICS),
    CASE("batch_norm2d without running statistics", "[3,4,5]",
         ONE("batch_norm2d", "'track_running_stats':false")),
    CASE("batch_norm2d without running statistics in evaluation", "[3,4,5]",
         ONE("batch_norm2d", "'track_running_stats':false"), .mode = GHN_MODE_EVAL),
    CASE("batch_norm2d of one image", "[3,4,5]", ONE("batch_norm2d", ""), .batch = 1),
    CASE("layer_norm", "[4,6]", ONE("layer_norm", "")),
    CASE("layer_norm over two dimensions", "[3,4,5]",
         ONE("layer_norm", "'normalized_shape':[4,5],'eps':0.01")),
    CASE("layer_norm over the image", "[3,4,5]", ONE("layer_norm", "'normalized_shape':[3,4,5]")),
    CASE("layer_norm without affine", "[3,4,6]", ONE("layer_norm", "'elementwise_affine':false")),
    CASE("group_norm", "[6,3,4]", ONE("group_norm", "'num_groups':3")),
    CASE("group_norm, one group", "[4,3,3]", ONE("group_norm", "'num_groups':1,'eps':0.02")),
    CASE("group_norm of channels alone, no affine", "[4,3,3]",
         ONE("group_norm", "'num_groups':4,'affine':false")),
    CASE("group_norm of a sequence", "[4,6]", ONE("group_norm", "'num_groups':2")),
    CASE("group_norm of a volume", "[4,2,3,3]", ONE("group_norm", "'num_groups':2")),
    CASE("group_norm of features", "[8]", ONE("group_norm", "'num_groups':2")),
    CASE("relu", "[3,4,4]", ONE("relu", "")),
    CASE("relu6", "[3,4,4]", ONE("relu6", ""), .range = 9.1),
    CASE("leaky_relu", "[3,4,4]", ONE("leaky_relu", "")),
    CASE("leaky_relu, slope", "[12]", ONE("leaky_relu", "'negative_slope':0.3")),
    CASE("prelu", "[3,4,4]", ONE("prelu", "")),
    CASE("prelu for each channel", "[4,3,4]", ONE("prelu", "'num_parameters':4,'init':0.1")),
    CASE("prelu for each feature", "[6]", ONE("prelu", "'num_parameters':6")),
    CASE("elu", "[3,4,4]", ONE("elu", "")),
    CASE("elu, alpha", "[3,4,4]", ONE("elu", "'alpha':0.7")),
    CASE("silu", "[3,4,4]", ONE("silu", ""), .range = 6),
    CASE("gelu", "[3,4,4]", ONE("gelu", ""), .range = 4),
    CASE("gelu by tanh", "[3,4,4]", ONE("gelu", "'approximate':'tanh'"), .range = 4),
    CASE("hardswish", "[3,4,4]", ONE("hardswish", ""), .range = 5.1),
    CASE("hardsigmoid", "[3,4,4]", ONE("hardsigmoid", ""), .range = 5.1),
    CASE("sigmoid", "[3,4,4]", ONE("sigmoid", ""), .range = 5),
    CASE("tanh", "[3,4,4]", ONE("tanh", ""), .range = 3),
    CASE("softmax", "[4,6]", ONE("softmax", ""), .range = 3),
    CASE("softmax over channels", "[5,3,2]", ONE("softmax", "'dim':1"), .range = 3),
    CASE("softmax over rows", "[2,5,3]", ONE("softmax", "'dim':-2"), .range = 3),
    CASE("identity", "[3,4,4]", ONE("identity", "")),
    CASE("dropout", "[3,4,5]", ONE("dropout", "")),
    CASE("dropout, p", "[3,4,5]", ONE("dropout", "'p':0.2")),
    CASE("dropout of nothing", "[10]", ONE("dropout", "'p':0")),
    CASE("dropout of everything", "[10]", ONE("dropout", "'p':1")),
    CASE("dropout in evaluation", "[3,4,5]", ONE("dropout", ""), .mode = GHN_MODE_EVAL),
    CASE("stochastic_depth", "[3,2,2]", ONE("stochastic_depth", "'p':0.4"), .batch = 8),
    CASE(
        "stochastic_depth of the batch, kept or dropped", "[3,2,2]",
        NODE("a", "stochastic_depth", "['input']", "'p':0.4,'mode':'batch'") "," NODE(
            "b", "stochastic_depth", "['input']",
            "'p':0.45,'mode':'batch'") "," NODE("c", "stochastic_depth", "['input']",
                                                "'p':0.55,'mode':'batch'") "," NODE("out", "concat",
                                                                                    "['a','b','c']",
                                                                                    "")),
    CASE("stochastic_depth behind a layer scale", "[3,4,5]",
         NODE("a", "parameter", "[]", "'shape':[3,1,1]") "," NODE(
             "b", "mul", "['a','input']", "") "," NODE("c", "stochastic_depth", "['b']",
                                                       "'p':0.4") "," NODE("out", "add",
                                                                           "['c','input']", ""),
         .batch = 8),
    CASE("stochastic_depth behind a padded pixel", "[3,1,1]",
         NODE("a", "pad", "['input']", "'pad':[1,0,2,1]") "," NODE("out", "stochastic_depth",
                                                                   "['a']", "'p':0.4"),
         .batch = 8),
    CASE("stochastic_depth of everything", "[5]", ONE("stochastic_depth", "'p':1")),
    CASE("stochastic_depth in evaluation", "[5]", ONE("stochastic_depth", ""),
         .mode = GHN_MODE_EVAL),
    CASE("max_pool2d", "[3,6,6]", ONE("max_pool2d", "'kernel':2")),
    CASE("max_pool2d with padding", "[3,5,6]",
         ONE("max_pool2d", "'kernel':[3,2],'stride':[2,1],'padding':1")),
    CASE("max_pool2d, ceil_mode", "[2,6,7]",
         ONE("max_pool2d", "'kernel':3,'stride':2,'ceil_mode':true")),
    CASE("max_pool2d, ceil_mode with padding", "[2,6,6]",
         ONE("max_pool2d", "'kernel':3,'stride':2,'padding':1,'ceil_mode':true")),
    CASE("max_pool2d dilated", "[2,7,7]",
         ONE("max_pool2d", "'kernel':3,'stride':1,'dilation':2,'padding':1")),
    CASE("avg_pool2d", "[3,6,6]", ONE("avg_pool2d", "'kernel':2")),
    CASE("avg_pool2d with padding", "[3,5,6]",
         ONE("avg_pool2d", "'kernel':3,'stride':[2,1],'padding':[1,0]")),
    CASE("avg_pool2d without counting padding", "[3,5,6]",
         ONE("avg_pool2d", "'kernel':3,'stride':2,'padding':1,'count_include_pad':false")),
    CASE("avg_pool2d, ceil_mode", "[2,6,7]",
         ONE("avg_pool2d", "'kernel':3,'stride':2,'padding':1,'ceil_mode':true")),
    CASE("avg_pool2d, ceil_mode without counting padding", "[2,6,8]",
         ONE("avg_pool2d", "'kernel':[3,4],'stride':[2,3],'padding':1,'ceil_mode':true,'count_"
                           "include_pad':false")),
    CASE("adaptive_avg_pool2d to one", "[3,4,5]", ONE("adaptive_avg_pool2d", "'output_size':1")),
    CASE("adaptive_avg_pool2d, uneven", "[2,7,5]",
         ONE("adaptive_avg_pool2d", "'output_size':[3,4]")),
    CASE("adaptive_avg_pool2d, larger", "[2,3,2]",
         ONE("adaptive_avg_pool2d", "'output_size':[5,7]")),
    CASE("adaptive_avg_pool2d, one dimension", "[2,4,6]",
         ONE("adaptive_avg_pool2d", "'output_size':[null,2]")),
    CASE("mean over space", "[3,4,5]", ONE("mean", "'dim':[2,3]")),
    CASE("mean over space, kept", "[3,4,5]", ONE("mean", "'dim':[-1,-2],'keepdim':true")),
    CASE("mean over channels", "[3,4,5]", ONE("mean", "'dim':1")),
    CASE("mean over rows", "[3,4,5]", ONE("mean", "'dim':[2]")),
    CASE("mean over tokens", "[4,6]", ONE("mean", "'dim':1")),
    CASE("flatten", "[3,2,4]", ONE("flatten", "")),
    CASE("flatten the last two", "[3,2,4]", ONE("flatten", "'start_dim':2")),
    CASE("flatten the first two", "[3,2,4]", ONE("flatten", "'start_dim':1,'end_dim':2")),
    CASE("reshape", "[4,2,3]", ONE("reshape", "'shape':[2,-1]")),
    CASE("reshape to rank 5", "[4,2,6]", ONE("reshape", "'shape':[2,2,2,3,2]")),
    CASE("permute to channels last", "[3,4,5]", ONE("permute", "'dims':[0,2,3,1]")),
    CASE("permute to channels first", "[3,4,5]", ONE("permute", "'dims':[0,-1,1,2]")),
    CASE("permute tokens", "[4,6]", ONE("permute", "'dims':[0,2,1]")),
    CASE("reshape, permute, reshape: windows", "[4,6,3]",
         NODE("a", "reshape", "['input']", "'shape':[2,2,3,2,3]") "," NODE(
             "b", "permute", "['a']", "'dims':[0,1,3,2,4,5]") "," NODE("out", "reshape", "['b']",
                                                                       "'shape':[6,4,3]")),
    CASE("slice of channels", "[6,3,4]", ONE("slice", "'dim':1,'start':1,'end':4")),
    CASE("slice with a step", "[3,7,4]", ONE("slice", "'dim':2,'start':1,'step':3")),
    CASE("slice from the end", "[3,4,7]", ONE("slice", "'dim':-1,'start':-5,'end':-1,'step':2")),
    CASE("slice of one token", "[5,6]", ONE("slice", "'dim':1,'end':1")),
    CASE("pad", "[3,4,5]", ONE("pad", "'pad':[1,2,0,1]")),
    CASE("pad of channels with a value", "[2,3,4]", ONE("pad", "'pad':[0,0,0,0,1,2],'value':0.5")),
    CASE("roll", "[3,4,5]", ONE("roll", "'shifts':[1,-2],'dims':[2,3]")),
    CASE("roll of channels, beyond their number", "[3,4,5]", ONE("roll", "'shifts':7,'dims':-3")),
    CASE("roll twice along one dimension", "[4,5]", ONE("roll", "'shifts':[1,1],'dims':[1,1]")),
    CASE("channel_shuffle", "[6,2,3]", ONE("channel_shuffle", "'groups':2")),
    CASE("channel_shuffle, three groups", "[6,2,3]", ONE("channel_shuffle", "'groups':3")),
    CASE("zeros_like", "[3,4,4]",
         NODE("a", "zeros_like", "['input']", "") "," NODE("out", "add", "['input','a']", "")),
    CASE("concat of channels", "[3,4,4]",
         NODE("a", "conv2d", "['input']", "'out_channels':2,'kernel':1") "," NODE(
             "b", "sigmoid", "['input']", "") "," NODE("out", "concat", "['a','b','input']", "")),
    CASE("concat of rows", "[2,3,4]",
         NODE("a", "slice", "['input']", "'dim':2,'end':1") "," NODE("out", "concat",
                                                                     "['a','input']", "'dim':-2")),
    CASE("concat of tokens", "[4,6]",
         NODE("a", "parameter", "[]", "'shape':[1,2,6],'batched':true") "," NODE(
             "out", "concat", "['a','input']", "'dim':1")),
    CASE("concat of one value twice", "[3,2,2]",
         NODE("out", "concat", "['input','input']", "'dim':1")),
    CASE("add", "[3,4,4]",
         NODE("a", "sigmoid", "['input']", "") "," NODE("out", "add", "['a','input']", "")),
    CASE("add of a constant", "[3,4,4]", ONE("add", "'value':-1.5")),
    CASE("add of one value twice", "[3,4]", NODE("out", "add", "['input','input']", "")),
    CASE("add broadcasting the second", "[3,4,5]",
         NODE("a", "mean", "['input']",
              "'dim':[2,3],'keepdim':true") "," NODE("out", "add", "['input','a']", "")),
    CASE("add broadcasting both", "[3,4,5]",
         NODE("a", "mean", "['input']", "'dim':[2],'keepdim':true") "," NODE(
             "b", "mean", "['input']", "'dim':[1,3],'keepdim':true") "," NODE("out", "add",
                                                                              "['a','b']", "")),
    CASE("mul", "[3,4,4]",
         NODE("a", "tanh", "['input']", "") "," NODE("out", "mul", "['a','input']", "")),
    CASE("mul by a constant", "[3,4,4]", ONE("mul", "'value':0.3")),
    CASE("mul of one value twice", "[3,4]", NODE("out", "mul", "['input','input']", "")),
    CASE("mul: a layer scale", "[3,4,5]",
         NODE("a", "parameter", "[]", "'shape':[3,1,1],'init':'normal','value':0.5") "," NODE(
             "out", "mul", "['input','a']", "")),
    CASE("mul: a layer scale on tokens, from the left", "[4,6]",
         NODE("a", "parameter", "[]", "'shape':[1,6]") "," NODE("out", "mul", "['a','input']", "")),
    CASE("mul: squeeze-excite", "[4,3,5]",
         NODE("a", "adaptive_avg_pool2d", "['input']", "'output_size':1") "," NODE(
             "b", "conv2d", "['a']",
             "'out_channels':2,'kernel':1") "," NODE("c", "silu", "['b']",
                                                     "") "," NODE("d", "conv2d", "['c']",
                                                                  "'out_channels':4,'kernel':"
                                                                  "1") "," NODE("e", "sigmoid",
                                                                                "['d']",
                                                                                "") "," NODE("out",
                                                                                             "mul",
                                                                                             "['e',"
                                                                                             "'inpu"
                                                                                             "t']",
                                                                                             "")),
    CASE("attention", "[5,12]", ONE("attention", "'num_heads':2")),
    CASE("attention, scale", "[4,18]", ONE("attention", "'num_heads':3,'scale':0.3")),
    CASE("attention in partitions", "[3,4,12]", ONE("attention", "'num_heads':1")),
    CASE("attention with relative positions", "[2,6,12]",
         ONE("attention", "'num_heads':2,'relative_position':[2,3],'scale':0.4")),
    CASE("window_attention", "[4,6,4]",
         ONE("window_attention", "'window_size':[2,3],'num_heads':2"), .batch = 2),
    CASE("window_attention shifted", "[4,6,4]",
         ONE("window_attention", "'window_size':[2,3],'shift_size':[1,1],'num_heads':2"),
         .batch = 2),
    CASE("window_attention shifted along one axis", "[4,4,4]",
         ONE("window_attention", "'window_size':[2,2],'shift_size':[0,1],'num_heads':1"),
         .batch = 2),
    CASE("window_attention shifted by more than a window", "[8,8,4]",
         ONE("window_attention", "'window_size':[2,2],'shift_size':[3,5],'num_heads':1"),
         .batch = 2),
    CASE("window_attention with padding, no biases", "[5,4,4]",
         ONE("window_attention", "'window_size':[3,3],'shift_size':[1,1],'num_heads':2,"
                                 "'qkv_bias':false,'proj_bias':false"),
         .batch = 2),
    CASE("window_attention with padding", "[5,4,4]",
         ONE("window_attention", "'window_size':[3,3],'shift_size':[1,2],'num_heads':2"),
         .batch = 2),
    CASE("window_attention, one window", "[3,2,4]",
         ONE("window_attention", "'window_size':[3,2],'shift_size':[1,1],'num_heads':2"),
         .batch = 2),
    CASE("window_attention, one window high", "[2,6,4]",
         ONE("window_attention", "'window_size':[3,3],'shift_size':[1,1],'num_heads':2"),
         .batch = 2),
    CASE("window_attention v2", "[4,3,4]",
         ONE("window_attention", "'window_size':[2,3],'num_heads':2,'cosine':true"), .batch = 2),
    CASE("window_attention v2 shifted, with padding", "[4,5,4]",
         ONE("window_attention",
             "'window_size':[2,3],'shift_size':[1,1],'num_heads':2,'cosine':true"),
         .batch = 2),
    CASE("window_attention v2, windows one token high", "[2,4,4]",
         ONE("window_attention",
             "'window_size':[1,2],'shift_size':[0,1],'num_heads':1,'cosine':true"),
         .batch = 2),
    CASE("window_attention v2, scale at its end", "[2,4,4]",
         ONE("window_attention",
             "'window_size':[2,2],'num_heads':2,'cosine':true,'qkv_bias':true,'proj_bias':false"),
         .batch = 2, .fixed = "out.logit_scale", .value = 4.7),
    CASE("pos_enc", "[3,4,5]",
         NODE("a", "pos_enc", "[]", "'shape':[1,3,4,5],'init':'uniform','value':0.1") "," NODE(
             "out", "add", "['input','a']", "")),
    CASE("parameter, one for all images", "[4,6]",
         NODE("a", "parameter", "[]", "'shape':[4,6],'init':'trunc_normal','value':0.02") "," NODE(
             "out", "add", "['input','a']", "")),
    CASE("parameter with work of its own", "[2,3]",
         NODE("a", "parameter", "[]", "'shape':[1,4,3],'batched':true") "," NODE(
             "b", "tanh", "['a']", "") "," NODE("out", "concat", "['b','input']", "")),
    CASE(
        "a shared convolution", "[3,4,4]",
        NODE("a", "conv2d", "['input']", "'out_channels':3,'kernel':3,'padding':1") "," WITH_PARAMS(
            "out", "conv2d", "['a']", "'out_channels':3,'kernel':3,'padding':1",
            "'weight':'a.weight','bias':'a.bias'")),
    CASE(
        "a shared convolution of many channels", "[32,4,4]",
        NODE(
            "a", "conv2d", "['input']",
            "'out_channels':32,'kernel':3,'padding':1,'bias':false") "," WITH_PARAMS("out",
                                                                                     "conv2d",
                                                                                     "['a']",
                                                                                     "'out_"
                                                                                     "channels':32,"
                                                                                     "'kernel':3,'"
                                                                                     "padding':1,'"
                                                                                     "bias':false",
                                                                                     "'weight':'a."
                                                                                     "weight'")),
    CASE("a shared linear layer on a shared value", "[6]",
         NODE("a", "linear", "['input']", "'out_features':6") "," NODE(
             "b", "tanh", "['a']",
             "") "," WITH_PARAMS("c", "linear", "['b']", "'out_features':6,'bias':false",
                                 "'weight':'a.weight'") "," NODE("out", "add", "['c','a']", "")),
    CASE("a value used by several nodes", "[3,4,4]",
         NODE("a", "conv2d", "['input']", "'out_channels':3,'kernel':1") "," NODE(
             "b", "batch_norm2d", "['a']",
             "") "," NODE("c", "sigmoid", "['a']",
                          "") "," NODE("d", "mul", "['b','c']",
                                       "") "," NODE("e", "add", "['d','a']",
                                                    "") "," NODE("out", "concat", "['e','a','b']",
                                                                 "")),
    CASE(
        "a residual block", "[4,4,4]",
        NODE("a", "conv2d", "['input']", "'out_channels':4,'kernel':3,'padding':1,'bias':false") "," NODE(
            "b", "batch_norm2d", "['a']",
            "") "," NODE("c", "relu", "['b']",
                         "") "," NODE("d", "conv2d", "['c']",
                                      "'out_channels':4,'kernel':3,'padding':1,'bias'"
                                      ":false") "," NODE("e", "batch_norm2d", "['d']",
                                                         "") "," NODE("f", "add", "['e','input']",
                                                                      "") "," NODE("o"
                                                                                   "u"
                                                                                   "t",
                                                                                   "r"
                                                                                   "e"
                                                                                   "l"
                                                                                   "u",
                                                                                   "["
                                                                                   "'"
                                                                                   "f"
                                                                                   "'"
                                                                                   "]",
                                                                                   "")),
    CASE("a node off the path", "[4,3,3]",
         NODE("a", "conv2d", "['input']", "'out_channels':2,'kernel':1") "," NODE(
             "b", "batch_norm2d", "['a']", "") "," NODE("out", "silu", "['input']", "")),
    CASE("the input itself, and a classifier", "[4,3,3]",
         NODE("a", "mean", "['input']", "'dim':[2,3]") "," NODE(
             "b", "flatten", "['input']",
             "") "," NODE("c", "concat", "['a','b']",
                          "") "," NODE("d", "dropout", "['c']",
                                       "'p':0.3") "," NODE("out", "linear", "['d']",
                                                           "'out_features':5")),
    /* What the planner joins into one step. */
    CASE("batch norm and relu in one", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "relu", "['bn']", "")),
    CASE("batch norm and relu6 in one", "[20,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "relu6", "['bn']", "")),
    CASE("batch norm and hardswish in one", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "hardswish", "['bn']", "")),
    CASE("batch norm and silu in one", "[24,2,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "silu", "['bn']", "")),
    CASE("batch norm and leaky_relu in one", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "leaky_relu", "['bn']",
                                                              "'negative_slope':0.3")),
    CASE("batch norm and a sum in one", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE("out", "add", "['bn','input']", "")),
    CASE("batch norm, a sum and relu in one", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE(
             "sum", "add", "['input','bn']", "") "," NODE("out", "relu", "['sum']", "")),
    CASE("two batch norms, their sum and relu", "[6,4,3]",
         NODE("a", "batch_norm2d", "['input']", "") "," NODE(
             "conv", "conv2d", "['input']",
             "'out_channels':6,'kernel':1") "," NODE("b", "batch_norm2d", "['conv']",
                                                     "") "," NODE("sum", "add", "['a','b']",
                                                                  "") "," NODE("out", "relu",
                                                                               "['sum']", "")),
    CASE("batch norm used twice", "[5,4,3]",
         NODE("bn", "batch_norm2d", "['input']", "") "," NODE(
             "relu", "relu", "['bn']", "") "," NODE("out", "add", "['bn','relu']", "")),
    CASE("two relus of one value", "[5,4,3]",
         NODE("a", "relu", "['input']", "") "," NODE("b", "relu", "['input']", "") "," NODE(
             "conv", "conv2d", "['a']",
             "'out_channels':5,'kernel':1") "," NODE("out", "add", "['conv','b']", "")),
    CASE("orders that differ", "[3,4,4]",
         NODE("t", "permute", "['input']", "'dims':[0,3,1,2]") "," NODE(
             "conv", "conv2d", "['t']",
             "'out_channels':3,'kernel':1") "," NODE("u", "permute", "['conv']",
                                                     "'dims':[0,2,3,1]") "," NODE("out", "mul",
                                                                                  "['u',"
                                                                                  "'u']",
                                                                                  "")),
};
const int nn_n_cases = sizeof nn_cases / sizeof *nn_cases;

/* --- Their networks --- */

/* The text with " for '. */
static void write_json(const struct nn_case *c, bool lead, char *text, size_t n) {
    static const char lead_nodes[] = NODE("lead", "parameter", "[]", "'shape':%s") "," NODE(
        "input", "mul", "['images','lead']", "") ",";
    char head[512] = "";
    if (lead)
        (void)snprintf(head, sizeof head, lead_nodes, c->input);
    int length = snprintf(text, n,
                          "{'format':'ghn-arch/1','name':'case','input':{'name':'%s','shape':%s},"
                          "'nodes':[%s%s],'output':'out'}",
                          lead ? "images" : "input", c->input, head, c->nodes);
    assert_in_range(length, 1, n - 1);
    for (; *text; text++)
        if (*text == '\'')
            *text = '"';
}

struct ghn_arch *nn_case_arch(const struct nn_case *c, bool lead) {
    char text[4096];
    write_json(c, lead, text, sizeof text);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root)
        fail_msg("%s: %s: %s", c->name, error.text, text);
    struct ghn_arch *arch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_arch_from_json(root, "", &ghn_limits_default, &arch, &err))
        fail_msg("%s: %s: %s", c->name, err.where, err.message);
    json_decref(root);
    return arch;
}

int nn_case_batch(const struct nn_case *c) {
    return c->batch ? c->batch : 3;
}

/* --- Their data --- */

void nn_case_images(const struct nn_case *c, int64_t n, double *images) {
    double range = c->range != 0 ? c->range : 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t j =
            (int64_t)(ghn_rng_uniform(7, ghn_rng_stream(c->name), (uint64_t)i) * (double)(i + 1));
        images[i] = images[j];
        images[j] = ((double)i + 0.5) * 2 * range / (double)n - range;
    }
}

static double uniform(const char *name, int64_t i) {
    return 2 * ghn_rng_uniform(11, ghn_rng_stream(name), (uint64_t)i) - 1;
}

void nn_case_values(const struct nn_case *c, const struct ghn_arch *arch, double *values,
                    double *statistics) {
    for (int p = 0; p < arch->n_params; p++) {
        const char *name = arch->params[p].name;
        int64_t count = 0;
        assert_true(ghn_shape_numel(&arch->params[p].shape, &count));
        for (int64_t i = 0; i < count; i++) {
            double u = uniform(name, i);
            if (strcmp(name, "lead.weight") == 0)
                u = 1 + u / 2;
            *values++ = c->fixed && strcmp(name, c->fixed) == 0 ? c->value : u;
        }
    }
    for (int i = 0; i < arch->n_nodes && statistics; i++) {
        const struct ghn_arch_node *node = &arch->nodes[i];
        if (!node->op || strcmp(node->op->name, "batch_norm2d") != 0 ||
            !node->attrs.batch_norm2d.track_running_stats)
            continue;
        for (int64_t k = 0, channels = node->shape.dim[0]; k < 2 * channels; k++)
            *statistics++ =
                uniform(node->name, k) / (k < channels ? 1 : 2) + (k < channels ? 0 : 1);
    }
}
