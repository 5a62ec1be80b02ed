"""What a module must be like to be trained as a job."""

from __future__ import annotations

from .errors import TraceError
from .tracing import Followed


def check_trainable(followed: Followed) -> None:
    """Fails where the trained network would not go into the module."""
    for mean, count in followed.calls.items():
        if count > 1:
            raise TraceError(f"it is called {count} times, and a job keeps running statistics of "
                             "every call, for which one module has no place; give every call a "
                             "batch norm of its own, or make it with track_running_stats=False",
                             mean.rpartition(".")[0], "batch_norm")
