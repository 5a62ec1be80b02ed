"""A PyTorch module that does what an architecture says: the peer in training of every network that
has no module of its own. Built on interpreter.py, and with nothing of libghn."""
import unittest

import torch
from torch import nn
import torch.nn.functional as F

import interpreter

TRAIN, EVAL, BATCH_STATISTICS = range(3)
# Attributes that only check what comes in.
CHECKS = ("in_channels", "in_features", "num_features")


class TrainingNode(interpreter.Node):
    """A node in training (state["mode"] TRAIN) or with the batch's statistics, but for random
    draws."""

    def batch_norm2d(self, x, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        weight, bias = (self.param("weight"), self.bias(True)) if affine else (None, None)
        mean = var = None
        if track_running_stats and self.state["mode"] == TRAIN:
            mean, var = self.buffer("running_mean"), self.buffer("running_var")
        return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps)

    def zeros(self, x, p=0.5, mode=None):
        if p not in (0, 1):
            raise unittest.SkipTest("draws at random")
        return x * 0 if p == 1 else x

    PLAIN = {k: v for k, v in interpreter.Node.PLAIN.items()
             if k not in ("dropout", "stochastic_depth")}
    dropout = stochastic_depth = zeros


def with_attrs(arch, change):
    """A copy of arch whose nodes have change(op, attrs) for attributes."""
    return {**arch, "nodes": [{**node, "attrs": change(node["op"], node.get("attrs", {}))}
                              for node in arch["nodes"]]}


def without_checks(arch):
    """arch without the attributes that only check what comes in."""
    return with_attrs(arch, lambda op, attrs: {k: v for k, v in attrs.items() if k not in CHECKS})


def without_randomness(arch):
    """arch with nothing dropped: what is left is a function."""
    return with_attrs(arch, lambda op, attrs: {**attrs, "p": 0.0}
                      if op in ("dropout", "stochastic_depth") else attrs)


def on_path(arch):
    """arch with only those nodes that the output depends on."""
    wanted, nodes = {arch["output"]}, []
    for node in reversed(arch["nodes"]):
        if node["name"] in wanted:
            wanted.update(node["inputs"])
            nodes.insert(0, node)
    return {**arch, "nodes": nodes}


class ArchModule(nn.Module):
    """The network of an arch. state: the arrays of a state_dict, which are copied; state_dict()
    gives it back under the same names."""

    BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, arch, state):
        super().__init__()
        self.arch = on_path(without_checks(arch))
        self.names = list(state)
        for i, (name, array) in enumerate(state.items()):
            tensor = torch.tensor(array)
            if name.endswith(self.BUFFERS):
                self.register_buffer(f"tensor{i}", tensor)
            else:
                self.register_parameter(f"tensor{i}", nn.Parameter(tensor))

    def tensors(self):
        """Parameters and buffers by name."""
        return {name: getattr(self, f"tensor{i}") for i, name in enumerate(self.names)}

    def state_dict(self, *_, **__):
        return {name: tensor.detach() for name, tensor in self.tensors().items()}

    def forward(self, x):
        state = {**self.tensors(), "mode": TRAIN if self.training else EVAL}
        node_class = TrainingNode if self.training else interpreter.Node
        output = interpreter.run(self.arch, state, x, node_class)
        return output.expand(x.shape[0], *output.shape[1:])
