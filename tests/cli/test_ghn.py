"""ghn, the command line, run as its users run it."""
import hashlib
import http.server
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import unittest
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from folder_case import FolderCase  # noqa: E402

GHN, GHND = os.environ["GHN"], os.environ["GHND"]
RESNET50 = os.path.join(ROOT, "deploy", "examples", "resnet50.json")
GOLDEN = os.environ.get("GHN_GOLDEN", os.path.join(ROOT, "..", "shared", "golden"))

TINY = {"format": "ghn-arch/1", "name": "tiny net/1", "input": {"name": "input", "shape": [3, 16, 16]},
        "nodes": [
            {"name": "conv1", "op": "conv2d", "inputs": ["input"],
             "attrs": {"out_channels": 130, "kernel": [3, 3], "padding": [1, 1]}},
            {"name": "bn1", "op": "batch_norm2d", "inputs": ["conv1"]},
            {"name": "act", "op": "prelu", "inputs": ["bn1"], "attrs": {"num_parameters": 130}},
            {"name": "conv2", "op": "conv2d", "inputs": ["act"],
             "attrs": {"out_channels": 200, "kernel": [5, 1], "bias": False}},
            {"name": "pool", "op": "adaptive_avg_pool2d", "inputs": ["conv2"],
             "attrs": {"output_size": [1, 1]}},
            {"name": "flat", "op": "flatten", "inputs": ["pool"]},
            {"name": "fc", "op": "linear", "inputs": ["flat"], "attrs": {"out_features": 10}}],
        "output": "fc"}
SHAPES = {"conv1.weight": [130, 3, 3, 3], "conv1.bias": [130], "bn1.weight": [130],
          "bn1.bias": [130], "act.weight": [130], "conv2.weight": [200, 130, 5, 1],
          "fc.weight": [10, 200], "fc.bias": [10]}


