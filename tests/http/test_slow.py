"""Clients that are slow, vanish, or come in numbers; and what answers cost in memory."""
import json
import re
import socket
import struct
import threading
import time
import unittest

from harness import Daemon, SharedDaemon, measures_memory, receive_all, wait_for
import networks

MIB = 1 << 20
# meson has malloc fill what it returns, which touches memory that the daemon never would.
PLAIN_MALLOC = {"MALLOC_PERTURB_": "0"}


def request(body, *fields):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (b"POST /predict HTTP/1.1\r\nHost: x\r\n" + b"".join(f + b"\r\n" for f in fields) +
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


def reset(raw):
    """Closes a socket with a RST."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


class Deadlines(SharedDaemon):
    """Deadlines are absolute: a byte now and then does not move them."""
    options = ("--header-timeout", "1", "--body-timeout", "1", "--keepalive-timeout", "1.5",
               "--send-window", "1", "--min-send-rate", "1M")

    def drip(self, raw, byte):
        """Sends the byte every 100 ms until the daemon closes; returns how long that took."""
        started = time.monotonic()
        raw.settimeout(0.1)
        while time.monotonic() - started < 30:
            try:
                raw.send(byte)
                if not raw.recv(1000):
                    return time.monotonic() - started
            except socket.timeout:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return time.monotonic() - started
        raise AssertionError("the connection was left open")

    def missed(self, phase):
        return self.daemon.metric(f'ghnd_deadlines_missed_total{{phase="{phase}"')

    def check(self, before, phase, seconds, low, high=4):
        self.assertGreater(seconds, low)
        self.assertLess(seconds, high * 2)
        self.assertEqual(before + 1, self.missed(phase))

    def test_silence(self):
        before = self.missed("header")
        started = time.monotonic()
        with self.daemon.socket(30) as raw:
            self.assertEqual(b"", receive_all(raw))
        self.check(before, "header", time.monotonic() - started, 0.8)

    def test_slow_first_line(self):
        before = self.missed("header")
        with self.daemon.socket() as raw:
            raw.sendall(b"GET /")
            self.check(before, "header", self.drip(raw, b"a"), 0.8)

    def test_slow_header(self):
        before = self.missed("header")
        with self.daemon.socket() as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
            self.check(before, "header", self.drip(raw, b"a"), 0.8)

    def test_slow_body(self):
        before = self.missed("body")
        with self.daemon.socket() as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            self.check(before, "body", self.drip(raw, b" "), 0.8)

    def test_slow_chunks(self):
        before = self.missed("body")
        with self.daemon.socket() as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.check(before, "body", self.drip(raw, b"1\r\n \r\n"), 0.8)

    def test_endless_chunks_are_cut_off(self):
        """Chunks beyond the limit are read and dropped, but no longer than the deadline."""
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        memory = self.daemon.memory()
        with self.daemon.socket(30) as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            with self.assertRaises(OSError):
                while True:
                    raw.sendall(chunk)
        self.assertLess(self.daemon.memory() - memory, 32 * MIB)

    def test_idle_connection(self):
        before = self.missed("idle")
        with self.daemon.socket(30) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            started = time.monotonic()
            self.assertTrue(receive_all(raw).startswith(b"HTTP/1.1 200"))
        self.check(before, "idle", time.monotonic() - started, 1.3)

    def test_reader_that_stops(self):
        before = self.missed("send")
        with self.daemon.socket(receive_buffer=4096) as raw:
            raw.sendall(request(networks.chain(12, 512)))
            raw.recv(100)
            started = time.monotonic()
            wait_for(lambda: self.missed("send") > before)
        self.check(before, "send", time.monotonic() - started, 0.5)
        wait_for(lambda: self.daemon.metric("ghnd_prediction_bytes") == 0)

    def test_slow_reader_that_is_fast_enough(self):
        """Above the minimum rate, an answer may take much longer than the window."""
        with self.daemon.socket(30, receive_buffer=262144) as raw:
            raw.sendall(request(networks.chain(4, 512)))
            head = raw.recv(4096)
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            self.assertGreater(length, 20 * MIB)
            got, started = len(head.split(b"\r\n\r\n", 1)[1]), time.monotonic()
            while got < length:
                part = raw.recv(262144)
                self.assertTrue(part, f"cut off after {got} of {length} bytes")
                got += len(part)
                time.sleep(max(0, started + got / (6 * MIB) - time.monotonic()))
        self.assertGreater(time.monotonic() - started, 2.5)

    def test_neighbours_do_not_notice(self):
        slow = [self.daemon.socket() for _ in range(50)]
        for raw in slow:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n ")
        for _ in range(20):
            self.assertEqual(200, self.daemon.predict(networks.tiny()).status)
        for raw in slow:
            raw.close()


class Vanishing(SharedDaemon):
    def settle(self, files):
        wait_for(lambda: self.daemon.metric("ghnd_in_flight") == 1)  # the one that asks
        wait_for(lambda: self.daemon.metric("ghnd_prediction_bytes") == 0)
        wait_for(lambda: self.daemon.files() <= files + 1)

    def test_in_the_middle_of_an_answer(self):
        body = request(networks.chain(12, 512))
        self.daemon.get("/healthz")
        files = self.daemon.files()
        for end in (socket.socket.close, reset):
            for _ in range(5):
                raw = self.daemon.socket(receive_buffer=65536)
                raw.sendall(body)
                self.assertTrue(raw.recv(1000).startswith(b"HTTP/1.1 200"))
                end(raw)
        self.settle(files)

    def test_before_the_answer(self):
        body = request(networks.chain(60, 256))
        self.daemon.get("/healthz")
        files = self.daemon.files()
        for end in (socket.socket.close, reset):
            raws = [self.daemon.socket() for _ in range(20)]
            for raw in raws:
                raw.sendall(body)
            for raw in raws:
                end(raw)
        self.settle(files)
        self.assertGreater(self.daemon.metric('ghnd_reject_total{reason="client_closed"'), 0)

    @measures_memory
    def test_memory_is_given_back(self):
        body = request(networks.chain(12, 512))
        def round_of(n):
            for _ in range(n):
                raw = self.daemon.socket(receive_buffer=65536)
                raw.sendall(body)
                raw.recv(1000)
                raw.close()
            wait_for(lambda: self.daemon.metric("ghnd_prediction_bytes") == 0)
            return self.daemon.memory()
        before = round_of(20)
        self.assertLess(round_of(60) - before, 24 * MIB)


class NoMinimumRate(SharedDaemon):
    """Where no rate is asked for, a client may take its time with every kind of answer."""
    options = ("--send-window", "0.5", "--min-send-rate", "0", "--max-inline-bytes", "64M")

    def check(self, *fields):
        body = {**networks.chain(4, 512), "include_tensors": True}
        with self.daemon.socket(30, receive_buffer=4096) as raw:
            raw.sendall(request(body, b"Connection: close", *fields))
            head = raw.recv(4096)
            time.sleep(3)
            head, _, rest = head.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            self.assertGreater(length, 8 * MIB)
            self.assertEqual(length, len(rest + receive_all(raw)))

    def test_a_stream(self):
        self.check()

    def test_a_report(self):
        self.check(b"Accept: application/json")


class Numbers(unittest.TestCase):
    def test_full_queue(self):
        """More than the queue takes are refused at once, and told when to come again."""
        with Daemon("--threads", "1", "--queue-length", "2") as daemon:
            answers, lock = [], threading.Lock()
            body = networks.chain(120, 256)

            def ask():
                answer = daemon.predict(body, accept="application/vnd.ghn.blocks")
                with lock:
                    answers.append(answer)

            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            refused = [a for a in answers if a.status != 200]
            self.assertGreater(len(refused), 0)
            self.assertGreaterEqual(len(answers) - len(refused), 3)
            for answer in refused:
                self.assertEqual((503, "queue_full"), (answer.status, answer.json()["code"]))
                self.assertGreater(int(answer.headers["Retry-After"]), 0)
            wait_for(lambda: daemon.metric('ghnd_reject_total{reason="queue_full"') == len(refused))
            self.assertEqual(200, daemon.predict(networks.tiny()).status)

    def test_jobs_under_the_load_of_predictions(self):
        """Where the queue is full, jobs can be watched and cancelled all the same."""
        with Daemon("--threads", "1", "--queue-length", "3", "--workers", "0") as daemon:
            body = {**networks.tiny(), "dataset": "shapes", "init": "random"}
            job = daemon.request("POST", "/finetune", body, {"Content-Type": "application/json"}).json()["id"]
            raws = [daemon.socket(120) for _ in range(6)]
            for raw in raws:
                raw.sendall(request(networks.chain(400, 256), b"Connection: close",
                                    b"Accept: application/vnd.ghn.blocks"))
            wait_for(lambda: daemon.metric('ghnd_reject_total{reason="queue_full"') > 0)
            for method, path in (("GET", "/jobs"), ("GET", f"/jobs/{job}"), ("DELETE", f"/jobs/{job}"),
                                 ("GET", f"/jobs/{job}/events")):
                self.assertEqual(200, daemon.request(method, path).status, path)
            self.assertGreater(daemon.metric("ghnd_queue_depth"), 0, "the load was over too soon")
            for raw in raws:
                receive_all(raw)
                raw.close()

    def test_waiting_too_long(self):
        with Daemon("--threads", "1", "--queue-timeout", "0.1") as daemon:
            raws = [daemon.socket(60) for _ in range(10)]
            for raw in raws:
                raw.sendall(request(networks.chain(400, 256), b"Connection: close",
                                    b"Accept: application/vnd.ghn.blocks"))
            answers = [receive_all(raw) for raw in raws]
            for raw in raws:
                raw.close()
            late = [a for a in answers if b'"code":"queue_timeout"' in a]
            self.assertGreater(len(late), 0)
            self.assertTrue(all(b"\r\nRetry-After: " in a for a in late))
            self.assertTrue(all(a.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")) for a in answers))

    def test_memory_budget(self):
        with Daemon("--max-inflight-bytes", "1M") as daemon:
            with daemon.socket(receive_buffer=4096) as raw:
                raw.sendall(request(networks.chain(12, 512)))
                raw.recv(100)
                answer = daemon.predict(networks.chain(12, 512))
                self.assertEqual((503, "overloaded"), (answer.status, answer.json()["code"]))
            wait_for(lambda: daemon.metric("ghnd_prediction_bytes") == 0)
            self.assertEqual(200, daemon.predict(networks.chain(12, 512)).status)

    def test_memory_budget_of_reports(self):
        """A report counts until it has been taken, and what making one takes counts before that."""
        body = {**networks.chain(2, 512), "include_tensors": True}
        with Daemon("--max-inflight-bytes", "16M") as daemon:
            with daemon.socket(receive_buffer=4096) as raw:
                raw.sendall(request(body, b"Accept: application/json"))
                raw.recv(100)
                self.assertGreater(daemon.metric("ghnd_prediction_bytes"), 1000000)
                answer = daemon.predict(body, "application/json")
                self.assertEqual((503, "overloaded"), (answer.status, answer.json()["code"]))
            wait_for(lambda: daemon.metric("ghnd_prediction_bytes") == 0)

    def test_memory_budget_of_bodies(self):
        """What has arrived of a body counts until it has been read; one alone is always taken."""
        big = json.dumps(networks.chain(12, 512)).encode()
        big += b" " * (100000 - len(big))

        def is_free(daemon):
            wait_for(lambda: daemon.metric("ghnd_body_bytes") == 0)
        with Daemon("--max-bodies-bytes", "64K", "--max-body-bytes", "100000") as daemon:
            self.assertEqual(200, daemon.predict(big).status)
            is_free(daemon)
            with daemon.socket() as raw:
                raw.sendall(request(big)[:-1])
                wait_for(lambda: daemon.metric("ghnd_body_bytes") >= len(big) - 1)
                for body in (big, networks.chain(12, 512)):
                    answer = daemon.predict(body)
                    self.assertEqual((503, "overloaded"), (answer.status, answer.json()["code"]))
                    self.assertIn("Retry-After", answer.headers)
                chunks = daemon.request("POST", "/predict", iter([b"{" + b" " * 5000]),
                                        {"Content-Type": "application/json"})
                self.assertEqual((503, "overloaded"), (chunks.status, chunks.json()["code"]))
            is_free(daemon)
            with daemon.socket(receive_buffer=4096) as raw:
                raw.sendall(request(big))
                raw.recv(100)
                is_free(daemon)  # while the answer is being sent
                self.assertGreater(daemon.metric("ghnd_prediction_bytes"), 0)
                self.assertEqual(200, daemon.predict(big, "application/vnd.ghn.blocks").status)

    def test_connection_limit_recovers(self):
        with Daemon("--max-connections", "4", "--http-threads", "2") as daemon:
            for _ in range(3):
                raws = [daemon.socket() for _ in range(12)]
                for raw in raws[:4]:
                    raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.1)
                for raw in raws:
                    raw.close()
                self.assertEqual(200, daemon.get("/healthz").status)

    @measures_memory
    def test_many_idle_connections(self):
        with Daemon("--max-connections", "3000", environment=PLAIN_MALLOC) as daemon:
            daemon.get("/healthz")
            before = daemon.memory()
            raws = [daemon.socket() for _ in range(900)]
            wait_for(lambda: daemon.metric("ghnd_connections") > 900)
            started = time.monotonic()
            self.assertEqual(200, daemon.get("/healthz").status)
            self.assertLess(time.monotonic() - started, 1)
            self.assertLess(daemon.memory() - before, 900 * 16384)
            for raw in raws:
                raw.close()


@measures_memory
class Memory(unittest.TestCase):
    """An answer of 500 MB costs the blocks that it is made of and a buffer, whoever reads it."""

    def peak(self, readers):
        body = request(networks.wide_resnet101_2())
        with Daemon("--min-send-rate", "0", environment=PLAIN_MALLOC) as daemon:
            daemon.predict(networks.tiny())
            idle = daemon.memory()
            raws = [daemon.socket(60, receive_buffer=262144) for _ in range(readers)]
            for raw in raws:
                raw.sendall(body)
            peak, taken, length = idle, [0] * readers, None
            for step in range(40 * readers):
                i = step % readers
                part = raws[i].recv(262144)
                if length is None:  # of the first reader: the header's own length varies
                    length = part.index(b"\r\n\r\n") + 4 + int(
                        re.search(rb"Content-Length: (\d+)", part)[1])
                    self.assertGreater(length, 480 * MIB)
                taken[i] += len(part)
                peak = max(peak, daemon.memory())
            # The first is read on, until it is known to be whole.
            for raw in raws[1:]:
                raw.close()
            while taken[0] < length:
                part = raws[0].recv(1 << 20)
                self.assertTrue(part, f"cut off after {taken[0]} of {length} bytes")
                taken[0] += len(part)
                if taken[0] // len(part) % 64 == 0:
                    peak = max(peak, daemon.memory())
            raws[0].close()
            return peak - idle

    def test_one_reader(self):
        used = self.peak(1)
        print(f"one reader of 500 MB: {used / MIB:.0f} MiB above idle")
        self.assertLess(used, 64 * MIB)

    def test_eight_slow_readers(self):
        used = self.peak(8)
        print(f"eight readers of 500 MB: {used / MIB:.0f} MiB above idle")
        self.assertLess(used, 256 * MIB)


if __name__ == "__main__":
    unittest.main()
