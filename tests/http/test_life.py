"""Start, configuration, reload and end of the daemon."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from harness import GHND, Daemon, SharedDaemon, make_model, refused, wait_for
import networks

TOKEN = "a-token_of.32~characters+or/more=="


class Start(unittest.TestCase):
    """What keeps the daemon from starting is one line that says what to do."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, "w") as file:
                file.write(text)
        return path

    def run_ghnd(self, *arguments, **environment):
        return subprocess.run([GHND, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, env={**os.environ, **environment})

    def fails(self, *arguments, code=1, **environment):
        run = self.run_ghnd("--state-dir", self.folder, *arguments, **environment)
        lines = run.stderr.splitlines()
        self.assertEqual((code, 1, ""), (run.returncode, len(lines), run.stdout), run)
        self.assertTrue(lines[0].startswith("ghnd: "), lines)
        return lines[0]

    def test_help_lists_every_option(self):
        run = self.run_ghnd("--help")
        self.assertEqual((0, ""), (run.returncode, run.stderr))
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "daemon", "options.def")) as file:
            names = re.findall(r'^GHND_\w+\(\w+, "([a-z-]+)"', file.read(), re.M)
        self.assertGreater(len(names), 30)
        for name in names:
            self.assertIn(f"\n  --{name} ", run.stdout)
        self.assertTrue(all(len(line) <= 100 for line in run.stdout.splitlines()))

    def test_version(self):
        run = self.run_ghnd("--version")
        self.assertEqual(0, run.returncode)
        self.assertRegex(run.stdout, r"^ghnd \d+\.\d+\.\d+\n$")

    def test_help_and_version_need_no_home(self):
        def nobody():
            if os.geteuid() == 0:
                os.setuid(65534)
        os.chmod(self.folder, 0o755)
        program = shutil.copy(GHND, self.path("ghnd"))  # where everybody may run it
        for option in ("--version", "--help"):
            run = subprocess.run([program, option], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 timeout=60, env={"PATH": os.environ["PATH"]}, preexec_fn=nobody)
            self.assertEqual((0, ""), (run.returncode, run.stderr))

    def test_no_checkpoint(self):
        line = self.fails()
        self.assertIn("--checkpoint FILE", line)
        self.assertIn("ghn new", line)

    def test_bad_checkpoints(self):
        self.assertIn("/nowhere.pt", self.fails("--checkpoint", "/nowhere.pt"))
        self.assertIn(self.path("x.pt"), self.fails("--checkpoint", self.path("x.pt", "rubbish")))
        self.assertIn("rename", self.fails("--checkpoint", self.path("a b.pt", "")))
        good = make_model(self.path("m.safetensors"))
        os.mkdir(self.path("other"))
        shutil.copy(good, self.path("other"))
        self.assertIn('"m"', self.fails("--checkpoint", good, "--checkpoint",
                                        self.path("other") + "/m.safetensors"))

    def test_bad_options(self):
        for arguments, text in ((["--nonsense"], "--nonsense"), (["--threads"], "needs a value"),
                                (["--threads", "many"], "--threads"), (["file.pt"], "--checkpoint"),
                                (["--threads", "-1"], "--threads"), (["--max-body-bytes", "9T"], "9T"),
                                (["--header-timeout", "0"], "0.1 to 3600"),
                                (["--log-format", "xml"], "logfmt"), (["--log-level", "loud"], "info"),
                                (["--config", "/nowhere.conf"], "/nowhere.conf")):
            with self.subTest(arguments):
                self.assertIn(text, self.fails(*arguments, code=2))

    def test_bad_configuration_names_the_line(self):
        for text, found in (("threads = 2\nthread = 3\n", 'bad.conf:2: there is no option "thread"'),
                            ("threads 2", "bad.conf:1"), ("threads = two", "bad.conf:1"),
                            ("\n\nlisten =\n", "bad.conf:3"), ("a" * 5000, "bad.conf:1")):
            self.assertIn(found, self.fails("--config", self.path("bad.conf", text), code=2))

    def test_bad_addresses(self):
        model = make_model(self.path("m.safetensors"))
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = "127.0.0.1:%d" % other.getsockname()[1]
            line = self.fails("--checkpoint", model, "--listen", taken)
            self.assertIn(taken, line)
            self.assertIn("another", line)
        for where in ("8080", "::1:80", "127.0.0.1:", "127.0.0.1:http", "192.0.2.1:0"):
            self.fails("--checkpoint", model, "--listen", where)

    def test_bad_tokens(self):
        model = make_model(self.path("m.safetensors"))
        for text in ("short", "sixteen chars or more", ""):
            self.fails("--checkpoint", model, "--token-file", self.path("token", text))
        self.fails("--checkpoint", model, "--token-file", self.path("none"))

    def test_file_then_command_line(self):
        model = make_model(self.path("m.safetensors"))
        other = make_model(self.path("other.safetensors"), seed=2)
        config = self.path("ghnd.conf", f"# comment\n\n checkpoint = {model}\ncheckpoint={other}\n"
                                        "max-body-bytes = 1K\nlog-format = json\n")
        with Daemon("--config", config, models=()) as daemon:
            models = daemon.get("/models").json()["models"]
            self.assertEqual(["m", "other"], [m["id"] for m in models])
            self.assertEqual(413, daemon.predict(b" " * 1025).status)
        with Daemon("--config", config, "--max-body-bytes", "2K", models=("third",)) as daemon:
            self.assertEqual(["third"], [m["id"] for m in daemon.get("/models").json()["models"]])
            self.assertEqual(400, daemon.predict(b" " * 1025).status)

    def test_the_checkpoint_of_the_installation(self):
        os.makedirs(self.path("usr/sbin"))
        os.makedirs(self.path("usr/share/ghnd/checkpoints"))
        os.makedirs(self.path("state/checkpoints"))
        program = shutil.copy(GHND, self.path("usr/sbin/ghnd"))
        make_model(self.path("usr/share/ghnd/checkpoints/shipped.safetensors"))
        with Daemon(models=(), folder=self.path("state"), program=program) as daemon:
            self.assertEqual(["shipped"], [m["id"] for m in daemon.get("/models").json()["models"]])
            self.assertIn("share/ghnd/checkpoints/shipped.safetensors", daemon.log_text())
        make_model(self.path("state/checkpoints/own.safetensors"))
        with Daemon(models=(), folder=self.path("state"), program=program) as daemon:
            self.assertEqual(["own"], [m["id"] for m in daemon.get("/models").json()["models"]])

    def test_checkpoints_of_the_state_folder(self):
        os.mkdir(self.path("checkpoints"))
        make_model(self.path("checkpoints/b.safetensors"), seed=2)
        make_model(self.path("checkpoints/a.safetensors"))
        with Daemon(models=(), folder=self.folder) as daemon:
            models = daemon.get("/models").json()["models"]
            self.assertEqual(["a", "b"], [m["id"] for m in models])

    def test_ipv6(self):
        with Daemon("--listen", "[::1]:0") as daemon:
            with socket.create_connection(("::1", daemon.port), 10) as raw:
                raw.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                self.assertTrue(raw.recv(100).startswith(b"HTTP/1.1 200"))


    def test_a_name(self):
        """It may stand for several addresses, of which IPv4's come first."""
        with Daemon("--listen", "localhost:0") as daemon:
            self.assertEqual(200, daemon.get("/healthz").status)
            self.assertIn("address=127.0.0.1:", daemon.log_text())


