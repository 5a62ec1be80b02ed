"""The client against a server that says what a test wants it to say: loading, errors, retries."""
import json
import os
import pathlib
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock

import support
from fake_server import Server, problem

import numpy as np  # noqa: E402

import ghn_client  # noqa: E402
from ghn_client import Client, GhnError  # noqa: E402

try:
    import torch
    from torch import nn
except ImportError:
    torch = None

BLOCKS = "application/vnd.ghn.blocks"


def container(tensors, metadata=None):
    """Bytes of a safetensors file; an array of uint16 stands for bfloat16."""
    names = {"float32": "F32", "float16": "F16", "uint16": "BF16", "float64": "F64"}
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        header[name] = {"dtype": names[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + data


def answer(tensors, tiles=None, not_predicted=None):
    """Bytes of an answer of blocks."""
    metadata = {"format": "ghn-blocks/1", "tiles": json.dumps(tiles or {}),
                "hypernetwork": "GHN-2"}
    if not_predicted:
        metadata["not_predicted"] = json.dumps(not_predicted)
    return container(tensors, metadata)


class Requests(unittest.TestCase):
    """Requests as dicts, for which no PyTorch is needed."""

    def test_tiling(self):
        block = np.arange(6, dtype=np.float32).reshape(2, 3)
        with Server((200, {}, answer({"w": block, "b": block[0].copy()}, {"w": [5, 4]},
                                     {"b": "of a reason"}))) as server:
            result = Client(server.url, token="secret").predict({"arch": {"format": "x"}},
                                                                model="m", dtype="bf16", seed=7)
        expected = [[block[i % 2, j % 3] for j in range(4)] for i in range(5)]
        np.testing.assert_array_equal(result.parameters["w"], expected)
        np.testing.assert_array_equal(result.parameters["b"], block[0])
        self.assertEqual(result.predicted, ["w"])
        self.assertEqual(result.initialised, ["b"])
        self.assertEqual(result.not_predicted, {"b": "of a reason"})
        # Those of a full file: with the format of blocks it would be taken for one of these.
        self.assertEqual(result.metadata, {"hypernetwork": "GHN-2",
                                           "not_predicted": '{"b": "of a reason"}'})
        method, path, headers, body = server.requests[0]
        self.assertEqual((method, path), ("POST", "/predict"))
        self.assertEqual(headers["Accept"], BLOCKS)
        self.assertEqual(headers["Authorization"], "Bearer secret")
        self.assertEqual(body, {"arch": {"format": "x"}, "dtype": "bf16", "model": "m",
                                "predict_class_layers": True, "seed": 7})

    def test_an_untrained_hypernetwork_is_called_so(self):
        data = container({}, {"format": "ghn-blocks/1", "hypernetwork_trained": "false"})
        with Server((200, {}, data), (200, {}, answer({}))) as server:
            self.assertIn("untrained", str(Client(server.url).predict({"arch": {}})))
            self.assertNotIn("untrained", str(Client(server.url).predict({"arch": {}})))

    def test_what_is_no_network(self):
        class Tiny:
            pass
        with Server((200, {}, b"")) as server:
            client = Client(server.url)
            for given, words in ((Tiny, r"the class Tiny.*Tiny\(\.\.\.\)"), (None, "None"),
                                 ("resnet18", "'resnet18', of type str"),
                                 ({"w": np.zeros(3)}, "state_dict"), (print, "builtin")):
                for method in (client.predict, lambda x: client.finetune(x, "s")):
                    with self.assertRaisesRegex(TypeError, "torch.nn.Module or a request.*" + words):
                        method(given)
        self.assertEqual(server.requests, [])

    def test_values_that_json_does_not_know(self):
        with Server((200, {}, answer({}))) as server:
            client = Client(server.url)
            client.predict({"arch": {"a": np.arange(3)}}, seed=np.int64(7))
            with self.assertRaisesRegex(TypeError, "no place for .*, of type object"):
                client.predict({"arch": object()})
        self.assertEqual(len(server.requests), 1)
        body = server.requests[0][3]
        self.assertEqual((body["arch"], body["seed"]), ({"a": [0, 1, 2]}, 7))

    @unittest.skipIf(torch is None, "needs PyTorch")
    def test_types_of_pytorch(self):
        types = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
        with Server((200, {}, answer({}))) as server:
            for dtype in types:
                Client(server.url).predict({"arch": {}}, dtype=dtype)
            with self.assertRaisesRegex(TypeError, "torch.float64"):
                Client(server.url).predict({"arch": {}}, dtype=torch.float64)
        self.assertEqual([r[3]["dtype"] for r in server.requests], list(types.values()))

    def test_bare_architecture(self):
        with Server((200, {}, answer({}))) as server:
            Client(server.url + "/").predict({"format": "ghn-arch/1", "nodes": []})
        self.assertEqual(server.requests[0][3]["arch"], {"format": "ghn-arch/1", "nodes": []})

    def test_half_precisions(self):
        values = np.array([1.0, -2.5, 3.140625], np.float32)
        for array in (values.astype(np.float16), (values.view(np.uint32) >> 16).astype(np.uint16)):
            with Server((200, {}, answer({"w": array}))) as server:
                result = Client(server.url).predict({"graph": {}})
            np.testing.assert_array_equal(result.parameters["w"].astype(np.float32), values)

    def test_models_and_health(self):
        with Server((200, {}, b'{"models": [{"id": "a"}]}'), (200, {}, b'{"status": "ok"}')) as s:
            self.assertEqual(Client(s.url).models(), [{"id": "a"}])
            self.assertEqual(Client(s.url).health(), {"status": "ok"})
            self.assertEqual([r[1] for r in s.requests], ["/models", "/healthz"])

    def test_prefix_of_the_url(self):
        with Server((200, {}, b"{}")) as server:
            Client(server.url + "/ghn/").health()
        self.assertEqual(server.requests[0][1], "/ghn/healthz")


class Errors(unittest.TestCase):
    def test_problem(self):
        with Server(problem(422, "unknown_op", "there is no operation \"foo\"",
                            "arch.nodes[3].op")) as server:
            with self.assertRaises(GhnError) as caught:
                Client(server.url).predict({"arch": {}})
        error = caught.exception
        self.assertEqual((error.status, error.code, error.where),
                         (422, "unknown_op", "arch.nodes[3].op"))
        self.assertIn("arch.nodes[3].op: there is no operation \"foo\"", str(error))
        self.assertEqual(len(server.requests), 1)

    def test_other_error_pages(self):
        for body in (b"<html>", b"[]", b"\xff", b""):
            with Server((502, {}, body)) as server, self.assertRaises(GhnError) as caught:
                Client(server.url).health()
            self.assertEqual(caught.exception.status, 502)
            self.assertIn("Bad Gateway", str(caught.exception))

    def test_busy_then_answer(self):
        busy = problem(503, "queue_full", "too many", **{"Retry-After": "0"})
        with Server(busy, busy, (200, {}, answer({}))) as server:
            Client(server.url).predict({"arch": {}})
        self.assertEqual(len(server.requests), 3)

    def test_busy_for_longer_than_the_client_waits(self):
        busy = problem(503, "queue_full", "too many", **{"Retry-After": "3600"})
        start = time.monotonic()
        with Server(busy) as server, self.assertRaises(GhnError) as caught:
            Client(server.url).predict({"arch": {}})
        self.assertEqual(caught.exception.code, "queue_full")
        self.assertEqual(len(server.requests), 1)
        self.assertLess(time.monotonic() - start, 30)

    def test_advice_that_is_no_time(self):
        for advice in ("0", "-5", "nan", "inf", "1e999", "soon"):
            busy = problem(503, "queue_full", "too many", **{"Retry-After": advice})
            start = time.monotonic()
            with Server(busy) as server, self.assertRaises(GhnError):
                Client(server.url, max_wait=1).health()
            self.assertLess(time.monotonic() - start, 5)
            self.assertIn(len(server.requests), (2, 3), advice)

    def test_busy_without_advice(self):
        with Server(problem(503, "not_ready", "no")) as server, self.assertRaises(GhnError):
            Client(server.url, max_wait=1).health()
        self.assertGreater(len(server.requests), 1)

    def test_nobody_listens(self):
        with Server((200, {}, b"")) as server:
            url = server.url
        with self.assertRaisesRegex(GhnError, "no server listens at .*ghnd --listen") as caught:
            Client(url).health()
        self.assertEqual(caught.exception.code, "connection")

    def test_unknown_host(self):
        with self.assertRaisesRegex(GhnError, "no host|no answer"):
            Client("http://host.invalid:80", timeout=20).health()

    def test_no_progress(self):
        with Server((200, {"Content-Length": "100"}, b"x")) as server, \
                self.assertRaisesRegex(GhnError, "within 0.3 seconds|broke off"):
            Client(server.url, timeout=0.3).health()

    def test_answer_that_breaks_off(self):
        with Server((200, {"Content-Length": "100", "Connection": "close"}, b"x")) as server, \
                self.assertRaisesRegex(GhnError, "broke off"):
            Client(server.url, timeout=20).health()

    def test_bad_addresses(self):
        for url in ("localhost:8080", "ftp://x", "", "http://", "http://h:port", "http://h:99999",
                    "http://h:0", "http://[::1", None, 8080):
            with self.assertRaisesRegex(ValueError, "http://localhost:8080"):
                Client(url)

    def test_malformed_answers(self):
        good = answer({"w": np.zeros((2, 2), np.float32)}, {"w": [3, 3]})
        bad = [b"", b"1234567", good[:-1], good + b"\0", struct.pack("<Q", 1 << 60) + good[8:],
               container({"w": np.zeros(2, np.float32)}, {"format": "other"}),
               container({"w": np.zeros(2, np.float32)}),
               answer({"w": np.zeros(2, np.float32)}, {"w": [2, 2]}),
               answer({"w": np.zeros(2, np.float32)}, {"w": [-1]}),
               answer({"w": np.zeros(2, np.float32)}, {"v": [2]}),
               answer({"w": np.zeros(2, np.float32)}, [1]),
               good.replace(b"F32", b"F99"), good.replace(b'"__meta', b'"__met"')]
        for body in bad:
            with Server((200, {}, body)) as server, self.assertRaises(GhnError) as caught:
                Client(server.url).predict({"arch": {}})
            self.assertEqual(caught.exception.code, "invalid_answer", body[:80])


class Safetensors(unittest.TestCase):
    def test_round_trip(self):
        arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3),
                  "b": np.float64(2.0).reshape(()),
                  "c": np.zeros((0, 4), np.float32), "d": np.array([True]), "e": np.arange(3)}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.safetensors")
            ghn_client.write_safetensors(path, arrays, {"k": "v"})
            read, metadata = ghn_client.read_safetensors(path)
        self.assertEqual(metadata, {"k": "v"})
        self.assertEqual(set(read), set(arrays))
        for name, array in arrays.items():
            self.assertEqual((read[name].dtype, read[name].shape), (array.dtype, array.shape))
            np.testing.assert_array_equal(read[name], array)

    def test_a_failure_leaves_the_file_before(self):
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch("numpy.ascontiguousarray", side_effect=KeyboardInterrupt):
            path = os.path.join(folder, "x.safetensors")
            for before in (None, b"before"):
                if before:
                    with open(path, "wb") as file:
                        file.write(before)
                with self.assertRaises(KeyboardInterrupt):
                    ghn_client.write_safetensors(path, {"a": np.zeros(3)})
                self.assertEqual(os.listdir(folder), ["x.safetensors"] if before else [])
            with open(path, "rb") as file:
                self.assertEqual(file.read(), b"before")

    def test_a_file_is_replaced_with_its_permissions_through_links(self):
        with tempfile.TemporaryDirectory() as folder:
            path, link = os.path.join(folder, "x"), os.path.join(folder, "links", "y")
            os.mkdir(os.path.dirname(link))
            os.symlink("../x", link)
            ghn_client.write_safetensors(link, {"a": np.zeros(3)})
            mask = os.umask(0)
            os.umask(mask)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o666 & ~mask)
            os.chmod(path, 0o640)
            with open(path, "rb") as reader:
                ghn_client.write_safetensors(link, {"a": np.ones(3)})
                self.assertEqual(reader.read()[-24:], bytes(24))  # who reads has the one before
            self.assertTrue(os.path.islink(link))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
            self.assertEqual(ghn_client.read_safetensors(path)[0]["a"].tolist(), [1, 1, 1])
            self.assertEqual(sorted(os.listdir(folder)), ["links", "x"])
            self.assertEqual(os.listdir(os.path.dirname(link)), ["y"])

    def test_what_is_no_regular_file(self):
        expected = ghn_client.safetensors.safetensors_bytes({"a": np.zeros(3)})
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipe")
            os.mkfifo(path)
            found = []
            reader = threading.Thread(target=lambda: found.append(pathlib.Path(path).read_bytes()))
            reader.start()
            ghn_client.write_safetensors(path, {"a": np.zeros(3)})
            reader.join()
            self.assertEqual(found, [expected])
            self.assertTrue(stat.S_ISFIFO(os.stat(path).st_mode))
            code = ("import ghn_client, numpy, sys; "
                    "ghn_client.write_safetensors(sys.argv[1], {'a': numpy.zeros(3)})")
            for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
                command = [sys.executable, "-c", code, name]
                done = subprocess.run(command, cwd=support.ROOT / "clients" / "python",
                                      stdout=subprocess.PIPE, check=True, timeout=60)
                self.assertEqual(done.stdout, expected)
                with open(os.path.join(folder, "out"), "w+b") as file:
                    subprocess.run(command, cwd=support.ROOT / "clients" / "python", stdout=file,
                                   check=True, timeout=60)
                    self.assertEqual(file.read(), expected)

    def test_types_that_it_has_not(self):
        with tempfile.TemporaryDirectory() as folder, \
                self.assertRaisesRegex(TypeError, "'a' is of type complex128"):
            ghn_client.write_safetensors(os.path.join(folder, "x"), {"a": np.zeros(3, complex)})

    def test_overlaps_and_holes(self):
        for begins in ((0, 0), (0, 8), (4, 8)):
            header = {n: {"dtype": "F32", "shape": [1], "data_offsets": [b, b + 4]}
                      for n, b in zip("ab", begins)}
            text = json.dumps(header).encode()
            with self.assertRaises(GhnError):
                ghn_client.parse_safetensors(struct.pack("<Q", len(text)) + text + bytes(12))


