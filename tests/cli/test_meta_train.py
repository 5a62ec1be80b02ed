"""ghn train, run as its users run it, on the drawn data set."""
import json
import os
import signal
import subprocess
import unittest

from test_ghn import GHN, Case, digest, header_of


class MetaTrain(Case):
    def command(self, folder, *options):
        return ["train", "--data", "shapes", "--dir", self.path(folder), "--meta-batch", "2",
                "--batch-size", "8", "--threads", "1", "--precision", "f32", "--validate", "0",
                "--decay-steps", "0", *options]

    def train(self, folder, *options, code=0):
        return self.ghn(*self.command(folder, *options), code=code)

    def test_going_on_is_as_not_stopping(self):
        out, err = self.train("straight", "--steps", "4", "-o", self.path("straight.safetensors"))
        self.assertIn("straight.safetensors: a hypernetwork of 4 steps", out)
        self.assertIn("step 4, after ", err)
        self.train("stopped", "--steps", "2")
        self.train("stopped", "--steps", "4", "-o", self.path("stopped.safetensors"))
        shapes = header_of(self.path("straight.safetensors"))
        self.assertEqual("4", shapes["__metadata__"]["training_steps"])
        self.assertEqual("8", shapes["__metadata__"]["training_architectures"])
        info = [self.ghn("info", self.path(f"{name}.safetensors"))[0] for name in ("straight", "stopped")]
        tensors = [text[text.index("tensor  "):] for text in info]
        self.assertEqual(*tensors)

    def test_ctrl_c_saves(self):
        with subprocess.Popen([GHN, *self.command("long")], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            process.stderr.readline()  # of the first step
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        self.assertEqual(1, process.returncode)
        self.assertIn("the same command goes on from there", err)
        self.assertTrue(os.path.exists(self.path("long/meta.safetensors")))
        out, _ = self.ghn("info", self.path("long/checkpoint.safetensors"))
        self.assertIn("training_steps", out)

    def test_json(self):
        out, _ = self.train("folder", "--steps", "1", "--json")
        summary = json.loads(out)
        self.assertEqual(1, summary["last"]["step"])
        self.assertEqual([1], [point["step"] for point in summary["history"]])

    def test_stages(self):
        checkpoint = self.path("one/checkpoint.safetensors")
        self.train("one", "--steps", "2")
        self.train("two", "--steps", "1", "--start", checkpoint, "-o", self.path("second"))
        self.train("three", "--steps", "1", "--start", self.path("second"))
        metadata = header_of(self.path("three/checkpoint.safetensors"))["__metadata__"]
        self.assertEqual("1", metadata["training_steps"])
        stages = json.loads(metadata["training_stages"])
        self.assertEqual([("2", "4"), ("1", "2")],
                         [(stage["steps"], stage["architectures"]) for stage in stages])
        self.assertNotIn("stages", stages[1])
        self.assertEqual(0.001, json.loads(stages[0]["recipe"])["lr"])

    def test_stages_stay_whatever_the_next_command_says(self):
        checkpoint, other = self.path("one/checkpoint.safetensors"), self.path("other.safetensors")
        self.train("one", "--steps", "2")
        self.train("two", "--steps", "1", "--start", checkpoint)
        self.ghn("new", "-o", other, "--classes", "10")
        _, err = self.train("two", "--steps", "2", "--start", other, code=1)
        self.assertIn("began with another hypernetwork", err)
        self.train("two", "--steps", "2")
        metadata = header_of(self.path("two/checkpoint.safetensors"))["__metadata__"]
        self.assertEqual("2", metadata["training_steps"])
        self.assertEqual(["2"], [stage["steps"] for stage in json.loads(metadata["training_stages"])])

    def test_a_start_of_other_classes(self):
        start = self.path("start.safetensors")
        self.ghn("new", "-o", start, "--classes", "17")
        self.train("folder", "--steps", "1", "--start", start)
        out, _ = self.ghn("info", self.path("folder/checkpoint.safetensors"), "--json")
        self.assertEqual(10, json.loads(out)["config"]["num_classes"])

    def test_a_lost_checkpoint_comes_back(self):
        self.train("folder", "--steps", "1")
        checkpoint = self.path("folder/checkpoint.safetensors")
        before = digest(checkpoint)
        os.unlink(checkpoint)
        self.train("folder", "--steps", "1", "-o", self.path("copy"))
        self.assertEqual([before] * 2, [digest(checkpoint), digest(self.path("copy"))])

    def test_validation_and_smaller_images(self):
        _, err = self.train("folder", "--steps", "1", "--side", "16", "--max-flops", "10",
                            "--clip-network", "5", "--validate", "2")
        self.assertRegex(err, r"unseen architectures [0-9.]+ %")
        header = header_of(self.path("folder/checkpoint.safetensors"))
        self.assertEqual("[3,16,16]", header["__metadata__"]["input"])
        _, err = self.train("other", "--steps", "1", "--side", "24", code=1)
        self.assertIn("its images are 32 x 32; the network's input is 24 x 24", err)

    def test_other_optimisers(self):
        for name in ("adamw", "muon"):
            self.train(name, "--steps", "2", "--optimizer", name, "--own-images", "--ema-decay", "0.9")
            self.train(name, "--steps", "3", "--optimizer", name, "--own-images", "--ema-decay", "0.9")
            header = header_of(self.path(f"{name}/checkpoint.safetensors"))
            self.assertEqual("3", header["__metadata__"]["training_steps"])
            self.assertEqual(name, json.loads(header["__metadata__"]["training_recipe"])["optimizer"])

    def test_another_recipe_is_refused(self):
        self.train("folder", "--steps", "1")
        before = digest(self.path("folder/meta.safetensors"))
        _, err = self.train("folder", "--steps", "2", "--lr", "0.5", code=1)
        self.assertIn("recipe.lr is 0.001 there and 0.5 here", err)
        self.assertEqual(before, digest(self.path("folder/meta.safetensors")))

    def test_a_terminal_gets_a_bar(self):
        shown = self.shown_on_terminal(*self.command("folder", "--steps", "2"))
        self.assertIn(b"\r........................   0 %  0/2", shown)
        self.assertIn(b"step 2, after ", shown)

    def recipe(self, folder, *options):
        self.train(folder, "--steps", "1", "--side", "8", "--max-flops", "2", *options)
        metadata = header_of(self.path(f"{folder}/checkpoint.safetensors"))["__metadata__"]
        return json.loads(metadata["training_recipe"])

    def test_recipes(self):
        frugal, paper = self.recipe("frugal"), self.recipe("paper", "--recipe", "paper")
        names = ("optimizer", "own_images", "beta1", "beta2", "warmup_steps", "ema_decay", "clip_network",
                 "lr", "side")
        self.assertEqual(["muon", True, 0.95, 0.98, 100, 0.99, 5, 0.001, 8], [frugal[name] for name in names])
        self.assertEqual(["adam", False, 0.9, 0.999, 0, 0, 0, 0.001, 8], [paper[name] for name in names])
        self.assertEqual(paper | {"own_images": True, "beta1": 0.5},
                         self.recipe("mine", "--own-images", "--beta1", "0.5", "--recipe", "paper"))
        self.assertEqual(frugal | {"own_images": False},
                         self.recipe("shared", "--shared-images", "--recipe", "frugal"))

    def test_defaults(self):
        for recipe, batch, decay in (("frugal", 32, "2"), ("paper", 64, "0")):
            folder = self.path(recipe)
            self.ghn("train", "--data", "shapes", "--dir", folder, "--recipe", recipe, "--steps", "2", "--side",
                     "8", "--max-flops", "1", "--meta-batch", "1", "--validate", "0")
            metadata = header_of(f"{folder}/checkpoint.safetensors")["__metadata__"]
            self.assertEqual(decay, metadata["training_decay_steps"])
            self.assertEqual(batch, json.loads(metadata["training_recipe"])["batch_size"])

    def test_wrong_command_lines(self):
        folder = ("--dir", self.path("folder"))
        for options, words in ((("--data", "shapes"), "--dir DIR is missing"),
                               (folder, "--data FOLDER is missing"),
                               ((*folder, "--data", "shapes", "--lr", "fast"), "--lr fast is no number"),
                               ((*folder, "--data", "shapes", "--precision", "f8"), "auto, f32 or bf16"),
                               ((*folder, "--data", "shapes", "--start", "x", "--hid", "16"), "--hid is what"),
                               ((*folder, "--data", "shapes", "--optimizer", "sgd"), "adam, adamw or muon"),
                               ((*folder, "--data", "shapes", "--recipe", "quick"), "frugal or paper"),
                               ((*folder, "--data", "shapes", "--own-images", "--shared-images"),
                                "exclude each other")):
            with self.subTest(words):
                _, err = self.ghn("train", *options, code=2)
                self.assertIn(words, err)
        _, err = self.train("folder", "--lr=-1", code=1)
        self.assertIn("lr: -1; expected 0 to 1000", err)
        _, err = self.train("folder", "--images", "70000", code=1)
        self.assertIn("images: 70000 from 0 on; the data set has 50000", err)
        self.assertFalse(os.path.exists(self.path("folder/meta.safetensors")))


if __name__ == "__main__":
    unittest.main()
