"""Networks to send."""
import copy


def node(name, op, inputs, **attrs):
    entry = {"name": name, "op": op, "inputs": [inputs] if isinstance(inputs, str) else inputs}
    if attrs:
        entry["attrs"] = attrs
    return entry


def network(nodes, output, name="net", shape=(3, 32, 32)):
    return {"format": "ghn-arch/1", "name": name, "input": {"name": "input", "shape": list(shape)},
            "nodes": nodes, "output": output}


def conv(name, source, channels, kernel=3, **attrs):
    return node(name, "conv2d", source, out_channels=channels, kernel=[kernel, kernel],
                padding=[kernel // 2, kernel // 2], bias=False, **attrs)


def tiny(**changes):
    """{"arch": ...} of a network with a convolution, a norm and a classifier."""
    arch = network([
        conv("conv1", "input", 64),
        node("bn1", "batch_norm2d", "conv1"),
        node("relu", "relu", "bn1"),
        node("pool", "adaptive_avg_pool2d", "relu", output_size=[1, 1]),
        node("flat", "flatten", "pool"),
        node("fc", "linear", "flat", out_features=10),
    ], "fc", name="tiny")
    return {"arch": copy.deepcopy(arch), **changes}


def chain(depth, channels, kernel=3, name="chain"):
    """A plain network of `depth` convolutions."""
    nodes, last = [], "input"
    for i in range(depth):
        nodes += [conv(f"c{i}", last, channels, kernel), node(f"b{i}", "batch_norm2d", f"c{i}"),
                  node(f"r{i}", "relu", f"b{i}")]
        last = f"r{i}"
    nodes += [node("pool", "adaptive_avg_pool2d", last, output_size=[1, 1]),
              node("flat", "flatten", "pool"), node("fc", "linear", "flat", out_features=10)]
    return {"arch": network(nodes, "fc", name)}


def bottlenecks(depths, width, name, base=64):
    """A residual network of bottlenecks, as torchvision's: resnet50 is ((3, 4, 6, 3), 1),
    wide_resnet101_2 ((3, 4, 23, 3), 2)."""
    nodes = [conv("conv1", "input", 64, 7, stride=[2, 2]), node("bn1", "batch_norm2d", "conv1"),
             node("relu", "relu", "bn1"),
             node("maxpool", "max_pool2d", "relu", kernel=[3, 3], stride=[2, 2], padding=[1, 1])]
    last = "maxpool"
    for stage, blocks in enumerate(depths):
        inner, outer = base * 2 ** stage * width, base * 2 ** stage * 4
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            nodes += [
                conv(at + ".conv1", last, inner, 1), node(at + ".bn1", "batch_norm2d", at + ".conv1"),
                node(at + ".relu1", "relu", at + ".bn1"),
                conv(at + ".conv2", at + ".relu1", inner, 3, stride=[stride, stride]),
                node(at + ".bn2", "batch_norm2d", at + ".conv2"),
                node(at + ".relu2", "relu", at + ".bn2"),
                conv(at + ".conv3", at + ".relu2", outer, 1),
                node(at + ".bn3", "batch_norm2d", at + ".conv3")]
            shortcut = last
            if not block:
                nodes += [conv(at + ".downsample.0", last, outer, 1, stride=[stride, stride]),
                          node(at + ".downsample.1", "batch_norm2d", at + ".downsample.0")]
                shortcut = at + ".downsample.1"
            nodes += [node(at + ".add", "add", [at + ".bn3", shortcut]),
                      node(at + ".relu3", "relu", at + ".add")]
            last = at + ".relu3"
    nodes += [node("avgpool", "adaptive_avg_pool2d", last, output_size=[1, 1]),
              node("flatten", "flatten", "avgpool"),
              node("fc", "linear", "flatten", out_features=1000)]
    return {"arch": network(nodes, "fc", name, (3, 224, 224))}


def basic_blocks(depths, name):
    """A residual network of basic blocks: resnet18 is (2, 2, 2, 2)."""
    nodes = [conv("conv1", "input", 64, 7, stride=[2, 2]), node("bn1", "batch_norm2d", "conv1"),
             node("relu", "relu", "bn1"),
             node("maxpool", "max_pool2d", "relu", kernel=[3, 3], stride=[2, 2], padding=[1, 1])]
    last = "maxpool"
    for stage, blocks in enumerate(depths):
        channels = 64 * 2 ** stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            nodes += [conv(at + ".conv1", last, channels, 3, stride=[stride, stride]),
                      node(at + ".bn1", "batch_norm2d", at + ".conv1"),
                      node(at + ".relu1", "relu", at + ".bn1"),
                      conv(at + ".conv2", at + ".relu1", channels, 3),
                      node(at + ".bn2", "batch_norm2d", at + ".conv2")]
            shortcut = last
            if stride == 2:
                nodes += [conv(at + ".downsample.0", last, channels, 1, stride=[2, 2]),
                          node(at + ".downsample.1", "batch_norm2d", at + ".downsample.0")]
                shortcut = at + ".downsample.1"
            nodes += [node(at + ".add", "add", [at + ".bn2", shortcut]),
                      node(at + ".relu2", "relu", at + ".add")]
            last = at + ".relu2"
    nodes += [node("avgpool", "adaptive_avg_pool2d", last, output_size=[1, 1]),
              node("flatten", "flatten", "avgpool"),
              node("fc", "linear", "flatten", out_features=1000)]
    return {"arch": network(nodes, "fc", name, (3, 224, 224))}


def resnet18():
    return basic_blocks((2, 2, 2, 2), "resnet18")


def resnet50():
    return bottlenecks((3, 4, 6, 3), 1, "resnet50")


def wide_resnet101_2():
    return bottlenecks((3, 4, 23, 3), 2, "wide_resnet101_2")


GENOTYPE = {
    "genotype": {"normal": [["conv_3x3", 0], ["skip_connect", 1]], "normal_concat": [2],
                 "reduce": [["sep_conv_3x3", 0], ["max_pool_3x3", 1]], "reduce_concat": [2]},
    "net": {"C": 16, "n_cells": 4, "ks": 3, "norm": "bnorm", "preproc": True, "glob_avg": True,
            "stem_pool": False, "stem_type": 0, "C_mult": 2, "fc_layers": 1, "fc_dim": 64},
    "input": [3, 32, 32], "num_classes": 10}

GRAPH = {"graph": {
    "nodes": [{"op": "input"}, {"op": "conv", "name": "conv1.weight", "shape": [64, 3, 3, 3]},
              {"op": "bn", "name": "bn1.weight", "shape": [64]}, {"op": "glob_avg"},
              {"op": "conv", "name": "fc.weight", "shape": [10, 64]},
              {"op": "bias", "name": "fc.bias", "shape": [10]}],
    "edges": [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]}}
