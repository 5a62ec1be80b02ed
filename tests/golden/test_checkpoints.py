"""Every golden checkpoint, and files that torch.save makes here, read to the values that torch reads.

usage: test_checkpoints.py LIST_TENSORS
"""

import collections
import glob
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

try:
    import torch
except ImportError:
    print("skipped: this python3 has no torch")
    sys.exit(77)

TOOL = sys.argv.pop(1)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.environ.get("GHN_GOLDEN") or os.path.join(ROOT, "..", "shared", "golden")
DTYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}


def run(*arguments):
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=60)


def read(*arguments):
    result = run(*arguments)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return json.loads(result.stdout)


def expected(state_dict):
    """What the tool should say of these tensors."""
    tensors = []
    for name, tensor in state_dict.items():
        tensor = tensor.detach().contiguous()
        data = b"" if tensor.numel() == 0 else tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        tensors.append({"name": name, "dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "sha256": hashlib.sha256(data).hexdigest(), "aligned": True})
    return tensors


class GoldenCheckpoints(unittest.TestCase):
    def setUp(self):
        self.files = sorted(glob.glob(os.path.join(GOLDEN, "checkpoints", "*.pt")))
        if not self.files:
            self.skipTest(f"no golden checkpoints in {GOLDEN}")

    def test_values(self):
        for path in self.files:
            if "legacy" in path:
                continue
            with self.subTest(path):
                want = torch.load(path, map_location="cpu")
                got = read(path)
                self.assertEqual(got["format"], "torch")
                self.assertEqual(got["tensors"], expected(want["state_dict"]))
                self.assertGreater(len(got["tensors"]), 10)
                plain = {key: want[key] for key in want if key not in ("state_dict", "optimzer")}
                self.assertEqual(got["metadata"], json.loads(json.dumps(plain)))
                with open(path, "rb") as file:
                    self.assertEqual(got["sha256"], hashlib.sha256(file.read()).hexdigest())

    def test_safetensors_copy(self):
        for path in self.files:
            if "legacy" in path:
                continue
            with self.subTest(path), tempfile.TemporaryDirectory() as folder:
                copy = os.path.join(folder, "copy.safetensors")
                want = read(path, copy)
                got = read(copy)
                self.assertEqual(got["format"], "safetensors")
                self.assertEqual(got["tensors"], want["tensors"])
                self.assertEqual(os.listdir(folder), ["copy.safetensors"])

    def test_legacy_is_refused_with_advice(self):
        legacy = [path for path in self.files if "legacy" in path]
        self.assertEqual(len(legacy), 1)
        result = run(legacy[0])
        self.assertEqual(result.returncode, 1)
        self.assertIn("unsupported_file", result.stderr)
        self.assertIn('torch.save(torch.load(f, map_location="cpu"), f2)', result.stderr)


class SavedHere(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "a.pt")

    def saved(self, value, **options):
        torch.save(value, self.path, **options)
        return read(self.path)

    def refused(self, value, **options):
        torch.save(value, self.path, **options)
        result = run(self.path)
        self.assertEqual(result.returncode, 1, result.stderr)
        return result.stderr

    def test_plain_state_dict(self):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        model(torch.randn(2, 3, 8, 8))
        got = self.saved(model.state_dict())
        self.assertEqual(got["tensors"], expected(model.state_dict()))
        self.assertIn("1.num_batches_tracked", [t["name"] for t in got["tensors"]])
        self.assertEqual(got["metadata"], {})

    def test_every_dtype(self):
        values = torch.tensor([0, 1, 2, 100])
        state = {name: values.to(dtype) for dtype, name in DTYPES.items()}
        self.assertEqual(self.saved(state)["tensors"], expected(state))

    def test_views(self):
        base = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
        state = {
            "whole": base, "offset": base[1], "transposed": base.transpose(1, 3),
            "permuted": base.permute(3, 1, 0, 2), "stepped": base[:, ::2, 1::2, ::3],
            "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "column": base[0, :, 1:2, 3], "scalar": base[1, 2, 3, 4], "empty": base[:, :0],
            "parameter": torch.nn.Parameter(torch.randn(3, 2).t()),
        }
        self.assertEqual(self.saved(state)["tensors"], expected(state))

    def test_nested_dicts_are_flattened(self):
        tensor = torch.ones(3)
        state = collections.OrderedDict(model={"a": {"b": tensor}, 7: tensor}, step=3,
                                        optimizer={"state": {0: tensor}}, note=["x", None, 1.5])
        got = self.saved(state)
        self.assertEqual(got["tensors"], expected({"model.a.b": tensor, "model.7": tensor}))
        self.assertEqual(got["metadata"], {"step": 3, "note": ["x", None, 1.5]})

    def test_plain_values(self):
        plain = {"int": -5, "big": 2**62, "float": 0.1, "text": "\u00fc\u20ac", "yes": True,
                 "no": False, "none": None, "list": [1, [2]], "tuple": (1, 2), "dict": {"k": {}},
                 "long": list(range(3000)), "wide": {str(i): i for i in range(3000)}}
        got = self.saved({"state_dict": {"w": torch.zeros(2)}, **plain})
        self.assertEqual(got["metadata"], json.loads(json.dumps(plain)))

    def test_other_objects_are_refused(self):
        self.assertIn("state_dict()", self.refused(torch.nn.Linear(2, 2)))
        self.assertIn("builtins.complex", self.refused({"x": 1j}).replace("__builtin__", "builtins"))
        self.assertIn("dict of tensors", self.refused([torch.ones(2)]))
        self.assertIn("protocol 4", self.refused({"w": torch.ones(2)}, pickle_protocol=4))
        self.assertIn("reaches beyond", self.refused({"w": torch.ones(1).expand(1000)}))
        self.assertIn("before 1.6", self.refused({"w": torch.ones(2)},
                                                 _use_new_zipfile_serialization=False))

    def test_torchscript_is_refused_with_advice(self):
        torch.jit.script(torch.nn.Linear(2, 2)).save(self.path)
        self.assertIn("TorchScript", run(self.path).stderr)


if __name__ == "__main__":
    unittest.main()
