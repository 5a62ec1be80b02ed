"""The client of a ghnd server."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import random
import socket
import ssl
import time
import urllib.parse
import uuid
from typing import (TYPE_CHECKING, Any, Collection, Dict, Iterator, List, Mapping, Optional,
                    Sequence, Tuple, Union)

import numpy as np

from . import blocks
from .errors import GhnError
from .jobs import Job, job_path
from .requests import arrays_of, encode, is_module, network
from .safetensors import safetensors_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .tracing import Followed

USER_AGENT = "ghn-client/0.1.0"

# Failures after which it is certain that the server has not heard of the request.
NEVER_SENT = (ConnectionRefusedError, socket.gaierror, ssl.SSLError)


class Prediction:
    """What came of a prediction; print it for a list.

    Attributes:
        predicted: names of the tensors that the hypernetwork predicted.
        not_predicted: name -> reason, for all others. Those among them that are in `initialised`
            were filled by their layer's standard initialiser; the rest was left as it was.
        initialised: names of the tensors that the server initialised instead. Of a module's
            parameters only those of layers, and not those with requires_grad=False.
        parameters: name -> numpy array; None if they went into a module.
        metadata: what the server says about the answer (the hypernetwork, its sha256, the seed),
            as in the __metadata__ of a safetensors answer.
    """

    def __init__(self, answer: blocks.Answer, reasons: Mapping[str, str],
                 parameters: Optional[Dict[str, np.ndarray]], kept: Collection[str] = ()):
        self.not_predicted: Dict[str, str] = {**answer.not_predicted, **reasons}
        self.predicted: List[str] = [n for n in answer.blocks if n not in answer.not_predicted]
        self.initialised: List[str] = [n for n in answer.blocks
                                       if n in answer.not_predicted and n not in kept]
        self.parameters = parameters
        self.metadata: Dict[str, str] = {
            k: v for k, v in answer.metadata.items() if k not in ("format", "tiles")}
        self.shapes: Dict[str, Tuple[int, ...]] = answer.shapes

    def __str__(self) -> str:
        elements = sum(int(np.prod(self.shapes[n])) for n in self.predicted)
        lines = [f"{len(self.predicted)} tensors ({elements:,} parameters) predicted, "
                 f"{len(self.not_predicted)} not"]
        if self.metadata.get("hypernetwork_trained") == "false":
            lines.append("the hypernetwork is untrained: this is no better than random parameters")
        for reason in dict.fromkeys(self.not_predicted.values()):
            lines.append(f"not predicted, because {reason}:")
            for name in (n for n, r in self.not_predicted.items() if r == reason):
                how = "initialised" if name in self.initialised else "left as it was"
                lines.append(f"  {name} ({how})")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Prediction: {str(self).splitlines()[0]}>"


class Client:
    """A connection to a server, "http://localhost:8080".

    Args:
        url: where the server is.
        token: sent as "Authorization: Bearer", if the server asks for one.
        timeout: seconds without any progress after which a request fails.
        max_wait: seconds from the first failure on in which a request is tried again, while the
            server is too busy (503) and where an answer was lost.
    """

    def __init__(self, url: str, token: Optional[str] = None, timeout: float = 60.0,
                 max_wait: float = 60.0):
        parts = _address(url)
        self.url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._timeout = timeout
        self._max_wait = max_wait

    # --- Requests ---

    def predict(self, module_or_request: Union["nn.Module", Mapping[str, Any]],
                input_shape: Optional[Sequence[int]] = None, model: Optional[str] = None,
                dtype: Union[str, "torch.dtype"] = "f32", predict_class_layers: bool = True,
                seed: Optional[int] = None) -> Prediction:
        """Predicts the parameters of a network.

        Args:
            module_or_request: a torch.nn.Module, into which the parameters are loaded (all of
                them or, after an error, none); or a request as the server takes it, a dict with
                "arch", "genotype" or "graph" (or an architecture itself, as trace gives it).
            input_shape: of the module's input, without the batch; default (3, 224, 224).
            model: the hypernetwork, one of models(); default: the server's first.
            dtype: "f32", "f16" or "bf16" (or PyTorch's types): what the values are sent as.
            predict_class_layers: False leaves the classifier as it is, for fine-tuning on other
                classes.
            seed: of the initialisers; default: 0, so that equal requests have equal answers.

        What the hypernetwork knows nothing of is filled by its layer's standard initialiser.
        Parameters of a module that are of no layer (position embeddings, class tokens, layer
        scales) stay as the module has them, and so do those with requires_grad=False; the
        Prediction names them.

        Batch norm's running statistics are not predicted and stay as they are: a network is ready
        to train, but to evaluate it as it is, give it statistics of its own first.
        """
        request, followed = network(module_or_request, input_shape, 3)
        request.setdefault("dtype", dtype)
        request.setdefault("predict_class_layers", predict_class_layers)
        if model is not None:
            request["model"] = model
        if seed is not None:
            request["seed"] = seed
        answer = blocks.Answer(self._request("POST", "/predict", request, blocks.MEDIA_TYPE))
        if followed is None:
            tensors = {name: answer.tensor(name) for name in answer.blocks}
            return Prediction(answer, {}, tensors)
        from .loading import load
        kept = load(module_or_request, answer, followed.arch)
        return Prediction(answer, _unfollowed(followed), None, kept)

    # --- Jobs ---

    def finetune(self, module_or_request: Union["nn.Module", Mapping[str, Any]], dataset: str,
                 input_shape: Optional[Sequence[int]] = None, steps: Optional[int] = None,
                 model: Optional[str] = None, idempotency_key: Optional[str] = None,
                 **recipe: Any) -> Job:
        """Asks the server to train a network; returns at once, with the job.

        Args:
            module_or_request: as for predict; it stays as it is (see Job.parameters).
            dataset: name of a data set that the server has, one of datasets().
            input_shape: of a module's input, without the batch; default: that of the data set's
                images, (3, 224, 224) where these differ.
            steps: how long; or, in the recipe, epochs. Without either the server's default.
            model: the hypernetwork that training starts from; default: the server's first.
            idempotency_key: a request with the key of an earlier one gives that job. Without it
                every call is a job of its own. In either case a request whose answer was lost is
                sent again safely, for max_wait seconds; the error after that has the key.
            recipe: fields of the request: epochs, batch_size, optimizer, lr, schedule, precision,
                seed, n_shots, eval_every ...; init="random", or "upload" to start from the
                values that the module has (or parameters, name -> array or tensor).

        All parameters are trained, with a warning where a module's have requires_grad=False. A
        batch norm that is called more than once must have track_running_stats=False, or the module
        is refused (TraceError): a job keeps running statistics of every call.
        """
        if input_shape is None and is_module(module_or_request):
            input_shape = self._image_shape(dataset)
        request, followed = network(module_or_request, input_shape, 3)
        if followed is not None:
            from .training import check_trainable, warn_of_frozen
            check_trainable(followed)
            warn_of_frozen(module_or_request, followed, 3)
        request.update(recipe, dataset=dataset)
        if steps is not None:
            request["steps"] = steps
        if model is not None:
            request["model"] = model
        if request.get("init") == "upload" and "parameters" not in request and followed:
            from .loading import state_arrays
            request["parameters"] = state_arrays(module_or_request)
        if isinstance(request.get("parameters"), Mapping):
            data = safetensors_bytes(arrays_of(request["parameters"]))
            request["parameters"] = base64.b64encode(data).decode()
        key = idempotency_key or uuid.uuid4().hex
        return Job(self, self._json("POST", "/finetune", request, {"Idempotency-Key": key}))

    def jobs(self, state: Optional[str] = None, limit: int = 100) -> List[Job]:
        """The server's jobs, the newest first, at most `limit` of them; with `state` only those
        that are queued, running, succeeded, failed or cancelled."""
        query: Dict[str, Any] = {} if state is None else {"state": state}
        jobs: List[Job] = []
        while len(jobs) < limit:
            query["limit"] = min(limit - len(jobs), 1000)
            answer = self._json("GET", "/jobs?" + urllib.parse.urlencode(query))
            jobs += [Job(self, job) for job in answer["jobs"]]
            if not answer.get("next"):
                break
            query["before"] = answer["next"]
        return jobs

    def job(self, job_id: str) -> Job:
        """The job of that id."""
        return Job(self, self._json("GET", job_path(job_id)))

    def datasets(self) -> List[Dict[str, Any]]:
        """The data sets that the server can train on."""
        return self._json("GET", "/datasets")["datasets"]

    def _image_shape(self, name: str) -> Optional[Tuple[int, int, int]]:
        """(channels, height, width) of a data set's images; None if they differ."""
        known = {found["name"]: found for found in self.datasets()}
        if name not in known:
            raise GhnError(f"the server has no data set {name!r}; it has "
                           f"{', '.join(sorted(known)) or 'none at all'}", "unknown_dataset",
                           "dataset")
        found = known[name]
        return (found["channels"], found["height"], found["width"]) if found["height"] else None

    # --- The server ---

    def models(self) -> List[Dict[str, Any]]:
        """The hypernetworks that the server has."""
        answer = self._json("GET", "/models")
        return answer["models"] if isinstance(answer, dict) and "models" in answer else answer

    def health(self) -> Dict[str, Any]:
        """What the server says of its health; an error if it is not well."""
        return self._json("GET", "/healthz")

    # --- HTTP ---

    def _json(self, method: str, path: str, body: Optional[Any] = None,
              headers: Optional[Mapping[str, str]] = None) -> Any:
        answer = self._request(method, path, body, "application/json", headers)
        try:
            return json.loads(answer)
        except ValueError:
            raise GhnError(f"{self.url}{path} answered with something that is not JSON; is it a "
                           "ghnd server?", "invalid_answer") from None

    def _request(self, method: str, path: str, body: Optional[Any], accept: str,
                 headers: Optional[Mapping[str, str]] = None) -> bytes:
        """The body of a successful answer. Waits and tries again while the server is busy, and, if
        an Idempotency-Key makes that safe, where an answer was lost on the way."""
        data = None if body is None else encode(body)
        key = (headers or {}).get("Idempotency-Key")
        uncertain = False  # whether the server may have done what was asked
        deadline = math.inf
        attempt = 0
        while True:
            retry_after = None
            try:
                status, received, answer = self._once(method, path, data, accept, headers)
                if status < 300:
                    return answer
                error = _error(status, answer)
                again = status == 503
                retry_after = received.get("Retry-After")
            except GhnError as lost:
                error = lost
                uncertain |= not isinstance(lost.__cause__, NEVER_SENT)
                # A server that was there, and is not now, is being restarted.
                again = key is not None and (uncertain or attempt > 0)
            pause = _pause(retry_after, attempt)
            if attempt == 0:
                deadline = time.monotonic() + self._max_wait
            if not again or time.monotonic() + pause > deadline:
                raise _with_key(error, key) if again and uncertain and key else error
            time.sleep(pause)
            attempt += 1

    def _once(self, method: str, path: str, data: Optional[bytes], accept: str,
              headers: Optional[Mapping[str, str]] = None
              ) -> Tuple[int, http.client.HTTPMessage, bytes]:
        with self._open(method, path, data, accept, headers) as response:
            return response.status, response.headers, response.read()

    @contextlib.contextmanager
    def _open(self, method: str, path: str, data: Optional[bytes], accept: str,
              headers: Optional[Mapping[str, str]] = None, timeout: Optional[float] = None
              ) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read, whatever its status. What goes wrong on the way, then or while it
        is read, is a GhnError."""
        sent = {"Accept": accept, "User-Agent": USER_AGENT, **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" \
            else http.client.HTTPConnection
        connection = kind(self._parts.hostname, self._parts.port,
                          timeout=self._timeout if timeout is None else timeout)
        try:
            try:
                connection.request(method, self._parts.path.rstrip("/") + path, data, sent)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # The server may have refused before it had read everything: hear what it says.
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise GhnError(self._explain(error), "connection") from error
        finally:
            connection.close()

    def _explain(self, error: Exception) -> str:
        """What went wrong on the way to the server, and what to do."""
        if isinstance(error, ConnectionRefusedError):
            return (f"no server listens at {self.url}; start one (ghnd --listen "
                    f"{self._parts.hostname}:{self._parts.port or 80}) or check the address")
        if isinstance(error, socket.gaierror):
            return f"there is no host {self._parts.hostname!r}; check the address {self.url}"
        if isinstance(error, socket.timeout):
            return (f"{self.url} did not answer within {self._timeout:g} seconds; a larger timeout "
                    "may help")
        if isinstance(error, ssl.SSLError):
            return (f"no secure connection to {self.url}: {error}; use http:// if the server has "
                    "no certificate")
        if isinstance(error, http.client.IncompleteRead):
            return f"the answer of {self.url} broke off; try again"
        return f"no answer from {self.url}: {error or type(error).__name__}"


def _address(url: str) -> urllib.parse.SplitResult:
    """The parts of a server's address."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, AttributeError):  # brackets that do not close, a port that is no number
        good = False
    if not good:
        raise ValueError(f"{url!r} is not the address of a server; it should look like "
                         "http://localhost:8080")
    return parts


def _unfollowed(followed: "Followed") -> Dict[str, str]:
    """Why nothing was predicted for parameters that other outputs than the first may depend on. The
    server knows of one output only."""
    if followed.n_outputs < 2:
        return {}
    return {name: f"the first of the network's {followed.n_outputs} outputs, which alone is "
                  "followed, does not depend on it"
            for name in followed.arch.get("unused_parameters", {})}


def _with_key(error: GhnError, key: str) -> GhnError:
    """The error of a request that the server may have carried out all the same."""
    told = GhnError(f"{error.detail}; the server may have taken the request all the same: the same "
                    f"call with idempotency_key={key!r} gives its job", error.code, error.where,
                    error.status)
    told.__cause__ = error
    return told


def _error(status: int, body: bytes) -> GhnError:
    """The error of an answer: application/problem+json, or whatever else there is."""
    try:
        problem = json.loads(body)
        detail = problem.get("detail") or problem.get("title") or f"HTTP status {status}"
        return GhnError(str(detail), str(problem.get("code", "error")),
                        problem.get("where") or None, status)
    except (ValueError, AttributeError):
        reason = http.client.responses.get(status, "unknown status")
        return GhnError(f"the server answered {status} ({reason})", "error", None, status)


def _pause(retry_after: Optional[str], attempt: int) -> float:
    """Seconds until the next attempt: longer and longer ones, or more if the server asks for it."""
    pause = 0.25 * 2 ** min(attempt, 5) * (0.75 + 0.5 * random.random())
    try:
        asked = float(retry_after or "")
    except ValueError:
        return pause
    return max(pause, asked) if math.isfinite(asked) else pause
