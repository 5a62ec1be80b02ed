"""ghn sample, run as its users run it: the networks are requests as they are."""
import json
import os
import subprocess
import unittest

from test_ghn import GHN, Case, header_of

SPLITS = ("train", "val", "test", "wide", "deep", "dense", "bnfree", "search", "predefined")


class Sample(Case):
    def lines(self, *options):
        out, err = self.ghn("sample", *options)
        self.assertEqual("", err)
        return out.splitlines()

    def networks(self, *options):
        return [json.loads(line) for line in self.lines(*options)]

    def test_a_line_is_a_network(self):
        for network in self.networks("--count", "20"):
            self.assertEqual(["genotype", "net", "input", "num_classes"], list(network))
            self.assertEqual(["normal", "normal_concat", "reduce", "reduce_concat"],
                             list(network["genotype"]))
            self.assertEqual([3, 32, 32], network["input"])
            self.assertEqual(10, network["num_classes"])
            self.assertEqual(32, network["net"]["C"])
            self.assertEqual(256, network["net"]["fc_dim"])
            self.assertIn(network["net"]["norm"], ("bnorm", None))

    def test_the_same_options_give_the_same_networks(self):
        ten = self.lines("--count", "10", "--seed", "3")
        self.assertEqual(10, len(set(ten)))
        self.assertEqual(ten, self.lines("--split", "train", "--seed", "3", "--count", "10"))
        self.assertEqual(ten[4:7], self.lines("--count", "3", "--first", "4", "--seed", "3"))
        self.assertFalse(set(ten) & set(self.lines("--count", "10")))

    def test_as_many_as_published(self):
        for split, count in (("val", 500), ("wide", 100), ("dense", 100), ("train", 1000),
                             ("predefined", 2)):
            with self.subTest(split):
                self.assertEqual(count, len(self.lines("--split", split)))

    def test_every_split_differs(self):
        seen = set()
        for split in SPLITS:
            lines = self.lines("--split", split, "--count", "2")
            self.assertEqual(2, len(lines))
            seen |= set(lines)
        self.assertEqual(2 * len(SPLITS), len(seen))

    def test_wide_is_test_four_times_or_twice_as_wide(self):
        for size, factor in (("32", 4), ("224", 2)):
            test = self.networks("--split", "test", "--count", "5", "--size", size)
            wide = self.networks("--split", "wide", "--count", "5", "--size", size)
            for network in test:
                network["net"]["C"] *= factor
            self.assertEqual(test, wide)

    def test_bnfree_has_no_norm(self):
        for network in self.networks("--split", "bnfree", "--count", "20"):
            self.assertIsNone(network["net"]["norm"])

    def test_images_and_classes(self):
        small = self.networks("--count", "5")
        large = self.networks("--count", "5", "--size", "224", "--classes", "1000")
        for a, b in zip(small, large):
            self.assertEqual(([3, 224, 224], 1000), (b["input"], b["num_classes"]))
            self.assertEqual((a["genotype"], a["net"]), (b["genotype"], b["net"]))

    def test_widths_are_drawn(self):
        networks = self.networks("--count", "300", "--draw-width")
        widths = {network["net"]["C"] for network in networks}
        self.assertTrue(widths <= set(range(32, 129, 16)) and len(widths) > 3, widths)
        heads = {network["net"]["fc_dim"] for network in networks}
        self.assertTrue({64, 128, 192, 256} <= heads <= set(range(64, 513, 64)), heads)
        self.assertEqual(networks[7:9], self.networks("--count", "2", "--first", "7", "--draw-width"))

    def test_to_a_file(self):
        out, _ = self.ghn("sample", "--count", "3", "-o", self.path("nets.jsonl"))
        self.assertEqual("", out)
        with open(self.path("nets.jsonl"), encoding="utf-8") as file:
            self.assertEqual(self.lines("--count", "3"), file.read().splitlines())
        _, err = self.ghn("sample", "-o", self.path("no/such/folder"), code=1)
        self.assertIn("no/such", err)

    def test_statistics(self):
        out, _ = self.ghn("sample", "--stats", "--count", "2000")
        self.assertTrue(out.startswith("2,000 networks, of 11."), out)
        table = {line.split("  ")[0]: line.split() for line in out.splitlines()}
        self.assertAlmostEqual(30, float(table["with msa (ViT)"][-2]), delta=4)
        self.assertAlmostEqual(45.5, float(table["1 step a cell"][-2]), delta=4)
        networks = self.networks("--count", "2000")
        deep = sum(network["net"]["stem_type"] for network in networks)
        self.assertEqual(f"{100 * deep / 2000:.1f}", table["stem_type 1"][-2])
        branches = [op for network in networks for op, _ in network["genotype"]["reduce"]]
        self.assertEqual(f"{100 * branches.count('none') / len(branches):.1f}", table["none"][-2])

    def test_a_wrong_command_line_is_2(self):
        for arguments, words in ((["--split", "training"], "expected train, val, test, wide, deep"),
                                 (["--count", "0"], "not a number in [1,"),
                                 (["--first", "-1"], "not a number in [0,"),
                                 (["--size", "64"], "neither 32 nor 224"),
                                 (["--classes", "0"], "not a number in [1,"),
                                 (["--split", "predefined", "--first", "2"], "0 and 1 only"),
                                 (["--split", "predefined", "--count", "3"], "0 and 1 only"),
                                 (["--split", "predefined", "--stats"], "is a list"),
                                 (["--split", "val", "--draw-width"], "only networks of train"),
                                 (["--stats", "-o", "x"], "exclude each other"),
                                 (["net.json"], "one argument too many")):
            with self.subTest(arguments):
                out, err = self.ghn("sample", *arguments, code=2)
                self.assertEqual("", out)
                self.assertIn(words, err)
                self.assertIn("see: ghn help sample", err)

    def test_a_full_disk_is_noticed(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([GHN, "sample", "--count", "50"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("standard output", done.stderr)

    def test_every_split_is_predicted(self):
        model = self.new("model.safetensors", "--hid", "8", "--max-shape", "8,8,3,3")
        for split in SPLITS:
            with self.subTest(split):
                line = self.lines("--split", split, "--count", "1", "--first", "1")[0]
                self.ghn("predict", "-", "--checkpoint", model, "-o", self.path("out"), stdin=line)
                net = json.loads(line)["net"]
                norms = [name for name in header_of(self.path("out")) if name.endswith("op.2.bias")]
                self.assertFalse(net["norm"] is None and norms)


if __name__ == "__main__":
    unittest.main()
