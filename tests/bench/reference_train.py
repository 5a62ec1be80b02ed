#!/usr/bin/python3
"""Compares steps of meta-training with those of the public PyTorch implementation of GHN-2, and
times both.

    reference_train.py --ppuda DIR --build BUILD --data CIFAR [--steps N] [--lr X] [--bf16] [--explain N]

DIR is a checkout of facebookresearch/ppuda, BUILD a folder made with --buildtype=release, CIFAR the
folder of CIFAR-10's binary files. Wants Debian's python3-torch and python3-torchvision.

Both are given the same weights, images and networks: those of DeepNets-1M's training split with
widths as training draws them, a meta-batch of 4, batches of 64 images of 32 x 32 pixels. Each goes
its own way then for 10 steps, in f32, by the recipe of the paper: Adam with learning rate 1e-3, betas
0.9 and 0.999, eps 1e-8, weight decay 1e-5, gradients clipped to a norm of 5; but for two things that
are said below. Printed are loss and norm of the gradient before clipping of every step; the exit
status is 1 if one of them differs by more than 1e-3 of its value. The two take their steps by turns,
so that these can be timed: quoted is the median of architectures per second, without the first step,
for which neither is warm. A step is prediction, networks, backward and optimiser; neither side's
includes making networks and graphs, for which the reference has files.

Two things are not the paper's, because with them the question has an answer in f32.

The hypernetwork is one that ghn train has trained for 400 steps of small networks (--checkpoint names
another), not a fresh one. What a fresh one predicts makes networks whose features hardly depend on
the image, and their batch norms magnify what little they do, and the rounding with it: the gradient
of a single step is wrong by 1e-3 to 4e-3 in f32, ours and the reference's alike.

The learning rate grows to 1e-3 over 100 steps (--warmup-steps). Adam's first steps are the learning
rate times the sign of the gradient, whatever its size, so that where rounding turns the sign of an
entry next to nothing, the parameter ends 2e-3 elsewhere. From a fresh hypernetwork even the reference
in f64 leaves its own course by 0.1 in the norm within three steps when its weights are changed by
6e-8 of their values, which is the rounding of f32. From the trained one without warm-up
(--warmup-steps 0) losses were within 2e-4 and norms within 1e-2.

--lr 0 gives every step the same weights on both sides, so that a step is seen without the course before
it.

--bf16 times ours a second time, with the networks in bf16 as ghn train has them where the processor
can; how far its losses are from the reference's is printed, and not held against it.

--explain N shows it in N steps without warm-up from what ghn new makes (slow: --batch-size 16 will
do): the gradient of step 0, tensor by tensor, of ours and of the reference in f32, both against the
reference in f64; and then the course of ours, of the reference in f32, and of the reference in f64
from weights that were so changed, all against the reference in f64.

Where the two differ by design: graphs are given to the reference, because its own miss most attention
and squeeze-excite nodes of random networks; all heads have one linear layer, because two have dropout
between them; images are not augmented. Networks are of its light kind, as it trains with.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "clients", "python"), os.path.join(ROOT, "tests", "python"),
                os.path.dirname(os.path.abspath(__file__))]

from support import distances  # noqa: E402

MEAN = (0.49139968, 0.48215827, 0.44653124)
SD = (0.24703233, 0.24348505, 0.26158768)
CUTOFF = 50
LR, BETAS, EPS, WEIGHT_DECAY, CLIP = 1e-3, (0.9, 0.999), 1e-8, 1e-5, 5.0
RECIPE = {"lr": LR, "eps": EPS, "weight_decay": WEIGHT_DECAY, "clip_norm": CLIP}
TOLERANCE = 1e-3
CONFIG = {"max_shape": [64, 64, 11, 11], "num_classes": 10, "hypernet": "gatedgnn",
          "decoder": "conv", "weight_norm": True, "ve": True, "layernorm": True, "hid": 32}


# --- What both sides are given ---

class Given:
    """A checkpoint, images, and the networks of every step, in a folder."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.count = max(options.steps, options.explain)
        self.ghn = f"{options.build}/clients/ghn/ghn"
        self.images, self.labels = self.read_images()
        self.steps = self.draw()
        self.checkpoint = self.start = None

    def start_from(self, checkpoint):
        from ghn_client import read_safetensors
        self.checkpoint, self.start = checkpoint, read_safetensors(checkpoint)[0]

    def fresh(self):
        path = os.path.join(self.folder, "fresh.safetensors")
        self.call(self.ghn, "new", "-o", path)
        return path

    def train(self):
        """A hypernetwork that has learned for a few minutes."""
        path = os.path.join(self.folder, "trained")
        self.call(self.ghn, "train", "--recipe", "paper", "--data", self.options.data, "--dir", path,
                  "--steps", 400, "--warmup-steps", 100, "--side", 16, "--max-flops", 30, "--meta-batch", 4,
                  "--batch-size", 32, "--images", 45000, "--validate", 0, "--threads",
                  self.options.threads)
        return os.path.join(path, "checkpoint.safetensors")

    @staticmethod
    def call(*command, **settings):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              check=False, **settings)
        if done.returncode:
            sys.exit(f"{command[0]}: {done.stderr}")
        return done.stdout

    def read_images(self):
        """Images in file order, normalised and not augmented, (M, 3, 32, 32); their labels."""
        from ghn_client import write_safetensors
        count = self.options.batch_size * self.count
        raw = np.fromfile(os.path.join(self.options.data, "data_batch_1.bin"), np.uint8,
                          3073 * count).reshape(count, 3073)
        images = raw[:, 1:].reshape(count, 3, 32, 32) / np.float32(255)
        images = ((images - np.float32(MEAN).reshape(3, 1, 1))
                  / np.float32(SD).reshape(3, 1, 1)).astype(np.float32)
        labels = raw[:, 0].astype(np.int32)
        write_safetensors(os.path.join(self.folder, "data"), {
            "images": np.ascontiguousarray(images.transpose(0, 2, 3, 1)), "labels": labels})
        return images, labels

    def draw(self):
        """Networks of DeepNets-1M's training split, with one linear layer: two have dropout."""
        options, wanted = self.options, self.options.meta_batch * self.count
        lines = self.call(self.ghn, "sample", "--split", "train", "--seed", options.seed, "--count",
                          wanted, "--draw-width").splitlines()
        requests = [json.loads(line) for line in lines]
        for request in requests:
            request["net"]["fc_layers"] = 1
        m = options.meta_batch
        return [requests[i:i + m] for i in range(0, len(requests), m)]

    def graph(self, request):
        return json.loads(self.call(self.ghn, "graph", "-", "--json", input=json.dumps(request)))


