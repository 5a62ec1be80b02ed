"""From recorded functions to nodes of the arch form.

Each supported function has a handler with the function's own signature, preceded by the Context;
handlers register with @operation under the names of the function, its method and its operator.
Tensor arguments arrive as Value (something computed), Parameter (one of the module's own) or
torch.Tensor (a buffer or constant); the handler returns a Value, or a tuple for several results.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import fx, nn

from .capture import BATCH, target_name
from .errors import TraceError
from .graph import Builder, Unusable, Value
from .modules import leaf_kind
from .recognition import Attention, find_attention


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module."""

    key: str
    tensor: torch.Tensor

    @property
    def shape(self) -> Tuple[int, ...]:
        return tuple(self.tensor.shape)


Operand = Union[Value, Parameter, torch.Tensor, float, int]

HANDLERS: Dict[str, Callable[..., Any]] = {}
MODULES: Dict[str, Callable[..., Any]] = {}


def operation(*names: str) -> Callable[[Callable], Callable]:
    """Registers a handler of functions, methods and operators of these names."""
    def register(handler: Callable) -> Callable:
        for name in names:
            assert name not in HANDLERS, name
            HANDLERS[name] = handler
        return handler
    return register


def leaf_module(kind: str) -> Callable[[Callable], Callable]:
    """Registers a handler of a module that is recorded as a whole: (context, module, ...)."""
    def register(handler: Callable) -> Callable:
        MODULES[kind] = handler
        return handler
    return register


def plain_name(target: Any) -> str:
    """The handler's name for a target: "relu" for F.relu, torch.relu_, Tensor.relu and so on."""
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    name = name.strip("_")
    if name in ("iadd", "isub", "imul", "itruediv", "radd", "rmul"):
        name = name[1:]
    return name


class Context:
    """What a handler needs besides its arguments: where it is, and the graph it adds to."""

    def __init__(self, module: nn.Module, builder: Builder, output: fx.Node):
        self.module = module
        self.builder = builder
        self.output = output
        self.node: fx.Node = output
        self.parameters: Dict[Tuple[str, bool, str], Value] = {}
        self.buffers = {id(b): n for n, b in module.named_buffers()}
        # Buffer of a batch norm's running mean -> how often the batch norm is called.
        self.calls: Dict[str, int] = {}
        self.childless = {name for name, m in module.named_modules()
                          if name and not any(True for _ in m.children())}

    # --- Failing ---

    def fail(self, message: str) -> TraceError:
        """The error to raise at this operation."""
        target = self.node.target
        name = f"Tensor.{target}" if self.node.op == "call_method" else target_name(target)
        name = name.replace("torch._C._nn.", "torch.nn.functional.").replace("_operator.", "")
        return TraceError(message, self.node.meta["path"], name, self.node.meta["line"])

    # --- Shapes ---

    @property
    def out(self) -> torch.Tensor:
        """The operation's result on the meta device."""
        return self.node.meta["value"]

    def form_shape(self, batched: bool, out: Optional[torch.Tensor] = None) -> Tuple[int, ...]:
        """The shape in the form of the result (or of `out`)."""
        shape = tuple((self.out if out is None else out).shape)
        if not batched:
            return shape
        if not shape or shape[0] != BATCH:
            raise self.fail("its result does not keep the batch as the first dimension; "
                            "operations must treat every image alone")
        return shape[1:]

    def dim(self, x: Value, dim: int) -> int:
        """Dimension dim of tensor x as the form counts it; never the batch."""
        if not -x.ndim <= dim < x.ndim:
            raise self.fail(f"dimension {dim} is beyond the {x.ndim} of its input")
        dim %= x.ndim
        if not x.batched:
            return dim + 1
        if dim == 0:
            raise self.fail("it works across the batch; operations must treat every image alone")
        return dim

    def dims(self, x: Value, dims: Union[int, Sequence[int], None]) -> List[int]:
        """Several of them, in ascending order."""
        if isinstance(dims, int):
            dims = (dims,)
        if not dims:
            raise self.fail("it works across the batch; name the dimensions")
        return sorted(self.dim(x, d) for d in dims)

    # --- Arguments ---

    def value(self, x: Operand, broadcasting: bool = False) -> Value:
        """An operand as the output of a node."""
        if isinstance(x, Parameter):
            return self.parameter(x, False)
        if isinstance(x, Unusable):
            raise self.fail(f"it uses {x.what}, which cannot be expressed")
        if not isinstance(x, Value):
            raise self.fail("one of its operands is a constant tensor, for which the form has no "
                            "place; make it an nn.Parameter, or a number")
        if x.expanded and not broadcasting:
            raise self.fail("it needs a tensor that was made larger by expand or repeat, which "
                            "only additions and products can use")
        return x

    def weight(self, x: Any, slot: str) -> Parameter:
        """A layer's own parameter."""
        if not isinstance(x, Parameter):
            raise self.fail(f"its {slot} is not an nn.Parameter but computed from others; only "
                            "layers that own their parameters can be predicted")
        return x

    def parameter(self, x: Parameter, batched: bool, op: str = "parameter") -> Value:
        """A parameter as a source node; batched: its first dimension, 1, stands for the batch."""
        if (x.key, batched, op) not in self.parameters:
            attrs = {"shape": list(x.shape)}
            if op == "parameter":
                attrs["batched"] = batched
            attrs.update(weight_init(x.tensor))
            key = x.key[:-len(".weight")] if x.key.endswith(".weight") else x.key
            self.parameters[x.key, batched, op] = self.builder.add(
                op, key, [], x.shape[batched:], attrs, {"weight": x.key}, batched)
        return self.parameters[x.key, batched, op]

    # --- Results ---

    def name(self, op: str, params: Optional[Dict[str, str]]) -> str:
        """The new node's name: the owner of its first parameter, or the module that is running."""
        for slot, key in (params or {}).items():
            if key.endswith("." + slot):
                return key[:-len(slot) - 1]
        path = self.node.meta["path"]
        if path in self.childless and path not in self.builder.reserved:
            return path  # "layer1.0.relu"
        return f"{path}.{op}" if path else op

    def emit(self, op: str, inputs: Sequence[Value], form_shape: Optional[Sequence[int]] = None,
             params: Optional[Dict[str, Parameter]] = None, node_name: Optional[str] = None,
             **attrs: Any) -> Value:
        """Adds a node; its shape (of the form) is the recorded result's unless given."""
        keys = {slot: p.key for slot, p in (params or {}).items()}
        batched = any(v.batched for v in inputs)
        if form_shape is None:
            form_shape = self.form_shape(batched)
        return self.builder.add(op, node_name or self.name(op, keys), inputs, form_shape, attrs,
                                keys, batched, node_name is not None)


