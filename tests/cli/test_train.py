"""ghn finetune and ghn eval, run as their users run them, on the drawn data set."""
import json
import os
import signal
import subprocess
import unittest

from test_ghn import GHN, Case, digest, header_of

NETWORK = {"format": "ghn-arch/1", "name": "small", "input": {"name": "input", "shape": [3, 32, 32]},
           "nodes": [
               {"name": "c", "op": "conv2d", "inputs": ["input"],
                "attrs": {"out_channels": 8, "kernel": 3, "padding": 1, "bias": False}},
               {"name": "b", "op": "batch_norm2d", "inputs": ["c"]},
               {"name": "r", "op": "relu", "inputs": ["b"]},
               {"name": "p", "op": "max_pool2d", "inputs": ["r"], "attrs": {"kernel": 8}},
               {"name": "d", "op": "dropout", "inputs": ["p"], "attrs": {"p": 0.1}},
               {"name": "f", "op": "flatten", "inputs": ["d"]},
               {"name": "fc", "op": "linear", "inputs": ["f"], "attrs": {"out_features": 10}}],
           "output": "fc"}
NAMES = {"c.weight", "b.weight", "b.bias", "fc.weight", "fc.bias",
         "b.running_mean", "b.running_var", "b.num_batches_tracked"}


class Train(Case):
    def setUp(self):
        super().setUp()
        self.network = self.write("net.json", NETWORK)

    def command(self, out, *options):
        return ["finetune", self.network, "--data", "shapes", "-o", self.path(out), "--batch-size",
                "16", "--eval-images", "200", "--lr", "0.005", *options]

    def train(self, out, *options, code=0):
        return self.ghn(*self.command(out, "--init", "random", *options), code=code)


