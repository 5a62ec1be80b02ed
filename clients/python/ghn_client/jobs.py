"""Training at a server: jobs, and what comes of them."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import (TYPE_CHECKING, Any, Callable, Dict, Generator, Iterable, Iterator, List,
                    Mapping, Optional, Tuple)

import numpy as np

from .errors import GhnError
from .safetensors import parse_safetensors

if TYPE_CHECKING:
    from torch import nn

    from .client import Client

FINAL = ("succeeded", "failed", "cancelled")

# Seconds between two looks at a job that cannot be followed, and after the loss of a connection.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

# Seconds that a stream of events may be silent: the server says that it is there every 15.
LONGEST_SILENCE = 20.0


def job_path(job_id: str, tail: str = "") -> str:
    """The path of a job, or of something that belongs to it ("/events")."""
    return f"/jobs/{urllib.parse.quote(job_id, safe='')}{tail}"


class Parameters(Dict[str, np.ndarray]):
    """Trained parameters and running statistics: name -> array, as in a state_dict.

    Attributes:
        metadata: what the file says of itself (the step, the accuracy on the test images).
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]):
        super().__init__(tensors)
        self.metadata: Dict[str, str] = dict(metadata)

    def __repr__(self) -> str:
        elements = sum(array.size for array in self.values())
        step = f" of step {self.metadata['step']}" if "step" in self.metadata else ""
        return f"<Parameters{step}: {len(self)} tensors, {elements:,} values>"

    def load_into(self, module: "nn.Module") -> "nn.Module":
        """Puts all of them into a module, in place, or none if they do not fit; returns it. The
        module is then ready to evaluate: running statistics are among them."""
        from .loading import load_state
        load_state(module, self)
        return module


