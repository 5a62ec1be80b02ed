"""Bytes that are not quite HTTP. No request may be read in two ways, and none may hurt a neighbour."""
import json
import random
import re
import unittest

from harness import SharedDaemon, receive_all
import networks

BODY = json.dumps(networks.tiny()).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
# A second request inside what a careless reader takes for the rest of the first one's body.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*fields, body=b"", version=b"HTTP/1.1", host=b"Host: x\r\n"):
    return (b"POST /predict " + version + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) +
            b"\r\n" + body)


def statuses(answer):
    """The status codes of the answers in a stream of bytes."""
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


LENGTH = b"Content-Length: %d" % len(BODY)
REFUSED = {
    "length and chunked": post(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKED + SMUGGLED),
    "chunked and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED + SMUGGLED),
    "two lengths": post(b"Content-Length: 0", LENGTH, body=BODY + SMUGGLED),
    "two equal lengths": post(LENGTH, LENGTH, body=BODY),
    "length, length in lower case": post(LENGTH, b"content-length: 0", body=BODY + SMUGGLED),
    "list of lengths": post(b"Content-Length: 5, 5", body=b"hello" + SMUGGLED),
    "signed length": post(b"Content-Length: +5", body=b"hello"),
    "negative length": post(b"Content-Length: -5", body=b"hello"),
    "hexadecimal length": post(b"Content-Length: 0x5", body=b"hello"),
    "length with a space": post(b"Content-Length: 1 0", body=b"hello"),
    "empty length": post(b"Content-Length:", body=b"hello"),
    "two hosts": post(b"Host: y", LENGTH, body=BODY),
    "no host": post(LENGTH, body=BODY, host=b""),
    "unknown coding": post(b"Transfer-Encoding: gzip", body=CHUNKED),
    "coding list": post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED),
    "chunked with a prefix": post(b"Transfer-Encoding: xchunked", body=CHUNKED),
    "chunked with a suffix": post(b"Transfer-Encoding: chunked;q=1", body=CHUNKED),
    "identity": post(b"Transfer-Encoding: identity", LENGTH, body=BODY),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=CHUNKED),
    "chunked in HTTP/1.0": post(b"Transfer-Encoding: chunked", body=CHUNKED, version=b"HTTP/1.0"),
    "space before the colon": post(b"Transfer-Encoding : chunked", body=CHUNKED),
    "vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED),
    "control character in a value": post(b"X-A: a\x01b", LENGTH, body=BODY),
    "control character in a name": post(b"X-\x02A: a", LENGTH, body=BODY),
    "non-ASCII name": post(b"X-\xe9: a", LENGTH, body=BODY),
    "encoded NUL": b"GET /healthz%00/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded NUL in an id": b"GET /models/first%00x HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the target": b"GET /health\x01z HTTP/1.1\r\nHost: x\r\n\r\n",
    "non-ASCII target": b"GET /h\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the target": b"GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown version": b"GET /healthz HTTP/3.7\r\nHost: x\r\n\r\n",
    "no version": b"GET /healthz\r\nHost: x\r\n\r\n",
    "header line without a colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "bad chunk size": post(b"Transfer-Encoding: chunked", body=b"xyz\r\nhello\r\n0\r\n\r\n"),
    "endless chunk size": post(b"Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\nhello"),
    "chunk longer than it says": post(b"Transfer-Encoding: chunked", body=b"2\r\nhello\r\n0\r\n\r\n"),
    "long target": b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long field": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200000 + b"\r\n\r\n",
    "many fields": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 50000 + b"\r\n",
    "noise": bytes(range(256)) * 4,
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
}


