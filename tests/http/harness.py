"""A real ghnd on an ephemeral port, and the ways to talk to it: whole requests and raw bytes."""
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GHND = os.environ["GHND"]
MAKE_MODEL = os.environ["GHND_MAKE_MODEL"]
# Sanitizers make everything slower; deadlines of the tests, not those of the daemon, are stretched.
PATIENCE = float(os.environ.get("GHND_PATIENCE", "1"))
measures_memory = unittest.skipIf(PATIENCE > 1, "a sanitizer keeps memory of its own")


def make_model(path, seed=1, classes=10):
    subprocess.run([MAKE_MODEL, path, str(seed), str(classes)], check=True)
    return path


def wait_for(condition, seconds=10, what="the condition"):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds * PATIENCE} s")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Daemon:
    """ghnd with the given options; ends with stop() or at the end of a with block."""

    def __init__(self, *options, models=("first",), folder=None, environment=None, classes=10,
                 wait=True, pass_fds=(), preexec=None, program=GHND):
        self.folder = folder or tempfile.mkdtemp(prefix="ghnd-test-")
        self.own_folder = folder is None
        self.port_file = os.path.join(self.folder, "port")
        self.log_path = os.path.join(self.folder, "log")
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        arguments = [program, "--listen", "127.0.0.1:0", "--port-file", self.port_file,
                     "--state-dir", self.folder]
        self.checkpoints = []
        for i, name in enumerate(models):
            path = os.path.join(self.folder, name + ".safetensors")
            if not os.path.exists(path):
                make_model(path, seed=i + 1, classes=classes)
            self.checkpoints.append(path)
            arguments += ["--checkpoint", path]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            arguments + list(options), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**os.environ, **(environment or {})}, pass_fds=pass_fds, preexec_fn=preexec)
        self.port = None
        if wait:
            wait_for(lambda: os.path.exists(self.port_file) or self.process.poll() is not None, 20,
                     "start")
            if self.process.poll() is not None:
                raise AssertionError("ghnd did not start: " + self.log_text())
            with open(self.port_file) as file:
                self.port = int(file.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def log_text(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def log_lines(self, **fields):
        """The log's lines as dicts (of a daemon that logs JSON) that have all of the fields."""
        lines = [json.loads(line) for line in self.log_text().splitlines()]
        return [line for line in lines if all(line.get(k) == v for k, v in fields.items())]

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, expect=0):
        """Stops the daemon, which must end by itself, cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(40 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("ghnd did not stop: " + self.log_text()[-2000:]) from None
        self.log.close()
        text = self.log_text()
        if self.own_folder:
            shutil.rmtree(self.folder)
        if code != expect or "ERROR: " in text or "runtime error" in text:
            raise AssertionError(f"ghnd ended with {code}:\n{text[-6000:]}")

    # --- Whole requests ---

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * PATIENCE)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body).encode()
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def predict(self, body, accept=None, connection=None, **headers):
        headers = {"Content-Type": "application/json", **headers}
        if accept is not None:
            headers["Accept"] = accept
        return self.request("POST", "/predict", body, headers, connection)

    # --- Raw bytes ---

    def socket(self, timeout=10, receive_buffer=None):
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(timeout * PATIENCE)
        raw.connect(("127.0.0.1", self.port))
        return raw

    def exchange(self, data, half_close=False):
        """Sends bytes and returns all that comes until the daemon closes."""
        with self.socket() as raw:
            raw.sendall(data)
            if half_close:
                raw.shutdown(socket.SHUT_WR)
            return receive_all(raw)

    # --- Facts about the process ---

    def metric(self, name):
        """The sum of the series of that name whose text starts so (name or name{label="..."})."""
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name) and line[len(name)] in " {,}":
                total += float(line.rsplit(" ", 1)[1])
        return total

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def receive_all(raw):
    parts = []
    while True:
        try:
            part = raw.recv(1 << 20)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        return False
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: the listening socket was closed with the connection in its queue.
        return True


def read_safetensors(data):
    """({name: (dtype, shape, bytes)}, metadata) of a safetensors file, checked as the format asks."""
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + n])
    assert (8 + n) % 64 == 0, "the data is not aligned"
    metadata = header.pop("__metadata__", {})
    body, end, tensors = data[8 + n:], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        assert first == end, f"{name} leaves a hole"
        end = last
        tensors[name] = (entry["dtype"], entry["shape"], body[first:last])
    assert end == len(body), "the data ends elsewhere than the header says"
    return tensors, metadata


class SharedDaemon(unittest.TestCase):
    """Tests that share one daemon, started with `options` and `models`."""
    options = ()
    models = ("first",)
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.options, models=cls.models)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def assert_problem(self, answer, status, code, where=None):
        self.assertEqual((status, code), (answer.status, code_of(answer)), answer)
        self.assertEqual("application/problem+json", answer.headers["Content-Type"])
        problem = answer.json()
        self.assertEqual({"type", "title", "status", "detail", "code", "where", "request_id"},
                         set(problem))
        self.assertEqual("urn:ghnd:error:" + code, problem["type"])
        self.assertEqual(status, problem["status"])
        self.assertEqual(answer.headers["X-Request-Id"], problem["request_id"])
        if where is not None:
            self.assertEqual(where, problem["where"], problem)
        if status == 503:
            self.assertGreater(int(answer.headers["Retry-After"]), 0)


def code_of(answer):
    try:
        return answer.json()["code"]
    except (ValueError, KeyError):
        return None
