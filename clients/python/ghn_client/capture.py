"""Recording what a module does: one run of its forward function by torch.fx.

The run is symbolic in the values and concrete in everything else. Every recorded value carries a
tensor on the meta device, so that shapes are plain integers to the module's own code (x.shape,
view, chunk, loops and conditions on sizes all work) while nothing is computed and no memory used.
The batch has BATCH images, a size that hardly occurs otherwise: what comes out with another first
dimension has mixed images, which no architecture can.

Modules are recorded down to the functions they call. Only those of modules.LEAVES stay whole.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import FunctionType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import fx, nn

from .errors import TraceError
from .modules import leaf_kind, leaf_result

BATCH = 13

# Functions with this meaning are recorded although they are not PyTorch's.
RECORDED = {"torchvision.ops.stochastic_depth.stochastic_depth"}


def target_name(target: Any) -> str:
    """"torch.nn.functional.relu" and the like, for errors and comparisons."""
    if isinstance(target, str):
        return target
    module = getattr(target, "__module__", None) or "torch"
    return f"{module}.{getattr(target, '__name__', repr(target))}"


def map_tensors(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies function to every leaf of nested tuples, lists, dicts and slices."""
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, v) for v in value) \
            if type(value) in (tuple, list) else tuple(map_tensors(function, v) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(function, v) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*(map_tensors(function, v) for v in (value.start, value.stop, value.step)))
    return function(value)


def tensors_of(value: Any) -> List[torch.Tensor]:
    """The tensors in nested tuples, lists, dicts and slices."""
    found: List[torch.Tensor] = []
    map_tensors(lambda v: found.append(v) if isinstance(v, torch.Tensor) else None, value)
    return found