def weight_init(tensor: torch.Tensor) -> Dict[str, Any]:
    """How to fill a parameter that cannot be predicted: like the values it has now."""
    if tensor.device.type == "meta" or not tensor.numel():
        return {"init": "trunc_normal", "value": 0.02}
    values = tensor.detach().double()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return {"init": "constant", "value": float(f"{low:.7g}")}
    return {"init": "normal", "value": float(f"{float(values.square().mean().sqrt()):.3g}")}


def _call(context: Context, node: fx.Node, env: Dict[fx.Node, Any]) -> Any:
    """Lowers one node."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: env[n])
    if node.op == "call_module":
        leaf = context.module.get_submodule(node.target)
        return MODULES[leaf_kind(leaf)](context, leaf, *args, **kwargs)
    name = plain_name(node.target)
    handler = HANDLERS.get(name)
    if handler is None:
        raise context.fail("the operation has no counterpart in ghn-arch/1; replace it by one "
                           "that has, or leave this part out of the network")
    kwargs = {{"axis": "dim", "keepdims": "keepdim"}.get(k, k): v for k, v in kwargs.items()}
    try:
        inspect.signature(handler).bind(context, *args, **kwargs)
    except TypeError as error:
        raise context.fail(f"these arguments are not supported: {error}") from None
    return handler(context, *args, **kwargs)


def _needed(graph: fx.Graph, output: fx.Node,
            attentions: Dict[fx.Node, Attention]) -> List[fx.Node]:
    """The recorded operations that the output depends on, in order; not those within attentions."""
    alive = {output}
    for node in reversed(graph.nodes):
        if node in alive:
            alive.update(attentions[node].sources if node in attentions else node.all_input_nodes)
    return [n for n in graph.nodes if n in alive]


def _attend(context: Context, attention: Attention, sources: Sequence[Any]) -> Value:
    """An attention that was recognised."""
    values = [context.value(x) for x in sources]
    packed = values[0]
    if len(values) == 3:
        *lead, width = packed.shape
        packed = context.emit("concat", values, (*lead, 3 * width), dim=len(lead) + 1)
    return context.emit("attention", [packed], num_heads=attention.num_heads,
                        scale=attention.scale or 0)


def lower(module: nn.Module, graph: fx.Graph, output: fx.Node,
          input_shape: Sequence[int]) -> Tuple[dict, Dict[str, int]]:
    """The arch form of a recorded run of module; and how often each batch norm is called that has
    running statistics, by the name of its running mean."""
    names = [n for n, _ in module.named_parameters()]
    builder = Builder(input_shape, {n.rpartition(".")[0] for n in names if "." in n})
    context = Context(module, builder, output)
    env: Dict[fx.Node, Any] = {}
    attentions = find_attention(graph)
    for node in _needed(graph, output, attentions):
        context.node = node
        if node in attentions:
            env[node] = _attend(context, attentions[node],
                                [env[n] for n in attentions[node].sources])
        elif node.op == "placeholder":
            env[node] = builder.input
        elif node.op == "get_attr":
            key = node.meta.get("parameter")
            env[node] = Parameter(key, node.meta["tensor"]) if key else node.meta["tensor"]
        else:
            env[node] = _call(context, node, env)
    result = env[output]
    context.node = output
    if not isinstance(result, Value) or not result.batched:
        raise TraceError("its output does not depend on the input")
    arch, used = builder.finish(type(module).__name__, context.value(result))
    unused = {n: list(p.shape) for n, p in module.named_parameters() if n not in used}
    if unused:
        arch["unused_parameters"] = unused
    return arch, context.calls
