"""Putting predicted parameters into a module."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np
import torch
from torch import nn

from .blocks import Answer
from .errors import GhnError


def check_loadable(module: nn.Module) -> None:
    """Fails before any work if the module could not take parameters."""
    for name, parameter in module.named_parameters():
        if parameter.device.type == "meta":
            raise ValueError(f"parameter {name} is on the meta device and has no place for values; "
                             "make it real first: module.to_empty(device='cpu')")
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"parameter {name} has no shape yet; run the module once first")


def load(module: nn.Module, answer: Answer) -> None:
    """Loads every tensor of answer into the parameter of its name, on whatever device and in
    whatever precision that is. Everything is checked and made ready first, so that the module is
    untouched if anything fails. Buffers, running statistics among them, stay as they are."""
    parameters: Dict[str, nn.Parameter] = {}
    try:
        parameters.update(module.named_parameters(remove_duplicate=False))
    except TypeError:  # before PyTorch 2
        for prefix, owner in module.named_modules(remove_duplicate=False):
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    parameters[f"{prefix}.{name}" if prefix else name] = parameter
    _check(parameters, answer)
    ready: List[Tuple[nn.Parameter, torch.Tensor]] = []
    for name in answer.blocks:
        parameter = parameters[name]
        values = torch.from_numpy(np.array(answer.tensor(name)))
        ready.append((parameter, values.to(parameter.device, parameter.dtype)))
    with torch.no_grad():
        for parameter, values in ready:
            parameter.copy_(values)


def _check(parameters: Dict[str, nn.Parameter], answer: Answer) -> None:
    for name, shape in answer.shapes.items():
        if name not in parameters:
            raise GhnError(f"the answer has a tensor {name!r} that the module has not",
                           "invalid_answer", name)
        if tuple(parameters[name].shape) != tuple(shape):
            raise GhnError(f"{name!r} is {list(shape)} in the answer, but "
                           f"{list(parameters[name].shape)} in the module", "invalid_answer", name)
        if not np.isfinite(answer.blocks[name]).all():
            raise GhnError(f"{name!r} has values that are not finite numbers", "invalid_answer",
                           name)
    missing = {id(p): n for n, p in parameters.items()}
    for name in (*answer.blocks, *answer.not_predicted):
        if name in parameters:
            missing.pop(id(parameters[name]), None)
    if missing:
        raise GhnError(f"the answer says nothing of {len(missing)} parameters of the module, "
                       f"{next(iter(missing.values()))!r} the first", "invalid_answer")
