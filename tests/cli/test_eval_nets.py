"""ghn eval without a network: a hypernetwork on networks of DeepNets-1M, on the drawn data set."""
import json
import math
import os
import signal
import statistics
import subprocess
import unittest
import unittest.mock

from test_ghn import GHN, Case

# Networks 20 to 23 of train are small ones.
FIRST, COUNT, IMAGES = 20, 3, 80


def have_avx512():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return " avx512bw" in file.read()


class EvalNets(Case):
    def setUp(self):
        super().setUp()
        self.model = self.new()

    def command(self, *options, count=COUNT):
        return ["eval", "--checkpoint", self.model, "--data", "shapes", "--split", "train", "--first",
                str(FIRST), "--count", str(count), "--images", str(IMAGES), *options]

    def eval(self, *options, count=COUNT, code=0):
        return self.ghn(*self.command(*options, count=count), code=code)

    def report(self, *options, count=COUNT):
        return json.loads(self.eval("--json", *options, count=count)[0])

    def scores(self, report):
        """What must be the same in two runs."""
        return [(n["index"], n["parameters"], *(n["predicted"][k] for k in ("top1", "top5", "loss", "finite")))
                for n in report["splits"][0]["networks"]]

    def lines(self):
        with open(self.path("results"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_what_is_said_of_a_split_follows_from_its_networks(self):
        report = self.report("--threads", "2")
        split, = report["splits"]
        top1 = [n["predicted"]["top1"] for n in split["networks"]]
        self.assertEqual(("GHN-2", "train"), (report["hypernetwork"], split["split"]))
        self.assertEqual([FIRST, FIRST + 1, FIRST + 2], [n["index"] for n in split["networks"]])
        said = split["predicted"]
        self.assertEqual((COUNT, 0), (said["n"], said["not_finite"]))
        self.assertAlmostEqual(statistics.mean(top1), said["mean"], places=12)
        self.assertAlmostEqual(statistics.stdev(top1) / math.sqrt(COUNT), said["standard_error"], places=12)
        self.assertAlmostEqual(statistics.median(top1), said["median"], places=12)
        self.assertEqual(max(top1), said["max"])
        bound = 0.1 + 2 * math.sqrt(0.1 * 0.9 / IMAGES)
        self.assertEqual(sum(t > bound for t in top1), said["better_than_chance"])
        self.assertNotIn("sgd", split)
        self.assertEqual(self.scores(report), self.scores(self.report("--threads", "1")))

    def test_a_network_is_the_same_by_itself(self):
        """As ghn sample writes it, and evaluated alone."""
        report = self.report(count=1)
        self.ghn("sample", "--split", "train", "--first", str(FIRST), "--count", "1", "-o", self.path("net"))
        alone = json.loads(self.ghn("eval", self.path("net"), "--data", "shapes", "--checkpoint", self.model,
                                    "--images", str(IMAGES), "--batch-statistics", "--json")[0])
        predicted = report["splits"][0]["networks"][0]["predicted"]
        self.assertAlmostEqual(alone["loss"], predicted["loss"], places=3)
        self.assertAlmostEqual(alone["top1"], predicted["top1"], delta=2 / IMAGES)

    def test_the_table(self):
        out, err = self.eval("--sgd-steps", "2", "--precision", "f32", count=2)
        self.assertRegex(out, r"^GHN-2 [0-9a-f]{12}, shapes, 80 test images, 64 at a time in file order, f32\n")
        self.assertRegex(out, r"\ntrain +2 +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d +\d+ % +0\n"
                              r"  SGD 2 +2 +\d")
        self.assertNotIn("published", out)  # of CIFAR-10 only
        self.assertIn(" of 2 networks  train", err)

    def test_several_splits(self):
        out, _ = self.ghn("eval", "--checkpoint", self.model, "--data", "shapes", "--split", "predefined",
                          "--split", "val", "--count", "1", "--images", "2", "--batch-size", "2", "--json")
        splits = json.loads(out)["splits"]
        self.assertEqual([("predefined", 1), ("val", 1)], [(s["split"], s["predicted"]["n"]) for s in splits])
        self.assertIsNone(splits[0]["predicted"]["standard_error"])
        self.assertEqual(23520842, splits[0]["networks"][0]["parameters"])  # ResNet-50 for 32 x 32 and 10 classes

    def test_results_are_kept_and_not_found_again(self):
        kept = ("--results", self.path("results"))
        first = self.report(*kept, count=2)
        lines = self.lines()
        self.assertEqual({FIRST, FIRST + 1}, {line["index"] for line in lines})
        lines[0]["predicted"]["top1"] = 0.75  # a mark that would not be found
        with open(self.path("results"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        second = self.report(*kept)
        top1 = {n["index"]: n["predicted"]["top1"] for n in second["splits"][0]["networks"]}
        self.assertEqual(0.75, top1[lines[0]["index"]])
        self.assertEqual([lines[1]["index"]],
                         [b[0] for a, b in zip(self.scores(first), self.scores(second)) if a == b])
        self.assertEqual(COUNT, len(self.lines()))

    def test_results_of_other_options_are_others(self):
        kept = ("--results", self.path("results"))
        self.eval(*kept, count=1)
        self.eval(*kept, "--precision", "f32", count=1)
        self.eval(*kept, "--batch-size", "40", count=1)
        if have_avx512():
            self.eval(*kept, "--precision", "bf16", count=1)
        self.assertEqual(3 if have_avx512() else 2, len(self.lines()))  # auto is one of the precisions
        self.model = self.new("other", "--seed", "5")
        self.eval(*kept, count=1)
        self.assertEqual(2, len({line["run"]["hypernetwork_sha256"] for line in self.lines()}))

    def test_bf16_takes_a_processor_for_it(self):
        with unittest.mock.patch.dict(os.environ, {"ONEDNN_MAX_CPU_ISA": "AVX2"}):
            _, err = self.eval("--precision", "bf16", count=1, code=1)
        self.assertIn("precision: bf16 takes a processor with AVX-512", err)

    def test_a_line_that_was_cut_off_is_done_again(self):
        kept = ("--results", self.path("results"))
        whole = self.report(*kept)
        with open(self.path("results"), "r+b") as file:
            file.truncate(os.path.getsize(self.path("results")) - 20)
        self.assertEqual(self.scores(whole), self.scores(self.report(*kept)))
        self.assertEqual(COUNT, len(self.lines()))

    def test_a_file_of_something_else_is_left_alone(self):
        for text in ("hello\n", "hello", '{"a": 1}\n', '{"split":"test","index":0}\n'):
            with self.subTest(text):
                path = self.write("notes", text)
                _, err = self.eval("--results", path, code=1)
                self.assertIn("line 1 is no result of ghn eval", err)
                with open(path, encoding="utf-8") as file:
                    self.assertEqual(text, file.read())

    def test_it_is_interrupted_and_goes_on(self):
        options = ("--results", self.path("results"), "--threads", "1")
        with subprocess.Popen([GHN, *self.command(*options, count=200)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, cwd=self.folder) as process:
            self.assertIn("1 of 200 networks", process.stderr.readline())
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        self.assertEqual(1, process.returncode, err)
        done = len(self.lines())
        self.assertLess(done, 200)
        self.assertIn(f"ghn: stopped after {done} of 200 networks\n     the same command goes on", err)
        self.assertRegex(out, rf"\ntrain +{done} ")
        self.eval(*options, count=done)
        self.assertEqual(done, len(self.lines()))

    def test_a_terminal_gets_a_bar(self):
        shown = self.shown_on_terminal(*self.command(count=1))
        self.assertIn(b"\r........................   0 %  0/1 networks  train\x1b[K", shown)
        self.assertIn(b"\r######################## 100 %  1/1 networks  train  top-1 ", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-40:])

    def test_wrong_command_lines(self):
        checkpoint, split = ("--checkpoint", self.model), ("--split", "test")
        for options, words in ((checkpoint, "--split is missing"), (split, "NETWORK.json is missing"),
                               ((*checkpoint, *split, *split), "--split test is given twice"),
                               ((*checkpoint, "--split", "all", *split), "--split test is given twice"),
                               ((*checkpoint, "--split", "tset"), '"tset" is no split of DeepNets-1M'),
                               ((*checkpoint, "--split", "train"), "--count N is missing"),
                               ((*checkpoint, *split, "--count", "0"), "--count: '0' is not a number in [1, "),
                               ((*checkpoint, *split, "--first", "500"), "test has 500 networks"),
                               ((*checkpoint, *split, "--batch-statistics"), "need a network"),
                               (("net", *checkpoint, "--count", "1"), "do not go with a network"),
                               (("net", *checkpoint, *split, *split), "--split is given 2 times"),
                               ((*checkpoint, *17 * split), "16 times at most")):
            with self.subTest(options):
                _, err = self.ghn("eval", "--data", "shapes", *options, code=2)
                self.assertIn(words, err)
                self.assertIn("see: ghn help eval", err)
        self.assertIn("--data", self.ghn("eval", *checkpoint, *split, code=2)[1])

    def test_what_does_not_fit(self):
        self.model = self.new("other", "--classes", "7")
        self.assertIn("the data set has 10 classes; the hypernetwork predicts classifiers of 7",
                      self.eval(code=1)[1])
        self.model = self.write("none", "none")
        self.assertIn("none: ", self.eval(code=1)[1])


if __name__ == "__main__":
    unittest.main()
