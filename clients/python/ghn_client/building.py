"""Building models without their values, for tracing alone."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Dict, Iterator, Tuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _OnMeta(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Tuple = (),
                           kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:  # what every layer of PyTorch makes its parameters with
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Within it, parameters of new layers are on the meta device: no memory, no initialisation."""
    with _OnMeta():
        yield


def build(spec: str, settings: Dict[str, Any]) -> nn.Module:
    """The model of "package.module:callable", called with settings, on the meta device.

    "torchvision:resnet50" is short for torchvision.models:resnet50.
    """
    place, _, name = spec.partition(":")
    if not name:
        raise ValueError(f"{spec!r} is not of the form package.module:callable, like "
                         "torchvision:resnet50")
    module = importlib.import_module("torchvision.models" if place == "torchvision" else place)
    with without_values():
        model = getattr(module, name)(**settings)
    if not isinstance(model, nn.Module):
        raise ValueError(f"{spec} made a {type(model).__name__}, not a torch.nn.Module")
    return model
