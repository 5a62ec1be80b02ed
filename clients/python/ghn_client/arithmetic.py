"""Handlers of arithmetic: sums, products, means."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence, Tuple, Union

import torch

from .graph import Value
from .lowering import Context, Operand, Parameter, operation

Number = Union[int, float]


def number(context: Context, x: Any) -> Optional[Number]:
    """x as a number, if it is one (a constant tensor of one element is)."""
    if isinstance(x, (int, float)):
        return x
    if isinstance(x, torch.Tensor) and x.numel() == 1 and not isinstance(x, torch.nn.Parameter):
        if x.device.type == "meta":
            raise context.fail("it uses a constant whose value is unknown (on the meta device)")
        return float(x)
    return None


def _align(context: Context, x: Operand, ndim: int, additive: bool) -> Value:
    """An operand of an operation whose result has a batch and ndim dimensions in all."""
    if isinstance(x, Parameter):
        if len(x.shape) == ndim and x.shape[0] == 1:
            position = additive and ndim == 4 and min(x.shape[2:]) > 1
            return context.parameter(x, True, "pos_enc" if position else "parameter")
        if len(x.shape) >= ndim:
            raise context.fail(f"parameter {x.key} has a dimension in the place of the batch")
    value = context.value(x, broadcasting=True)
    if value.batched:
        if value.ndim != ndim:
            raise context.fail("the batch of one operand meets another dimension of the other")
        return value
    if value.ndim == ndim and value.shape[0] != 1:
        raise context.fail("an operand has a dimension in the place of the batch")
    shape = (1,) * (ndim - 1 - value.ndim) + value.shape[value.ndim == ndim:]
    if shape != value.shape:  # the form wants operands of one rank
        value = context.emit("reshape", [value], shape, shape=list(shape))
    return value


def _broadcast(shapes: Sequence[Tuple[int, ...]]) -> Tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*shapes))


def binary(context: Context, op: str, a: Operand, b: Operand) -> Value:
    """add or mul of two operands, or of one and a number."""
    for x, y in ((a, b), (b, a)):
        constant = number(context, y)
        if constant is not None:
            value = context.value(x)
            if isinstance(y, torch.Tensor) and y.dim() > value.ndim:
                raise context.fail("a constant adds a dimension")
            return context.emit(op, [value], value.shape, value=float(constant))
    batched = any(isinstance(x, Value) and x.batched for x in (a, b))
    if batched:
        values = [_align(context, x, context.out.dim(), op == "add") for x in (a, b)]
    else:
        values = [context.value(x, broadcasting=True) for x in (a, b)]
        if values[0].ndim != values[1].ndim:
            raise context.fail("parameters of different rank cannot be combined; reshape one")
    shape = context.form_shape(batched)
    if _broadcast([v.shape for v in values]) != shape:
        raise context.fail(f"the operands have to be made larger than they are, to {list(shape)}, "
                           "which cannot be expressed")
    return context.emit(op, values, shape)


def scaled(context: Context, x: Operand, factor: Number) -> Value:
    """x times a number."""
    value = context.value(x)
    return value if factor == 1 else context.emit("mul", [value], value.shape, value=float(factor))


@operation("add")
def add(context: Context, input: Operand, other: Operand, alpha: Number = 1) -> Value:
    if alpha != 1:
        constant = number(context, other)
        other = scaled(context, other, alpha) if constant is None else constant * alpha
    return binary(context, "add", input, other)


@operation("sub", "subtract")
def sub(context: Context, input: Operand, other: Operand, alpha: Number = 1) -> Value:
    return add(context, input, other, -alpha)


@operation("rsub")
def rsub(context: Context, input: Operand, other: Operand, alpha: Number = 1) -> Value:
    return add(context, other, input, -alpha)


@operation("mul", "multiply")
def mul(context: Context, input: Operand, other: Operand) -> Value:
    return binary(context, "mul", input, other)


@operation("div", "truediv", "divide", "true_divide")
def div(context: Context, input: Operand, other: Operand, rounding_mode: Any = None) -> Value:
    constant = number(context, other)
    if not constant or rounding_mode:
        raise context.fail("only a division by a number other than 0 can be expressed")
    return scaled(context, input, 1 / constant)


@operation("neg", "negative")
def neg(context: Context, input: Operand) -> Value:
    return scaled(context, input, -1)


@operation("pow", "square")
def power(context: Context, input: Operand, exponent: Any = 2) -> Value:
    if number(context, exponent) != 2:
        raise context.fail("only squares can be expressed")
    x = context.value(input)
    return context.emit("mul", [x, x])


@operation("mean")
def mean(context: Context, input: Operand, dim: Any = None, keepdim: bool = False,
         dtype: Any = None) -> Value:
    x = context.value(input)
    return context.emit("mean", [x], dim=context.dims(x, dim), keepdim=keepdim)


@operation("sum")
def total(context: Context, input: Operand, dim: Any = None, keepdim: bool = False,
          dtype: Any = None) -> Value:
    """The mean times the number of elements."""
    x = context.value(input)
    dims = context.dims(x, dim)
    count = math.prod(x.shape[d - 1] for d in dims)
    y = context.emit("mean", [x], dim=dims, keepdim=keepdim)
    return scaled(context, y, count)


@operation("amax")
def amax(context: Context, input: Operand, dim: Any = (), keepdim: bool = False) -> Value:
    """Over both dimensions of maps: a max_pool2d of their size."""
    x = context.value(input)
    if x.ndim != 4 or not x.batched or context.dims(x, dim) != [2, 3]:
        raise context.fail("only a maximum over the height and width of maps can be expressed")
    kernel = list(x.shape[1:])
    y = context.emit("max_pool2d", [x], (x.shape[0], 1, 1), kernel=kernel, stride=kernel)
    return y if keepdim else context.emit("flatten", [y])


@operation("matmul", "mm", "bmm", "einsum", "baddbmm", "scaled_dot_product_attention")
def product(context: Context, *args: Any, **kwargs: Any) -> Value:
    """Those of an attention that was recognised never come here."""
    raise context.fail("matrix products can be expressed only as layers with weights (nn.Linear) "
                       "and within plain self-attention: softmax(q k^T * scale) v, heads one after "
                       "the other, no mask, no bias")
