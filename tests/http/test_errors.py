"""Requests that are refused: each with its status, its code, and the field at fault."""
import concurrent.futures
import json
import os
import time
import unittest

from harness import SharedDaemon, code_of, measures_memory, wait_for
import networks
from networks import conv, network, node


def changed(**changes):
    """The tiny network with the node called conv1 changed."""
    body = networks.tiny()
    body["arch"]["nodes"][0].update(changes)
    return body


def with_attrs(**attrs):
    body = networks.tiny()
    body["arch"]["nodes"][0]["attrs"].update(attrs)
    return body


def huge(features):
    """A few bytes that ask for features^2 parameters."""
    return {"arch": network([node("a", "linear", "input", out_features=features),
                             node("b", "linear", "a", out_features=features)], "b",
                            shape=(features,))}


class Bodies(SharedDaemon):
    """Bodies of POST /predict that are not taken."""

    def refused(self, body, status, code, where=None, **headers):
        answer = self.daemon.predict(body, **headers)
        self.assert_problem(answer, status, code, where)
        self.assertEqual(200, self.daemon.predict(networks.tiny()).status)
        return answer.json()["detail"]

    def test_not_json(self):
        good = json.dumps(networks.tiny()).encode()
        for body in (b"", b"{", good[:-1], good[:200], good + b"x", good + good, b"\xef\xbb\xbf" + good,
                     b"'arch'", b"[1,]", good.replace(b"tiny", b"\xff\xfe"),
                     good.replace(b"tiny", b"\xed\xa0\x80"), good.replace(b"tiny", b"\xc0\x80"),
                     good.replace(b"tiny", b"a\\u0000b"), good.replace(b"tiny", b"a\x00b"),
                     good.replace(b"32", b"9" * 40), good.replace(b"32", b"NaN"),
                     good.replace(b'"name": "tiny"', b'"name": "a", "name": "b"'),
                     good[:-1] + b', "model": "a", "model": "a"}'):
            self.refused(body, 400, "json")

    def test_deep_and_long(self):
        self.refused(b"[" * 33 + b"]" * 33, 422, "too_large")
        self.refused(b'{"a":' * 2000 + b"1" + b"}" * 2000, 422, "too_large")
        self.refused(b"[" + b"{}," * 1000001 + b"{}]", 422, "too_large")

    def test_fields(self):
        for body, status, code, where in (
                ([], 400, "wrong_type", ""),
                ({}, 400, "missing_field", ""),
                ({"arch": 3}, 400, "wrong_type", "arch"),
                ({**networks.tiny(), "graph": {}}, 400, "unknown_field", "graph"),
                (networks.tiny(extra=1), 400, "unknown_field", "extra"),
                (networks.tiny(dtype=1), 400, "wrong_type", "dtype"),
                (networks.tiny(dtype="f64"), 422, "out_of_range", "dtype"),
                (networks.tiny(seed=-1), 422, "out_of_range", "seed"),
                (networks.tiny(seed=1.5), 400, "wrong_type", "seed"),
                (networks.tiny(predict_class_layers="no"), 400, "wrong_type",
                 "predict_class_layers"),
                (networks.tiny(include_tensors=0), 400, "wrong_type", "include_tensors"),
                (networks.tiny(model=None), 400, "wrong_type", "model"),
                (networks.tiny(model="other"), 404, "unknown_model", "model"),
                (networks.tiny(model="../first"), 404, "unknown_model", "model"),
                (networks.tiny(url="http://127.0.0.1/x"), 400, "unknown_field", "url")):
            with self.subTest(where=where, code=code):
                self.refused(body, status, code, where)

    def test_architectures(self):
        cyclic = network([node("a", "relu", "b"), node("b", "relu", "a")], "b")
        apart = network([conv("a", "input", 4), node("b", "relu", "c"), node("c", "relu", "b")], "b")
        twice = network([conv("a", "input", 4), conv("a", "input", 4)], "a")
        for body, status, code in (
                (changed(op="conv7d"), 422, "unknown_op"),
                (changed(inputs=["nowhere"]), 422, "unknown_input"),
                (changed(inputs="input"), 400, "wrong_type"),
                (changed(extra=1), 400, "unknown_field"),
                (with_attrs(stride="2"), 400, "wrong_type"),
                (with_attrs(stride=[0, 0]), 422, "out_of_range"),
                (with_attrs(out_channels=-1), 422, "out_of_range"),
                (with_attrs(out_channels=2 ** 63 - 1), 422, "out_of_range"),
                (with_attrs(strides=[1, 1]), 400, "unknown_field"),
                (with_attrs(groups=2), 422, "shape_mismatch"),
                ({"arch": cyclic}, 422, "cycle"), ({"arch": apart}, 422, "cycle"),
                ({"arch": twice}, 422, "duplicate_name")):
            with self.subTest(code=code, body=json.dumps(body)[:200]):
                self.refused(body, status, code)

    def test_node_at_fault_is_named(self):
        answer = self.daemon.predict(with_attrs(groups=2))
        self.assertIn("conv1", answer.json()["where"] + answer.json()["detail"])

    def test_a_terabyte_in_sixty_bytes(self):
        before = self.daemon.memory()
        for body in (huge(2 ** 20), networks.chain(3, 2 ** 16, 31)):
            started = time.monotonic()
            self.refused(body, 422, "too_large")
            self.assertLess(time.monotonic() - started, 1)
        self.assertLess(self.daemon.memory() - before, 64 << 20)

    def test_products_that_overflow(self):
        for shape in ((2 ** 62, 4, 4), (2 ** 40, 2 ** 40, 2 ** 40), (0, 2 ** 62, 2 ** 62), (-1, 8, 8)):
            body = networks.tiny()
            body["arch"]["input"]["shape"] = list(shape)
            answer = self.daemon.predict(body)
            self.assertIn((answer.status, code_of(answer)),
                          {(422, "out_of_range"), (422, "too_large"), (422, "shape_mismatch")})

    def test_genotypes(self):
        for change, status, code in (
                ({"genotype": {}}, 400, "missing_field"),
                ({"net": {"C": 16}}, None, None),
                ({"net": {"D": 16}}, 400, "unknown_field"),
                ({"num_classes": "ten"}, 400, "wrong_type")):
            answer = self.daemon.predict({**networks.GENOTYPE, **change})
            if code:
                self.assert_problem(answer, status, code)
            else:
                self.assertLess(answer.status, 500, answer)

    def test_graphs(self):
        def graph(**changes):
            return {"graph": {**networks.GRAPH["graph"], **changes}}
        for body, status, code in (
                (graph(nodes=[]), None, None),
                (graph(edges=[[0, 9]]), None, None),
                (graph(edges=[[1, 0]]), None, None),
                (graph(edges="x"), 400, "wrong_type"),
                (graph(nodes=[{"op": "warp"}]), 422, "unknown_op"),
                (graph(more=1), 400, "unknown_field")):
            with self.subTest(json.dumps(body)[:120]):
                answer = self.daemon.predict(body)
                self.assertIn(answer.status, (400, 422), answer)
                if code:
                    self.assert_problem(answer, status, code)

    def test_inline_tensors_are_limited(self):
        body = networks.chain(8, 512)
        body["include_tensors"] = True
        self.assert_problem(self.daemon.predict(body, accept="application/json"), 422, "too_large",
                            "include_tensors")

    @measures_memory
    def test_memory_of_hostile_bodies(self):
        """The costliest bodies that fit, many times: the daemon ends with about what it had."""
        bodies = [b"[" + b"{}," * 400000 + b"{}]", b"[" + b'"",' * 450000 + b'""]',
                  b'{"a":[' + b"0," * 499000 + b"0]}"]
        # Every prediction thread has an arena of its own to grow first: keep all of them busy at once.
        with concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count()) as pool:
            list(pool.map(self.daemon.predict, bodies * 2 * os.cpu_count()))
        before = self.daemon.memory()
        for _ in range(3):
            for body in bodies:
                self.assertIn(self.daemon.predict(body).status, (400, 422))
        self.assertLess(self.daemon.memory() - before, 64 << 20)


