"""The whole way: a module is traced, a real server predicts, the values are the reference's and
arrive in the module."""
import copy
import json
import os
import tempfile
import unittest
import urllib.request

import support

torch, torchvision = support.require_torch()

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402

from ghn_client import (Client, GhnError, parse_safetensors, read_safetensors,  # noqa: E402
                        trace, write_safetensors)

CHECKPOINTS = ("ghn2_cifar10", "ghn2_imagenet", "ghn1_cifar10", "mlp_cifar10", "ghn2_small",
               "ghn2_small_mlpdec")


def setUpModule():
    global daemon, client
    daemon = support.Daemon(*(support.GOLDEN / "checkpoints" / f"{c}.pt" for c in CHECKPOINTS))
    daemon.__enter__()
    unittest.addModuleCleanup(daemon.__exit__)
    client = Client(daemon.url)


class Golden(unittest.TestCase):
    """The reference's values, within 1e-5 of a tensor's spread and of the value."""

    def test_values(self):
        n = 0
        for path, case in support.golden_cases("torchvision"):
            settings = {"aux_logits": False} if case["tag"] == "googlenet" else {}
            module = support.torchvision_model(case["tag"], num_classes=case["num_classes"],
                                               **settings)
            result = client.predict({"arch": trace(module, case["input"])},
                                    model=case["checkpoint"])
            with self.subTest(path.name):
                self.check(case, result)
            n += 1
        self.assertGreater(n, 10)

    def check(self, case, result):
        self.assertEqual(result.not_predicted, {})
        self.assertEqual(set(result.parameters), set(case["params"]))
        self.assertEqual(sum(a.size for a in result.parameters.values()), case["n_params"])
        for name, expected in case["params"].items():
            found = result.parameters[name]
            self.assertEqual(list(found.shape), expected["shape"], name)
            values = np.array(expected["val"])
            error = np.abs(found.reshape(-1)[expected["idx"]] - values)
            allowed = 1e-5 * expected["std"] + 1e-5 * np.abs(values)
            self.assertTrue((error <= allowed).all(), f"{name}: {error.max()}")
            self.assertAlmostEqual(float(found.std(dtype=np.float64)), expected["std"],
                                   delta=1e-5 * expected["std"] + 1e-9, msg=name)