class Manager(unittest.TestCase):
    """The service manager's protocols."""

    def test_notifications(self):
        for abstract in (False, True):
            folder = tempfile.mkdtemp(prefix="ghnd-test-")
            self.addCleanup(shutil.rmtree, folder, True)
            path = f"\0ghnd-{os.getpid()}" if abstract else os.path.join(folder, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path)
                manager.settimeout(20)
                daemon = Daemon(environment={"NOTIFY_SOCKET": path.replace("\0", "@"),
                                             "WATCHDOG_USEC": "400000"})
                self.assertEqual(b"READY=1", manager.recv(1000))
                self.assertEqual(b"WATCHDOG=1", manager.recv(1000))
                daemon.signal(signal.SIGHUP)
                seen = []
                while b"READY=1" not in seen:
                    seen.append(manager.recv(1000))
                reloading = [s for s in seen if s.startswith(b"RELOADING=1\nMONOTONIC_USEC=")]
                self.assertEqual(1, len(reloading))
                daemon.stop()
                manager.setblocking(False)
                rest = []
                try:
                    while True:
                        rest.append(manager.recv(1000))
                except BlockingIOError:
                    pass
                self.assertIn(b"STOPPING=1", rest)

    def test_socket_activation(self):
        for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, "unix")):
            folder = tempfile.mkdtemp(prefix="ghnd-test-")
            with socket.socket(family) as passed:
                if family == socket.AF_UNIX:
                    address = os.path.join(folder, address)
                passed.bind(address)
                passed.listen()
                fd = passed.fileno()

                def preexec(fd=fd):
                    os.dup2(fd, 3)
                    os.set_inheritable(3, True)

                # LISTEN_PID must be the child's, which only the child knows: a shell sets it.
                model = make_model(os.path.join(folder, "m.safetensors"))
                log = open(os.path.join(folder, "log"), "wb")
                process = subprocess.Popen(
                    ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"', GHND,
                     "--checkpoint", model, "--state-dir", folder], stderr=log, preexec_fn=preexec,
                    pass_fds=(3,) if fd != 3 else (fd,))
                try:
                    with socket.socket(family) as raw:
                        raw.settimeout(30)
                        raw.connect(passed.getsockname())
                        raw.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                        self.assertIn(b" 200 ", raw.recv(100)[:20])
                finally:
                    process.terminate()
                    self.assertEqual(0, process.wait(30))
                    log.close()
                    shutil.rmtree(folder)


