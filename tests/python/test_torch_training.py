"""Training is PyTorch's: from the same parameters and images, 20 steps of SGD of one network of
every torchvision family and of DeepNets' give the same logits, losses, parameters and running
statistics, in f32.

What is compared is forward and backward of every operation as it stands in a real network; the
steps are plain SGD on both sides, and nothing is dropped. GHN_TEST_ALL=1 adds the larger families.
"""
import json
import os
import unittest

import support

torch, torchvision = support.require_torch()

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torchvision import models  # noqa: E402
from torchvision.models.maxvit import MaxVit  # noqa: E402
from torchvision.models.swin_transformer import (  # noqa: E402
    PatchMergingV2, SwinTransformer, SwinTransformerBlockV2)
from torchvision.ops import StochasticDepth  # noqa: E402

from arch_module import ArchModule, without_randomness  # noqa: E402
from folder_case import FolderCase  # noqa: E402
from ghn_client import read_safetensors, trace, write_safetensors  # noqa: E402

ALL = os.environ.get("GHN_TEST_ALL") == "1"
BATCH, BATCHES, STEPS, CLASSES = 8, 2, 20, 10
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


def call(*arguments):
    """Runs the program."""
    support.run("tests/golden/train_steps", *arguments, timeout=600)


def prepare(module):
    """Makes a torchvision module drop nothing, and gives its batch norms values that are neither 0
    nor 1: a ReLU whose input is 0 but for rounding would open or close by chance."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, (nn.Dropout, StochasticDepth)):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    return module


class Training(FolderCase):
    """What is compared, and how closely."""

    def setUp(self):
        support.program("tests/golden/train_steps")
        super().setUp()
        torch.manual_seed(0)

    def data(self, shape):
        """Random images and labels, also as the file that the program reads."""
        generator = np.random.default_rng(1)
        images = generator.standard_normal((BATCH * BATCHES, *shape)).astype(np.float32)
        labels = generator.integers(CLASSES, size=BATCH * BATCHES).astype(np.int32)
        write_safetensors(self.path("data"), {"images": images, "labels": labels})
        return torch.tensor(images), torch.tensor(labels, dtype=torch.int64)

    def train_here(self, module, images, labels, steps, lr):
        """(logits of step 0, losses) of the module's training by PyTorch."""
        optimizer = torch.optim.SGD(module.parameters(), lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
        losses, logits = [], None
        module.train()
        for step in range(steps):
            chosen = slice(step % BATCHES * BATCH, (step % BATCHES + 1) * BATCH)
            output = module(images[chosen])
            loss = F.cross_entropy(output, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            # What the output does not depend on decays all the same in libghn.
            for parameter in module.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            logits = output.detach().numpy() if logits is None else logits
            losses.append(float(loss))
        return logits, np.array(losses)

    def train_there(self, arch, start, steps, lr):
        """What the program makes of the same."""
        write_safetensors(self.path("start"), start)
        self.write("arch", arch)
        call("run", *map(self.path, ("arch", "start", "data", "end")), "train", "f32", BATCH,
             steps, lr, MOMENTUM, WEIGHT_DECAY)
        return read_safetensors(self.path("end"))[0]

    def assert_near(self, found, expected, scale, tolerance, what):
        self.assertEqual(found.shape, expected.shape, what)
        self.assertTrue(np.isfinite(expected).all(), what)
        self.assertLessEqual(float(np.abs(found - expected).max()), tolerance * scale, what)

    def assert_moved_alike(self, names, found, expected, start, tolerance):
        """The parameters have gone the same way: the difference is small beside the way."""
        off = way = 0.0
        for name in names:
            value = expected[name].astype(np.float64)
            off += float(((found[name] - value) ** 2).sum())
            way += float(((start[name] - value) ** 2).sum())
        self.assertGreater(way, 0)
        self.assertLessEqual((off / way) ** 0.5, tolerance, "way of the parameters")

    def assert_same_statistics(self, found, expected, steps, tolerance):
        """Running means, beside the spread of their values, and variances. The module of an arch
        does not count batches."""
        for name, variance in expected.items():
            node, _, kind = name.rpartition(".")
            if kind != "running_var":
                continue
            scale = float(variance.max())
            self.assert_near(found[name], variance, scale, tolerance, name)
            name = f"{node}.running_mean"
            self.assert_near(found[name], expected[name], scale ** 0.5, tolerance, name)
            self.assertEqual(found[f"{node}.num_batches_tracked"], steps)

    def compare(self, module, arch, steps, lr, way):
        """Trains both, and compares; way: how far apart the parameters may end, in parts of the
        way they went."""
        images, labels = self.data(arch["input"]["shape"])
        start = {n: t.detach().numpy().copy() for n, t in module.state_dict().items()}
        found = self.train_there(arch, start, steps, lr)
        logits, losses = self.train_here(module, images, labels, steps, lr)
        end = {n: t.detach().numpy() for n, t in module.state_dict().items()}
        names = [n for n in found if n in end and not n.endswith(ArchModule.BUFFERS)]
        self.assertEqual(len(names), len(list(module.parameters())))
        self.assertGreater(float(logits.std()), 1e-4)
        self.assert_near(found["/logits"], logits, float(np.abs(logits).max()), 1e-4, "logits")
        np.testing.assert_allclose(found["/losses"], losses, rtol=1e-3, atol=1e-5)
        self.assert_moved_alike(names, found, end, start, way)
        self.assert_same_statistics(found, end, steps, 1e-3)
        if steps > 1:
            self.assertLess(losses[-BATCHES:].mean(), losses[:BATCHES].mean() - 0.02)

    def check(self, module, arch, lr=LR):
        """One step of the network as it is; many of it with smooth activations.

        Rounding opens or closes a ReLU in a thousand that is nearly 0, and that changes the
        gradient at once: PyTorch in f32 and in f64 are percents apart after 20 steps of a ResNet.
        """
        state = {n: t.detach().numpy().copy() for n, t in module.state_dict().items()
                 if not n.endswith(("relative_coords_table", "relative_position_index"))}
        self.compare(module, arch, 1, lr, 3e-2)
        self.compare(ArchModule(smooth(arch), state), smooth(arch), STEPS, lr, 1e-2)


def smooth(arch):
    """arch with SiLU for ReLU."""
    return {**arch, "nodes": [{**node, "op": "silu"} if node["op"] in ("relu", "relu6") else node
                              for node in arch["nodes"]]}


def model(name, **settings):
    """A torchvision model with CLASSES classes that drops nothing."""
    if name in ("googlenet", "inception_v3"):
        settings.update(init_weights=False, aux_logits=False)
    return prepare(models.get_model(name, weights=None, num_classes=CLASSES, **settings))


def narrow(module):
    """AlexNet and VGG with 128 features in place of 4,096, which are 100 million parameters."""
    linears = [i for i, part in enumerate(module.classifier) if isinstance(part, nn.Linear)]
    features = module.classifier[linears[0]].in_features
    for i, out in zip(linears, (128, 128, CLASSES)):
        module.classifier[i] = nn.Linear(features, out)
        features = out
    return module


def small_maxvit():
    return prepare(MaxVit((64, 64), 16, 2, [16, 32], [1, 2], 8, 0.2, num_classes=CLASSES))


def small_swin():
    return prepare(SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=CLASSES))


def small_swin_v2():
    return prepare(SwinTransformer(
        [4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=CLASSES, block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2))


def small_vit():
    vit = models.VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=CLASSES)
    nn.init.normal_(vit.heads.head.weight, std=0.1)  # which is 0 in the beginning
    return prepare(vit)


# Family: (always, size, how the module is made, learning rate if not LR: where with LR PyTorch in f32
# ends as far from PyTorch in f64 as the tolerance allows. ShuffleNet's losses do by 1e-3, libghn's by
# 2e-4.)
FAMILIES = {
    "alexnet": (True, 64, lambda: narrow(model("alexnet"))),
    "vgg11_bn": (False, 32, lambda: narrow(model("vgg11_bn"))),
    "resnet18": (True, 64, None),
    "resnext50_32x4d": (False, 64, None, 0.001),
    "wide_resnet50_2": (False, 64, None),
    "squeezenet1_1": (True, 64, None, 0.001),
    "densenet121": (False, 64, None),
    "googlenet": (False, 64, None, 0.001),
    "inception_v3": (False, 96, None, 0.001),
    "mobilenet_v2": (False, 64, None, 0.001),
    "mobilenet_v3_small": (True, 64, None),
    "mnasnet0_5": (False, 64, None, 0.001),
    "shufflenet_v2_x0_5": (True, 64, None, 0.001),
    "efficientnet_b0": (False, 64, None, 0.001),
    "efficientnet_v2_s": (False, 64, None, 0.001),
    "regnet_y_400mf": (True, 64, None, 0.001),
    "convnext_tiny": (False, 64, None),
    "vit": (True, 32, small_vit),
    "swin": (False, 32, small_swin),
    "swin_v2": (True, 32, small_swin_v2),
    "maxvit": (True, 64, small_maxvit),
}


class Families(Training):
    """One network of every family of torchvision."""


def _family(name, always, size, make, lr=LR):
    @unittest.skipUnless(always or ALL, "one of the larger families; set GHN_TEST_ALL=1")
    def test(self):
        module = make() if make else model(name)
        self.check(module, trace(module, (3, size, size)), lr)
    return test


for _name, _case in FAMILIES.items():
    setattr(Families, f"test_{_name}", _family(_name, *_case))


class Genotypes(Training):
    """Networks of DeepNets' genotypes, and others that torchvision has not."""

    def start(self, request):
        """(arch, state) of a request, initialised."""
        call("start", self.write("request", request), 1, self.path("form"), self.path("state"))
        with open(self.path("form"), encoding="utf-8") as file:
            arch = without_randomness(json.load(file))
        state = read_safetensors(self.path("state"))[0]
        generator = np.random.default_rng(2)
        for name, array in state.items():
            # Sizes of use for all, and nothing that is 0 but for rounding.
            if not name.endswith(ArchModule.BUFFERS):
                low, high = (0.5, 1.5) if (array == 1).all() else (-0.3, 0.3)
                if array.ndim == 1:
                    state[name] = generator.uniform(low, high, array.shape).astype(np.float32)
        return arch, state

    def check_request(self, request, lr=LR):
        arch, state = self.start(request)
        self.check(ArchModule(arch, state), arch, lr)

    def check_golden(self, case, lr=0.001):
        self.check_request({"genotype": case["genotype"], "net": case["net_args"],
                            "input": case["input"], "num_classes": CLASSES}, lr)

    def test_there_are_golden_cases(self):
        """Those of every run are there: the tests below are made of what is found."""
        self.assertLessEqual(QUICK, {case["tag"] for _, case in support.golden_cases("deepnets")})


# The golden networks that are small enough to be trained in every run; GHN_TEST_ALL=1 takes all.
QUICK = {"bnfree_0", "test_0"}


def _golden(case):
    @unittest.skipUnless(case["tag"] in QUICK or ALL, "one of the others; set GHN_TEST_ALL=1")
    def test(self):
        self.check_golden(case)
    return test


try:
    for _, _case in support.golden_cases("deepnets"):
        setattr(Genotypes, f"test_{_case['tag']}", _golden(_case))
except unittest.SkipTest:
    pass  # test_there_are_golden_cases says so


if __name__ == "__main__":
    unittest.main()
