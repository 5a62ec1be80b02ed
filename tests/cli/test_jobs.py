"""ghn finetune --server, ghn jobs and ghn datasets, with a server that trains."""
import http.server
import json
import os
import pty
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from test_ghn import GHN, GHND, Case, header_of
from test_train import NAMES, NETWORK

# Workers' threads would wait for each other, beside other tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class Server:
    """A ghnd with an untrained hypernetwork."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        model, port = (os.path.join(self.folder.name, n) for n in ("m.safetensors", "port"))
        subprocess.run([GHN, "new", "-o", model, "--classes", "10"], check=True,
                       capture_output=True, timeout=120)
        with open(os.path.join(self.folder.name, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [GHND, "--checkpoint", model, "--listen", "127.0.0.1:0", "--port-file", port,
                 "--state-dir", self.folder.name, "--save-interval", "0.2", "--log-level",
                 "warning"], stderr=log)
        end = time.monotonic() + 60
        while not os.path.exists(port):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError("ghnd did not start")
            time.sleep(0.02)
        with open(port, encoding="ascii") as file:
            self.url = f"http://127.0.0.1:{file.read().strip()}"

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()


def setUpModule():
    global server
    server = Server()
    unittest.addModuleCleanup(server.stop)


class Jobs(Case):
    def setUp(self):
        super().setUp()
        self.network = self.write("net.json", NETWORK)

    def finetune(self, *options, code=0):
        return self.ghn("finetune", self.network, "--server", server.url, "--data", "shapes",
                        "--batch-size", "8", "--eval-images", "16", *options, code=code)

    def submit(self, *options):
        out, _ = self.finetune("--no-wait", *options)
        self.assertRegex(out, r"^[a-z0-9]{16}\n$")
        return out.strip()

    def jobs(self, *arguments, code=0):
        return self.ghn("jobs", *arguments, "--server", server.url, code=code)

    def show(self, job):
        return json.loads(self.jobs("show", job, "--json")[0])

    def running(self, *options):
        """A job that runs, and will for long."""
        job = self.submit("--steps", "1000000", *options)
        self.addCleanup(self.jobs, "cancel", job)
        end = time.monotonic() + 60
        while self.show(job)["step"] < 1:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        return job

    def test_from_submission_to_parameters(self):
        out, err = self.finetune("--steps", "40", "--eval-every", "20", "-o", self.path("out"))
        job = re.match(r"job ([a-z0-9]{16})\n", err).group(1)
        for step in (0, 20, 40):
            self.assertEqual(1, err.count(f"step {step} of 40: test loss "), err)
        self.assertRegex(out, rf"{job}: succeeded at step 40 of 40, test top-1 [\d.]+ %, in \d+:\d\d\n"
                              r".*out: 8 tensors, .*, of step \d+, test top-1 [\d.]+ %\n$")
        header = header_of(self.path("out"))
        self.assertEqual("shapes", header.pop("__metadata__")["dataset"])
        self.assertEqual(NAMES, set(header))
        self.assertEqual(("succeeded", 40, "ghn"),
                         tuple(self.show(job)[k] for k in ("state", "step", "init")))
        again, _ = self.jobs("parameters", job, "-o", self.path("again"))
        self.assertIn("again: 8 tensors", again)
        with open(self.path("out"), "rb") as a, open(self.path("again"), "rb") as b:
            self.assertEqual(a.read(), b.read())
        watched, _ = self.jobs("watch", job)
        self.assertEqual(out.splitlines()[0], watched.rstrip("\n"))
        shown, _ = self.jobs("show", job)
        self.assertRegex(shown, r"(?m)^state +succeeded$")
        self.assertRegex(shown, r"(?m)^ +40 +\d+\.\d{4} ")
        listed, _ = self.jobs()
        self.assertRegex(listed, rf"(?m)^{job} +succeeded +40/40 +small +shapes +20\d\d-")

    def test_what_it_starts_from(self):
        self.finetune("--init", "random", "--steps", "1", "-o", self.path("a"), "--seed", "3")
        _, err = self.finetune("--parameters", self.path("a"), "--steps", "1", "--lr", "0",
                               "--weight-decay", "0", "-o", self.path("b"))
        self.assertEqual("upload", self.show(err.split()[1])["init"])
        values = []
        for name in "ab":
            with open(self.path(name), "rb") as file:
                data = file.read()
            header = header_of(self.path(name))
            begin, end = header["fc.weight"]["data_offsets"]
            start = 8 + int.from_bytes(data[:8], "little")
            values.append(data[start + begin:start + end])
        self.assertEqual(*values)

    def test_cancel(self):
        job = self.running()
        self.assertIn(job, self.jobs("list", "--state", "running")[0])
        out, _ = self.jobs("cancel", job)
        self.assertEqual(f"{job}: cancelled\n", out)
        out, _ = self.jobs("watch", job, code=1)
        self.assertTrue(out.startswith(f"{job}: cancelled at step "), out)
        self.assertNotIn(job, self.jobs("--state", "running")[0])

    def test_ctrl_c_ends_only_the_watching(self):
        job = self.running()
        with subprocess.Popen([GHN, "jobs", "watch", job, "--server", server.url], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self.assertIn("step ", process.stderr.readline())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        self.assertEqual(1, process.returncode)
        self.assertIn("the job goes on: ghn jobs watch", err)
        self.assertEqual("running", self.show(job)["state"])

    def test_a_bar_on_a_terminal(self):
        job = self.running()
        main, other = pty.openpty()
        with subprocess.Popen([GHN, "jobs", "watch", job, "--server", server.url], stderr=other,
                              stdout=subprocess.DEVNULL) as process:
            os.close(other)
            text = b""
            end = time.monotonic() + 30
            while b"images/s" not in text and time.monotonic() < end:
                text += os.read(main, 4096)
            process.send_signal(signal.SIGINT)
            process.wait(30)
        os.close(main)
        self.assertRegex(text.decode(), r"\r\.{24}   0 %  \d+/1000000  \d+ images/s")

    def test_a_job_that_fails(self):
        _, err = self.finetune("--steps", "400", "--lr", "1e9", "--clip-norm", "0", "--schedule",
                               "constant", "-o", self.path("out"), code=1)
        self.assertIn("the job failed: ", err)
        self.assertIn("(diverged)", err)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_refused(self):
        _, err = self.finetune("--data", "nothing", code=1)
        self.assertIn('there is no data set "nothing"', err)
        self.assertIn("ghn datasets lists", err)
        for arguments in (("show", "aaaaaaaaaaaaaaaa"), ("watch", "aaaaaaaaaaaaaaaa"),
                          ("cancel", "aaaaaaaaaaaaaaaa")):
            _, err = self.jobs(*arguments, code=1)
            self.assertIn("there is no job", err)
        _, err = self.jobs("parameters", "aaaaaaaaaaaaaaaa", "-o", self.path("x"), code=1)
        self.assertIn("there is no job", err)
        self.assertFalse(os.path.exists(self.path("x")))

    def test_wrong_command_lines(self):
        for arguments, words in ((["jobs", "shwo"], "none of list"), (["jobs", "show"], "needs the id"),
                                 (["jobs", "list", "x"], "takes no id"),
                                 (["jobs", "show", "../models"], "no id of a job"),
                                 (["jobs", "--state", "dead"], "none of queued"),
                                 (["jobs", "parameters", "x"], "-o FILE is missing"),
                                 (["finetune", "n", "--data", "d", "--server", "u", "--checkpoint", "c"],
                                  "--server and --checkpoint"),
                                 (["finetune", "n", "--data", "d", "--server", "u", "--dir", "c"],
                                  "do not go with --server"),
                                 (["finetune", "n", "--data", "d", "--no-wait", "-o", "o"],
                                  "need --server")):
            with self.subTest(arguments):
                self.assertIn(words, self.ghn(*arguments, code=2)[1])

    def test_datasets(self):
        out, _ = self.ghn("datasets", "--server", server.url)
        self.assertRegex(out, r"(?m)^shapes +shapes +10 +3 x 32 x 32 +50000 +10000$")
        out, _ = self.ghn("datasets", "--server", server.url, "--json")
        self.assertIn("shapes", [d["name"] for d in json.loads(out)["datasets"]])


class Fake(Case):
    """A server that is away, breaks off, and has no events."""

    def serve(self, *replies):
        """Gives replies one after the other, None for a connection that breaks; the last repeats.
        Returns the address and what was asked."""
        asked, left = [], list(replies)

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.command, self.path, dict(self.headers)))
                reply = left.pop(0) if len(left) > 1 else left[0]
                if reply is None:
                    return
                status, kind, body = reply
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = reply

            def log_message(self, *_):
                pass
        fake = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=fake.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(fake.server_close)
        self.addCleanup(fake.shutdown)
        return f"http://127.0.0.1:{fake.server_address[1]}", asked

    @staticmethod
    def job(state, step=0, **more):
        return {"id": "0123456789abcdef", "state": state, "dataset": "shapes", "step": step,
                "steps": 9, "progress": None, "error": None, **more}

    @staticmethod
    def text(value, status=200):
        return status, "application/json", json.dumps(value)

    def test_a_server_that_is_away_for_a_moment_is_asked_again(self):
        def read(connection):
            data = b""
            while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + int(
                    re.search(rb"Content-Length: (\d+)", data)[1]):
                data += connection.recv(65536)
            return re.search(rb"Idempotency-Key: (\S+)", data)[1]

        def restart(listener, address):
            """Takes a request, is away, and answers the next one."""
            connection, _ = listener.accept()
            keys.append(read(connection))
            listener.close()
            connection.close()
            time.sleep(0.4)
            with socket.create_server(address) as again:
                connection, _ = again.accept()
                with connection:
                    keys.append(read(connection))
                    body = json.dumps(self.job("queued")).encode()
                    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                                       b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        keys = []
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        thread = threading.Thread(target=restart, args=(listener, address), daemon=True)
        thread.start()
        out, _ = self.ghn("finetune", self.write("net.json", NETWORK), "--server", f"http://127.0.0.1:{address[1]}",
                          "--data", "shapes", "--no-wait")
        thread.join(10)
        self.assertEqual("0123456789abcdef", out.strip())
        self.assertEqual(2, len(keys))
        self.assertEqual(keys[0], keys[1])

    def test_a_lost_answer_is_asked_for_again_with_the_same_key(self):
        url, asked = self.serve(None, self.text({"code": "busy", "detail": "busy"}, 503),
                                self.text(self.job("queued"), 202))
        out, _ = self.ghn("finetune", self.write("n", NETWORK), "--server", url, "--data", "shapes",
                          "--no-wait")
        self.assertEqual("0123456789abcdef\n", out)
        self.assertEqual(["/finetune"] * 3, [path for _, path, _ in asked])
        keys = {headers["Idempotency-Key"] for _, _, headers in asked}
        self.assertEqual([32], [len(key) for key in keys])

    def test_polling_and_streams_that_break_off(self):
        none = self.text({"code": "too_many_streams", "detail": "x"}, 503)
        point = {"step": 4, "steps": 9, "loss": 2.5, "train_accuracy": 0.5, "test_top1": 0.25,
                 "test_loss": 1.5, "test_top5": 0.75}
        broken = (200, "text/event-stream",
                  f"event: progress\r\ndata: {json.dumps(point)}\r\n\r\nevent: progress\ndata: {{")
        url, asked = self.serve(none, self.text(self.job("queued")), broken, None,
                                none, self.text(self.job("succeeded", 9, progress={**point, "step": 9})))
        out, err = self.ghn("jobs", "watch", "0123456789abcdef", "--server", url)
        self.assertEqual("0123456789abcdef: succeeded at step 9 of 9, test top-1 25.00 %\n", out)
        self.assertIn("waiting for a worker\n", err)
        self.assertIn("step 4 of 9: test loss 1.5000, top-1 25.00 %", err)
        self.assertEqual(["/events" if i % 2 == 0 else "" for i in range(6)],
                         [path.partition("0123456789abcdef")[2] for _, path, _ in asked])
        self.assertEqual("4", asked[4][2]["Last-Event-ID"])

    def test_nothing_of_the_server_reaches_the_terminal_raw(self):
        url, _ = self.serve(self.text({"jobs": [self.job("\x1b[31mred", name="a\x07b\x1b]0;x")],
                                       "next": None}))
        out, _ = self.ghn("jobs", "--server", url)
        self.assertNotRegex(out, r"[\x00-\x09\x0b-\x1f\x7f]")

    def test_no_ghnd(self):
        url, _ = self.serve((200, "text/html", "<html>"))
        for command in (["jobs"], ["datasets"], ["jobs", "show", "a"]):
            self.assertIn("no JSON; is this a ghnd?", self.ghn(*command, "--server", url, code=1)[1])
        _, err = self.ghn("jobs", "--server", "http://127.0.0.1:1", code=1)
        self.assertIn("is ghnd running there?", err)


if __name__ == "__main__":
    unittest.main()