class Http(SharedDaemon):
    """Requests that are refused for their method, path or header."""
    options = ("--max-body-bytes", "100K")

    def test_not_found(self):
        for path in ("/", "/nothing", "/predict/", "/predict/x", "/models/a/b", "/models/", "//models",
                     "/%2e%2e/etc/passwd", "/models/../healthz"):
            self.assert_problem(self.daemon.get(path), 404, "not_found")
        self.assert_problem(self.daemon.get("/models/other"), 404, "unknown_model")

    def test_method_not_allowed(self):
        for method, path, allow in (("GET", "/predict", "POST, OPTIONS"),
                                    ("DELETE", "/predict", "POST, OPTIONS"),
                                    ("PUT", "/models", "GET, HEAD, OPTIONS"),
                                    ("BREW", "/healthz", "GET, HEAD, OPTIONS")):
            answer = self.daemon.request(method, path)
            self.assert_problem(answer, 405, "method_not_allowed")
            self.assertEqual(allow, answer.headers["Allow"])

    def test_not_acceptable(self):
        for accept in ("text/html", "application/json;q=0", "image/*", "*/*;q=0", "nonsense"):
            self.assert_problem(self.daemon.predict(networks.tiny(), accept=accept), 406,
                                "not_acceptable", "Accept")

    def test_media_types(self):
        body = json.dumps(networks.tiny()).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                     "application/jsonx", ""):
            answer = self.daemon.request("POST", "/predict", body, {"Content-Type": kind})
            self.assert_problem(answer, 415, "unsupported_media_type", "Content-Type")
        answer = self.daemon.predict(body, **{"Content-Encoding": "gzip"})
        self.assert_problem(answer, 415, "unsupported_media_type", "Content-Encoding")
        for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json ; a=b"):
            answer = self.daemon.request("POST", "/predict", body, {"Content-Type": kind})
            self.assertEqual(200, answer.status)
        self.assertEqual(200, self.daemon.request("POST", "/predict", body).status)

    def test_body_limit(self):
        self.assert_problem(self.daemon.predict(b" " * 102401), 413, "body_too_large")
        self.assert_problem(self.daemon.predict(b" " * 102400), 400, "json")

    def test_body_limit_is_applied_to_the_header(self):
        """A length beyond the limit is answered before the body is sent."""
        for length in (102401, 2 ** 40, 2 ** 64 - 1, 10 ** 30):
            with self.daemon.socket() as raw:
                raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
                self.assertIn(raw.recv(1000)[9:12], (b"413", b"400"), length)

    def test_get_takes_no_body(self):
        answer = self.daemon.request("GET", "/models", b"{}")
        self.assert_problem(answer, 400, "bad_request")

    def test_refusals_are_counted(self):
        before = self.daemon.metric('ghnd_reject_total{reason="not_found"}')
        self.daemon.get("/nothing")
        wait_for(lambda: self.daemon.metric('ghnd_reject_total{reason="not_found"}') > before)


if __name__ == "__main__":
    unittest.main()
