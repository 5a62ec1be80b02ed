"""What the tests of the Python client share: the package on the path, models that cost nothing to
build, the golden cases."""
import json
import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))

GOLDEN = pathlib.Path(os.environ.get("GHN_GOLDEN") or ROOT.parent / "shared" / "golden")

# Inputs of torchvision's classification models that are not 224 pixels wide: what their own
# weights were trained with, in torchvision 0.14.
SIZES = {"inception_v3": 299, "efficientnet_b1": 240, "efficientnet_b2": 288,
         "efficientnet_b3": 300, "efficientnet_b4": 380, "efficientnet_b5": 456,
         "efficientnet_b6": 528, "efficientnet_b7": 600, "efficientnet_v2_s": 384,
         "efficientnet_v2_m": 480, "efficientnet_v2_l": 480, "swin_v2_t": 256, "swin_v2_s": 256,
         "swin_v2_b": 256}


def require_torch():
    """Skips the module that calls it where PyTorch or torchvision is missing."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise unittest.SkipTest(f"needs PyTorch and torchvision: {error}") from None
    torch.set_num_threads(2)
    return torch, torchvision


def torchvision_names():
    """The classification models of torchvision, in alphabetical order."""
    import torchvision.models as models
    return models.list_models(module=models)


def torchvision_model(name, **settings):
    """A torchvision model on the meta device."""
    import torchvision.models as models
    from ghn_client.building import without_values
    if name in ("googlenet", "inception_v3"):
        settings.setdefault("init_weights", False)  # minutes of sampling on a CPU
    with without_values():
        return models.get_model(name, weights=None, **settings)


def input_shape(name):
    """The input of a torchvision model."""
    size = SIZES.get(name, 224)
    return 3, size, size


def golden_cases(folder):
    """The golden cases of a folder as (path, contents); skips where there are none."""
    paths = sorted((GOLDEN / folder).glob("*.json"))
    if not paths:
        raise unittest.SkipTest(f"no golden data in {GOLDEN / folder} (GHN_GOLDEN names another)")
    for path in paths:
        yield path, json.loads(path.read_text())
