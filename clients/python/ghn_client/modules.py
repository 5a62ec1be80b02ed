"""Modules that are one operation (or a fixed few) of the arch form as a whole: attention."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence

from torch import nn

# Class, as "top package.name" -> kind. Classes derived from them count too, unless they have a
# forward function of their own.
LEAVES = {
    "torch.MultiheadAttention": "multihead_attention",
    "torchvision.ShiftedWindowAttention": "window_attention",
    "torchvision.ShiftedWindowAttentionV2": "window_attention",
    "torchvision.RelativePositionalMultiHeadAttention": "relative_attention",
}


def leaf_kind(module: nn.Module) -> Optional[str]:
    """The kind of a module that is recorded as a whole, or None."""
    for cls in type(module).__mro__:
        kind = LEAVES.get(f"{cls.__module__.split('.')[0]}.{cls.__name__}")
        if kind:
            return kind if type(module).forward is cls.forward else None
    return None


def leaf_result(module: nn.Module, args: Sequence[Any], kwargs: Dict[str, Any]) -> Any:
    """The result of a leaf module, as far as shapes go."""
    query = args[0] if args else next(iter(kwargs.values()))
    if leaf_kind(module) == "multihead_attention":
        # The weights, that it also returns, are never expressible: see lower_multihead_attention.
        return query.new_empty(query.shape), query.new_empty(query.shape)
    return query.new_empty(query.shape)