# --- Ours ---

class Ours:
    """meta_steps, which takes steps 0 to count - 1 one by one."""

    plans = 0

    def __init__(self, given, count, *moments, **recipe):
        Ours.plans += 1  # a process may read its plan when the next one's is there already
        plan = os.path.join(given.folder, f"plan{Ours.plans}")
        with open(plan, "w", encoding="utf-8") as file:
            json.dump({"batch_size": given.options.batch_size, "threads": given.options.threads,
                       "steps": given.steps[:count], "wait": True, **(recipe or RECIPE)}, file)
        self.process = subprocess.Popen(
            [f"{given.options.build}/tests/golden/meta_steps", given.checkpoint,
             os.path.join(given.folder, "data"), plan, *moments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self):
        """What it prints of the next step."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("meta_steps failed")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- The reference ---

class Reference:
    """The public implementation's hypernetwork, and its graphs and networks of the same steps."""

    def __init__(self, given, dtype):
        import torch
        from reference_predict import import_reference, stand_in
        stand_in("networkx")  # for finding graphs, which are given here
        self.torch, self.given, self.dtype = torch, given, dtype
        self.ppuda = import_reference(given.options.ppuda)
        self.graphs = {}
        self.reset()

    def reset(self):
        torch = self.torch
        self.ghn = self.ppuda.nn.GHN(**CONFIG, debug_level=0)
        self.ghn.load_state_dict({name: torch.tensor(array)
                                  for name, array in self.given.start.items()})
        self.ghn = self.ghn.to(self.dtype).train()

    def network(self, request):
        net = dict(request["net"])
        return self.ppuda.net.Network(
            num_classes=request["num_classes"], is_imagenet_input=False, light=True,
            genotype=self.ppuda.genotypes.from_dict(request["genotype"]), **net)

    def graph(self, request):
        """The graph as the files of DeepNets-1M have it: by cell, what belongs to a parameter or
        pool."""
        torch = self.torch
        form = self.given.graph(request)
        primitives = self.ppuda.genotypes.PRIMITIVES_DEEPNETS1M
        n, cells = len(form["nodes"]), request["net"]["n_cells"]
        info = [[] for _ in range(cells)]
        for i, node in enumerate(form["nodes"]):
            if node["shape"] is None:
                continue
            name = node["name"] or node["op"]
            cell = self.ppuda.graph.get_cell_ind(name, cells) or 0
            info[cell].append((i, name, node["op"], tuple(node["shape"]), i == n - 2, i == n - 1))
        return self.ppuda.graph.Graph(
            node_feat=torch.tensor([[primitives.index(node["op"])] for node in form["nodes"]]),
            node_info=info, edges=torch.tensor(sorted(distances(form, CUTOFF))))

    def prepare(self, step):
        """(networks, graphs) of a step; the graphs are made once."""
        requests = self.given.steps[step]
        for request in requests:
            if id(request) not in self.graphs:
                self.graphs[id(request)] = self.graph(request)
        networks = [self.network(request) for request in requests]
        return networks, self.ppuda.graph.GraphBatch([self.graphs[id(r)] for r in requests])

    def images(self, step):
        torch, size = self.torch, self.given.options.batch_size
        at = step % (len(self.given.labels) // size) * size
        return (torch.tensor(self.given.images[at:at + size], dtype=self.dtype),
                torch.tensor(self.given.labels[at:at + size], dtype=torch.int64))

    def gradient(self, step):
        """The gradient of a step by tensor, in f64."""
        self.reset()
        self.backward(step, self.prepare(step))
        return {name: values.grad.double().numpy()
                for name, values in self.ghn.named_parameters()}

    def backward(self, step, prepared):
        """The loss of a step, its gradient being left in the hypernetwork."""
        networks, graphs = prepared
        images, labels = self.images(step)
        networks = self.ghn(networks, graphs.to_device("cpu"))
        loss = sum(self.torch.nn.functional.cross_entropy(network(images)[0], labels)
                   for network in networks) / len(networks)
        loss.backward()
        return loss.item()

    def begin(self, warm_up=0, change=0):
        """Makes the next step the first. change: relative size of a random change of the first
        weights."""
        torch, self.warm_up = self.torch, warm_up
        self.reset()
        torch.manual_seed(0)
        with torch.no_grad():
            for values in self.ghn.parameters() if change else ():
                values *= 1 + change * torch.randn_like(values)
        self.optimizer = torch.optim.Adam(self.ghn.parameters(), LR, BETAS, EPS, WEIGHT_DECAY)

    def step(self, number):
        """A dict as meta_steps prints it."""
        prepared = self.prepare(number)
        for group in self.optimizer.param_groups:
            group["lr"] = RECIPE["lr"] * min(1, (number + 1) / max(1, self.warm_up))
        begin = time.monotonic()
        self.optimizer.zero_grad()
        loss = self.backward(number, prepared)
        norm = self.torch.nn.utils.clip_grad_norm_(self.ghn.parameters(), CLIP).item()
        self.optimizer.step()
        return {"loss": loss, "gradient_norm": norm, "seconds": time.monotonic() - begin}

    def run(self, count, change=0):
        self.begin(change=change)
        return [self.step(number) for number in range(count)]


# --- The comparisons ---

def relative(a, b):
    return abs(a - b) / abs(b)


def compare(given, reference, count):
    """Whether every step is matched."""
    m, speeds, building, worst = given.options.meta_batch, ([], [], []), [], 0
    warm_up = given.options.warmup_steps
    ours = Ours(given, count, warmup_steps=warm_up, **RECIPE)
    bf16 = Ours(given, count, warmup_steps=warm_up, precision="bf16", **RECIPE) if given.options.bf16 else None
    reference.begin(warm_up)
    print("step | loss, ghnd | loss, reference | relative difference | gradient norm, ghnd | reference |"
          " relative difference | architectures/s, ghnd | reference" + (" | bf16 | its loss" if bf16 else ""))
    for number in range(count):
        a, b = ours.step(), reference.step(number)
        sides = (a, b, bf16.step()) if bf16 else (a, b)
        line = [f"{number}"]
        for field in ("loss", "gradient_norm"):
            difference = relative(a[field], b[field])
            worst = max(worst, difference)
            line += [f"{a[field]:.6f}", f"{b[field]:.6f}", f"{difference:.1e}"]
        building.append(1e3 * a["building"] / m)
        for found, side in zip(speeds, sides):
            found.append(m / side["seconds"])
            line.append(f"{found[-1]:.3f}")
        if bf16:
            line.append(f"{sides[2]['loss']:.4f}")
        print(" | ".join(line), flush=True)
    ours.close()
    if bf16:
        bf16.close()
    fast, slow, faster = (statistics.median(found[1:] or found or [0]) for found in speeds)
    print(f"largest relative difference {worst:.1e}; median architectures/s: ghnd {fast:.3f}, reference"
          f" {slow:.3f}, ratio {fast / slow:.1f}" + (f", in bf16 {faster:.3f}, {faster / slow:.1f}" if bf16 else "") +
          f"; ghnd makes an architecture and its graph in"
          f" {statistics.median(building):.1f} ms")
    return worst <= TOLERANCE


def explain_gradient(given, reference, exact):
    """Step 0, tensor by tensor: the norm of the error over that of the gradient."""
    from ghn_client import read_safetensors
    path = os.path.join(given.folder, "moments")
    ours = Ours(given, 1, path, lr=0.0, weight_decay=0.0, beta1=0.0, clip_norm=0.0)
    ours.step()
    ours.close()
    ours, f32, f64 = read_safetensors(path)[0], reference.gradient(0), exact.gradient(0)
    print("tensor | norm of its gradient | error, ghnd | error, reference f32")
    for name, true in f64.items():
        norm = np.linalg.norm(true)
        errors = [np.linalg.norm(found[name].reshape(true.shape) - true) / norm
                  for found in (ours, f32)]
        print(f"{name} | {norm:.3g} | {errors[0]:.1e} | {errors[1]:.1e}", flush=True)


def explain(given, count):
    import torch
    reference, exact = Reference(given, torch.float32), Reference(given, torch.float64)
    explain_gradient(given, reference, exact)
    ours, truth = Ours(given, count), exact.run(count)
    courses = {"ghnd": [ours.step() for _ in range(count)], "f32": reference.run(count),
               "f64, weights changed": exact.run(count, 6e-8)}
    ours.close()
    print("step | loss, f64 | " + " | ".join(courses) + " | gradient norm, f64 | "
          + " | ".join(courses))
    for step, true in enumerate(truth):
        line = [f"{step}"]
        for field in ("loss", "gradient_norm"):
            line += [f"{true[field]:.6f}"]
            line += [f"{relative(course[step][field], true[field]):.1e}"
                     for course in courses.values()]
        print(" | ".join(line), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ppuda", required=True, help="checkout of facebookresearch/ppuda")
    parser.add_argument("--build", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--explain", type=int, default=0)
    parser.add_argument("--meta-batch", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    RECIPE["lr"] = options.lr
    warnings.filterwarnings("ignore")

    import torch
    torch.set_num_threads(options.threads)
    matched = True
    with tempfile.TemporaryDirectory() as folder:
        given = Given(options, folder)
        if options.steps:
            given.start_from(options.checkpoint or given.train())
            matched = compare(given, Reference(given, torch.float32), options.steps)
        if options.explain:
            given.start_from(given.fresh())
            explain(given, options.explain)
    return 0 if matched else 1


if __name__ == "__main__":
    sys.exit(main())
