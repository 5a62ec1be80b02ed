#!/usr/bin/python3
"""Whether networks train in bf16 as they do in f32: by hand, on a real data set.

    GHN_BUILD=build python3 tests/python/bf16_spread.py DATA_SET [--steps N] [--batch N] [--only NAME ...]

DATA_SET is a folder of 32 x 32 images (CIFAR-10), or "shapes". Every network is trained by `ghn
finetune` with its defaults in f32 from three seeds, each of which draws parameters, batches and
augmentation anew, and in bf16 from the first of them. Compared is the mean training loss of the
last 20 steps: bf16's is as it should be if it lies no further from the three's mean than they lie
apart, |bf16 - mean| <= max - min. Prints a row of a table as each network is done; the exit code is
0 if all are as they should be.

A processor without bf16 takes far longer for it, if oneDNN has kernels for it at all.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import support

SEEDS, LAST = (0, 1, 2), 20


def torchvision_arch(name, change):
    """The arch of a torchvision model for 32 x 32 images, after a change of its stem."""
    from ghn_client import trace
    from torchvision import models
    module = models.get_model(name, weights=None, num_classes=10)
    change(module)
    return {"arch": trace(module, (3, 32, 32))}


def resnet18():
    """With a 3 x 3 stem, in place of 7 x 7."""
    from torch import nn

    def change(module):
        module.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
    return torchvision_arch("resnet18", change)


def mobilenet_v2():
    """As it is."""
    return torchvision_arch("mobilenet_v2", lambda module: None)


def golden(tag, **net):
    """A DeepNets network, with some settings replaced."""
    def make():
        for _, case in support.golden_cases("deepnets"):
            if case["tag"] == tag:
                return {"genotype": case["genotype"], "net": {**case["net_args"], **net},
                        "input": case["input"], "num_classes": 10}
        sys.exit(f"there is no golden case {tag}")
    return make


NETWORKS = {
    "ResNet-18": resnet18,
    "MobileNetV2": mobilenet_v2,
    "DARTS, 8 cells, C = 16": golden("darts", C=16, n_cells=8),
    "ViT of DeepNets, 12 cells": golden("vit_deepnets"),
    "test_1": golden("test_1"),
    "search_1": golden("search_1"),
    "dense_1": golden("dense_1"),
    "val_6": golden("val_6"),
    "bnfree_1": golden("bnfree_1"),
    "test_0": golden("test_0"),
    "bnfree_0": golden("bnfree_0"),
}


def final_loss(network, data, precision, seed, steps, batch):
    """The mean loss of the last steps of a training."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [support.program("clients/ghn/ghn"), "finetune", network, "--data", data, "-o",
             os.path.join(folder, "out"), "--init", "random", "--precision", precision, "--seed",
             str(seed), "--steps", str(steps), "--batch-size", str(batch), "--eval-images", "100",
             "--json"], capture_output=True, text=True, check=False,
            env={"OMP_WAIT_POLICY": "passive", **os.environ})
    if done.returncode:
        sys.exit(f"ghn finetune: {done.stderr}")
    # A point for each step, as long as there are no more than 500.
    losses = [p["loss"] for p in json.loads(done.stdout)["history"] if p["loss"] is not None]
    assert len(losses) == steps, (len(losses), steps)
    return sum(losses[-LAST:]) / LAST


def judge(f32, bf16):
    """(mean, spread, whether bf16 lies within it) of the losses of f32."""
    mean, spread = sum(f32) / len(f32), max(f32) - min(f32)
    return mean, spread, abs(bf16 - mean) <= spread


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=200, choices=range(LAST, 501), metavar="N")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, metavar="NAME", default=NETWORKS)
    wanted = parser.parse_args()
    print("| network | f32, three seeds | bf16 | off the mean | spread | |")
    print("|---|---|---|---|---|---|", flush=True)
    all_good = True
    with tempfile.TemporaryDirectory() as folder:
        network = os.path.join(folder, "network.json")
        for name in wanted.only:
            with open(network, "w", encoding="utf-8") as file:
                json.dump(NETWORKS[name](), file)

            def loss(precision, seed):
                return final_loss(network, wanted.data, precision, seed, wanted.steps, wanted.batch)
            f32 = [loss("f32", seed) for seed in SEEDS]
            bf16 = loss("bf16", SEEDS[0])
            mean, spread, good = judge(f32, bf16)
            all_good &= good
            print(f"| {name} | {', '.join(f'{x:.4f}' for x in f32)} | {bf16:.4f} | "
                  f"{bf16 - mean:+.4f} | {spread:.4f} | {'within' if good else 'OUTSIDE'} |", flush=True)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
