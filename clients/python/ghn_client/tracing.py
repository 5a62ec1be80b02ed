"""trace: a torch.nn.Module as an architecture."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from torch import nn

from . import arithmetic, attention, layers, shaping  # noqa: F401 (they register their handlers)
from .capture import capture
from .errors import TraceError
from .lowering import lower


DEFAULT_SHAPE = (3, 224, 224)


@dataclass(frozen=True)
class Followed:
    """The architecture of a module, and what the form does not say of it.

    `n_outputs`: how many tensors the module returns, of which the first was followed. `calls`: how
    often each batch norm with running statistics is called, by the name of its running mean.
    """

    arch: Dict[str, Any]
    n_outputs: int
    calls: Dict[str, int]


def trace(module: nn.Module, input_shape: Sequence[int]) -> Dict[str, Any]:
    """The architecture of a module in the form "ghn-arch/1", ready for json.dumps.

    The module's forward function is followed once, in evaluation mode, with an input of
    input_shape ((3, 224, 224): without the batch). Nothing is computed, so modules on the meta
    device will do. The module is left as it was. Of several outputs the first counts (of a dict,
    "out" if there is one), with a warning. While it runs, no other thread may call modules:
    torch.fx replaces Module.__call__ for that time.

    What only matters to training is kept as far as the form has a place for it; dropout of
    attention weights has none and is left out.

    Raises:
        TraceError: something the module does cannot be expressed; it names the module, the
            operation and what to do.
    """
    return follow(module, input_shape, 3).arch


def follow(module: nn.Module, input_shape: Optional[Sequence[int]],
           stacklevel: int = 2) -> Followed:
    """What trace does; an input_shape of None is the usual one. Warnings name the caller at
    stacklevel, as for warnings.warn."""
    shape = _checked(DEFAULT_SHAPE if input_shape is None else input_shape)
    if isinstance(module, torch.jit.ScriptModule):
        raise TraceError("it is compiled by TorchScript, whose code cannot be followed; use the "
                         "module it was made from")
    try:
        graph, output, n_outputs = capture(module, shape)
    except TraceError as error:
        hint = _hint(error, input_shape)
        raise error.with_hint(hint) if hint else error
    arch, calls = lower(module, graph, output, shape)
    followed = Followed(arch, n_outputs, calls)
    if n_outputs > 1:
        warnings.warn(f"{type(module).__name__} returns {n_outputs} tensors, of which only the "
                      "first is followed; what only the others depend on is left out",
                      stacklevel=stacklevel)
    return followed


def _checked(input_shape: Sequence[int]) -> Tuple[int, ...]:
    try:
        shape = tuple(int(d) for d in input_shape)
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise TraceError(f"input_shape {input_shape!r} must be positive sizes without the batch, "
                         "like (3, 224, 224)")
    return shape


def _hint(error: TraceError, input_shape: Optional[Sequence[int]]) -> Optional[str]:
    """What may be behind an error. One with a cause is of the module's own code, which did not like
    its input; others are of what the form has no place for."""
    if error.__cause__ is None:
        return None
    if input_shape is None:
        return f"no input_shape was given, and {DEFAULT_SHAPE} was assumed"
    if len(input_shape) == 4:
        return (f"input_shape is (C, H, W) without the batch, perhaps {tuple(input_shape[1:])} "
                f"for {tuple(input_shape)}")
    return None
