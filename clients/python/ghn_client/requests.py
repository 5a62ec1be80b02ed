"""Requests, of what people have at hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from .tracing import Followed

NETWORKS = ("arch", "genotype", "graph")
EXPECTED = ('expected is a torch.nn.Module or a request, a dict with "arch", "genotype" or "graph"; '
            "this is ")

# PyTorch's types, as torch.dtype prints itself, in the words of a request.
DTYPES = {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16"}


def network(module_or_request: Union["nn.Module", Mapping[str, Any]],
            input_shape: Optional[Sequence[int]], stacklevel: int
            ) -> Tuple[Dict[str, Any], Optional["Followed"]]:
    """The request of what predict and finetune take, and of a module what following it gave.
    Warnings name the caller at stacklevel, as for warnings.warn."""
    if isinstance(module_or_request, Mapping):
        request = dict(module_or_request)
        if str(request.get("format", "")).startswith("ghn-arch/"):
            request = {"arch": request}
        if not any(key in request for key in NETWORKS) and any(map(_is_array, request.values())):
            raise TypeError(EXPECTED + "a dict of tensors, as state_dict() gives it, which does not "
                            "say how the network computes")
        return request, None
    if not is_module(module_or_request):
        raise TypeError(EXPECTED + _described(module_or_request))
    from .loading import check_loadable
    from .tracing import follow
    check_loadable(module_or_request)
    followed = follow(module_or_request, input_shape, stacklevel + 1)
    return {"arch": followed.arch}, followed


def is_module(value: Any) -> bool:
    """Whether it is a torch.nn.Module. None is where PyTorch, which may not even be installed, has
    not been imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _described(value: Any) -> str:
    """What somebody gave instead of a network."""
    if isinstance(value, type):
        return f"the class {value.__name__}; make a network of it first: {value.__name__}(...)"
    return "None" if value is None else f"{value!r:.60}, of type {type(value).__name__}"


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def encode(request: Any) -> bytes:
    """A request as JSON. Numbers may be numpy's, or tensors of one element."""
    return json.dumps(request, allow_nan=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    """What JSON has for a value that it does not know."""
    if str(value) in DTYPES:
        return DTYPES[str(value)]
    if _is_array(value) and tuple(value.shape) == ():
        return value.item()
    if _is_array(value) and len(value.shape) == 1:
        return value.tolist()
    raise TypeError(f"a request is of numbers, strings, lists and dicts, and has no place for "
                    f"{value!r:.60}, of type {type(value).__name__}")


def arrays_of(tensors: Mapping[str, Any]) -> Dict[str, np.ndarray]:
    """Arrays of a dict of arrays or of PyTorch's tensors, a state_dict for instance."""
    arrays = {}
    for name, tensor in tensors.items():
        if hasattr(tensor, "detach"):
            from .loading import array_of
            tensor = array_of(tensor)
        arrays[name] = np.asarray(tensor)
        if arrays[name].dtype.kind not in "fiub":
            raise TypeError(f"parameter {name!r} is of type {type(tensor).__name__}; expected is "
                            "an array of numbers")
    return arrays