def header_of(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Case(FolderCase):
    """A test in a folder of its own, with ghn at hand."""

    def ghn(self, *arguments, code=0, stdin=""):
        """Runs ghn and returns (standard output, standard error)."""
        environment = {k: v for k, v in os.environ.items() if k != "GHN_SERVER"}
        done = subprocess.run([GHN, *arguments], input=stdin, capture_output=True, text=True,
                              cwd=self.folder, env=environment, timeout=120, check=False)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def shown_on_terminal(self, *arguments):
        """What ghn writes to a terminal as its standard error."""
        try:
            terminal, other = os.openpty()
        except OSError:
            self.skipTest("there is no pseudo-terminal")
        with subprocess.Popen([GHN, *arguments], stdout=subprocess.PIPE, stderr=other,
                              cwd=self.folder) as process:
            os.close(other)
            shown = b""
            while True:
                try:
                    piece = os.read(terminal, 4096)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                shown += piece
            process.communicate(timeout=60)
        os.close(terminal)
        self.assertEqual(0, process.returncode)
        return shown

    def new(self, name="model.safetensors", *options):
        self.ghn("new", "-o", self.path(name), *options)
        return self.path(name)


class CommandLine(Case):
    def test_help_names_every_command(self):
        listed, _ = self.ghn("--help")
        for name in ("predict", "info", "convert", "graph", "dataset", "sample", "train", "new", "health",
                     "finetune", "eval", "jobs", "datasets"):
            with self.subTest(name):
                self.assertIn(f"\n  {name} ", listed)
                by_help, _ = self.ghn("help", name)
                by_option, _ = self.ghn(name, "--help")
                self.assertEqual(by_help, by_option)
                self.assertTrue(by_help.startswith(f"usage: ghn {name}"))

    def test_version(self):
        out, _ = self.ghn("--version")
        self.assertRegex(out, r"^ghn \d+\.\d+\.\d+\n$")

    def test_a_wrong_command_line_is_2(self):
        for arguments, words in (([], "command is missing"), (["predcit"], "did you mean 'predict'"),
                                 (["xyzzy"], "no command 'xyzzy'"), (["info"], "argument is missing"),
                                 (["info", "a", "b"], "too many"), (["new"], "-o FILE"),
                                 (["new", "--hid", "x"], "not a number"),
                                 (["new", "--what"], "no option --what"),
                                 (["new", "-o"], "-o needs a value"),
                                 (["health", "-qx", "y"], "no option -x"),
                                 (["new", "-o", "x", "--kind", "ghn9"], "ghn1, ghn2, mlp"),
                                 (["new", "-o", "x", "--max-shape", "1,2,3"], "O,I,S,S"),
                                 (["predict", "a", "--form", "pdf"], "blocks"),
                                 (["predict", "a", "--server", "u", "--checkpoint", "c"], "exclude")):
            with self.subTest(arguments):
                out, err = self.ghn(*arguments, code=2)
                self.assertEqual("", out)
                self.assertTrue(err.startswith("ghn: "), err)
                self.assertIn(words, err)
                self.assertIn("see: ghn", err)

    def test_a_failure_is_1_and_names_the_file(self):
        _, err = self.ghn("info", "/nowhere", code=1)
        self.assertTrue(err.startswith("ghn: /nowhere: "), err)

    def test_a_full_disk_is_noticed(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([GHN, "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("standard output", done.stderr)


class New(Case):
    def test_it_is_reproducible_and_says_that_it_is_untrained(self):
        out, _ = self.ghn("new", "-o", self.path("a"), "--seed", "7")
        self.assertIn("untrained", out)
        self.assertIn("1,620,764", out)
        self.assertEqual(digest(self.path("a")), digest(self.new("b", "--seed", "7")))
        self.assertNotEqual(digest(self.path("a")), digest(self.new("c", "--seed", "8")))
        self.assertEqual("false", header_of(self.path("a"))["__metadata__"]["trained"])

    def test_kinds_have_their_sizes(self):
        for kind, parameters in (("ghn1", 1620668), ("mlp", 1614396)):
            with self.subTest(kind):
                info, _ = self.ghn("info", self.new(kind, "--kind", kind), "--json")
                self.assertEqual(parameters, json.loads(info)["elements"])
        info, _ = self.ghn("info", self.new("i", "--classes", "1000", "--max-shape", "64,64,16,16"),
                           "--json")
        self.assertEqual(2319720, json.loads(info)["elements"])

    def test_impossible_shapes_are_refused(self):
        _, err = self.ghn("new", "-o", self.path("a"), "--max-shape", "0,64,11,11", code=1)
        self.assertIn("max_shape", err)
        self.assertFalse(os.path.exists(self.path("a")))


class Info(Case):
    def test_a_hypernetwork(self):
        model = self.new()
        out, _ = self.ghn("info", model)
        for words in ("hypernetwork GHN-2", digest(model), "64 x 64 x 11 x 11, 10 classes",
                      "embed.weight", "[15, 32]", "trained: false"):
            self.assertIn(words, out)
        entry = json.loads(self.ghn("info", model, "--json")[0])
        self.assertEqual(("GHN-2", [64, 64, 11, 11], 32),
                         (entry["kind"], entry["config"]["max_shape"], entry["config"]["hid"]))
        self.assertEqual(entry["n_tensors"], len(entry["tensors"]))

    def test_statistics_are_right(self):
        values = [1.0, -2.0, 4.0, float("inf")]
        header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
        with open(self.path("x"), "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + struct.pack("<4f", *values))
        entry = json.loads(self.ghn("info", self.path("x"), "--json")[0])
        tensor, = entry["tensors"]
        self.assertEqual(("parameters", 1, -2, 4, 1), (entry["kind"], tensor["mean"], tensor["min"],
                                                       tensor["max"], tensor["not_finite"]))
        self.assertAlmostEqual(3, tensor["std"])

    def test_names_are_made_fit_for_a_terminal_and_for_json(self):
        header = json.dumps({"a\x1b[2Jb": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                             "__metadata__": {"k\x07": "\x1b[31m" + "v" * 200}}).encode()
        path = os.path.join(os.fsencode(self.folder), b"\xff.safetensors")
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1))
        out, _ = self.ghn("info", path)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("\x07", out)
        self.assertIn("a?[2Jb", out)
        self.assertTrue(json.loads(self.ghn("info", path, "--json")[0])["file"].endswith("/?.safetensors"))

    def test_what_is_no_parameter_file_fails(self):
        _, err = self.ghn("info", self.write("x", "no tensors here"), code=1)
        self.assertIn("ghn: " + self.path("x"), err)


class Graph(Case):
    def test_text_dot_and_json(self):
        request = self.write("tiny.json", TINY)
        out, _ = self.ghn("graph", request)
        self.assertIn("conv2.weight", out)
        self.assertRegex(out, r"parameters +136,\d\d\d")
        self.assertRegex(out, r"not predicted +130")
        dot, _ = self.ghn("graph", request, "--dot")
        if shutil.which("dot"):
            drawn = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True,
                                   check=True)
            self.assertIn("conv2.weight", drawn.stdout)
        form = json.loads(self.ghn("graph", request, "--json")[0])
        again, _ = self.ghn("graph", self.write("graph.json", {"graph": form}), "--json")
        self.assertEqual(form, json.loads(again))

    def test_a_request_body_and_standard_input(self):
        body = json.dumps({"arch": TINY, "dtype": "f16"})
        self.assertEqual(self.ghn("graph", self.write("a", TINY))[0],
                         self.ghn("graph", "-", stdin=body)[0])

    def test_resnet50(self):
        out, _ = self.ghn("graph", RESNET50)
        self.assertRegex(out, r"parameters +25,557,032\n")
        self.assertRegex(out, r"multiply-adds +4,")

    def test_errors_name_the_place(self):
        broken = json.loads(json.dumps(TINY))
        broken["nodes"][0]["attrs"]["stride"] = "two"
        _, err = self.ghn("graph", self.write("x.json", broken), code=1)
        self.assertIn("x.json: arch.nodes[0].attrs.stride: ", err)
        _, err = self.ghn("graph", self.write("y.json", '{"arch": \n nothing}'), code=1)
        self.assertIn("y.json: line 2, column", err)


class Dataset(Case):
    def write_bytes(self, name, value):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(value)

    def described(self, path):
        out, _ = self.ghn("dataset", path, "--json")
        return json.loads(out)

    def test_the_drawn_one(self):
        out, _ = self.ghn("dataset", "shapes")
        self.assertIn("50,000 to train with, 10,000 to test with", out)
        self.assertIn("10: circle, ring, square", out)
        said = self.described("shapes")
        self.assertEqual(("shapes", 50000, 10000, 3, [32, 32], 10),
                         tuple(said[k] for k in ("kind", "train", "test", "channels", "size",
                                                 "n_classes")))
        self.assertEqual(10, len(said["classes"]))

    def test_cifar(self):
        for i in range(1, 6):
            self.write_bytes(f"ten/data_batch_{i}.bin", bytes(3073 * i))
        self.write_bytes("ten/test_batch.bin", bytes(3073 * 2))
        names = ["airplane", "auto\x1b[31mmobile", *"cdefghij"]
        self.write_bytes("ten/batches.meta.txt", "\n".join([*names, "", ""]).encode())
        said = self.described("ten")
        self.assertEqual(("cifar10", 15, 2), (said["kind"], said["train"], said["test"]))
        self.assertEqual(["airplane", "auto?[31mmobile"], said["classes"][:2])
        out, _ = self.ghn("dataset", "ten")
        self.assertNotIn("\x1b", out)
        self.write_bytes("hundred/train.bin", bytes(3074 * 7))
        self.write_bytes("hundred/test.bin", bytes(3074))
        out, _ = self.ghn("dataset", "hundred")
        self.assertIn("cifar100", out)
        self.assertIn("100: 0, 1, 2, 3, 4, 5, 6, 7, 8, ...", out)

    def test_a_folder_of_pictures(self):
        for name in ("train/ox/1.jpg", "train/ant/1.png", "train/ant/2.JPEG", "test/ox/1.jpg"):
            self.write_bytes(f"set/{name}", b"pictures are not read")
        said = self.described("set")
        self.assertEqual({"path": "set", "kind": "folder", "train": 3, "test": 1, "channels": 3,
                          "size": None, "n_classes": 2, "classes": ["ant", "ox"]}, said)

    def test_pictures_are_checked(self):
        def png(side):
            raw = zlib.compress((b"\0" + bytes(side)) * side)
            chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", raw), (b"IEND", b""))
            return b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                for kind, data in chunks)
        for i in range(4):
            self.write_bytes(f"set/ox/{i}.png", png(20))
            self.write_bytes(f"set/ant/{i}.png", png(30))
        out, _ = self.ghn("dataset", "set", "--check")
        self.assertIn("all 8 images can be read", out)
        self.write_bytes("set/ox/1.png", png(20)[:45])
        self.write_bytes("set/ant/2.png", b"no picture")
        out, _ = self.ghn("dataset", "set", "--check", code=1)
        self.assertIn("set/ox/1.png: ", out)
        self.assertIn("set/ant/2.png: ", out)
        self.assertIn("2 of 8 images cannot be read", out)

    def test_what_is_no_data_set_fails(self):
        os.mkdir(self.path("empty"))
        _, err = self.ghn("dataset", "empty", code=1)
        self.assertIn("holds no data set", err)
        self.write_bytes("cut/train.bin", bytes(3000))
        _, err = self.ghn("dataset", "cut", code=1)
        self.assertIn("cut/train.bin: has 3000 bytes", err)
        self.ghn("dataset", "nowhere", code=1)


class PredictHere(Case):
    def setUp(self):
        super().setUp()
        self.model = self.new()
        self.request = self.write("tiny.json", TINY)

    def predict(self, *options, code=0):
        return self.ghn("predict", self.request, "--checkpoint", self.model, *options, code=code)

    def test_every_tensor_is_there(self):
        out, _ = self.predict()
        path = self.path("tiny_net_1.safetensors")
        header = header_of(path)
        metadata = header.pop("__metadata__")
        self.assertEqual(SHAPES, {name: entry["shape"] for name, entry in header.items()})
        self.assertEqual({"act.weight"}, set(json.loads(metadata["not_predicted"])))
        self.assertEqual(digest(self.model), metadata["hypernetwork_sha256"])
        self.assertIn("8 tensors", out)
        self.assertRegex(out, r"not predicted: .+\n  act\.weight\n")
        self.assertIn("untrained", out)

    def test_blocks_in_full_are_the_full_answer(self):
        for dtype in ("f32", "f16", "bf16"):
            with self.subTest(dtype):
                self.predict("-o", self.path("full"), "--dtype", dtype)
                self.predict("-o", self.path("blocks"), "--dtype", dtype, "--form", "blocks")
                self.assertLess(os.path.getsize(self.path("blocks")), os.path.getsize(self.path("full")))
                self.ghn("convert", self.path("blocks"), self.path("converted"))
                self.assertEqual(digest(self.path("full")), digest(self.path("converted")))

    def test_the_report_adds_up(self):
        self.predict("-o", self.path("report"), "--form", "report")
        with open(self.path("report"), encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual(SHAPES, {t["name"]: t["shape"] for t in report["tensors"]})
        self.assertEqual((7, 1), (report["predicted"]["tensors"], report["initialised"]["tensors"]))
        self.predict("-o", self.path("full"))
        info = json.loads(self.ghn("info", self.path("full"), "--json")[0])
        means = {t["name"]: t["mean"] for t in info["tensors"]}
        for tensor in report["tensors"]:
            self.assertAlmostEqual(means[tensor["name"]], tensor["mean"], places=7)

    def test_seeds_concern_what_is_initialised(self):
        body = json.loads(json.dumps(TINY))
        self.predict("-o", self.path("a"))
        self.predict("-o", self.path("b"), "--seed", "0")
        self.assertEqual(digest(self.path("a")), digest(self.path("b")))
        self.assertEqual(body, TINY)

    def test_the_class_layers_can_be_left_out(self):
        self.predict("-o", self.path("a"), "--no-class-layers")
        header = header_of(self.path("a"))
        self.assertNotIn("fc.weight", header)
        self.assertIn("conv2.weight", header)

    def test_standard_output(self):
        self.predict("-o", self.path("a"))
        done = subprocess.run([GHN, "predict", "-", "--checkpoint", self.model, "-o", "-"],
                              input=json.dumps({"arch": TINY}).encode(), capture_output=True, check=True)
        self.assertEqual(digest(self.path("a")), hashlib.sha256(done.stdout).hexdigest())

    def test_no_binary_to_a_terminal(self):
        try:
            terminal, other = os.openpty()
        except OSError:
            self.skipTest("there is no pseudo-terminal")
        done = subprocess.run([GHN, "predict", self.request, "--checkpoint", self.model, "-o", "-"],
                              stdout=other, stderr=subprocess.PIPE, text=True, check=False)
        os.close(terminal)
        os.close(other)
        self.assertEqual(1, done.returncode)
        self.assertIn("terminal", done.stderr)

    def test_a_failure_leaves_the_old_file(self):
        self.write("kept", "as it was")
        self.request = self.write("bad.json", {"arch": {"format": "ghn-arch/1"}})
        self.predict("-o", self.path("kept"), code=1)
        with open(self.path("kept"), encoding="utf-8") as file:
            self.assertEqual("as it was", file.read())
        self.assertEqual({"model.safetensors", "tiny.json", "kept", "bad.json"},
                         set(os.listdir(self.folder)))

    def test_what_the_request_asks_for_is_checked(self):
        for more, where in (({"dtype": "f8"}, "dtype"), ({"seed": -1}, "seed"),
                            ({"predict_class_layers": 1}, "predict_class_layers")):
            with self.subTest(where):
                self.request = self.write("r", {"arch": TINY, **more})
                self.assertIn(f"ghn: {where}: ", self.predict(code=1)[1])


class Convert(Case):
    def test_what_is_read_is_not_written_over(self):
        model, request = self.path("model"), self.write("tiny.json", TINY)
        self.ghn("new", "-o", model)
        os.symlink(request, self.path("link"))
        for command in (("predict", request, "--checkpoint", model, "-o", request),
                        ("predict", request, "--checkpoint", model, "-o", self.path("link")),
                        ("predict", request, "--checkpoint", model, "-o", model),
                        ("finetune", request, "--data", "shapes", "--init", "random", "-o", request),
                        ("convert", model, model)):
            with self.subTest(command):
                before = digest(request), digest(model)
                self.assertIn(" is what is read", self.ghn(*command, code=2)[1])
                self.assertEqual(before, (digest(request), digest(model)))

    def test_the_official_files(self):
        path = os.path.join(GOLDEN, "checkpoints", "ghn2_small.pt")
        if not os.path.exists(path):
            self.skipTest("there are no golden checkpoints")
        self.ghn("convert", path, self.path("c"))
        before, after = (json.loads(self.ghn("info", p, "--json")[0]) for p in (path, self.path("c")))
        self.assertEqual("torch", before["format"])
        self.assertEqual("safetensors", after["format"])
        for key in ("kind", "config", "elements"):
            self.assertEqual(before[key], after[key])
        self.assertEqual({t["name"]: t for t in before["tensors"]},
                         {t["name"]: t for t in after["tensors"]})
        self.assertEqual(before["sha256"], after["metadata"]["converted_from_sha256"])
        request = self.write("tiny.json", TINY)
        for name, model in (("a", path), ("b", self.path("c"))):
            self.ghn("predict", request, "--checkpoint", model, "-o", self.path(name))
        a, b = header_of(self.path("a")), header_of(self.path("b"))
        del a["__metadata__"], b["__metadata__"]
        self.assertEqual(a, b)
        self.assertEqual(self.data_of("a"), self.data_of("b"))

    def data_of(self, name):
        with open(self.path(name), "rb") as file:
            data = file.read()
        return data[8 + struct.unpack("<Q", data[:8])[0]:]

    def test_tiles_that_do_not_fit_are_refused(self):
        for tiles in ({"x": [2, 2]}, {"x": [0]}, {"x": ["a"]}, {"x": [2 ** 62]}, {"x": -1}):
            with self.subTest(tiles):
                metadata = {"format": "ghn-blocks/1", "tiles": json.dumps(tiles)}
                header = json.dumps({"__metadata__": metadata, "x": {
                    "dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
                with open(self.path("x"), "wb") as file:
                    file.write(struct.pack("<Q", len(header)) + header + bytes(16))
                _, err = self.ghn("convert", self.path("x"), self.path("y"), code=1)
                self.assertIn("ghn: x: ", err)


class Answer(http.server.BaseHTTPRequestHandler):
    """A server that answers what the test says."""
    status, headers_, body, length, seen = 200, {}, b"", None, []

    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        type(self).seen.append((self.command, self.path, dict(self.headers), self.rfile.read(size)))
        self.send_response(self.status)
        for name, value in self.headers_.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.body) if self.length is None else self.length))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        pass


class PredictThere(Case):
    """Against a server of our own making, which can misbehave."""

    def serve(self, **members):
        handler = type("Handler", (Answer,), {**members, "seen": []})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}", handler.seen

    def test_the_request_carries_the_options(self):
        header = json.dumps({"__metadata__": {}, "x": {"dtype": "F32", "shape": [1],
                                                       "data_offsets": [0, 4]}}).encode()
        url, seen = self.serve(body=struct.pack("<Q", len(header)) + header + bytes(4))
        out, _ = self.ghn("predict", self.write("r", TINY), "--server", url + "/", "-o",
                          self.path("a"), "--dtype", "bf16", "--model", "m", "--seed", "3",
                          "--no-class-layers", "--token-file", self.write("t", "secret\n"))
        (method, path, headers, body), = seen
        self.assertEqual(("POST", "/predict", "Bearer secret", "application/json"),
                         (method, path, headers["Authorization"], headers["Content-Type"]))
        self.assertEqual({"arch": TINY, "dtype": "bf16", "model": "m", "seed": 3,
                          "predict_class_layers": False}, json.loads(body))
        self.assertIn("1 tensors, 1 parameters", out)

    def test_a_problem_is_shown(self):
        problem = json.dumps({"code": "wrong_type", "where": "arch.nodes[3]",
                              "detail": "expected an object", "status": 400}).encode()
        url, _ = self.serve(status=400, body=problem)
        _, err = self.ghn("predict", self.write("r", TINY), "--server", url, "-o", self.path("a"),
                          code=1)
        self.assertEqual("ghn: arch.nodes[3]: expected an object (HTTP 400 wrong_type)\n", err)
        self.assertEqual(["r"], os.listdir(self.folder))

    def test_other_failures_are_explained(self):
        for members, words in (({"status": 503, "body": b"busy"}, "try again"),
                               ({"status": 401, "body": b"{}"}, "--token-file"),
                               ({"status": 200, "body": b"abc", "length": 10}, "partial"),
                               ({"status": 200, "body": b"not safetensors"}, "safetensors")):
            with self.subTest(words):
                url, _ = self.serve(**members)
                _, err = self.ghn("predict", self.write("r", TINY), "--server", url, "-o",
                                  self.path("a"), code=1)
                self.assertIn(words, err)

    def test_no_server(self):
        _, err = self.ghn("predict", self.write("r", TINY), "--server", "http://127.0.0.1:1", code=1)
        self.assertIn("is ghnd running", err)
        _, err = self.ghn("predict", self.write("r", TINY), "--server", "file:///etc/passwd", code=1)
        self.assertIn("rotocol", err)

    def test_a_token_that_cannot_be_read_is_not_taken_for_no_server(self):
        _, err = self.ghn("predict", self.write("r", TINY), "--token-file", self.path("none"), code=1)
        self.assertIn("none: ", err)
        self.assertNotIn("is ghnd running", err)

    def test_health(self):
        url, seen = self.serve(body=b"{}")
        out, _ = self.ghn("health", "--server", url)
        self.assertIn("ready", out)
        self.ghn("health", "--live", "-q", "--server", url)
        self.assertEqual(["/readyz", "/healthz"], [entry[1] for entry in seen])
        url, _ = self.serve(status=503, body=b"{}")
        self.ghn("health", "--server", url, code=1)


class PredictAtGhnd(Case):
    """Against the real daemon: the same bytes as predicted here."""

    def setUp(self):
        super().setUp()
        self.model = self.new()
        port_file = self.path("port")
        self.log = open(self.path("log"), "wb")
        self.addCleanup(self.log.close)
        self.daemon = subprocess.Popen(
            [GHND, "--checkpoint", self.model, "--listen", "127.0.0.1:0", "--port-file", port_file,
             "--state-dir", self.folder], stderr=self.log, stdin=subprocess.DEVNULL)
        self.addCleanup(self.stop)
        for _ in range(600):
            if os.path.exists(port_file):
                break
            time.sleep(0.05)
        with open(port_file, encoding="utf-8") as file:
            self.url = "http://127.0.0.1:" + file.read().strip()
        for _ in range(600):
            if subprocess.run([GHN, "health", "-q", "--server", self.url], check=False).returncode == 0:
                break
            time.sleep(0.05)

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.daemon.wait(60))

    def test_the_same_bytes(self):
        request = self.write("tiny.json", TINY)
        for options in (["--form", "safetensors"], ["--form", "blocks", "--dtype", "f16"],
                        ["--dtype", "bf16", "--no-class-layers"]):
            with self.subTest(options):
                self.ghn("predict", request, "-o", self.path("a"), "--server", self.url, *options)
                self.ghn("predict", request, "-o", self.path("b"), "--checkpoint", self.model, *options)
                self.assertEqual(digest(self.path("a")), digest(self.path("b")))

    def test_a_sampled_network_is_a_request(self):
        lines, _ = self.ghn("sample", "--count", "3", "--draw-width")
        resnet, _ = self.ghn("sample", "--split", "predefined", "--count", "1")
        for line in (lines + resnet).splitlines():
            request = self.write("line.json", line)
            self.ghn("predict", request, "-o", self.path("a"), "--server", self.url)
            self.ghn("predict", request, "-o", self.path("b"), "--checkpoint", self.model)
            self.assertEqual(digest(self.path("a")), digest(self.path("b")))

    def test_the_same_report(self):
        for body in ({"arch": TINY}, {"arch": TINY, "include_tensors": True, "dtype": "f16"}):
            with self.subTest(list(body)):
                self.compare_reports(self.write("request.json", body))

    def compare_reports(self, request):
        reports = []
        for name, where in (("a", ["--server", self.url]), ("b", ["--checkpoint", self.model])):
            self.ghn("predict", request, "-o", self.path(name), "--form", "report", *where)
            with open(self.path(name), encoding="utf-8") as file:
                reports.append(json.load(file))
        for member in set(reports[0]) - set(reports[1]):
            self.assertIn(member, ("model", "timings_ms"))
            del reports[0][member]
        self.assertEqual(*reports)


if __name__ == "__main__":
    unittest.main()