class Finetune(Train):
    def test_what_comes_out(self):
        out, err = self.train("out", "--steps", "20", "--eval-every", "10")
        self.assertRegex(out, r"out: 8 tensors, .* of step \d+, test top-1 [\d.]+ %; 20 steps in \d+:\d\d\n$")
        for step in (0, 10, 20):
            self.assertIn(f"step {step} of 20: test loss ", err)
        header = header_of(self.path("out"))
        metadata = header.pop("__metadata__")
        self.assertEqual(NAMES, set(header))
        self.assertEqual(("small", "shapes"), (metadata["network"], metadata["dataset"]))
        self.assertEqual({"net.json", "out"}, set(os.listdir(self.folder)))

    def test_json_has_the_history(self):
        out, _ = self.train("out", "--steps", "6", "--eval-every", "3", "--json", "--dir", self.path("d"))
        report = json.loads(out)
        self.assertEqual(list(range(7)), [point["step"] for point in report["history"]])
        tested = {p["step"]: p["test_top1"] for p in report["history"] if p["test_top1"] is not None}
        self.assertEqual({0, 3, 6}, set(tested))
        self.assertAlmostEqual(max(tested.values()), float(report["test_top1"]), places=6)
        self.assertAlmostEqual(tested[int(report["step"])], float(report["test_top1"]), places=6)
        self.assertIsNone(report["history"][0]["loss"])
        self.assertGreater(report["history"][6]["loss"], 0)
        self.assertEqual({"state.safetensors", "parameters.safetensors"}, set(os.listdir(self.path("d"))))

    def test_it_is_interrupted_and_goes_on_to_the_same_bits(self):
        steps = ("--steps", "600")
        self.train("whole", *steps)
        command = [GHN, *self.command("parts", "--init", "random", *steps)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              cwd=self.folder) as process:
            self.assertIn("step 0 of 600", process.stderr.readline())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        self.assertEqual(1, process.returncode, err)
        self.assertRegex(err, r"ghn: stopped after step \d+ of 600\n +the same command goes on")
        self.assertFalse(os.path.exists(self.path("parts")))
        self.train("parts", *steps)
        self.assertEqual(digest(self.path("whole")), digest(self.path("parts")))
        self.assertEqual({"net.json", "whole", "parts"}, set(os.listdir(self.folder)))

    def test_two_in_one_folder(self):
        """The second is refused, and the first is not disturbed."""
        steps = ("--init", "random", "--steps", "100000", "--dir", self.path("d"))
        with subprocess.Popen([GHN, *self.command("first", *steps)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, cwd=self.folder) as process:
            self.assertIn("step 0 of 100000", process.stderr.readline())
            _, err = self.ghn(*self.command("second", *steps), code=1)
            self.assertIn("another training is at work in this folder", err)
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        self.assertRegex(err, r"ghn: stopped after step \d+ of 100000")
        self.assertTrue(os.path.exists(self.path("d/state.safetensors")))
        self.assertFalse(os.path.exists(self.path("second")))

    def test_epochs_of_few_shots(self):
        out, _ = self.train("out", "--epochs", "2.5", "--n-shots", "4", "--json")
        self.assertEqual(7, json.loads(out)["steps"])  # 40 images are two and a half batches of 16

    def test_a_hypernetwork_or_a_file_is_the_start(self):
        model = self.new()
        self.ghn(*self.command("a", "--checkpoint", model, "--steps", "1", "--lr", "0", "--momentum", "0"))
        self.ghn("predict", self.network, "--checkpoint", model, "-o", self.path("predicted"))
        self.ghn(*self.command("b", "--parameters", self.path("predicted"), "--steps", "1", "--lr", "0"))
        tensors = [self.values(name) for name in ("predicted", "a", "b")]
        for name in ("c.weight", "fc.weight", "b.bias"):
            self.assertEqual([tensors[0][name]] * 3, [t[name] for t in tensors], name)

    def test_class_layers_of_another_number_are_initialised(self):
        model = self.path("seven.safetensors")
        self.ghn("new", "-o", model, "--classes", "7")
        _, err = self.ghn(*self.command("a", "--checkpoint", model, "--steps", "1"))
        self.assertIn("note: the class layers are initialised, not predicted: the hypernetwork is for 7 classes, "
                      "the data set has 10", err)
        _, err = self.ghn(*self.command("b", "--checkpoint", self.new(), "--steps", "1"))
        self.assertNotIn("note: the class layers", err)

    def test_going_on_from_another_start(self):
        first, second = self.new(), self.path("second.safetensors")
        self.ghn("new", "-o", second, "--classes", "10", "--seed", "5")
        command = [*self.command("out", "--checkpoint", first, "--steps", "20", "--eval-every", "10"), "--dir", self.path("d")]
        self.ghn(*command)
        again = [second if word == first else word for word in command]
        _, err = self.ghn(*again, code=1)
        self.assertIn("began with other parameters", err)
        self.ghn(*command)

    def values(self, name):
        """The bytes of every tensor of a file."""
        with open(self.path(name), "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[:8], "little")
        header = header_of(self.path(name))
        header.pop("__metadata__")
        return {key: data[start + entry["data_offsets"][0]:start + entry["data_offsets"][1]]
                for key, entry in header.items()}

    def test_divergence(self):
        _, err = self.train("out", "--steps", "2000", "--lr", "1e9", "--clip-norm", "0",
                            "--schedule", "constant", code=1)
        self.assertRegex(err, r"no longer finite after step \d+ of 2000; a lower learning rate")
        self.assertIn("last good parameters", err)
        self.assertFalse(os.path.exists(self.path("out")))
        out, _ = self.ghn("eval", self.network, "--data", "shapes", "--images", "50", "--json",
                          "--parameters", self.path("out.training/parameters.safetensors"))
        self.assertIsNotNone(json.loads(out)["loss"])

    def test_a_folder_belongs_to_one_training(self):
        there = ("--dir", self.path("d"), "--steps", "3")
        self.train("out", *there)
        before = digest(self.path("out"))
        self.train("out", *there)  # done already: the same comes out
        self.assertEqual(before, digest(self.path("out")))
        _, err = self.train("out", *there, "--weight-decay", "0", code=1)
        self.assertIn("weight_decay is 0.0003 there and 0.0 here", err)
        self.assertIn("another --dir", err)
        with open(self.path("d/state.safetensors"), "r+b") as file:
            file.seek(-5, os.SEEK_END)
            byte = file.read(1)
            file.seek(-5, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        _, err = self.train("out", *there, code=1)
        self.assertIn("damaged", err)
        self.assertEqual(before, digest(self.path("out")))

    def test_a_terminal_gets_a_bar(self):
        shown = self.shown_on_terminal(*self.command("out", "--init", "random", "--steps", "5"))
        self.assertIn(b"\r........................   0 %  0/5", shown)
        self.assertIn(b"\r######################## 100 %  5/5", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-40:])

    def test_wrong_command_lines(self):
        data = ("--data", "shapes")
        for options, words in (((), "--data"), (data, "-o FILE"),
                               ((*data, "-o", "x"), "--init random"),
                               ((*data, "-o", "x", "--init", "ghn"), "--checkpoint"),
                               ((*data, "-o", "x", "--init", "upload"), "--parameters"),
                               ((*data, "-o", "x", "--init", "magic"), "ghn, random, upload"),
                               ((*data, "-o", "x", "--init", "random", "--checkpoint", "g"), "no file"),
                               ((*data, "-o", "x", "--parameters", "a", "--checkpoint", "g"), "exclude"),
                               ((*data, "-o", "x", "--init", "random", "--lr", "fast"), "not a number"),
                               ((*data, "-o", "x", "--init", "random", "--steps", "1.5"), "not an integer"),
                               ((*data, "-o", "x", "--init", "random", "--momentum", "1"), "[0, 1)"),
                               ((*data, "-o", "x", "--init", "random", "--steps", "1", "--epochs", "1"),
                                "exclude each other")):
            with self.subTest(options):
                _, err = self.ghn("finetune", self.network, *options, code=2)
                self.assertIn(words, err)
                self.assertIn("see: ghn help finetune", err)
        self.assertEqual({"net.json"}, set(os.listdir(self.folder)))

    def test_what_does_not_fit(self):
        other = json.loads(json.dumps(NETWORK))
        other["nodes"][-1]["attrs"]["out_features"] = 7
        graph = {"nodes": [{"op": "input"}, {"op": "conv", "name": "w", "shape": [10, 3, 1, 1]}],
                 "edges": [[0, 1]]}
        self.network = self.write("seven.json", other)
        _, err = self.train("out", code=1)
        self.assertIn("fc: the network's output is [7]", err)
        self.assertIn("10 classes", err)
        self.network = self.write("net.json", NETWORK)
        _, err = self.ghn(*self.command("out", "--parameters", self.write("p", "none")), code=1)
        self.assertIn("p: ", err)
        _, err = self.ghn("finetune", self.network, "--data", "/nowhere", "-o", "x", "--init", "random", code=1)
        self.assertIn("/nowhere", err)
        self.network = self.write("graph.json", graph)
        self.assertIn("it holds a graph", self.train("out", code=1)[1])
        self.assertEqual({"net.json", "seven.json", "graph.json", "p"}, set(os.listdir(self.folder)))


class Eval(Train):
    def eval(self, *options, code=0):
        return self.ghn("eval", self.network, "--data", "shapes", *options, code=code)

    def test_it_finds_what_the_training_found(self):
        out, _ = self.train("p", "--steps", "40", "--json")
        last = json.loads(out)["history"][-1]
        result = json.loads(self.eval("--parameters", self.path("p"), "--images", "200",
                                      "--batch-size", "16", "--json")[0])
        self.assertEqual((200, "running", "test"), (result["images"], result["statistics"], result["split"]))
        self.assertAlmostEqual(last["test_loss"], result["loss"], places=9)
        self.assertAlmostEqual(last["test_top1"], result["top1"], places=9)
        self.assertAlmostEqual(last["test_top5"], result["top5"], places=9)
        batch = json.loads(self.eval("--parameters", self.path("p"), "--images", "200", "--json",
                                     "--batch-statistics")[0])
        self.assertEqual("batch", batch["statistics"])
        self.assertNotEqual(result["loss"], batch["loss"])
        train = json.loads(self.eval("--parameters", self.path("p"), "--images", "70", "--json",
                                     "--split", "train")[0])
        self.assertEqual((70, "train"), (train["images"], train["split"]))

    def test_the_table(self):
        out, _ = self.eval("--checkpoint", self.new(), "--images", "100")
        self.assertIn("shapes, 100 images of the test split", out)
        self.assertIn("with batch statistics", out)
        self.assertRegex(out, r"\nloss +[\d.]+\ntop-1 +[\d.]+ %\ntop-5 +[\d.]+ %\n")

    def test_errors(self):
        for options, words in (((), "--parameters FILE"), (("--parameters", "a", "--checkpoint", "b"), "one of"),
                               (("--parameters", "a", "--split", "val"), "test, train"),
                               (("--parameters", "a", "--precision", "f8"), "auto, f32, bf16")):
            with self.subTest(options):
                self.assertIn(words, self.eval(*options, code=2)[1])
        model = self.new()
        self.ghn("predict", self.network, "--checkpoint", model, "-o", self.path("b"), "--form", "blocks")
        _, err = self.eval("--parameters", self.path("b"), code=1)
        self.assertIn("ghn convert", err)
        self.ghn("predict", self.network, "--checkpoint", model, "-o", self.path("n"), "--no-class-layers")
        _, err = self.eval("--parameters", self.path("n"), code=1)
        self.assertIn("fc.weight: the network has this, and it is not among the tensors given", err)


if __name__ == "__main__":
    unittest.main()
