"""Handlers of what moves elements without computing: reshape, permute, slice, concat and so on."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import torch

from .capture import BATCH
from .graph import Value, expand
from .lowering import Context, Operand, Parameter, operation


@operation("contiguous", "clone", "detach", "identity", "requires_grad", "positive", "pos",
           "alias", "to", "type", "type_as", "float", "half", "double", "bfloat16", "cuda", "cpu")
def same(context: Context, input: Operand, *args: Any, **kwargs: Any) -> Any:
    """The same values (in another memory order, place or precision): no node."""
    if not context.out.is_floating_point():
        raise context.fail("values that are not floating-point numbers cannot be expressed")
    return input


@operation("getattr")
def attribute(context: Context, input: Operand, name: str) -> Any:
    """An attribute that is a tensor."""
    if name == "data":
        return input
    if name in ("T", "mT", "H", "mH"):
        return permuted(context, input, name)
    raise context.fail(f"attribute {name} cannot be expressed")


# --- Reshape ---

def reshaped(context: Context, input: Operand, out: Optional[torch.Tensor] = None) -> Value:
    """input in the shape of the result."""
    x = context.value(input)
    shape = context.form_shape(x.batched, out)
    if shape == x.shape:
        return x
    if len(shape) == 1 and x.batched:
        return context.emit("flatten", [x], shape)
    return _shuffle(context, x, shape) or context.emit("reshape", [x], shape, shape=list(shape))


def _shuffle(context: Context, x: Value, shape: Tuple[int, ...]) -> Optional[Value]:
    """The channel shuffle that ends with this reshape: (C, H, W) as (g, C / g, H, W), the first
    two swapped, and back."""
    permute = context.builder.node(x)
    if not permute or permute["op"] != "permute" or permute["attrs"]["dims"] != [0, 2, 1, 3, 4]:
        return None
    split = context.builder.nodes.get(permute["inputs"][0])
    if not split or split["op"] != "reshape" or \
            context.builder.shapes[split["inputs"][0]] != shape:
        return None
    groups, _, height, width = split["attrs"]["shape"]
    if (height, width) != shape[1:]:
        return None
    source = Value(split["inputs"][0], shape)
    return context.emit("channel_shuffle", [source], shape, groups=groups)


@operation("reshape", "view", "view_as", "reshape_as", "squeeze", "unsqueeze", "unflatten",
           "expand_dims")
def reshape(context: Context, input: Operand, *args: Any, **kwargs: Any) -> Value:
    return reshaped(context, input)


@operation("flatten", "ravel")
def flatten(context: Context, input: Operand, start_dim: int = 0, end_dim: int = -1) -> Value:
    x = context.value(input)
    shape = context.form_shape(x.batched)
    if shape == x.shape:
        return x
    return context.emit("flatten", [x], start_dim=context.dim(x, start_dim),
                        end_dim=-1 if end_dim % x.ndim == x.ndim - 1 else context.dim(x, end_dim))


# --- Permute ---

def permuted(context: Context, input: Operand, attribute_name: Optional[str] = None) -> Value:
    """input with its dimensions in the order in which the recorded operation puts them, found by
    a run of it on a tensor all of whose sizes differ."""
    x = context.value(input)
    probe = torch.empty(tuple(range(2, 2 + x.ndim)), device="meta")
    if attribute_name:
        result = getattr(probe, attribute_name)
    else:
        target = context.node.target
        function = getattr(torch.Tensor, target) if isinstance(target, str) else target
        result = function(probe, *context.node.args[1:],
                          **{k: v for k, v in context.node.kwargs.items() if k != "input"})
    dims = [size - 2 for size in result.shape]
    if dims == list(range(x.ndim)):
        return x
    if not x.batched:
        return context.emit("permute", [x], dims=[0] + [d + 1 for d in dims])
    if dims[0] != 0:
        raise context.fail("it moves the batch from the first dimension; sequence modules need "
                           "batch_first=True, and attention is recognised only where it is plain "
                           "(heads one after the other, no mask)")
    return context.emit("permute", [x], dims=dims)


@operation("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint")
def permute(context: Context, input: Operand, *args: Any, **kwargs: Any) -> Value:
    return permuted(context, input)


# --- Slices ---

def _cut(context: Context, x: Value, dim: int, start: int, end: int, step: int = 1) -> Value:
    """Elements start, start + step ... before end of dimension dim, as the form counts it."""
    size = x.shape[dim - 1]
    length = max(0, -((start - end) // step))
    if length == size:
        return x
    if not length:
        raise context.fail("it leaves no elements")
    shape = x.shape[:dim - 1] + (length,) + x.shape[dim:]
    return context.emit("slice", [x], shape, dim=dim, start=start, end=end, step=step)


@operation("getitem")
def getitem(context: Context, input: Any, index: Any) -> Any:
    if isinstance(input, tuple):
        return input[index]
    x = context.value(input)
    index = list(index) if isinstance(index, tuple) else [index]
    if any(not (i is None or i is ... or type(i) is int or isinstance(i, slice)) for i in index):
        raise context.fail("an index must be made of numbers, slices, None and ...")
    if ... in index:
        at = index.index(...)
        missing = x.ndim - sum(i is not None for i in index) + 1
        index[at:at + 1] = [slice(None)] * missing
    d = 0
    for i in index:
        if i is None:
            continue
        size = (([BATCH] if x.batched else []) + list(x.shape))[d]
        start, end, step = i.indices(size) if isinstance(i, slice) else (i % size, i % size + 1, 1)
        if (start, end, step) != (0, size, 1):
            x = _cut(context, x, context.dim(x, d), start, end, step)
        d += 1
    return reshaped(context, x)


@operation("select", "narrow")
def narrow(context: Context, input: Operand, dim: int, start: int, length: int = 1) -> Value:
    x = context.value(input)
    d = context.dim(x, dim)
    start %= x.shape[d - 1]
    return reshaped(context, _cut(context, x, d, start, start + length))


def _parts(context: Context, input: Operand, dim: int) -> Tuple[Value, ...]:
    x = context.value(input)
    d = context.dim(x, dim)
    parts: List[Value] = []
    start = 0
    for out in context.node.meta["value"]:
        length = out.shape[dim] if out.dim() == x.ndim else 1
        parts.append(reshaped(context, _cut(context, x, d, start, start + length), out))
        start += length
    return tuple(parts)


@operation("chunk", "split", "tensor_split", "split_with_sizes")
def split(context: Context, input: Operand, size: Any = None, dim: int = 0, **_: Any) -> Any:
    return _parts(context, input, dim)


@operation("unbind")
def unbind(context: Context, input: Operand, dim: int = 0) -> Any:
    return _parts(context, input, dim)


# --- Concatenation ---

@operation("cat", "concat", "concatenate")
def cat(context: Context, tensors: Sequence[Operand], dim: int = 0) -> Value:
    values = [context.value(x) for x in tensors]
    if len(values) == 1:
        return values[0]
    if len({v.batched for v in values}) > 1:
        raise context.fail("a parameter must be expanded to the batch first: "
                           "p.expand(x.shape[0], -1, -1)")
    return context.emit("concat", values, dim=context.dim(values[0], dim))


@operation("stack")
def stack(context: Context, tensors: Sequence[Operand], dim: int = 0) -> Value:
    values = [context.value(x) for x in tensors]
    out = context.out
    d = dim % out.dim()
    if d == 0 or not all(v.batched for v in values):
        raise context.fail("it works across the batch")
    one = context.form_shape(True)[:d - 1] + (1,) + context.form_shape(True)[d:]
    return context.emit("concat", [context.emit("reshape", [v], one, shape=list(one))
                                   for v in values], dim=d)


# --- Expansion ---

@operation("expand", "expand_as", "repeat", "broadcast_to", "tile")
def expanded(context: Context, input: Operand, *args: Any, **kwargs: Any) -> Value:
    """To the batch, for a parameter; to a larger map, as far as additions and products broadcast
    anyway."""
    out = tuple(context.out.shape)
    if isinstance(input, Parameter) and out[0] == BATCH and len(input.shape) == len(out) and \
            input.shape[0] == 1:
        value = context.parameter(input, True)
    else:
        value = context.value(input)
    target = out[1:] if value.batched or out[0] == BATCH else out
    if len(target) < len(value.shape) and value.shape[0] == 1:
        shape = value.shape[1:]
        value = context.emit("reshape", [value], shape, shape=list(shape))
    sizes = value.shape[len(value.shape) - len(target):]
    if any(s not in (1, t) for s, t in zip(sizes[::-1], target[::-1])):
        raise context.fail("repeating a tensor cannot be expressed; concatenate it with itself")
    if out[0] == BATCH and not value.batched:
        value = Value(value.name, value.shape, True)
    return expand(value, target)


# --- Others ---

@operation("pad", "constant_pad_nd")
def pad(context: Context, input: Operand, pad: Sequence[int], mode: str = "constant",
        value: Optional[float] = None) -> Value:
    x = context.value(input)
    pads = [int(p) for p in pad]
    if not any(pads):
        return x
    if mode != "constant" or min(pads) < 0:
        raise context.fail("only padding with a constant can be expressed")
    if len(pads) > 2 * len(x.shape):
        if any(pads[2 * len(x.shape):]):
            raise context.fail("it pads the batch")
        pads = pads[:2 * len(x.shape)]
    while len(pads) > 2 and not any(pads[-2:]):
        pads = pads[:-2]
    return context.emit("pad", [x], pad=pads, value=float(value or 0))


@operation("roll")
def roll(context: Context, input: Operand, shifts: Any, dims: Any = None) -> Value:
    x = context.value(input)
    if dims is None:
        raise context.fail("it needs its dims")
    dims = [dims] if isinstance(dims, int) else dims
    shifts = [shifts] if isinstance(shifts, int) else shifts
    return context.emit("roll", [x], shifts=[int(s) for s in shifts],
                        dims=[context.dim(x, d) for d in dims])


@operation("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(context: Context, input: Operand, groups: int) -> Value:
    return context.emit("channel_shuffle", [context.value(input)], groups=groups)


@operation("zeros_like")
def zeros_like(context: Context, input: Operand, **kwargs: Any) -> Value:
    return context.emit("zeros_like", [context.value(input)])
