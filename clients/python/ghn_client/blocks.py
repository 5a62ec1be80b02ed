"""The compact answer: blocks, of which the tensors are tilings."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Tuple, Union

import numpy as np

from .errors import GhnError
from .safetensors import parse_safetensors

MEDIA_TYPE = "application/vnd.ghn.blocks"
FORMAT = "ghn-blocks/1"


def tile(block: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    """The tensor of that shape: tensor[i, j, ...] = block[i mod b0, j mod b1, ...]."""
    tensor = block
    for axis, (size, period) in enumerate(zip(shape, block.shape)):
        if size != period:
            tensor = np.take(tensor, np.arange(size) % period, axis)
    return tensor


def _object(metadata: Mapping[str, str], key: str) -> Dict[str, Any]:
    """A JSON object that the metadata holds as a string; empty if there is none."""
    try:
        value = json.loads(metadata.get(key, "{}"))
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise GhnError(f"the answer's {key} is not a JSON object", "invalid_answer", key)
    return value


class Answer:
    """An answer of blocks.

    Attributes:
        blocks: name -> block.
        shapes: name -> shape of the tensor.
        not_predicted: name -> why the hypernetwork did not predict it.
        metadata: what else the server said.
    """

    def __init__(self, buffer: Union[bytes, bytearray, memoryview]):
        self.blocks, self.metadata = parse_safetensors(buffer)
        if self.metadata.get("format") != FORMAT:
            raise GhnError(f"the answer is of format {self.metadata.get('format')!r}, expected "
                           f"{FORMAT!r}", "invalid_answer", "format")
        self.not_predicted: Dict[str, str] = _object(self.metadata, "not_predicted")
        self.shapes = {name: block.shape for name, block in self.blocks.items()}
        for name, shape in _object(self.metadata, "tiles").items():
            self.shapes[name] = self._checked(name, shape)

    def _checked(self, name: str, shape: Any) -> Tuple[int, ...]:
        block = self.blocks.get(name)
        if block is None or not isinstance(shape, list) or len(shape) != block.ndim or \
                not all(type(d) is int and d >= 0 for d in shape) or \
                any(d and not b for d, b in zip(shape, block.shape)):
            raise GhnError(f"shape {shape} is no tiling of the block of {name!r}",
                           "invalid_answer", name)
        return tuple(shape)

    def tensor(self, name: str) -> np.ndarray:
        """A tensor in full."""
        return tile(self.blocks[name], self.shapes[name])
