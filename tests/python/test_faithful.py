"""A trace is faithful: run node by node with the module's own parameters, it computes what the
module computes. One network of every torchvision family, small, with random values everywhere."""
import unittest

import support

torch, torchvision = support.require_torch()

from torchvision import models  # noqa: E402
from torchvision.models.maxvit import MaxVit  # noqa: E402
from torchvision.models.swin_transformer import (  # noqa: E402
    PatchMergingV2, SwinTransformer, SwinTransformerBlockV2)

from interpreter import compare  # noqa: E402


def model(name, **settings):
    if name in ("googlenet", "inception_v3"):
        settings.setdefault("init_weights", False)
    return models.get_model(name, weights=None, num_classes=10, **settings)


class Families(unittest.TestCase):
    """One test a family; a subclass of TestCase gives each its own line in the log."""


SMALL = {"resnet18": 64, "resnext50_32x4d": 64, "wide_resnet50_2": 32, "squeezenet1_1": 64,
         "densenet121": 64, "googlenet": 64, "inception_v3": 96, "mobilenet_v2": 64,
         "mobilenet_v3_small": 64, "mobilenet_v3_large": 64, "mnasnet0_5": 64,
         "shufflenet_v2_x0_5": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64,
         "regnet_x_400mf": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "alexnet": 64,
         "vgg11_bn": 32, "swin_t": 60, "swin_v2_t": 72}


def _case(name, size):
    def test(self):
        compare(self, model(name), (3, size, size))
    return test


for _name, _size in SMALL.items():
    setattr(Families, f"test_{_name}", _case(_name, _size))


class Others(unittest.TestCase):
    """Families whose models are too large as they are, and settings that change the graph."""

    def test_vit(self):
        compare(self, models.VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=10), (3, 32, 32))

    def test_vit_with_representation_and_dropout(self):
        vit = models.VisionTransformer(32, 8, 2, 4, 48, 96, dropout=0.1, num_classes=10,
                                       representation_size=24)
        arch = compare(self, vit, (3, 32, 32))
        self.assertIn("dropout", {n["op"] for n in arch["nodes"]})

    def test_maxvit(self):
        maxvit = MaxVit((64, 64), 16, 2, [16, 32], [1, 2], 8, 0.2, num_classes=10)
        compare(self, maxvit, (3, 64, 64))

    def test_swin_v2_with_small_maps(self):
        swin = SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10,
                               block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)
        compare(self, swin, (3, 40, 28))

    def test_inputs_normalised_by_the_model(self):
        compare(self, model("inception_v3", transform_input=True, aux_logits=False), (3, 96, 96))
        compare(self, model("googlenet", transform_input=True, aux_logits=False), (3, 64, 64))


if __name__ == "__main__":
    unittest.main()