@unittest.skipIf(torch is None, "needs PyTorch")
class Modules(unittest.TestCase):
    """Loading answers into a module."""

    def net(self):
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(),
                             nn.Linear(16, 2))

    def blocks(self, net):
        """A small block for every parameter, whose tiling is what should be loaded."""
        rng = np.random.default_rng(0)
        tensors, tiles = {}, {}
        for name, p in net.named_parameters():
            shape = tuple(min(d, 3) for d in p.shape)
            tensors[name] = rng.standard_normal(shape).astype(np.float32)
            if shape != tuple(p.shape):
                tiles[name] = list(p.shape)
        return tensors, tiles

    def assert_loaded(self, net, tensors, but=()):
        for name, p in net.named_parameters():
            if name in but:
                continue
            index = np.ix_(*(np.arange(n) % b for n, b in zip(p.shape, tensors[name].shape)))
            expected = torch.from_numpy(tensors[name][index]).to(p.dtype)
            self.assertTrue(torch.equal(p.detach(), expected), name)

    def test_in_place(self):
        net = self.net()
        net[1].running_mean.fill_(0.5)
        places = [p.data_ptr() for p in net.parameters()]
        tensors, tiles = self.blocks(net)
        with Server((200, {}, answer(tensors, tiles))) as server:
            result = Client(server.url).predict(net, (3, 4, 4))
        self.assert_loaded(net, tensors)
        self.assertEqual([p.data_ptr() for p in net.parameters()], places)
        self.assertTrue(all(p.requires_grad for p in net.parameters()))
        self.assertEqual(float(net[1].running_mean[0]), 0.5)
        self.assertEqual(set(result.predicted), set(tensors))
        self.assertEqual(result.not_predicted, {})
        self.assertIsNone(result.parameters)
        self.assertEqual(server.requests[0][3]["arch"]["input"]["shape"], [3, 4, 4])

    def test_other_precisions(self):
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            net = self.net().to(dtype)
            tensors, tiles = self.blocks(net)
            with Server((200, {}, answer(tensors, tiles))) as server:
                Client(server.url).predict(net, (3, 4, 4))
            self.assert_loaded(net, tensors)

    def test_omitted_and_initialised(self):
        net = self.net()
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
        tensors, tiles = self.blocks(net)
        for name in ("3.weight", "3.bias"):
            del tensors[name]
            tiles.pop(name, None)
        reasons = {"3.weight": "class layers were not asked for",
                   "3.bias": "class layers were not asked for", "1.bias": "of its type"}
        with Server((200, {}, answer(tensors, tiles, reasons))) as server:
            result = Client(server.url).predict(net, (3, 4, 4), predict_class_layers=False)
        self.assertIs(server.requests[0][3]["predict_class_layers"], False)
        self.assert_loaded(net, tensors, ("3.weight", "3.bias"))
        for name in ("3.weight", "3.bias"):
            self.assertTrue(torch.equal(dict(net.named_parameters())[name], before[name]))
        self.assertEqual(result.not_predicted, reasons)
        self.assertEqual(result.initialised, ["1.bias"])
        text = str(result)
        self.assertIn("1.bias (initialised)", text)
        self.assertIn("3.bias (left as it was)", text)
        self.assertIn("because class layers were not asked for:", text)

    def test_parameters_off_the_path(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

            def forward(self, x):
                return self.a(x)
        net = Net()
        tensors, tiles = self.blocks(net)
        kept = {n: v for n, v in tensors.items() if n.startswith("a")}
        reasons = {"b.weight": "off the path", "b.bias": "off the path"}
        with Server((200, {}, answer(kept, {}, reasons))) as server:
            result = Client(server.url).predict(net, (2,))
        self.assertEqual(server.requests[0][3]["arch"]["unused_parameters"],
                         {"b.weight": [2, 2], "b.bias": [2]})
        self.assertEqual(result.not_predicted, reasons)

    def test_several_outputs(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

            def forward(self, x):
                return self.a(x), self.b(x)
        net = Net()
        tensors, _ = self.blocks(net)
        kept = {n: v for n, v in tensors.items() if n.startswith("a")}
        reasons = {n: "the network's output does not depend on it" for n in ("b.weight", "b.bias")}
        with Server((200, {}, answer(kept, {}, reasons))) as server, \
                self.assertWarnsRegex(UserWarning, "2 tensors, of which only the first") as caught:
            result = Client(server.url).predict(net, (2,))
        self.assertEqual(caught.filename, __file__)
        self.assertIn("the first of the network's 2 outputs, which alone is followed", str(result))
        self.assertEqual(set(result.not_predicted), set(reasons))

    def test_what_the_module_knows_better(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.mean = nn.Parameter(torch.rand(2), requires_grad=False)
                self.scale = nn.Parameter(torch.rand(2))
                self.fixed = nn.Linear(2, 2).requires_grad_(False)
                self.norm = nn.LayerNorm(2)

            def forward(self, x):
                return self.norm(self.fixed((x + self.mean) * self.scale))
        net = Net()
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
        tensors, _ = self.blocks(net)
        reasons = {n: "no primitive" for n in ("mean", "scale", "fixed.bias", "norm.bias")}
        with Server((200, {}, answer(tensors, {}, reasons))) as server:
            result = Client(server.url).predict(net, (2,))
        kept = ("mean", "scale", "fixed.bias")
        self.assert_loaded(net, tensors, kept)  # fixed.weight too: that it can predict
        for name in kept:
            self.assertTrue(torch.equal(net.get_parameter(name), before[name]), name)
            self.assertIn(f"{name} (left as it was)", str(result))
        self.assertEqual(result.initialised, ["norm.bias"])
        self.assertEqual(result.not_predicted, reasons)

    def test_shared_parameters(self):
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        net[2].weight = net[0].weight
        tensors, _ = self.blocks(net)
        with Server((200, {}, answer(tensors))) as server:
            Client(server.url).predict(net, (2,))
        self.assert_loaded(net, tensors)
        self.assertIs(net[2].weight, net[0].weight)

    def test_untouched_after_any_error(self):
        net = self.net()
        before = {n: p.detach().clone() for n, p in net.state_dict().items()}
        tensors, tiles = self.blocks(net)
        first, last = "0.weight", "3.bias"

        def changed(name, value, new_tiles=None):
            return answer({**tensors, name: value}, {**tiles, **(new_tiles or {})})
        nan = tensors[last].copy()
        nan.flat[0] = np.nan
        bad = [changed(last, np.zeros(7, np.float32)), changed("4.weight", np.zeros(2, np.float32)),
               changed(first, tensors[first], {first: [4, 3, 3, 4]}), changed(last, nan),
               answer({k: v for k, v in tensors.items() if k != last},
                      {k: v for k, v in tiles.items() if k != last}),
               answer(tensors, tiles)[:-4]]
        for body in bad:
            with Server((200, {}, body)) as server, self.assertRaises(GhnError):
                Client(server.url).predict(net, (3, 4, 4))
            for name, value in net.state_dict().items():
                self.assertTrue(torch.equal(value, before[name]), name)

    def test_errors_before_any_request(self):
        with Server((200, {}, b"")) as server:
            client = Client(server.url)
            with self.assertRaisesRegex(ValueError, "meta device"):
                client.predict(nn.Linear(2, 2, device="meta"), (2,))
            with self.assertRaisesRegex(ValueError, "run the module once"):
                client.predict(nn.LazyLinear(2), (2,))
            assumed = r"no input_shape was given, and \(3, 224, 224\) was assumed"
            with self.assertRaisesRegex(ghn_client.TraceError, r"\[3, 224, 224\].*" + assumed):
                client.predict(nn.Linear(2, 2))
            with self.assertRaisesRegex(ghn_client.TraceError, "module '0'.*" + assumed):
                client.predict(nn.Sequential(nn.Conv2d(1, 2, 3)))
            with self.assertRaises(ghn_client.TraceError):
                client.predict(nn.LSTM(2, 2), (3, 2))
            self.assertEqual(server.requests, [])


class Command(unittest.TestCase):
    """python -m ghn_client."""

    def run_command(self, *arguments):
        return subprocess.run([sys.executable, "-W", "ignore", "-m", "ghn_client", *arguments],
                              cwd=support.ROOT / "clients" / "python", capture_output=True,
                              text=True, timeout=120, check=False)

    @unittest.skipIf(torch is None, "needs PyTorch")
    def test_trace(self):
        done = self.run_command("trace", "torch.nn:Linear", "--input", "5", "--set",
                                "in_features=5", "--set", "out_features=2", "--set", "bias=false")
        self.assertEqual(done.stderr, "")
        self.assertEqual(json.loads(done.stdout), {"arch": {
            "format": "ghn-arch/1", "name": "Linear", "input": {"name": "input", "shape": [5]},
            "nodes": [{"name": "linear", "op": "linear", "inputs": ["input"],
                       "attrs": {"out_features": 2, "bias": False},
                       "params": {"weight": "weight"}}], "output": "linear"}})

    @unittest.skipIf(torch is None, "needs PyTorch")
    def test_errors(self):
        for arguments, words in ((("torch.nn:Nothing",), "Nothing"), (("nowhere:x",), "nowhere"),
                                 (("resnet50",), "package.module:callable"),
                                 (("torch.nn:Softplus", "--input", "4"), "softplus"),
                                 (("torch.nn:Flatten", "--input", "4", "--set", "start_dim=3"),
                                  "Dimension out of range"),
                                 (("torch.nn:BatchNorm1d", "--set", "num_features=2"),
                                  "(3, 224, 224) was assumed")):
            done = self.run_command("trace", *arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(self.run_command("trace", "x:y", "--input", "a").returncode, 2)

    def test_predict(self):
        with tempfile.TemporaryDirectory() as folder, \
                Server((200, {}, answer({"w": np.ones(2, np.float32)}))) as server:
            request, result = os.path.join(folder, "r.json"), os.path.join(folder, "r.safetensors")
            with open(request, "w", encoding="utf-8") as file:
                json.dump({"arch": {}}, file)
            done = self.run_command("predict", request, "--url", server.url, "-o", result)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            arrays, metadata = ghn_client.read_safetensors(result)
            np.testing.assert_array_equal(arrays["w"], [1, 1])
            self.assertEqual(metadata, {"hypernetwork": "GHN-2"})


class Packaging(unittest.TestCase):
    def test_import_needs_no_pytorch(self):
        code = ("import sys; sys.modules['torch'] = None; import ghn_client; "
                "ghn_client.Client('http://localhost')")
        subprocess.run([sys.executable, "-c", code], cwd=support.ROOT / "clients" / "python",
                       check=True, timeout=60)


if __name__ == "__main__":
    unittest.main()
