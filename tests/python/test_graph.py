"""Traces make the graphs that the reference makes of the same models."""
import collections
import unittest

import support

support.require_torch()

from ghn_client import trace  # noqa: E402

# Nodes of the reference's graphs of torchvision models with ten classes.
COUNTS = {
    "alexnet": 21, "vgg11": 29, "vgg13": 33, "vgg16": 39, "vgg19": 45, "vgg11_bn": 37,
    "vgg13_bn": 43, "vgg16_bn": 52, "vgg19_bn": 61, "resnet18": 53, "resnet34": 93,
    "resnet50": 127, "resnet101": 246, "resnet152": 365, "resnext50_32x4d": 127,
    "resnext101_32x8d": 246, "wide_resnet50_2": 127, "wide_resnet101_2": 246, "squeezenet1_0": 65,
    "squeezenet1_1": 65, "densenet121": 307, "densenet161": 407, "densenet169": 427,
    "densenet201": 507, "googlenet": 140, "inception_v3": 220, "mobilenet_v2": 118,
    "mobilenet_v3_small": 125, "mobilenet_v3_large": 148, "mnasnet1_0": 117,
    "shufflenet_v2_x1_0": 132, "regnet_x_400mf": 168, "regnet_x_800mf": 126, "regnet_x_1_6gf": 140,
    "regnet_x_3_2gf": 189, "regnet_x_8gf": 175, "regnet_x_16gf": 168, "regnet_x_32gf": 175,
    "regnet_y_400mf": 206, "regnet_y_800mf": 182, "regnet_y_1_6gf": 338, "regnet_y_3_2gf": 266,
    "regnet_y_8gf": 218, "regnet_y_16gf": 230, "regnet_y_32gf": 254, "efficientnet_b0": 191,
    "efficientnet_v2_s": 409, "convnext_tiny": 161, "convnext_small": 305, "convnext_base": 305}


class Graphs(unittest.TestCase):
    def setUp(self):
        support.program("clients/ghn/ghn")

    def test_node_counts(self):
        found = {}
        for name in COUNTS:
            module = support.torchvision_model(name, num_classes=10)
            found[name] = len(support.graph_of(trace(module, support.input_shape(name)))["nodes"])
        self.assertEqual(found, COUNTS)

    def test_golden_graphs(self):
        done = set()
        for path, case in support.golden_cases("torchvision"):
            cutoff = 1 if case["checkpoint"].startswith("ghn1") else 50
            key = case["tag"], case["num_classes"], cutoff
            if key in done:
                continue
            done.add(key)
            with self.subTest(path.name):
                self.check(case, cutoff)
        self.assertGreater(len(done), 10)

    def check(self, case, cutoff):
        settings = {"aux_logits": False} if case["tag"] == "googlenet" else {}
        module = support.torchvision_model(case["tag"], num_classes=case["num_classes"],
                                           **settings)
        graph = support.graph_of(trace(module, case["input"]))
        counts = collections.Counter(n["op"] for n in graph["nodes"])
        self.assertEqual(counts, case["primitive_counts"])
        self.assertEqual(len(graph["edges"]), case["n_1hop"])
        lengths = [length for _, _, length in support.distances(graph, cutoff)]
        self.assertEqual((len(lengths), sum(lengths)), (case["n_edges"], case["edge_dist_sum"]))

        def parameters(nodes):
            return sorted((n["name"], n["op"], n["shape"]) for n in nodes
                          if n.get("shape") and not n["op"].endswith("_pool"))
        self.assertEqual(parameters(graph["nodes"]), parameters(case["nodes"]))


if __name__ == "__main__":
    unittest.main()
