"""Meta-training is PyTorch's: from the same hypernetwork, networks and images, steps of Adam through
networks and hypernetwork have the same losses and norms of the gradient, in f32.

The first steps of Adam move every parameter by the learning rate, whichever sign rounding gave its
gradient, so that any two implementations part, or one on two processors: the learning rate is that of the
beginning of a warm-up. Nor is there a gradient to that accuracy where batches are so small that batch
norms magnify rounding."""
import json
import unittest

import support

torch, _ = support.require_torch()
torch.set_num_threads(1)  # of tensors this small

import numpy as np  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import interpreter  # noqa: E402
from arch_module import TRAIN, TrainingNode, on_path, without_checks  # noqa: E402
from folder_case import FolderCase  # noqa: E402
from ghn_client import read_safetensors, write_safetensors  # noqa: E402
from torch_hypernet import Hypernet  # noqa: E402

CONFIG = {"hid": 8, "max_shape": [16, 16, 11, 11], "num_classes": 10}
BATCH, SIDE, STEPS, TOLERANCE = 32, 16, 6, 2e-5
LR, WARM_UP, WEIGHT_DECAY, CLIP = 1e-3, 100, 1e-5, 5.0


def network(normal, reduce, **net):
    cell = {"normal": normal, "normal_concat": [2], "reduce": reduce, "reduce_concat": [2]}
    return {"genotype": cell, "input": [3, SIDE, SIDE], "num_classes": CONFIG["num_classes"],
            "net": {"C": 16, "n_cells": 3, "norm": "bnorm", "fc_layers": 1, **net}}


# Every kind of operation but none, every stem, both heads.
NETWORKS = [
    network([["sep_conv_3x3", 0], ["conv_7x1_1x7", 1]], [["max_pool_3x3", 0], ["conv_3x3", 1]]),
    network([["msa", 0], ["skip_connect", 1]], [["avg_pool_3x3", 0], ["msa", 1]]),
    network([["cse", 0], ["dil_conv_3x3", 1]], [["skip_connect", 0], ["conv_5x5", 1]], stem_type=1,
            glob_avg=False),
    network([["conv_1x1", 0], ["conv_3x3", 1]], [["avg_pool_3x3", 0], ["dil_conv_5x5", 1]],
            norm=None, stem_pool=True),
]


class MetaTraining(FolderCase):
    def given(self):
        """A hypernetwork's tensors, images and labels, also as files."""
        support.run("clients/ghn/ghn", "new", "-o", self.path("start"), "--hid", CONFIG["hid"],
                    "--max-shape", ",".join(map(str, CONFIG["max_shape"])))
        generator = np.random.default_rng(1)
        images = generator.standard_normal((2 * BATCH, SIDE, SIDE, 3)).astype(np.float32)
        labels = generator.integers(CONFIG["num_classes"], size=2 * BATCH).astype(np.int32)
        write_safetensors(self.path("data"), {"images": images, "labels": labels})
        return (read_safetensors(self.path("start"))[0],
                torch.tensor(images.transpose(0, 3, 1, 2).copy()),
                torch.tensor(labels, dtype=torch.int64))

    def arch(self, request):
        support.run("tests/golden/train_steps", "start", self.write("request", request), 0,
                    self.path("arch"), self.path("state"))
        with open(self.path("arch"), encoding="utf-8") as file:
            return json.load(file)

    def train(self):
        plan = {"batch_size": BATCH, "threads": 2, "steps": [NETWORKS] * STEPS, "lr": LR,
                "warmup_steps": WARM_UP, "weight_decay": WEIGHT_DECAY, "clip_norm": CLIP}
        lines = support.run("tests/golden/meta_steps", self.path("start"), self.path("data"),
                            self.write("plan", plan)).splitlines()
        return [(line["loss"], line["gradient_norm"]) for line in map(json.loads, lines)]

    def train_here(self, start, images, labels):
        tensors = {name: torch.tensor(array).requires_grad_() for name, array in start.items()}
        hypernet = Hypernet(CONFIG, tensors)
        optimizer = torch.optim.Adam(tensors.values(), LR, weight_decay=WEIGHT_DECAY)
        archs = [self.arch(request) for request in NETWORKS]
        graphs = [support.graph_of({"arch": arch}) for arch in archs]
        archs = [on_path(without_checks(arch)) for arch in archs]
        told = []
        for step in range(STEPS):
            batch = slice(step % 2 * BATCH, (step % 2 + 1) * BATCH)
            optimizer.param_groups[0]["lr"] = LR * (step + 1) / WARM_UP
            optimizer.zero_grad()
            loss = 0
            for arch, graph in zip(archs, graphs):
                state = {**hypernet.predict(graph), "mode": TRAIN}
                logits = interpreter.run(arch, state, images[batch], TrainingNode)
                loss = loss + F.cross_entropy(logits, labels[batch]) / len(archs)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(tensors.values(), CLIP)
            optimizer.step()
            told.append((loss.item(), norm.item()))
        return told

    def test_steps(self):
        start, images, labels = self.given()
        ours, theirs = self.train(), self.train_here(start, images, labels)
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)


if __name__ == "__main__":
    unittest.main()
