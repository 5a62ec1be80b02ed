"""Putting predicted parameters into a module."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Set, Tuple

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


def load(module: nn.Module, answer: Answer, arch: Mapping[str, Any]) -> Set[str]:
    """Loads the tensors of answer, the prediction for arch, into the parameters of their names, on
    whatever device and in whatever precision these are; returns the names of those that it left
    alone, because the module knows better. Everything is checked and made ready first, so that the
    module is untouched if anything fails. Buffers, running statistics among them, stay as they
    are."""
    parameters = _parameters(module)
    _check(parameters, answer)
    known_better = _learned_tensors(arch) | {n for n, p in parameters.items()
                                             if not p.requires_grad}
    kept = {n for n in answer.blocks if n in answer.not_predicted and n in known_better}
    ready: List[Tuple[nn.Parameter, torch.Tensor]] = []
    for name in answer.blocks:
        if name in kept:
            continue
        parameter = parameters[name]
        values = torch.from_numpy(np.array(answer.tensor(name)))
        ready.append((parameter, values.to(parameter.device, parameter.dtype)))
    with torch.no_grad():
        for parameter, values in ready:
            parameter.copy_(values)
    return kept


def _learned_tensors(arch: Mapping[str, Any]) -> Set[str]:
    """Names of the parameters that belong to no layer. There is no standard initialiser of such a
    one: only the module's own code knows what it should begin with."""
    return {node.get("params", {}).get("weight", f"{node['name']}.weight")
            for node in arch["nodes"] if node["op"] in ("parameter", "pos_enc")}


def _parameters(module: nn.Module) -> Dict[str, nn.Parameter]:
    """Every parameter under every name that it has."""
    parameters: Dict[str, nn.Parameter] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                parameters[f"{prefix}.{name}" if prefix else name] = parameter
    return parameters


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
    _check_whole(parameters, (*answer.blocks, *answer.not_predicted))


def _check_whole(parameters: Dict[str, nn.Parameter], names: Iterable[str]) -> None:
    """Fails unless every parameter is among names."""
    missing = {id(p): n for n, p in parameters.items()}
    for name in names:
        if name in parameters:
            missing.pop(id(parameters[name]), None)
    if missing:
        raise GhnError(f"the answer says nothing of {len(missing)} parameters of the module, "
                       f"{next(iter(missing.values()))!r} the first", "invalid_answer")


# --- Trained parameters ---

STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def load_state(module: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Loads trained parameters, and the running statistics of batch norms, in place, on whatever
    device and in whatever precision they are. The module is untouched if anything fails. Every
    parameter must be there; statistics are loaded where the module has a buffer of their name."""
    check_loadable(module)
    parameters = _parameters(module)
    places: Dict[str, torch.Tensor] = {**dict(module.named_buffers()), **parameters}
    ready: List[Tuple[torch.Tensor, torch.Tensor]] = []
    for name, array in tensors.items():
        place = places.get(name)
        if place is None and f".{name}".endswith(STATISTICS):
            continue
        if place is None:
            raise GhnError(f"there is a tensor {name!r} that the module has not", "invalid_answer",
                           name)
        if tuple(place.shape) != tuple(array.shape):
            raise GhnError(f"{name!r} is {list(array.shape)}, but {list(place.shape)} in the "
                           "module", "invalid_answer", name)
        ready.append((place, torch.from_numpy(np.array(array)).to(place.device, place.dtype)))
    _check_whole(parameters, tensors)
    with torch.no_grad():
        for place, values in ready:
            place.copy_(values)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array, in float32 where it is of another precision: numpy has no bfloat16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def state_arrays(module: nn.Module) -> Dict[str, np.ndarray]:
    """Parameters and running statistics of a module as arrays, in float32 where they are of
    another precision."""
    arrays: Dict[str, np.ndarray] = {}
    for name, tensor in {**_parameters(module), **dict(module.named_buffers())}.items():
        if isinstance(tensor, nn.Parameter) or f".{name}".endswith(STATISTICS):
            arrays[name] = array_of(tensor)
    return arrays
