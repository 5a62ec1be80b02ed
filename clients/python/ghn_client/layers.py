"""Handlers of layers: what has weights, pools, activations and dropout."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from .graph import Value
from .lowering import Context, Operand, Parameter, operation, weight_init

Pair = Union[int, Sequence[int]]


def pair(x: Pair) -> List[int]:
    """One number for both dimensions, or one for each."""
    if isinstance(x, int):
        return [x, x]
    x = [int(v) for v in x]
    return x * 2 if len(x) == 1 else x


def image(context: Context, x: Operand) -> Value:
    """An input that must be a batch of maps, (N, C, H, W)."""
    value = context.value(x)
    if not value.batched or value.ndim != 4:
        raise context.fail(f"its input must be (N, C, H, W), not of {value.ndim} dimensions")
    return value


def slots(context: Context, weight: Any, bias: Any) -> Dict[str, Parameter]:
    """The weight and bias of a layer, as far as it has them."""
    found = {"weight": context.weight(weight, "weight")}
    if bias is not None:
        found["bias"] = context.weight(bias, "bias")
    return found


def affine(context: Context, weight: Any, bias: Any) -> Dict[str, Parameter]:
    """The weight and bias of a norm: both or neither."""
    if weight is None and bias is None:
        return {}
    if weight is None or bias is None:
        raise context.fail("a norm needs both weight and bias, or neither")
    return slots(context, weight, bias)


# --- Convolution and linear layers ---

@operation("conv2d")
def conv2d(context: Context, input: Operand, weight: Any, bias: Any = None, stride: Pair = 1,
           padding: Union[str, Pair] = 0, dilation: Pair = 1, groups: int = 1) -> Value:
    x = image(context, input)
    params = slots(context, weight, bias)
    out_channels, _, *kernel = params["weight"].shape
    dilation = pair(dilation)
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        padding = [t // 2 for t in total]
        if any(t % 2 for t in total):  # one more at the end, which only a node of its own can do
            extra = [total[1] % 2, total[0] % 2]
            x = context.emit("pad", [x], (x.shape[0], x.shape[1] + extra[1], x.shape[2] + extra[0]),
                             pad=[0, extra[0], 0, extra[1]])
    return context.emit("conv2d", [x], params=params, out_channels=out_channels, kernel=kernel,
                        stride=pair(stride), padding=pair(padding), dilation=dilation,
                        groups=groups, bias=bias is not None)


@operation("linear")
def linear(context: Context, input: Operand, weight: Any, bias: Any = None) -> Value:
    params = slots(context, weight, bias)
    return context.emit("linear", [context.value(input)], params=params,
                        out_features=params["weight"].shape[0], bias=bias is not None)


# --- Norms ---

@operation("batch_norm")
def batch_norm(context: Context, input: Operand, running_mean: Any = None, running_var: Any = None,
               weight: Any = None, bias: Any = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Value:
    """BatchNorm1d too: the form asks for nothing but channels as the first dimension. A momentum
    of None (cumulative averages) is written as the default."""
    x = context.value(input)
    if not x.batched:
        raise context.fail("its input does not depend on the network's")
    params = affine(context, weight, bias)
    if id(running_mean) in context.buffers:
        name = context.buffers[id(running_mean)]
        context.calls[name] = context.calls.get(name, 0) + 1
    return context.emit("batch_norm2d", [x], params=params, eps=eps, momentum=momentum or 0.1,
                        affine=bool(params), track_running_stats=running_mean is not None)


@operation("layer_norm")
def layer_norm(context: Context, input: Operand, normalized_shape: Sequence[int],
               weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    params = affine(context, weight, bias)
    return context.emit("layer_norm", [context.value(input)], params=params,
                        normalized_shape=[int(d) for d in normalized_shape], eps=eps,
                        elementwise_affine=bool(params))


@operation("group_norm")
def group_norm(context: Context, input: Operand, num_groups: int, weight: Any = None,
               bias: Any = None, eps: float = 1e-5) -> Value:
    params = affine(context, weight, bias)
    return context.emit("group_norm", [context.value(input)], params=params,
                        num_groups=num_groups, eps=eps, affine=bool(params))


@operation("instance_norm")
def instance_norm(context: Context, input: Operand, running_mean: Any = None,
                  running_var: Any = None, weight: Any = None, bias: Any = None,
                  use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Value:
    """A group norm with as many groups as channels."""
    if running_mean is not None:
        raise context.fail("instance norm with running statistics cannot be expressed; use "
                           "track_running_stats=False")
    return group_norm(context, input, context.value(input).shape[0], weight, bias, eps)


# --- Activations ---

def _activation(op: str) -> None:
    def handler(context: Context, input: Operand, inplace: bool = False) -> Value:
        return context.emit(op, [context.value(input)])
    operation(op)(handler)


for _op in ("relu", "relu6", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh"):
    _activation(_op)


@operation("gelu")
def gelu(context: Context, input: Operand, approximate: str = "none") -> Value:
    return context.emit("gelu", [context.value(input)], approximate=approximate)


@operation("leaky_relu")
def leaky_relu(context: Context, input: Operand, negative_slope: float = 0.01,
               inplace: bool = False) -> Value:
    return context.emit("leaky_relu", [context.value(input)], negative_slope=negative_slope)


@operation("elu")
def elu(context: Context, input: Operand, alpha: float = 1.0, inplace: bool = False) -> Value:
    return context.emit("elu", [context.value(input)], alpha=alpha)


@operation("selu")
def selu(context: Context, input: Operand, inplace: bool = False) -> Value:
    x = context.emit("elu", [context.value(input)], alpha=1.6732632423543772)
    return context.emit("mul", [x], value=1.0507009873554805)


@operation("prelu")
def prelu(context: Context, input: Operand, weight: Any) -> Value:
    weight = context.weight(weight, "weight")
    init = weight_init(weight.tensor)
    return context.emit("prelu", [context.value(input)], params={"weight": weight},
                        num_parameters=weight.tensor.numel(),
                        **({"init": init["value"]} if init["init"] == "constant" else {}))


@operation("clamp", "clip", "hardtanh", "clamp_min", "clamp_max")
def clamp(context: Context, input: Operand, min: Optional[float] = None,
          max: Optional[float] = None, min_val: Optional[float] = None,
          max_val: Optional[float] = None, inplace: bool = False) -> Value:
    """Only the two that are activations: at 0, and between 0 and 6."""
    low = min if min is not None else min_val
    high = max if max is not None else max_val
    op = {(0, None): "relu", (0, 6): "relu6"}.get((low, high))
    if op is None:
        raise context.fail(f"bounds {low} and {high} cannot be expressed; only those of relu "
                           "(0) and relu6 (0 and 6) can")
    return context.emit(op, [context.value(input)])


@operation("softmax")
def softmax(context: Context, input: Operand, dim: Optional[int] = None, dtype: Any = None,
            _stacklevel: int = 3) -> Value:
    x = context.value(input)
    if dim is None:
        raise context.fail("it needs its dim")
    return context.emit("softmax", [x], dim=context.dim(x, dim))


@operation("log_softmax")
def log_softmax(context: Context, input: Operand, dim: Optional[int] = None, dtype: Any = None,
                _stacklevel: int = 3) -> Value:
    """At the end of a network it changes neither the classes' order nor a cross-entropy, and is
    left out."""
    if context.node is not context.output:
        raise context.fail("it can be expressed only as the end of a network")
    return context.value(input)


@operation("glu")
def glu(context: Context, input: Operand, dim: int = -1) -> Value:
    x = context.value(input)
    d, shape = context.dim(x, dim), context.form_shape(x.batched)
    half = shape[d - 1]
    a, b = (context.emit("slice", [x], shape, dim=d, start=s, end=s + half) for s in (0, half))
    return context.emit("mul", [a, context.emit("sigmoid", [b], shape)])


# --- Dropout ---

@operation("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")
def dropout(context: Context, input: Operand, p: float = 0.5, training: bool = True,
            inplace: bool = False) -> Value:
    """Dropout of whole channels is written as dropout of elements of the same probability."""
    x = context.value(input, broadcasting=True)
    return context.emit("dropout", [x], p=p) if p > 0 else x


@operation("stochastic_depth")
def stochastic_depth(context: Context, input: Operand, p: float, mode: str,
                     training: bool = True) -> Value:
    x = context.value(input)
    return context.emit("stochastic_depth", [x], p=p, mode=mode) if p > 0 else x


# --- Pools ---

@operation("max_pool2d", "max_pool2d_with_indices")
def max_pool2d(context: Context, input: Operand, kernel_size: Pair, stride: Optional[Pair] = None,
               padding: Pair = 0, dilation: Pair = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Value:
    if return_indices:
        raise context.fail("the indices of a pool cannot be expressed")
    return context.emit("max_pool2d", [image(context, input)], kernel=pair(kernel_size),
                        stride=pair(stride or kernel_size), padding=pair(padding),
                        dilation=pair(dilation), ceil_mode=ceil_mode)


@operation("avg_pool2d")
def avg_pool2d(context: Context, input: Operand, kernel_size: Pair, stride: Optional[Pair] = None,
               padding: Pair = 0, ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: Optional[int] = None) -> Value:
    if divisor_override:
        raise context.fail("divisor_override cannot be expressed")
    return context.emit("avg_pool2d", [image(context, input)], kernel=pair(kernel_size),
                        stride=pair(stride or kernel_size), padding=pair(padding),
                        ceil_mode=ceil_mode, count_include_pad=count_include_pad)


@operation("adaptive_avg_pool2d")
def adaptive_avg_pool2d(context: Context, input: Operand, output_size: Any) -> Value:
    return context.emit("adaptive_avg_pool2d", [image(context, input)],
                        output_size=list(context.out.shape[2:]))


@operation("adaptive_max_pool2d", "adaptive_max_pool2d_with_indices")
def adaptive_max_pool2d(context: Context, input: Operand, output_size: Any,
                        return_indices: bool = False) -> Value:
    """A max_pool2d, where the windows are all of one size."""
    x = image(context, input)
    shape: Tuple[int, ...] = tuple(context.out.shape[1:]) if not return_indices else ()
    if not shape or any(i % o for i, o in zip(x.shape[1:], shape[1:])):
        raise context.fail("only adaptive max pools whose output sizes divide the input's can be "
                           "expressed")
    kernel = [i // o for i, o in zip(x.shape[1:], shape[1:])]
    return context.emit("max_pool2d", [x], kernel=kernel, stride=kernel)
