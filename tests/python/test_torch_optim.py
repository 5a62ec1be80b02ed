"""Optimisers, clipping and schedules are torch.optim's: the same steps, with the same gradients, end
at the same values. PyTorch takes them in f64, so that the difference is libghn's rounding alone."""
import json
import unittest

import support

torch, _ = support.require_torch()

import numpy as np  # noqa: E402

N, STEPS = 1003, 25


def steps_of(recipe, values, gradients):
    """The values after each step, as the program has them."""
    text = json.dumps({"recipe": recipe, "values": values.tolist(), "gradients": gradients.tolist()})
    return np.array(json.loads(support.run("tests/python/optimizer_steps", input=text, timeout=120)))


class Optim(unittest.TestCase):
    def check(self, make, scheduler=None, clip=0, **recipe):
        """make: the optimiser of a list of parameters; scheduler: of an optimiser."""
        generator = np.random.default_rng(4)
        values = generator.standard_normal(N).astype(np.float32)
        sizes = np.where(np.arange(STEPS) % 2, 0.1, 0.001)[:, None]
        gradients = (sizes * generator.standard_normal((STEPS, N))).astype(np.float32)
        found = steps_of({"schedule": "constant", "clip_norm": clip, **recipe}, values, gradients)
        parameter = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
        optimizer = make([parameter])
        schedule = scheduler(optimizer) if scheduler else None
        for step, gradient in enumerate(gradients):
            parameter.grad = torch.tensor(gradient, dtype=torch.float64)
            if clip:
                torch.nn.utils.clip_grad_norm_([parameter], clip)
            optimizer.step()
            if schedule:
                schedule.step()
            expected = parameter.detach().numpy()
            # A few roundings a step, of numbers about 1.
            np.testing.assert_allclose(found[step], expected, rtol=3e-6, atol=3e-6,
                                       err_msg=f"step {step}")
        self.assertGreater(float(np.abs(expected - values).mean()), 1e-4)

    def test_sgd(self):
        for momentum, nesterov in ((0, False), (0.9, False), (0.9, True)):
            for decay in (0, 0.01):
                with self.subTest(momentum=momentum, nesterov=nesterov, decay=decay):
                    self.check(lambda p, m=momentum, n=nesterov, d=decay: torch.optim.SGD(
                        p, 0.05, m, weight_decay=d, nesterov=n), optimizer="sgd", lr=0.05,
                        momentum=momentum, nesterov=nesterov, weight_decay=decay)

    def test_adamw(self):
        for betas, eps, decay in (((0.9, 0.999), 1e-8, 0.0), ((0.9, 0.999), 1e-8, 0.1),
                                  ((0.7, 0.95), 1e-3, 0.05)):
            with self.subTest(betas=betas, eps=eps, decay=decay):
                self.check(lambda p, b=betas, e=eps, d=decay: torch.optim.AdamW(
                    p, 0.01, b, e, d), optimizer="adamw", lr=0.01, beta1=betas[0], beta2=betas[1],
                    eps=eps, weight_decay=decay)

    def test_clip_grad_norm(self):
        """Gradients of norm 0.03 pass below the limit, those of norm 3 do not."""
        self.check(lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01), clip=0.5,
                   optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.01)
        self.check(lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1), clip=0.5,
                   optimizer="adamw", lr=0.01, weight_decay=0.1)

    def test_schedules(self):
        schedulers = torch.optim.lr_scheduler
        for schedule, make in (
                ("cosine", lambda o: schedulers.CosineAnnealingLR(o, STEPS)),
                ("step", lambda o: schedulers.StepLR(o, 7, 0.3))):
            with self.subTest(schedule):
                self.check(lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01), make,
                           optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.01,
                           schedule=schedule, step_size=7, gamma=0.3)


if __name__ == "__main__":
    unittest.main()
