"""Predicted parameters for PyTorch models, from a ghnd server.

    import ghn_client, torchvision

    net = torchvision.models.resnet50()
    print(ghn_client.Client("http://localhost:8080").predict(net, (3, 224, 224)))

Architectures and plain arrays need no PyTorch:

    arrays = ghn_client.Client(url).predict({"arch": arch}).parameters

finetune() trains a network at the server:

    job = client.finetune(net, "cifar10", (3, 32, 32), steps=1000)
    job.wait(callback=print).parameters().load_into(net)

trace(module, input_shape) gives the architecture of a module without a server.
"""

from typing import TYPE_CHECKING, Any

from .client import Client, Prediction
from .errors import GhnError, TraceError
from .jobs import Job, Parameters
from .safetensors import parse_safetensors, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from .tracing import trace

__version__ = "0.1.0"
__all__ = ["Client", "GhnError", "Job", "Parameters", "Prediction", "TraceError", "parse_safetensors",
           "read_safetensors", "trace", "write_safetensors"]


def __getattr__(name: str) -> Any:
    """trace needs PyTorch, which is imported only when it is asked for."""
    if name == "trace":
        from .tracing import trace
        return trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
