"""What a module must be like to be trained as a job."""

from __future__ import annotations

import warnings

from torch import nn

from .errors import TraceError
from .tracing import Followed


def warn_of_frozen(module: nn.Module, followed: Followed, stacklevel: int) -> None:
    """Warns of parameters that will be trained although the module asks for none of that. Nothing
    in a request says so."""
    unused = followed.arch.get("unused_parameters", {})
    frozen = [n for n, p in module.named_parameters() if not p.requires_grad and n not in unused]
    if frozen:
        warnings.warn(f"requires_grad=False means nothing to a job: it trains all parameters, "
                      f"{len(frozen)} that have it among them, {frozen[0]!r} the first",
                      stacklevel=stacklevel)


def check_trainable(followed: Followed) -> None:
    """Fails where the trained network would not go into the module."""
    for mean, count in followed.calls.items():
        if count > 1:
            raise TraceError(f"it is called {count} times, and a job keeps running statistics of "
                             "every call, for which one module has no place; give every call a "
                             "batch norm of its own, or make it with track_running_stats=False",
                             mean.rpartition(".")[0], "batch_norm")