def _meta(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


class _Proxy(fx.Proxy):
    """A recorded value. Its shape and other plain attributes are known."""

    @property
    def value(self) -> Any:
        return self.node.meta["value"]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("node", "tracer"):
            raise AttributeError(name)
        value = getattr(self.value, name)
        if isinstance(value, torch.Tensor):  # x.T, x.data
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        if callable(value):
            return lambda *args, **kwargs: self.tracer.create_proxy(
                "call_method", name, (self, *args), kwargs)
        return value

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.value)))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        raise TraceError("a condition depends on computed values; only conditions on shapes and "
                         "settings can be followed", self.tracer.path, None, _user_line())

    def __contains__(self, item: Any) -> bool:
        return bool(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TraceError("assignment to a part of a tensor cannot be expressed; build it with "
                         "torch.cat", self.tracer.path, "item assignment", _user_line())

    def _in_place(self, method: str, other: Any) -> Any:
        return self.tracer.create_proxy("call_method", method, (self, other), {})

    def __iadd__(self, other: Any) -> Any:
        return self._in_place("add_", other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place("sub_", other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place("mul_", other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place("div_", other)


def _user_line() -> Optional[str]:
    """"file.py:12" of the innermost frame that belongs neither to PyTorch nor to this package."""
    torch_folder = os.path.dirname(torch.__file__) + os.sep
    own_folder = os.path.dirname(__file__) + os.sep
    frame = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if not file.startswith((torch_folder, own_folder, "<")):
            return f"{os.path.basename(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


class _Tracer(fx.Tracer):
    """Records to self.graph; every node has in its meta "value" (the tensors on the meta device),
    "path" (the module that was running) and "line" (where in its code)."""

    def __init__(self, module: nn.Module, input_shape: Sequence[int]):
        super().__init__(autowrap_modules=())
        self.path = ""
        self.input_shape = tuple(input_shape)
        self.output: Any = None
        self.n_outputs = 0
        self.parameters: Dict[int, str] = {id(p): n for n, p in module.named_parameters()}
        self.buffers: Dict[int, str] = {id(b): n for n, b in module.named_buffers()}
        self.proxies: Dict[int, fx.Proxy] = {}
        # What became of values by operations in place: the node that stands for the value now,
        # or None where only a view of it was changed.
        self.current: Dict[fx.Node, Optional[fx.Node]] = {}
        self.storages: Dict[int, List[fx.Node]] = {}

    # --- What torch.fx asks a tracer ---

    def create_args_for_root(self, root_fn: Callable, is_module: bool,
                             concrete_args: Any = None) -> Tuple[Callable, list]:
        dtype = next((p.dtype for p in self.root.parameters() if p.is_floating_point()),
                     torch.float32)
        node = self.create_node("placeholder", "input", (), {})
        value = torch.empty((BATCH,) + self.input_shape, dtype=dtype, device="meta")
        proxy = self._describe(node, value)

        def run() -> Any:
            output = root_fn(self.root, proxy)
            self.output = _first_tensor(output)
            self.n_outputs = _count_tensors(output)
            return self.output

        return run, []

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any = None) -> Any:
        if isinstance(attr_val, nn.Parameter) and id(attr_val) in self.parameters:
            return self._constant(attr_val)
        return attr_val

    _module_getattr = getattr

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, fx.Proxy):
            return self._latest(a.node)
        if isinstance(a, torch.Tensor):
            return self._constant(a).node
        if isinstance(a, (torch.dtype, torch.device, torch.layout, torch.memory_format)):
            return a
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable, args: Any, kwargs: Any) -> Any:
        outer = self.path
        try:
            self.path = self.path_of_module(m)
        except NameError:
            if not any(True for _ in m.parameters()):
                return forward(*args, **kwargs)  # nn.Softmax(-1)(x), made on the spot
            raise TraceError(f"it calls a {type(m).__name__} that is not registered as its "
                             "submodule; keep modules in attributes, nn.ModuleList or "
                             "nn.ModuleDict", outer, None, _user_line()) from None
        try:
            if leaf_kind(m):
                return self.create_proxy("call_module", self.path, args, kwargs)
            return forward(*args, **kwargs)
        except TraceError:
            raise
        except Exception as error:
            raise TraceError(f"{type(m).__name__} failed while it was followed: "
                             f"{type(error).__name__}: {error}", self.path, None,
                             _error_line(error)) from error
        finally:
            self.path = outer

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None,
                     type_expr: Any = None, proxy_factory_fn: Any = None) -> Any:
        if kind == "call_function" and isinstance(target, FunctionType) \
                and not (target.__module__ or "").startswith("torch.") \
                and target_name(target) not in RECORDED:
            return target(*args, **kwargs)  # somebody's torch.fx.wrap: look inside all the same
        arg_nodes = self.create_arg(args), self.create_arg(kwargs)
        before = [(n, n.meta["value"], n.meta["value"]._version) for n in _nodes_of(arg_nodes)
                  if isinstance(n.meta["value"], torch.Tensor)]
        value = self._run(kind, target, *arg_nodes)
        if not tensors_of(value):
            return value  # a size, a flag: the module's own code goes on with it
        node = self.create_node(kind, target, *arg_nodes, name)
        proxy = self._describe(node, value)
        for argument, tensor, version in before:
            if tensor._version != version:
                self._overwritten(argument, node)
        if type(value) in (tuple, list):
            return type(value)(proxy[i] for i in range(len(value)))
        return proxy

    # --- Values ---

    def _describe(self, node: fx.Node, value: Any) -> fx.Proxy:
        node.meta.update(value=value, path=self.path, line=_user_line())
        for tensor in tensors_of(value):
            self.storages.setdefault(id(_storage(tensor)), []).append(node)
        return self.proxy(node)

    def _constant(self, tensor: torch.Tensor) -> fx.Proxy:
        """The value of a tensor of the module's own: a parameter, a buffer or a constant."""
        if id(tensor) not in self.proxies:
            node = self.create_node("get_attr", self.parameters.get(id(tensor), "constant"),
                                    (), {})
            self.proxies[id(tensor)] = self._describe(node, _meta(tensor))
            node.meta.update(tensor=tensor, parameter=self.parameters.get(id(tensor)),
                             buffer=self.buffers.get(id(tensor)))
        return self.proxies[id(tensor)]

    def _run(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The value of an operation, on the meta device."""
        args, kwargs = fx.node.map_arg((args, kwargs), lambda n: n.meta["value"])
        if kind == "call_module":
            return leaf_result(self.root.get_submodule(target), args, kwargs)
        if kind == "call_method":
            if target in ("to", "cuda", "cpu") and not _dtype_of(args[1:], kwargs):
                return args[0]
            function = getattr(type(args[0]), target)
        else:
            function = target
        try:
            return function(*args, **kwargs)
        except NotImplementedError:
            pass
        if any(n in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__")
               for n in (target, getattr(target, "__name__", ""))):
            raise TraceError("it reads computed values, which do not exist while a network is "
                             "followed", self.path, target_name(target), _user_line())
        # This PyTorch has no kernel for it on the meta device: compute it on zeros.
        def zeros(v: Any) -> Any:
            return torch.zeros(v.shape, dtype=v.dtype) if isinstance(v, torch.Tensor) else v

        value = function(*map_tensors(zeros, args), **map_tensors(zeros, kwargs))
        return map_tensors(lambda v: _meta(v) if isinstance(v, torch.Tensor) else v, value)

    def _latest(self, node: fx.Node) -> fx.Node:
        while node in self.current:
            newer = self.current[node]
            if newer is None:
                raise TraceError("it uses a tensor after an operation in place on another view of "
                                 "it; use the operation's out-of-place form", self.path, None,
                                 _user_line())
            node = newer
        return node

    def _overwritten(self, argument: fx.Node, by: fx.Node) -> None:
        """`by` changed argument in place: the names for the same tensor mean `by` from now on."""
        tensor = argument.meta["value"]
        for node in self.storages[id(_storage(tensor))]:
            if node is not by and node not in self.current:
                self.current[node] = by if node.meta["value"] is tensor else None
        self.current.pop(by, None)


def _storage(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that `tensor` is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def _dtype_of(args: Sequence[Any], kwargs: Dict[str, Any]) -> bool:
    """Whether the arguments of Tensor.to say more than a device."""
    return any(isinstance(a, (torch.dtype, torch.Tensor)) for a in (*args, *kwargs.values()))


def _nodes_of(args: Any) -> List[fx.Node]:
    found: List[fx.Node] = []
    fx.node.map_arg(args, lambda n: found.append(n) or n)
    return found


def _error_line(error: BaseException) -> Optional[str]:
    """"file.py:12" of the innermost frame of an error outside PyTorch and this package."""
    line = None
    own = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep, "<")
    traceback = error.__traceback__
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(own):
            line = f"{os.path.basename(file)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line


def _first_tensor(output: Any) -> fx.Proxy:
    """The output itself, or the first of several (of a dict, "out" or the first)."""
    if isinstance(output, fx.Proxy) and isinstance(output.value, torch.Tensor):
        return output
    if isinstance(output, dict) and output:
        return _first_tensor(output.get("out", next(iter(output.values()))))
    if isinstance(output, (tuple, list, fx.Proxy)) and len(output):
        return _first_tensor(output[0])
    raise TraceError(f"its output is a {type(output).__name__} that does not depend on the input")


def _count_tensors(output: Any) -> int:
    """How many different tensors an output has."""
    found = set()
    map_tensors(lambda v: found.add(v.node) if isinstance(v, fx.Proxy) else None, output)
    return len(found)


@contextlib.contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; whatever the run does to attributes of the module and
    its submodules is undone afterwards."""
    saved = [(m, dict(m.__dict__), dict(m._buffers)) for m in module.modules()]
    try:
        for m, _, _ in saved:
            m.__dict__["training"] = False
        with torch.no_grad():
            yield
    finally:
        for m, attributes, buffers in saved:
            m.__dict__.clear()
            m.__dict__.update(attributes)
            m._buffers.clear()
            m._buffers.update(buffers)


def capture(module: nn.Module, input_shape: Sequence[int]) -> Tuple[fx.Graph, fx.Node, int]:
    """Follows module(x) once, x of input_shape with a batch before it; returns the graph, the node
    of its (first) output, and of how many."""
    tracer = _Tracer(module, input_shape)
    try:
        with _evaluation(module):
            graph = tracer.trace(module)
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(f"{type(module).__name__} failed while it was followed with an input of "
                         f"shape {list(input_shape)}: {type(error).__name__}: {error}", "", None,
                         _error_line(error)) from error
    return graph, tracer.create_arg(tracer.output), tracer.n_outputs
