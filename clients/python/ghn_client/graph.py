"""Building the arch form: nodes with unique names, parameters by their state_dict keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

FORMAT = "ghn-arch/1"

# Attributes that need not be written (PyTorch's defaults, which a reader of the form fills in).
DEFAULTS: Dict[str, Dict[str, Any]] = {
    "conv2d": {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": True},
    "linear": {"bias": True},
    "batch_norm2d": {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True},
    "layer_norm": {"eps": 1e-5, "elementwise_affine": True},
    "group_norm": {"eps": 1e-5, "affine": True},
    "max_pool2d": {"padding": [0, 0], "dilation": [1, 1], "ceil_mode": False},
    "avg_pool2d": {"padding": [0, 0], "ceil_mode": False, "count_include_pad": True},
    "mean": {"keepdim": False},
    "attention": {"scale": 0, "relative_position": [0, 0]},
    "window_attention": {"shift_size": [0, 0], "qkv_bias": True, "proj_bias": True,
                         "cosine": False},
    "prelu": {"num_parameters": 1, "init": 0.25},
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.0},
    "flatten": {"start_dim": 1, "end_dim": -1},
    "slice": {"step": 1},
    "pad": {"value": 0.0},
    "gelu": {"approximate": "none"},
}


@dataclass(frozen=True)
class Value:
    """The output of a node.

    `shape` is that of the arch form, without the batch. A value made of parameters alone is not
    batched: it has all dimensions of its tensor, and dimension d of the tensor is dimension d + 1
    of the form. `expanded`: broadcast to that shape, which only additions and products can use.
    """

    name: str
    shape: Tuple[int, ...]
    batched: bool = True
    expanded: Optional[Tuple[int, ...]] = None

    @property
    def ndim(self) -> int:
        """The number of dimensions of the tensor, as PyTorch counts."""
        return len(self.shape) + self.batched


@dataclass(frozen=True)
class Unusable:
    """A result that the form has no place for; an error only where something uses it."""

    what: str


class Builder:
    """Collects nodes. reserved: names that belong to the owners of parameters."""

    def __init__(self, input_shape: Sequence[int], reserved: Iterable[str]):
        self.input = Value("input", tuple(int(d) for d in input_shape))
        self.nodes: Dict[str, dict] = {}
        self.shapes: Dict[str, Tuple[int, ...]] = {"input": self.input.shape}
        self.reserved: Set[str] = set(reserved)
        self.keys: Dict[str, List[str]] = {}  # node -> the parameters it has

    def unique(self, name: str, owner: bool) -> str:
        """name, or name with a number where it is taken, or reserved and this is not its owner."""
        candidate, i = name, 0
        while candidate in self.nodes or candidate == self.input.name or \
                (candidate in self.reserved and not (owner and i == 0)):
            i += 1
            candidate = f"{name}_{i}"
        return candidate

    def add(self, op: str, name: str, inputs: Sequence[Value], shape: Sequence[int],
            attrs: Dict[str, Any], params: Optional[Dict[str, str]] = None,
            batched: Optional[bool] = None, owner: bool = False) -> Value:
        """Adds a node. params: slot ("weight") -> state_dict key. owner: it may have a reserved
        name, as those with parameters may."""
        name = self.unique(name, owner or bool(params))
        node: Dict[str, Any] = {"name": name, "op": op, "inputs": [v.name for v in inputs]}
        defaults = DEFAULTS.get(op, {})
        attrs = {k: v for k, v in attrs.items() if k not in defaults or defaults[k] != v}
        if attrs:
            node["attrs"] = attrs
        self.keys[name] = list((params or {}).values())
        renamed = {s: k for s, k in (params or {}).items() if k != f"{name}.{s}"}
        if renamed:
            node["params"] = renamed
        self.nodes[name] = node
        self.shapes[name] = tuple(int(d) for d in shape)
        if batched is None:
            batched = any(v.batched for v in inputs)
        return Value(name, self.shapes[name], batched)

    def node(self, value: Value) -> Optional[dict]:
        """The node of a value; None for the network's input."""
        return self.nodes.get(value.name)

    def finish(self, name: str, output: Value) -> Tuple[dict, Set[str]]:
        """The arch form of what the output depends on, and the keys of its parameters."""
        alive = {output.name}
        for node in reversed(list(self.nodes.values())):
            if node["name"] in alive:
                alive.update(node["inputs"])
        nodes: List[dict] = [n for n in self.nodes.values() if n["name"] in alive]
        arch = {"format": FORMAT, "name": name,
                "input": {"name": self.input.name, "shape": list(self.input.shape)},
                "nodes": nodes, "output": output.name}
        return arch, {key for n in nodes for key in self.keys[n["name"]]}


def expand(value: Value, shape: Sequence[int]) -> Value:
    """value broadcast to shape (of the arch form), for an addition or product to carry out."""
    shape = tuple(shape)
    return value if shape == value.shape else replace(value, expanded=shape)