class Job:
    """A training at the server, as it was when the server was last asked (refresh, wait).

    Attributes:
        id: names it in Client.job and in the server's routes.
        info: everything that the server says of it.
    """

    def __init__(self, client: "Client", info: Dict[str, Any]):
        self._client = client
        self.id: str = str(info["id"])
        self.info = info

    # --- What is known ---

    @property
    def state(self) -> str:
        """queued, running, succeeded, failed or cancelled."""
        return str(self.info["state"])

    @property
    def finished(self) -> bool:
        """Whether its state will stay."""
        return self.state in FINAL

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.info["step"])

    @property
    def steps(self) -> int:
        """Of how many."""
        return int(self.info["steps"])

    @property
    def progress(self) -> Optional[Dict[str, Any]]:
        """The latest point: step, loss, train_accuracy, test_top1 ..., None before the first."""
        return self.info.get("progress")

    @property
    def history(self) -> List[Dict[str, Any]]:
        """All points so far. A job out of Client.jobs asks the server for them."""
        if "history" not in self.info:
            self.refresh()
        return list(self.info.get("history") or ())

    @property
    def error(self) -> Optional[GhnError]:
        """Why it failed; None unless it did."""
        error = self.info.get("error")
        if not error:
            return None
        return GhnError(str(error.get("detail") or "it failed"), str(error.get("code", "error")),
                        error.get("where") or None)

    def __str__(self) -> str:
        text = f"job {self.id}: {self.state}, step {self.step} of {self.steps}"
        point = self.progress or {}
        for key, name, unit in (("loss", "loss", 1), ("train_accuracy", "train", 100),
                                ("test_top1", "test", 100)):
            if point.get(key) is not None:
                text += f", {name} {unit * point[key]:.4g}" + (" %" if unit == 100 else "")
        return text

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state} {self.step}/{self.steps}>"

    # --- Asking the server ---

    def refresh(self) -> "Job":
        """Asks for its present state; returns itself."""
        self.info = self._client._json("GET", job_path(self.id))
        return self

    def cancel(self) -> "Job":
        """Cancels it, unless it has finished. The parameters so far stay; returns itself."""
        self.info = self._client._json("DELETE", job_path(self.id))
        return self

    def parameters(self) -> Parameters:
        """The parameters with the best evaluation so far, running or not. A GhnError with code
        "no_parameters_yet" as long as there are none."""
        data = self._client._request("GET", job_path(self.id, "/parameters"), None,
                                     "application/octet-stream")
        return Parameters(*parse_safetensors(data))

    def wait(self, timeout: Optional[float] = None,
             callback: Optional[Callable[["Job"], Any]] = None) -> "Job":
        """Waits until it has finished, and returns itself.

        Args:
            timeout: seconds after which to give up with a TimeoutError; the job goes on.
            callback: called with the job whenever there is news: its state, or a new progress.

        A job that failed raises its error, a GhnError; one that was cancelled is returned. The
        server may be restarted meanwhile.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, lost = SHORTEST_PAUSE, 0.0
        while not self.finished:
            if self._follow(deadline, callback):
                pause = SHORTEST_PAUSE
            if not self.finished:
                self._sleep(pause, deadline)
            before = (self.state, self.progress)
            try:
                self.refresh()
                lost = 0.0
            except GhnError as error:
                if error.code != "connection" or lost > self._client._max_wait:
                    raise
                lost += pause
            if callback and (self.state, self.progress) != before:
                callback(self)
            pause = min(1.5 * pause, LONGEST_PAUSE)
        error = self.error
        if error:
            raise error
        return self

    def _sleep(self, seconds: float, deadline: Optional[float]) -> None:
        left = self._left(deadline)
        time.sleep(seconds if left is None else min(seconds, left))

    def _left(self, deadline: Optional[float]) -> Optional[float]:
        """Seconds to the deadline, if there is one; a TimeoutError after it."""
        if deadline is None:
            return None
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {self.id} is {self.state} still, at step {self.step} of "
                               f"{self.steps}")
        return left

    # --- Following ---

    def _follow(self, deadline: Optional[float],
                callback: Optional[Callable[["Job"], Any]]) -> bool:
        """Takes events for as long as they come and silence would not outlast the deadline; whether
        there were any."""
        got = False
        left = self._left(deadline)
        patience = LONGEST_SILENCE if left is None else min(LONGEST_SILENCE, left)
        stream = self._stream(patience)
        try:
            for name, data in stream:
                if self._take(name, data):
                    got = True
                    if callback:
                        callback(self)
                left = self._left(deadline)
                if self.finished or left is not None and left < patience:
                    break
        finally:
            stream.close()
        return got

    def _stream(self, patience: float) -> Generator[Tuple[str, str], None, None]:
        """The events of the job, none if it cannot be followed, until the stream ends or breaks
        off or is silent for so many seconds."""
        points = self.info.get("history") or []
        headers = {"Last-Event-ID": str(points[-1]["step"])} if points else {}
        try:
            with self._client._open("GET", job_path(self.id, "/events"), None, "text/event-stream",
                                    headers, patience) as response:
                kind = response.headers.get("Content-Type", "")
                if response.status == 200 and kind.startswith("text/event-stream"):
                    yield from events(response)
        except GhnError as error:
            if error.code != "connection":
                raise

    def _take(self, name: str, data: str) -> bool:
        """Notes an event; whether it said anything new."""
        try:
            value = json.loads(data)
        except ValueError:
            return False
        if name == "job":
            changed = any(value.get(k) != self.info.get(k) for k in ("state", "progress", "step"))
            self.info = {**value, "history": self.info.get("history") or []}
            return changed
        if name != "progress":
            return False
        # After the death of a worker training goes on from an earlier step, and tells it again.
        points = [p for p in self.info.get("history") or [] if p["step"] < value["step"]]
        self.info = {**self.info, "progress": value, "step": value["step"],
                     "steps": value["steps"], "history": [*points, value]}
        return True


def events(lines: Iterable[bytes]) -> Iterator[Tuple[str, str]]:
    """(name, data) of every event of a text/event-stream; one that breaks off is left out. A
    comment, which says that the server is there, is an event without name and data."""
    name, data = "", []  # type: str, List[str]
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield name or "message", "\n".join(data)
            name, data = "", []
            continue
        key, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not key:
            yield "", ""
        elif key == "event":
            name = value
        elif key == "data":
            data.append(value)
