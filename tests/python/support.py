"""What the tests of the Python client share: the package on the path, models that cost nothing to
build, the golden cases."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "clients" / "python"), str(ROOT / "tests" / "support")]

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


# --- The programs that are being tested ---

BUILD = pathlib.Path(os.environ.get("GHN_BUILD") or ROOT / "build")


def program(path):
    """A program of the build folder; skips the caller where it is not built."""
    found = BUILD / path
    if not found.is_file():
        raise unittest.SkipTest(f"{path} is not in {BUILD} (GHN_BUILD names another folder)")
    return str(found)


def run(path, *arguments, timeout=300, **settings):
    """What a program of the build folder writes to standard output."""
    done = subprocess.run([program(path), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, check=False, **settings)
    if done.returncode:
        raise AssertionError(f"{path}: {done.stderr}")
    return done.stdout


def graph_of(arch):
    """The hypernetwork's graph of an architecture: {"nodes": [...], "edges": [[u, v], ...]}."""
    graph = json.loads(run("clients/ghn/ghn", "graph", "-", "--json", input=json.dumps(arch)))
    return graph.get("graph", graph)


def distances(graph, cutoff):
    """[(u, v, length of the shortest path)] between the nodes of a graph, lengths from 1 to cutoff
    (ghn2-spec B4)."""
    after = [[] for _ in graph["nodes"]]
    for u, v in graph["edges"]:
        after[u].append(v)
    found = []
    for start in range(len(after)):
        seen, level = {start}, [start]
        for distance in range(1, cutoff + 1):
            level = sorted({v for u in level for v in after[u]} - seen)
            seen.update(level)
            found += [(start, v, distance) for v in level]
    return found


class Daemon:
    """A ghnd on a free port, with the given checkpoints; a context manager."""

    def __init__(self, *checkpoints):
        self.checkpoints = [str(c) for c in checkpoints]
        for checkpoint in self.checkpoints:
            if not os.path.exists(checkpoint):
                raise unittest.SkipTest(f"there is no {checkpoint}")
        self.binary = program("daemon/ghnd")

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.log_path = os.path.join(self.folder.name, "log")
        port_file = os.path.join(self.folder.name, "port")
        arguments = [a for c in self.checkpoints for a in ("--checkpoint", c)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [self.binary, "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir",
                 self.folder.name, "--log-level", "warning", *arguments], stderr=log)
        end = time.monotonic() + 120
        while not os.path.exists(port_file):
            if self.process.poll() is not None or time.monotonic() > end:
                text = self.log()
                self.__exit__()
                raise AssertionError(f"ghnd did not start: {text}")
            time.sleep(0.02)
        with open(port_file, encoding="ascii") as file:
            self.url = f"http://127.0.0.1:{file.read().strip()}"
        return self

    def log(self):
        """What the daemon has written to its log."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()