class Token(SharedDaemon):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="ghnd-test-")
        path = os.path.join(cls.folder, "token")
        with open(path, "w") as file:
            file.write(TOKEN + "\n")
        cls.daemon = Daemon("--token-file", path)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.folder)

    def test_token(self):
        good = {"Authorization": "Bearer " + TOKEN}
        self.assertEqual(200, self.daemon.predict(networks.tiny(), **good).status)
        for bad in (None, "Bearer", "Bearer ", "Bearer " + TOKEN[:-1], "Bearer " + TOKEN + "x",
                    "Bearer x" + TOKEN[1:], "Basic " + TOKEN, TOKEN):
            headers = {} if bad is None else {"Authorization": bad}
            answer = self.daemon.predict(networks.tiny(), **headers)
            self.assert_problem(answer, 401, "unauthorized", "Authorization")
            self.assertEqual("Bearer", answer.headers["WWW-Authenticate"])
            for path in ("/models", "/metrics", "/openapi.json", "/nothing"):
                self.assertEqual(401, self.daemon.get(path, **headers).status)
            for path in ("/healthz", "/readyz"):
                self.assertEqual(200, self.daemon.get(path, **headers).status)
        self.assertNotIn(TOKEN, self.daemon.log_text())


class Logs(unittest.TestCase):
    def test_json_lines(self):
        with Daemon("--log-format", "json") as daemon:
            daemon.predict(networks.tiny(), **{"X-Request-Id": "seven"})
            daemon.predict(networks.tiny(model='a"b\\c\u20ac'), **{"X-Request-Id": "eight"})
            self.assertEqual(1, len(daemon.log_lines(msg="serving", port=daemon.port)))
            good, = wait_for(lambda: daemon.log_lines(request_id="seven"))
            self.assertEqual(("POST", "/predict", 200, "first", "info"), tuple(
                good[k] for k in ("method", "route", "status", "model", "level")))
            self.assertGreater(good["bytes"], 10000)
            self.assertGreater(good["duration_ms"], 0)
            bad, = wait_for(lambda: daemon.log_lines(request_id="eight"))
            self.assertEqual((404, "unknown_model"), (bad["status"], bad["code"]))
            self.assertIn('a"b\\c\u20ac', bad["detail"])


    def test_an_answer_that_is_broken_off(self):
        """What the client has taken counts, not what it could have had."""
        for accept in (b"*/*", b"application/json"):
            with Daemon("--log-format", "json", "--max-inline-bytes", "256M") as daemon:
                with daemon.socket(receive_buffer=4096) as raw:
                    sent = json.dumps({**networks.chain(4, 512), "include_tensors": True}).encode()
                    raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n"
                                % (accept, len(sent)) + sent)
                    head = raw.recv(4096)
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                line, = wait_for(lambda d=daemon: d.log_lines(msg="request", route="/predict"))
                self.assertEqual("client_closed", line["code"])
                self.assertGreater(length, 8 << 20)
                self.assertLess(line["bytes"], length // 2)
                self.assertLess(daemon.metric("ghnd_response_bytes_total"), length // 2)

    def test_what_the_library_refuses(self):
        with Daemon("--log-format", "json") as daemon:
            answer = daemon.exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40000 + b"\r\n\r\n")
            self.assertIn(b" 431 ", answer)
            line, = wait_for(lambda: daemon.log_lines(msg="request", status=431))
            self.assertEqual("bad_request", line["code"])
            self.assertEqual(0, daemon.metric('ghnd_reject_total{reason="client_closed"'))

    def test_only_predictions_have_steps(self):
        with Daemon() as daemon:
            for _ in range(5):
                daemon.get("/datasets")
            daemon.predict(networks.tiny())
            self.assertEqual(1, daemon.metric('ghnd_predict_duration_seconds_count{phase="queue"'))


class Load:
    """Clients that predict over kept connections until stopped; notes what goes wrong."""

    def __init__(self, daemon, clients=4, accept=None, body=None):
        self.daemon, self.accept, self.body = daemon, accept, body or networks.tiny()
        self.stopping, self.done, self.wrong, self.bodies = False, 0, [], set()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = self.daemon.connect()
        while not self.stopping:
            try:
                answer = self.daemon.predict(self.body, self.accept, connection)
                if answer.status != 200:
                    self.wrong.append(repr(answer))
                self.bodies.add(answer.body)
                self.done += 1
            except OSError as error:
                if self.daemon.draining:
                    break  # the listening socket is closed, which is how draining ends
                self.wrong.append(repr(error))
                break
        connection.close()

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


class Reload(unittest.TestCase):
    def test_no_request_is_dropped(self):
        with Daemon() as daemon:
            daemon.draining = False
            load = Load(daemon)
            for i in range(8):
                time.sleep(0.1)
                make_model(daemon.checkpoints[0], seed=2 + i % 2)
                daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.metric('ghnd_reloads_total{result="ok"}') >= 4)
            load.stop()
            self.assertEqual([], load.wrong)
            self.assertGreater(load.done, 50)
            # Each answer is one model's as a whole: seeds 1, 2 and 3.
            self.assertGreater(len(load.bodies), 1)
            self.assertLessEqual(len(load.bodies), 3)

    def test_a_bad_file_changes_nothing(self):
        with Daemon(models=("first", "second")) as daemon:
            before = daemon.get("/models").body
            shutil.copy(daemon.checkpoints[1], daemon.folder + "/kept")
            make_model(daemon.checkpoints[0], seed=9)
            with open(daemon.checkpoints[1] + ".new", "w") as file:
                file.write("rubbish")
            os.rename(daemon.checkpoints[1] + ".new", daemon.checkpoints[1])
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.metric('ghnd_reloads_total{result="failed"}') == 1)
            self.assertEqual(before, daemon.get("/models").body)
            self.assertEqual(200, daemon.predict(networks.tiny(model="second")).status)
            shutil.copy(daemon.folder + "/kept", daemon.checkpoints[1])
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.metric('ghnd_reloads_total{result="ok"}') == 1)
            self.assertNotEqual(before, daemon.get("/models").body)

    def test_limits_are_read_anew(self):
        folder = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, folder)
        config = os.path.join(folder, "ghnd.conf")
        with open(config, "w") as file:
            file.write("max-body-bytes = 2K\n")
        with Daemon("--config", config) as daemon:
            self.assertEqual(400, daemon.predict(b" " * 1500).status)
            with open(config, "w") as file:
                file.write("max-body-bytes = 1K\nqueue-length = 7\n")
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.predict(b" " * 1500).status == 413)
            self.assertIn("queue-length", daemon.log_text())

    def test_what_needs_a_restart_stays(self):
        """Also after the reload, and after the next one; each says so."""
        folder = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, folder)
        config = os.path.join(folder, "ghnd.conf")
        for name in ("one", "two"):
            os.makedirs(os.path.join(folder, name, "in-" + name))
            for i in range(1, 7):
                path = f"data_batch_{i}.bin" if i < 6 else "test_batch.bin"
                with open(os.path.join(folder, name, "in-" + name, path), "wb") as file:
                    file.write(bytes(3073))
        with open(config, "w") as file:
            file.write(f"data-dir = {folder}/one\n")
        with Daemon("--config", config) as daemon:
            names = lambda: [entry["name"] for entry in daemon.get("/datasets").json()["datasets"]]
            self.assertEqual(["in-one", "shapes"], names())
            with open(config, "w") as file:
                file.write(f"data-dir = {folder}/two\njob-timeout = 1\n")
            for i in range(1, 3):
                daemon.signal(signal.SIGHUP)
                wait_for(lambda n=i: daemon.metric('ghnd_reloads_total{result="ok"}') == n)
                self.assertEqual(["in-one", "shapes"], names())
                self.assertEqual(i, daemon.log_text().count("data-dir, job-timeout"))


