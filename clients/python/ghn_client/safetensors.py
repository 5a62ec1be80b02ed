"""Reading safetensors, the format of the server's answers, with numpy alone."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
import struct
import uuid
from typing import Any, BinaryIO, Dict, Iterator, Mapping, Optional, Tuple, Union

import numpy as np

from .errors import GhnError

# What numpy reads the values of each type as. bfloat16 has no type in numpy: it becomes float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
          "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}

MAX_HEADER = 100_000_000


def _fail(message: str) -> GhnError:
    return GhnError(f"this is not a valid safetensors file: {message}", "invalid_answer")


def _tensor(name: str, entry: Any, data: memoryview) -> Tuple[int, int, np.ndarray]:
    """(begin, end, values) of a header entry."""
    try:
        dtype, shape = DTYPES[entry["dtype"]], [int(d) for d in entry["shape"]]
        begin, end = (int(o) for o in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise _fail(f"the entry of {name!r} is malformed ({error!r})") from None
    n = math.prod(shape)
    if min(shape, default=0) < 0 or not 0 <= begin <= end <= len(data) or \
            end - begin != n * np.dtype(dtype).itemsize:
        raise _fail(f"{name!r} of shape {shape} does not fit its place, bytes {begin} to {end} of "
                    f"{len(data)}")
    values = np.frombuffer(data, dtype, n, begin).reshape(shape)
    if entry["dtype"] == "BF16":
        values = (values.astype("<u4") << 16).view("<f4").reshape(shape)
    return begin, end, values


def parse_safetensors(buffer: Union[bytes, bytearray, memoryview]
                      ) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file in memory.

    The arrays are read-only views of buffer, except that bfloat16 becomes float32.
    """
    view = memoryview(buffer)
    if len(view) < 8:
        raise _fail(f"it has {len(view)} bytes")
    (size,) = struct.unpack("<Q", view[:8])
    if size > min(MAX_HEADER, len(view) - 8):
        raise _fail(f"it has {len(view)} bytes, but a header of {size}")
    try:
        header = json.loads(bytes(view[8:8 + size]))
    except ValueError as error:
        raise _fail(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _fail("its header is not an object")
    metadata = header.pop("__metadata__", {})
    data = view[8 + size:]
    tensors: Dict[str, np.ndarray] = {}
    spans = []
    for name, entry in header.items():
        begin, end, tensors[name] = _tensor(name, entry, data)
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _fail(f"its tensors overlap or leave a hole at byte {at}")
        at = end
    if at != len(data):
        raise _fail(f"{len(data) - at} bytes belong to no tensor")
    return tensors, metadata


def read_safetensors(path: Union[str, "os.PathLike[str]"]
                     ) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file."""
    with open(path, "rb") as file:
        return parse_safetensors(file.read())


def _pieces(tensors: Mapping[str, np.ndarray], metadata: Optional[Mapping[str, str]]
            ) -> Iterator[bytes]:
    """A file, piece by piece."""
    names = {np.dtype(v): k for k, v in DTYPES.items() if k != "BF16"}
    header: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    order = sorted(tensors, key=lambda n: (-tensors[n].itemsize, n))
    for name in order:
        array = tensors[name]
        dtype = names.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise TypeError(f"{name!r} is of type {array.dtype}, for which safetensors has none")
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        array = tensors[name]
        yield np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def write_safetensors(path: Union[str, "os.PathLike[str]"], tensors: Mapping[str, np.ndarray],
                      metadata: Optional[Mapping[str, str]] = None) -> None:
    """Writes arrays as a safetensors file, largest alignment first as the format wants. A file that
    is there already is replaced when all is written, or else stays as it was."""
    pieces = _pieces(tensors, metadata)
    first = next(pieces)  # an array that the format has no place for leaves no file behind
    with _writing(path) as file:
        file.write(first)
        file.writelines(pieces)


@contextlib.contextmanager
def _writing(path: Union[str, "os.PathLike[str]"]) -> Iterator[BinaryIO]:
    """A file to write, which is at path once it is whole, with the permissions of the one before.
    What cannot be replaced, a pipe or a terminal, is written as it goes."""
    old = os.path.exists(path)
    if old and not stat.S_ISREG(os.stat(path).st_mode) or _is_descriptor(os.fspath(path)):
        with open(path, "wb") as file:
            yield file
        return
    if old:
        open(path, "r+b").close()  # one that may not be written may not be replaced either
    target = os.path.realpath(path)  # symbolic links stay
    temporary = os.path.join(os.path.dirname(target), f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if old:
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _is_descriptor(path: str) -> bool:
    """Whether path is another name of an open file, like /dev/stdout, whose holder would not hear of
    its replacement."""
    while not os.path.realpath(os.path.dirname(os.path.abspath(path))).startswith("/proc/"):
        if not os.path.exists(path) or not os.path.islink(path):
            return False
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return True


def safetensors_bytes(tensors: Mapping[str, np.ndarray],
                      metadata: Optional[Mapping[str, str]] = None) -> bytes:
    """The same in memory."""
    return b"".join(_pieces(tensors, metadata))