class Modules(unittest.TestCase):
    def test_predict_into_a_module(self):
        module = torchvision.models.resnet18(num_classes=10)
        before = copy.deepcopy(module.state_dict())
        result = client.predict(module, (3, 224, 224))
        self.assertEqual(set(result.predicted), {n for n, _ in module.named_parameters()})
        self.assertEqual(result.not_predicted, {})
        arrays = client.predict({"arch": trace(module, (3, 224, 224))}).parameters
        for name, p in module.named_parameters():
            self.assertTrue(np.array_equal(p.detach().numpy(), arrays[name]), name)
        for name, buffer in module.named_buffers():
            self.assertTrue(torch.equal(buffer, before[name]), name)
        module.train()
        with torch.no_grad():
            self.assertTrue(torch.isfinite(module(torch.randn(8, 3, 64, 64))).all())

    def test_class_layers_left_alone(self):
        module = torchvision.models.resnet18(num_classes=7)
        weight = module.fc.weight.detach().clone()
        result = client.predict(module, (3, 224, 224), predict_class_layers=False)
        self.assertTrue(torch.equal(module.fc.weight, weight))
        self.assertEqual(set(result.not_predicted), {"fc.weight", "fc.bias"})
        self.assertEqual(result.initialised, [])

    def test_auxiliary_classifiers_are_reported(self):
        module = torchvision.models.googlenet(weights=None, init_weights=False, num_classes=10)
        aux = module.aux1.fc1.weight.detach().clone()
        result = client.predict(module, (3, 224, 224))
        self.assertTrue(torch.equal(module.aux1.fc1.weight, aux))
        self.assertEqual(set(result.not_predicted), {n for n, _ in module.named_parameters()
                                                     if n.startswith("aux")})
        self.assertIn("aux1.fc1.weight (left as it was)", str(result))

    def test_what_has_no_primitive_is_initialised(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)
                self.gamma = nn.Parameter(torch.linspace(0, 1, 8).reshape(8, 1, 1))
                self.mean = nn.Parameter(torch.rand(3, 1, 1), requires_grad=False)
                self.fixed = nn.GroupNorm(2, 8).requires_grad_(False)
                self.fc = nn.Linear(8, 10)

            def forward(self, x):
                x = self.fixed(self.norm(self.conv(x + self.mean)))
                return self.fc((x * self.gamma).mean((2, 3)))
        module = Net()
        with torch.no_grad():
            module.norm.weight.fill_(3)
            module.fixed.weight.fill_(3)
        before = {n: p.detach().clone() for n, p in module.named_parameters()}
        result = client.predict(module, (3, 32, 32))
        self.assertEqual(set(result.initialised), {"norm.weight", "norm.bias"})
        self.assertEqual(module.norm.weight.tolist(), [1] * 8)
        kept = ("gamma", "mean", "fixed.weight", "fixed.bias")
        for name in kept:
            self.assertTrue(torch.equal(module.get_parameter(name), before[name]), name)
            self.assertIn(f"{name} (left as it was)", str(result))
        self.assertEqual(set(result.not_predicted), {*result.initialised, *kept})

    def test_shared_modules_and_own_transformers(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.patch = nn.Conv2d(3, 32, 4, 4)
                self.pos = nn.Parameter(torch.randn(1, 32, 8, 8) * 0.02)
                self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
                self.head = nn.Linear(32, 10)

            def forward(self, x):
                x = (self.patch(x) + self.pos).flatten(2).transpose(1, 2)
                return self.head(self.layer(self.layer(x)).mean(1))
        module = Net()
        result = client.predict(module, (3, 32, 32))
        self.assertEqual(result.not_predicted, {})
        with torch.no_grad():
            self.assertTrue(torch.isfinite(module(torch.randn(2, 3, 32, 32))).all())

    def test_half_precision_answers(self):
        module = torchvision.models.squeezenet1_1(num_classes=10)
        full = client.predict({"arch": trace(module, (3, 224, 224))}).parameters
        for dtype, bits in (("f16", 11), ("bf16", 8)):
            result = client.predict({"arch": trace(module, (3, 224, 224))}, dtype=dtype)
            for name, array in result.parameters.items():
                np.testing.assert_allclose(array.astype(np.float32), full[name],
                                           rtol=2.0 ** -bits, atol=1e-7)

    def test_errors(self):
        with self.assertRaises(GhnError) as caught:
            client.predict(nn.Conv2d(3, 4, 3), (3, 8, 8), model="nothing")
        self.assertEqual(caught.exception.code, "unknown_model")
        arch = trace(nn.Conv2d(3, 4, 3), (3, 8, 8))
        arch["nodes"][0]["attrs"]["groups"] = 2
        with self.assertRaises(GhnError) as caught:
            client.predict({"arch": arch})
        self.assertEqual(caught.exception.code, "shape_mismatch")

    def test_a_written_file_is_the_server_s(self):
        arch = trace(nn.Sequential(nn.Conv2d(3, 40, 3), nn.GroupNorm(2, 40)), (3, 32, 32))
        asked = urllib.request.Request(daemon.url + "/predict", json.dumps({"arch": arch}).encode(),
                                       {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as response:
            arrays, metadata = parse_safetensors(response.read())
        result = client.predict({"arch": arch})
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.safetensors")
            write_safetensors(path, result.parameters, result.metadata)
            written, its_metadata = read_safetensors(path)
            self.assertNotIn("blocks", support.run("clients/ghn/ghn", "info", path))
        self.assertEqual(its_metadata, metadata)
        self.assertEqual(set(written), set(arrays))
        for name, array in arrays.items():
            np.testing.assert_array_equal(written[name], array)

    def test_models_and_health(self):
        models = client.models()
        self.assertEqual([m["id"] for m in models], list(CHECKPOINTS))
        self.assertIsInstance(client.health(), dict)


if __name__ == "__main__":
    unittest.main()
