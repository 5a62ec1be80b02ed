"""What the routes answer when all goes well."""
import base64
import json
import re
import unittest

import numpy as np

from harness import SharedDaemon, read_safetensors, wait_for
import networks

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
FORMS = {"safetensors": None, "blocks": "application/vnd.ghn.blocks", "report": "application/json"}


def array(tensor):
    dtype, shape, data = tensor
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


def tile(block, shape):
    """block repeated and cut to shape: tensor[i, j, ...] = block[i mod b0, j mod b1, ...]."""
    return block[np.ix_(*(np.arange(n) % b for n, b in zip(shape, block.shape)))]


class Predict(SharedDaemon):
    models = ("first", "second")

    def full(self, body):
        answer = self.daemon.predict(body)
        self.assertEqual(200, answer.status, answer)
        self.assertEqual(len(answer.body), int(answer.headers["Content-Length"]))
        return read_safetensors(answer.body)

    def test_safetensors(self):
        tensors, metadata = self.full(networks.tiny())
        self.assertEqual({"conv1.weight": [64, 3, 3, 3], "bn1.weight": [64], "bn1.bias": [64],
                          "fc.weight": [10, 64], "fc.bias": [10]},
                         {name: shape for name, (_, shape, _) in tensors.items()})
        self.assertEqual("tiny", metadata["network"])
        for name, tensor in tensors.items():
            values = array(tensor)
            self.assertTrue(np.isfinite(values).all(), name)
            self.assertGreater(np.abs(values).max(), 0, name)

    def test_headers(self):
        answer = self.daemon.predict(networks.tiny())
        self.assertEqual("application/octet-stream", answer.headers["Content-Type"])
        self.assertEqual('attachment; filename="tiny.safetensors"',
                         answer.headers["Content-Disposition"])
        self.assertRegex(answer.headers["X-Request-Id"], "^[0-9a-f]{16}$")
        steps = re.findall(r"(\w+);dur=[0-9.]+", answer.headers["Server-Timing"])
        self.assertEqual(["queue", "parse", "graph", "predict", "encode"], steps)

    def test_request_id_is_echoed_if_harmless(self):
        answer = self.daemon.predict(networks.tiny(), **{"X-Request-Id": "job-7.a_B"})
        self.assertEqual("job-7.a_B", answer.headers["X-Request-Id"])
        for bad in ("a b", "x" * 65, 'a"b', "\xe9"):
            answer = self.daemon.request("GET", "/healthz", headers={"X-Request-Id": bad})
            self.assertRegex(answer.headers["X-Request-Id"], "^[0-9a-f]{16}$")

    def test_aliases_are_echoed(self):
        for alias in ("application/safetensors", "application/x-safetensors",
                      "application/vnd.safetensors", "application/octet-stream"):
            answer = self.daemon.predict(networks.tiny(), accept=alias)
            self.assertEqual((200, alias), (answer.status, answer.headers["Content-Type"]))
            read_safetensors(answer.body)

    def test_negotiation(self):
        for accept, expected in {
                "*/*": "application/octet-stream",
                "application/*": "application/octet-stream",
                "text/html, */*;q=0.8": "application/octet-stream",
                "application/json, */*": "application/json",
                "application/json;q=0.5, application/vnd.ghn.blocks": FORMS["blocks"],
                "application/json;q=0.9, application/octet-stream;q=0.8": "application/json",
                "application/octet-stream;q=0, */*": "application/safetensors",
                "APPLICATION/JSON": "application/json",
                " application/json ; q=1.0 ": "application/json"}.items():
            answer = self.daemon.predict(networks.tiny(), accept=accept)
            self.assertEqual((200, expected), (answer.status, answer.headers["Content-Type"]),
                             accept)

    def check_blocks(self, body):
        """The blocks of an answer tile to exactly the values of its safetensors form."""
        full, _ = self.full(body)
        answer = self.daemon.predict(body, accept=FORMS["blocks"])
        self.assertEqual((200, FORMS["blocks"]), (answer.status, answer.headers["Content-Type"]))
        blocks, metadata = read_safetensors(answer.body)
        self.assertEqual("ghn-blocks/1", metadata["format"])
        tiles = json.loads(metadata["tiles"])
        self.assertEqual(set(full), set(blocks))
        for name, tensor in full.items():
            block = array(blocks[name])
            tiled = tile(block, tiles[name]) if name in tiles else block
            self.assertEqual(tensor[1], list(tiled.shape), name)
            self.assertEqual(tensor[2], np.ascontiguousarray(tiled).tobytes(), name)
        return len(answer.body) / sum(len(data) for _, _, data in full.values())

    def test_blocks_are_exact(self):
        for dtype in ("f32", "f16", "bf16"):
            self.check_blocks(networks.tiny(dtype=dtype))
        self.check_blocks(networks.GENOTYPE)
        self.assertLess(self.check_blocks(networks.resnet18()), 0.2)

    def test_dtypes(self):
        full = {name: array(t) for name, t in self.full(networks.tiny())[0].items()}
        half = {name: array(t) for name, t in self.full(networks.tiny(dtype="f16"))[0].items()}
        brain = {name: array(t) for name, t in self.full(networks.tiny(dtype="bf16"))[0].items()}
        for name, values in full.items():
            self.assertEqual(values.astype(np.float16).tobytes(), half[name].tobytes(), name)
            widened = (brain[name].astype(np.uint32) << 16).view(np.float32)
            np.testing.assert_allclose(widened, values, rtol=2 ** -8, atol=1e-30, err_msg=name)

    def test_report(self):
        tensors, _ = self.full(networks.tiny())
        answer = self.daemon.predict(networks.tiny(), accept=FORMS["report"])
        self.assertEqual((200, "application/json"),
                         (answer.status, answer.headers["Content-Type"]))
        report = answer.json()
        self.assertEqual(5, report["predicted"]["tensors"])
        self.assertEqual(list(tensors), [t["name"] for t in report["tensors"]])
        for entry in report["tensors"]:
            values = array(tensors[entry["name"]]).astype(np.float64)
            self.assertEqual("predicted", entry["outcome"])
            self.assertEqual(list(values.shape), entry["shape"])
            self.assertAlmostEqual(values.mean(), entry["mean"], places=6)
            self.assertAlmostEqual(values.std(ddof=1), entry["std"], places=6)
            self.assertEqual([values.min(), values.max()], [entry["min"], entry["max"]])
            self.assertNotIn("data", entry)

    def test_report_with_tensors(self):
        for dtype in ("f32", "bf16"):
            tensors, _ = self.full(networks.tiny(dtype=dtype))
            body = networks.tiny(dtype=dtype, include_tensors=True)
            report = self.daemon.predict(body, accept=FORMS["report"]).json()
            self.assertEqual({name: data for name, (_, _, data) in tensors.items()},
                             {t["name"]: base64.b64decode(t["data"]) for t in report["tensors"]})

    def test_graph_and_arch_agree(self):
        arch, _ = self.full(networks.tiny())
        graph, _ = self.full(networks.GRAPH)
        self.assertEqual(arch, graph)

    def test_models_differ_and_are_chosen(self):
        default, _ = self.full(networks.tiny())
        self.assertEqual(default, self.full(networks.tiny(model="first"))[0])
        self.assertNotEqual(default, self.full(networks.tiny(model="second"))[0])

    def test_same_request_same_bytes(self):
        self.assertEqual(self.daemon.predict(networks.GENOTYPE).body,
                         self.daemon.predict(networks.GENOTYPE).body)

    def test_class_layers_can_be_left_out(self):
        tensors, _ = self.full(networks.tiny(predict_class_layers=False))
        self.assertEqual({"conv1.weight", "bn1.weight", "bn1.bias"}, set(tensors))

    def test_chunked_body(self):
        body = json.dumps(networks.tiny()).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in
                          (body[i:i + 7] for i in range(0, len(body), 7)))
        answer = self.daemon.exchange(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        head, data = answer.split(b"\r\n\r\n", 1)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
        self.assertEqual(self.daemon.predict(networks.tiny()).body, data)

    def test_connection_is_kept(self):
        connection = self.daemon.connect()
        for _ in range(3):
            self.assertEqual(200, self.daemon.predict(networks.tiny(), connection=connection).status)
            first = connection.sock
            self.assertEqual(404, self.daemon.request("GET", "/no", connection=connection).status)
            self.assertIs(first, connection.sock)
        connection.close()

    def test_expect_continue(self):
        body = json.dumps(networks.tiny()).encode()
        with self.daemon.socket() as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(raw.recv(100).startswith(b"HTTP/1.1 100 "))
            raw.sendall(body)
            self.assertTrue(raw.recv(100).startswith(b"HTTP/1.1 200 "))


class Resources(SharedDaemon):
    models = ("first", "second")

    def test_models(self):
        answer = self.daemon.get("/models")
        self.assertEqual((200, "application/json"),
                         (answer.status, answer.headers["Content-Type"]))
        first, second = answer.json()["models"]
        self.assertEqual(["first", "second"], [first["id"], second["id"]])
        self.assertEqual([True, False], [first["default"], second["default"]])
        self.assertEqual("GHN-2", first["kind"])
        self.assertEqual((10, [3, 32, 32], [64, 64, 11, 11]),
                         (first["num_classes"], first["input"], first["max_shape"]))
        self.assertRegex(first["sha256"], "^[0-9a-f]{64}$")
        self.assertNotEqual(first["sha256"], second["sha256"])
        self.assertEqual(second, self.daemon.get("/models/second").json())

    def test_health(self):
        self.assertEqual({"status": "ok"}, self.daemon.get("/healthz").json())
        self.assertEqual({"status": "ready", "models": 2}, self.daemon.get("/readyz").json())

    def test_openapi_lists_every_route(self):
        document = self.daemon.get("/openapi.json").json()
        self.assertTrue(document["openapi"].startswith("3.1"))
        for path in ("/predict", "/models", "/models/{id}", "/healthz", "/readyz", "/metrics",
                     "/openapi.json"):
            self.assertIn(path, document["paths"])

    def test_metrics(self):
        before = self.daemon.metric('ghnd_http_requests_total{route="/models"')
        self.daemon.get("/models")
        answer = self.daemon.get("/metrics")
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8",
                         answer.headers["Content-Type"])
        # A request is counted at its very end, which may come after the client has its answer.
        wait_for(lambda: self.daemon.metric('ghnd_http_requests_total{route="/models"') > before)
        self.assertEqual(2, self.daemon.metric("ghnd_models_loaded"))
        self.assertEqual(1, self.daemon.metric("ghnd_build_info"))
        names = set()
        for line in answer.body.decode().splitlines():
            if line.startswith("# TYPE "):
                names.add(line.split()[2])
            elif not line.startswith("#"):
                match = re.match(r'^([a-z_]+)(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? [0-9.e+-]+$',
                                 line)
                self.assertTrue(match, line)
                stem = re.sub(r"_(bucket|sum|count)$", "", match[1])
                self.assertTrue(match[1] in names or stem in names, line)

    def test_histograms_are_cumulative(self):
        self.daemon.get("/models")
        # One scrape: a request is counted when it is over, which may be after its client has read.
        lines = self.daemon.get("/metrics").body.decode().splitlines()
        series = 'ghnd_http_request_duration_seconds_{}{{route="/models"'
        values = {kind: [float(line.rsplit(" ", 1)[1]) for line in lines
                         if line.startswith(series.format(kind))] for kind in ("bucket", "count")}
        self.assertEqual(sorted(values["bucket"]), values["bucket"])
        self.assertEqual(values["bucket"][-1:], values["count"])

    def test_head(self):
        for path in ("/models", "/models/first", "/healthz", "/readyz", "/openapi.json"):
            head, get = self.daemon.request("HEAD", path), self.daemon.get(path)
            self.assertEqual((200, b""), (head.status, head.body))
            self.assertEqual(get.headers["Content-Length"], head.headers["Content-Length"])
            self.assertEqual(get.headers["Content-Type"], head.headers["Content-Type"])

    def test_options(self):
        for path, allow in {"/predict": "POST, OPTIONS", "/models": "GET, HEAD, OPTIONS"}.items():
            answer = self.daemon.request("OPTIONS", path)
            self.assertEqual((204, allow, b""),
                             (answer.status, answer.headers["Allow"], answer.body))


if __name__ == "__main__":
    unittest.main()