class Stop(unittest.TestCase):
    def test_what_is_under_way_is_finished(self):
        """SIGTERM under load: every request that was accepted is answered, none is cut off."""
        daemon = Daemon("--drain-delay", "0.5", "--log-format", "json")
        daemon.draining = False
        load = Load(daemon)
        wait_for(lambda: load.done > 20)
        daemon.draining = True
        daemon.signal(signal.SIGTERM)
        wait_for(lambda: daemon.get("/readyz").status == 503, what="/readyz to fail")
        self.assertEqual(200, daemon.get("/healthz").status)
        self.assertEqual(200, daemon.predict(networks.tiny()).status)
        self.assertEqual("close", daemon.get("/healthz").headers["Connection"])
        wait_for(lambda: refused(daemon.port), what="refusal")
        load.stop()
        self.assertEqual(0, daemon.process.wait(30))
        requests = daemon.log_lines(msg="request")
        self.assertEqual([], load.wrong)
        self.assertEqual([], [r for r in requests if r["route"] == "/predict" and r["status"] != 200])
        daemon.stop()

    def test_a_long_answer_is_finished(self):
        daemon = Daemon("--drain-delay", "0")
        body = json.dumps(networks.chain(12, 512)).encode()
        with daemon.socket(receive_buffer=65536) as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
                        + body)
            head = raw.recv(4096)
            daemon.signal(signal.SIGTERM)
            wait_for(lambda: refused(daemon.port), what="refusal")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            self.assertGreater(length, 80 << 20)
            got = len(head.split(b"\r\n\r\n", 1)[1])
            while got < length:
                part = raw.recv(1 << 20)
                self.assertTrue(part, f"cut off after {got} of {length}")
                got += len(part)
        daemon.stop()  # by another SIGTERM, while it ends or after

    def test_signals_while_it_ends(self):
        """However many SIGTERMs come while it ends, the end is a clean one."""
        for _ in range(5):
            with Daemon() as daemon:
                while daemon.process.poll() is None:
                    daemon.signal(signal.SIGTERM)
                    time.sleep(0.0005)
                self.assertEqual(0, daemon.process.returncode)

    @staticmethod
    def ask_for_much(raw):
        """Asks for an answer that no buffer holds, and begins to read it."""
        body = json.dumps(networks.chain(12, 512)).encode()
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        raw.recv(100)

    def test_asked_twice(self):
        """A second SIGTERM ends all waiting, also one that comes while it still drains."""
        for pause in (0, 1):
            daemon = Daemon("--drain-delay", "0.5", "--shutdown-timeout", "60", "--send-window", "60")
            with daemon.socket(receive_buffer=4096) as raw:
                self.ask_for_much(raw)
                started = time.monotonic()
                daemon.signal(signal.SIGTERM)
                wait_for(lambda: "msg=stopping" in daemon.log_text())
                time.sleep(pause)
                daemon.signal(signal.SIGTERM)
                self.assertEqual(0, daemon.process.wait(20))
                self.assertLess(time.monotonic() - started, 10)
            self.assertIn('detail="requests were cut off"', daemon.log_text().splitlines()[-1])
            daemon.stop()

    def test_patience_ends(self):
        """A client that does not take its answer delays the end by --shutdown-timeout only."""
        daemon = Daemon("--shutdown-timeout", "0.5")
        with daemon.socket(receive_buffer=4096) as raw:
            self.ask_for_much(raw)
            started = time.monotonic()
            daemon.signal(signal.SIGTERM)
            daemon.process.wait(20)
            self.assertGreater(time.monotonic() - started, 0.4)
        daemon.stop()

    def test_idle_connections_do_not_delay(self):
        daemon = Daemon()
        with daemon.socket(), daemon.socket() as half:
            half.sendall(b"GET /health")
            daemon.get("/healthz")
            started = time.monotonic()
            daemon.stop()
            self.assertLess(time.monotonic() - started, 5)

    def test_stop_while_starting_and_reloading(self):
        for _ in range(5):
            daemon = Daemon()
            daemon.signal(signal.SIGHUP)
            daemon.signal(signal.SIGHUP)
            daemon.stop()


if __name__ == "__main__":
    unittest.main()
