"""Finding attention in what a module computes, however it is written.

Code for self-attention differs in everything but its effect: how q, k and v are split, where the
scale is, which way round the heads are. So a candidate is found by its skeleton (a product, a
softmax, another product) and accepted if it computes what the operation `attention` does, which a
run on random numbers tells. Equal layers are compared once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import torch
from torch import fx

PRODUCTS = {"matmul", "bmm", "einsum"}
FUSED = "scaled_dot_product_attention"
# Operations with one tensor that leave every element as it is, or scale all alike.
STRUCTURAL = {"reshape", "view", "permute", "transpose", "swapaxes", "swapdims", "movedim", "t",
              "getitem", "chunk", "split", "unbind", "select", "narrow", "contiguous", "clone",
              "flatten", "unflatten", "squeeze", "unsqueeze", "getattr", "mul", "div", "truediv",
              "float", "to", "dropout", "expand", "type_as"}


@dataclass(frozen=True)
class Attention:
    """Self-attention from sources (packed q | k | v, or the three) to a node. scale is None where
    it is the usual one."""

    sources: Tuple[fx.Node, ...]
    num_heads: int
    scale: Optional[float]


def _name(node: fx.Node) -> str:
    target = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.strip("_") if node.op in ("call_function", "call_method") else ""


def _structural(node: fx.Node) -> bool:
    return _name(node) in STRUCTURAL and len(node.all_input_nodes) == 1


def _path(node: fx.Node) -> List[fx.Node]:
    """node and what it comes from through structural operations, the farthest last."""
    path = [node]
    while _structural(path[-1]):
        path.append(path[-1].all_input_nodes[0])
    return [n for n in path if isinstance(n.meta["value"], torch.Tensor)]


def _onward(node: fx.Node) -> List[fx.Node]:
    """node and what becomes of it through structural operations, the farthest last."""
    path = [node]
    while len(path[-1].users) == 1:
        (user,) = path[-1].users
        if not _structural(user):
            break
        path.append(user)
    return path


def _skeleton(anchor: fx.Node) -> Optional[Tuple[Tuple[fx.Node, ...], fx.Node]]:
    """((q, k, v), the node that mixes the values) around a softmax or a fused attention."""
    if _name(anchor) == FUSED:
        inputs = anchor.all_input_nodes
        return (tuple(anchor.args[:3]), anchor) if len(anchor.args) >= 3 and \
            len(inputs) == len(set(anchor.args[:3])) else None
    scores = _path(anchor.all_input_nodes[0])[-1]
    weights = _onward(anchor)[-1]
    mix = next(iter(weights.users)) if len(weights.users) == 1 else None
    if _name(scores) not in PRODUCTS or mix is None or _name(mix) not in PRODUCTS:
        return None
    operands = scores.all_input_nodes
    others = [n for n in mix.all_input_nodes if n is not weights]
    if len(others) != 1 or len(operands) != 2:
        return None
    return (operands[0], operands[1], others[0]), mix


def _candidates(paths: Sequence[List[fx.Node]], outs: Sequence[fx.Node]
                ) -> Iterator[Tuple[Tuple[fx.Node, ...], fx.Node]]:
    """(sources, sink) pairs whose shapes are those of an attention."""
    packed = [n for n in paths[0] if n in paths[1] and n in paths[2]]
    for sink in reversed(outs):
        *tokens, width = sink.meta["value"].shape
        for source in reversed(packed):
            if list(source.meta["value"].shape) == [*tokens, 3 * width]:
                yield (source,), sink
        same = [[n for n in reversed(p) if list(n.meta["value"].shape) == [*tokens, width]]
                for p in paths]
        if all(same):
            q, k, v = (s[0] for s in same)
            yield (q, k, v), sink
            yield (k, q, v), sink


def _region(sources: Sequence[fx.Node], sink: fx.Node) -> Optional[List[fx.Node]]:
    """The operations from sources to sink, in order; None if they use anything else."""
    found: Set[fx.Node] = set()
    stack = [sink]
    while stack:
        node = stack.pop()
        if node in sources or node in found:
            continue
        if node.op not in ("call_function", "call_method") or len(found) > 100:
            return None
        found.add(node)
        stack.extend(node.all_input_nodes)
    return [n for n in sink.graph.nodes if n in found]


def _evaluate(region: Sequence[fx.Node], values: Dict[fx.Node, torch.Tensor]) -> torch.Tensor:
    """The last value of a region, from the values of its sources."""
    results: Dict[fx.Node, Any] = dict(values)
    for node in region:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: results[n])
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        results[node] = function(*args, **kwargs)
    return results[region[-1]]


def _reference(packed: torch.Tensor, num_heads: int, scale: float) -> torch.Tensor:
    q, k, v = (t.unflatten(-1, (num_heads, -1)).transpose(-2, -3) for t in packed.chunk(3, -1))
    mixed = (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v
    return mixed.transpose(-2, -3).flatten(-2)


def _settings(region: Sequence[fx.Node], width: int) -> Iterator[Tuple[int, Optional[float]]]:
    """(num_heads, scale) that the sizes and numbers of a region suggest."""
    sizes = {d for n in region if isinstance(n.meta["value"], torch.Tensor)
             for d in n.meta["value"].shape[1:]}
    numbers = {float(a) for n in region for a in (*n.args, *n.kwargs.values())
               if isinstance(a, float) and a > 0}
    for heads in sorted({1, *(d for d in sizes if d and width % d == 0)}):
        usual = (width // heads) ** -0.5
        yield heads, None
        for scale in (1.0, width ** -0.5, *numbers, *(1 / n for n in numbers),
                      *(n * n for n in numbers)):
            if scale != usual:
                yield heads, scale


def _recognise(sources: Tuple[fx.Node, ...], sink: fx.Node,
               region: List[fx.Node]) -> Optional[Tuple[int, Optional[float]]]:
    """(num_heads, scale) of an attention that computes what region does; None if none does."""
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(n.meta["value"].shape, generator=generator) for n in sources}
    packed = torch.cat([values[n] for n in sources], -1)
    width = packed.shape[-1] // 3
    with torch.no_grad():
        result = _evaluate(region, values)
        few = packed[:1]
        for heads, scale in _settings(region, width):
            expected = _reference(few, heads, scale or (width // heads) ** -0.5)
            if expected.shape == result[:1].shape and \
                    torch.allclose(expected, result[:1], 1e-3, 1e-4):
                return heads, scale
    return None


def _signature(sources: Sequence[fx.Node], region: Sequence[fx.Node]) -> str:
    """Equal for regions that compute the same."""
    numbers = {n: i for i, n in enumerate((*sources, *region))}
    shapes = [tuple(n.meta["value"].shape) for n in sources]
    return repr((shapes, [(n.target, fx.node.map_arg((n.args, n.kwargs), lambda m: numbers[m]))
                          for n in region]))


def find_attention(graph: fx.Graph) -> Dict[fx.Node, Attention]:
    """The attentions of a recorded graph, by the node that is their result."""
    found: Dict[fx.Node, Attention] = {}
    known: Dict[str, Optional[Tuple[int, Optional[float]]]] = {}
    for anchor in graph.nodes:
        skeleton = _skeleton(anchor) if _name(anchor) in ("softmax", FUSED) else None
        if skeleton is None:
            continue
        operands, mix = skeleton
        outs = _onward(mix)
        for sources, sink in itertools.islice(_candidates([_path(n) for n in operands], outs), 16):
            region = _region(sources, sink)
            if not region:
                continue
            signature = _signature(sources, region)
            if signature not in known:
                known[signature] = _recognise(sources, sink, region)
            if known[signature]:
                found[sink] = Attention(sources, *known[signature])
                break
    return found
