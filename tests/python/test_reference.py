"""The reference twin of lib/nn against PyTorch: outputs, gradients and running statistics of every
case of tests/unit/nn_cases.c, both in float64."""
import json
import subprocess
import unittest

import support

torch, _ = support.require_torch()

import interpreter  # noqa: E402
from arch_module import EVAL, TrainingNode, on_path, without_checks  # noqa: E402


class Reference(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_default_dtype(torch.float64)
        done = subprocess.run([support.program("tests/python/print_cases")], capture_output=True,
                              text=True, timeout=300, check=True)
        cls.cases = [json.loads(line) for line in done.stdout.splitlines()]

    def close(self, found, expected, what):
        found, expected = torch.as_tensor(found).flatten(), expected.detach().flatten()
        self.assertEqual(found.shape, expected.shape, what)
        scale = max(1e-3, float(expected.abs().max()))
        tolerance = 1e-7 if self.coarse else 1e-10
        self.assertLessEqual(float((found - expected).abs().max()), tolerance * scale, what)

    def test_cases_are_many(self):
        self.assertGreater(len(self.cases), 100)

    def test_every_case(self):
        skipped = 0
        for case in self.cases:
            with self.subTest(case["case"]):
                try:
                    self.compare(case)
                except unittest.SkipTest:
                    skipped += 1
        self.assertLess(skipped, 8)

    def compare(self, case):
        arch, mode = on_path(without_checks(case["arch"])), case["mode"]
        # PyTorch's hardsigmoid has its sixth in float32.
        self.coarse = any(node["op"] == "hardsigmoid" for node in arch["nodes"])
        state = {name: torch.tensor(values).reshape(case["shapes"][name]).requires_grad_()
                 for name, values in case["params"].items()}
        params = dict(state)
        state["mode"] = mode
        for name, values in case["statistics"].items():
            mean, var = torch.tensor(values).chunk(2)
            state[f"{name}.running_mean"], state[f"{name}.running_var"] = mean, var
        x = torch.tensor(case["images"]).reshape(case["batch"], *arch["input"]["shape"])
        x.requires_grad_()
        node_class = interpreter.Node if mode == EVAL else TrainingNode
        output = interpreter.run(arch, state, x, node_class)
        output = output.expand(case["batch"], *output.shape[1:])
        self.close(case["output"], output, "output")
        output.backward(torch.tensor(case["doutput"]).reshape(output.shape))
        self.close(case["dimages"], x.grad, "gradient by the input")
        for name, param in params.items():
            gradient = param.grad if param.grad is not None else torch.zeros_like(param)
            self.close(case["dparams"][name], gradient, f"gradient by {name}")
        for name, values in case["statistics_after"].items():
            after = [state[f"{name}.running_mean"], state[f"{name}.running_var"]]
            self.close(values, torch.cat(after), f"statistics of {name}")


if __name__ == "__main__":
    unittest.main()
