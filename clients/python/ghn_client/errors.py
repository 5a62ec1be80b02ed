"""The errors this package raises."""

from __future__ import annotations

from typing import Optional


class TraceError(ValueError):
    """A module cannot be written as an architecture.

    Attributes:
        module: path of the module at fault ("layer1.0"; "" is the network itself).
        operation: the operation that has no counterpart, or None.
        message: what is wrong, without the place.
        where: the line of the module's code ("net.py:12"), or None.
    """

    def __init__(self, message: str, module: str = "", operation: Optional[str] = None,
                 where: Optional[str] = None):
        self.module = module
        self.operation = operation
        self.message = message
        self.where = where
        place = f"module {module!r}" if module else "the network"
        if where:
            place += f" ({where})"
        what = f": {operation}" if operation else ""
        super().__init__(f"in {place}{what}: {message}")

    def with_hint(self, hint: str) -> "TraceError":
        """The same error with something more to say."""
        more = TraceError(f"{self.message}; {hint}", self.module, self.operation, self.where)
        more.__cause__ = self.__cause__
        return more


class GhnError(Exception):
    """The server refused a request, or could not be reached.

    Attributes:
        status: the HTTP status, or None if there was no answer.
        code: the stable code of the error ("unknown_op"), or "connection".
        where: the node, field or tensor at fault, or None.
        detail: what is wrong, as a sentence.
    """

    def __init__(self, detail: str, code: str = "error", where: Optional[str] = None,
                 status: Optional[int] = None):
        self.detail = detail
        self.code = code
        self.where = where
        self.status = status
        text = detail if not where or where in detail else f"{where}: {detail}"
        super().__init__(f"{text} [{code}]" if status is None else f"{text} [{status} {code}]")