class Raw(SharedDaemon):
    options = ("--header-timeout", "1.5", "--body-timeout", "1.5")

    def healthy(self):
        self.assertEqual(200, self.daemon.get("/healthz").status)

    def exchange(self, data):
        with self.daemon.socket() as raw:
            try:
                raw.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return receive_all(raw)

    def test_refused(self):
        """Every one is answered with an error and the end of the connection, or with that end alone;
        and nothing behind it is ever read as a request."""
        for name, data in REFUSED.items():
            with self.subTest(name):
                answer = self.exchange(data)
                codes = statuses(answer)
                if "length" in name and b"<html>" in answer:
                    codes = codes[:1]  # libmicrohttpd refuses bad lengths itself, and says so twice
                self.assertLessEqual(len(codes), 1, answer[:2000])
                self.assertTrue(all(400 <= c <= 505 and c != 500 for c in codes), answer[:500])
                self.assertNotIn(b"smuggled", answer)
                self.healthy()

    def test_conflicts_are_told(self):
        for name in ("length and chunked", "chunked and length", "two lengths", "two hosts",
                     "chunked twice", "encoded NUL", "chunked in HTTP/1.0"):
            with self.subTest(name):
                answer = self.exchange(REFUSED[name])
                self.assertIn(b'"code":"bad_request"', answer)
                self.assertIn(b"\r\nConnection: close\r\n", answer)
        answer = self.exchange(REFUSED["unknown coding"])
        self.assertIn(b'"code":"unsupported_transfer_encoding"', answer)
        self.assertEqual([501], statuses(answer))

    def test_many_fields_of_a_query(self):
        """More than the library has memory for are refused at once, whatever else stands there."""
        for query in (b"a&" * 65, b"a&" * 14000, b"?" * 500, b"a?" + b"b&" * 5000 + b"?c"):
            answer = self.exchange(b"GET /jobs?" + query + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual([400], statuses(answer), answer)
            self.assertIn(b"too many fields", answer)
        self.assertEqual([200], statuses(self.exchange(b"GET /healthz?" + b"a&" * 60 + b" HTTP/1.0\r\n\r\n")))

    def test_absolute_targets(self):
        for target, code in ((b"http://x/healthz", 200), (b"HTTP://x:80/models/first", 200),
                             (b"https://x/jobs?limit=1", 200), (b"http://x", 404), (b"http://x/nothing", 404), (b"ftp://x/healthz", 404),
                             (b"http://x?healthz", 404)):
            with self.subTest(target):
                answer = self.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n")
                self.assertEqual([code], statuses(answer), answer)

    def test_origins(self):
        """A page of another site cannot make a browser ask for anything."""
        for origin, host, code in ((b"http://a:8080", b"a:8080", 200), (b"https://A", b"a", 200),
                                   (b"http://b:8080", b"a:8080", 403), (b"http://a:8081", b"a:8080", 403),
                                   (b"http://a", b"a:8080", 403), (b"null", b"a:8080", 403), (b"", b"a", 403),
                                   (b"http://a.b", b"a", 403), (b"http://a\r\nOrigin: http://a", b"a", 403)):
            with self.subTest(origin, host=host):
                answer = self.exchange(post(b"Origin: " + origin, LENGTH, b"Connection: close", body=BODY,
                                            host=b"Host: " + host + b"\r\n"))
                self.assertEqual([code], statuses(answer), answer)
                self.assertEqual(code == 403, b'"code":"foreign_origin"' in answer)

    def test_pipelined_requests_have_their_answers_in_order(self):
        with self.daemon.socket() as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(LENGTH, body=BODY) +
                        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual([200, 200, 404], statuses(receive_all(raw)))

    def test_byte_by_byte(self):
        with self.daemon.socket() as raw:
            for byte in post(LENGTH, b"Connection: close", body=BODY):
                raw.sendall(bytes((byte,)))
            self.assertEqual([200], statuses(receive_all(raw)))

    def test_http_1_0(self):
        answer = self.exchange(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertEqual([200], statuses(answer))

    def test_cut_off_anywhere(self):
        """A client that vanishes after any number of bytes leaves nothing behind."""
        data = post(LENGTH, body=BODY)
        self.healthy()
        files = self.daemon.files()
        for n in range(0, len(data), 37):
            with self.daemon.socket() as raw:
                raw.sendall(data[:n])
        self.healthy()
        self.settle(files)

    def test_mutations(self):
        """Random damage to a good request: never a crash, never a 5xx but 501 and 505."""
        random.seed(7)
        data = post(LENGTH, b"Connection: close", body=BODY)
        for _ in range(200):
            broken = bytearray(data)
            for _ in range(random.randint(1, 4)):
                at = random.randrange(len(broken))
                kind = random.randrange(3)
                if kind == 0:
                    broken[at] = random.randrange(256)
                elif kind == 1:
                    del broken[at:at + random.randint(1, 9)]
                else:
                    broken[at:at] = bytes(random.randrange(256) for _ in range(3))
            with self.daemon.socket() as raw:
                raw.sendall(broken)
                raw.shutdown(1)
                answer = receive_all(raw)
            for code in statuses(answer):
                self.assertTrue(code < 500 or code in (501, 505), (bytes(broken), answer))
        self.healthy()

    def test_log_cannot_be_forged(self):
        self.exchange(b"GET /x%0alevel=error%20msg=forged HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\tb\r\n"
                      b"Accept: \"\xe2\x80\xa8\r\nConnection: close\r\n\r\n")
        self.daemon.predict({"arch": {"format": "a\nlevel=error msg=forged\u2028"}})
        self.daemon.predict(networks.tiny(model='x" level=error msg="forged'))
        for line in self.daemon.log_text().rstrip("\n").split("\n"):
            self.assertRegex(line, "^time=[-0-9T:.Z]+ level=(info|warning|debug) msg=")

    def settle(self, files):
        from harness import wait_for
        wait_for(lambda: self.daemon.files() <= files + 1, what="closing of sockets")


if __name__ == "__main__":
    unittest.main()
