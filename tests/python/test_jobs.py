"""Jobs through the client: against a server that says what a test wants it to say, and from a
module to trained parameters with a real one."""
import base64
import json
import os
import subprocess
import threading
import time
import unittest
import warnings

import support
from fake_server import Server, problem

import numpy as np  # noqa: E402

from ghn_client import Client, GhnError, Job, TraceError, parse_safetensors, trace  # noqa: E402
from ghn_client.jobs import events  # noqa: E402
from ghn_client.safetensors import safetensors_bytes  # noqa: E402

try:
    import torch
    from torch import nn
except ImportError:
    torch = None

ARCH = {"format": "ghn-arch/1", "input": {"name": "input", "shape": [3, 32, 32]},
        "nodes": [{"name": "flat", "op": "flatten", "inputs": ["input"]},
                  {"name": "fc", "op": "linear", "inputs": ["flat"],
                   "attrs": {"out_features": 10}}], "output": "fc"}
FAILURE = {"code": "diverged", "where": "", "detail": "the loss is not finite"}


def job(state="running", step=0, **more):
    return {"id": "0123456789abcdef", "state": state, "name": None, "dataset": "shapes",
            "step": step, "steps": 20, "progress": None, "error": None, **more}


def point(step, **more):
    return {"step": step, "steps": 20, "loss": 2.5 - step / 20, "train_accuracy": 0.25,
            "test_top1": None, **more}


def text(value, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def stream(*parts):
    """A reply of events: (name, value), or text as it is."""
    body = "".join(p if isinstance(p, str) else f"event: {p[0]}\ndata: {json.dumps(p[1])}\n\n"
                   for p in parts)
    return 200, {"Content-Type": "text/event-stream"}, body.encode()


class Submission(unittest.TestCase):
    def test_request(self):
        with Server(text(job("queued"), 202)) as server:
            found = Client(server.url).finetune(ARCH, "shapes", steps=20, model="m", lr=0.1,
                                                optimizer="adamw")
        method, path, headers, body = server.requests[0]
        self.assertEqual((method, path), ("POST", "/finetune"))
        self.assertEqual(body, {"arch": ARCH, "dataset": "shapes", "steps": 20, "model": "m",
                                "lr": 0.1, "optimizer": "adamw"})
        self.assertGreaterEqual(len(headers["Idempotency-Key"]), 16)
        self.assertEqual((found.id, found.state, found.finished), (job()["id"], "queued", False))

    def test_a_lost_answer_is_asked_for_again_with_the_same_key(self):
        with Server((None, {}, b""), problem(503, "busy", "busy", **{"Retry-After": "0"}),
                    text(job("queued"))) as server:
            Client(server.url).finetune(ARCH, "shapes")
        self.assertEqual([r[0] for r in server.requests], ["POST"] * 3)
        self.assertEqual(len({r[2]["Idempotency-Key"] for r in server.requests}), 1)

    def test_a_server_that_is_restarted_meanwhile(self):
        first = Server((None, {}, b""))
        second = []

        def restart():
            while not first.requests:
                time.sleep(0.01)
            first.__exit__()
            time.sleep(0.7)
            second.append(Server(text(job("queued")), port=first.port))
        thread = threading.Thread(target=restart)
        thread.start()
        try:
            Client(first.url).finetune(ARCH, "shapes")
        finally:
            thread.join()
            second[0].__exit__()
        keys = {r[2]["Idempotency-Key"] for s in (first, *second) for r in s.requests}
        self.assertEqual((len(keys), len(second[0].requests)), (1, 1))

    def test_giving_up_names_the_key(self):
        for lost in ((None, {}, b""), (200, {"Content-Length": "100", "Connection": "close"}, b"x")):
            with Server(lost) as server, self.assertRaises(GhnError) as caught:
                Client(server.url, max_wait=0.5).finetune(ARCH, "shapes", idempotency_key="mine")
            self.assertGreater(len(server.requests), 1)
            self.assertEqual(caught.exception.code, "connection")
            self.assertIn("idempotency_key='mine'", str(caught.exception))

    def test_a_refusal_after_a_lost_answer_is_certain(self):
        with Server((None, {}, b""), problem(422, "unknown_dataset", "there is none")) as server, \
                self.assertRaises(GhnError) as caught:
            Client(server.url).finetune(ARCH, "shapes")
        self.assertNotIn("idempotency_key", str(caught.exception))

    def test_keys_differ_unless_one_is_given(self):
        with Server(text(job("queued"))) as server:
            client = Client(server.url)
            for key in (None, None, "mine"):
                client.finetune(ARCH, "shapes", idempotency_key=key)
        keys = [r[2]["Idempotency-Key"] for r in server.requests]
        self.assertEqual((len(set(keys)), keys[2]), (3, "mine"))

    def test_what_is_not_safe_is_not_sent_again(self):
        with Server((None, {}, b"")) as server, self.assertRaises(GhnError) as caught:
            Client(server.url).job("x").cancel()
        self.assertEqual((caught.exception.code, len(server.requests)), ("connection", 1))

    def test_no_server(self):
        with Server(text({})) as server:
            url = server.url
        start = time.monotonic()
        with self.assertRaises(GhnError) as caught:
            Client(url).finetune(ARCH, "shapes")
        self.assertEqual(caught.exception.code, "connection")
        self.assertNotIn("idempotency_key", str(caught.exception))
        self.assertLess(time.monotonic() - start, 5)

    def test_refused(self):
        with Server(problem(422, "unknown_dataset", "there is none", "dataset")) as server, \
                self.assertRaises(GhnError) as caught:
            Client(server.url).finetune(ARCH, "nothing")
        error = caught.exception
        self.assertEqual((error.status, error.code, error.where),
                         (422, "unknown_dataset", "dataset"))
        self.assertEqual(len(server.requests), 1)

    def test_upload_of_arrays(self):
        arrays = {"fc.weight": np.ones((10, 3072), np.float32), "fc.bias": np.arange(10.0)}
        with Server(text(job("queued"))) as server:
            Client(server.url).finetune(ARCH, "shapes", init="upload", parameters=arrays)
        body = server.requests[0][3]
        self.assertEqual(body["init"], "upload")
        sent, _ = parse_safetensors(base64.b64decode(body["parameters"]))
        self.assertEqual(set(sent), set(arrays))
        for name, array in arrays.items():
            np.testing.assert_array_equal(sent[name], array)

    def test_numbers_of_numpy(self):
        with Server(text(job("queued"))) as server:
            Client(server.url).finetune(ARCH, "shapes", steps=np.int64(20), lr=np.float32(0.5),
                                        momentum=np.float64(0.25), augment=np.bool_(False))
        body = server.requests[0][3]
        self.assertEqual([body[k] for k in ("steps", "lr", "momentum", "augment")],
                         [20, 0.5, 0.25, False])

    @unittest.skipIf(torch is None, "needs PyTorch")
    def test_upload_of_a_state_dict(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).bfloat16()
        with Server(text(job("queued"))) as server:
            Client(server.url).finetune(ARCH, "shapes", init="upload", parameters=net.state_dict())
        sent, _ = parse_safetensors(base64.b64decode(server.requests[0][3]["parameters"]))
        self.assertEqual(set(sent), set(net.state_dict()))
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(sent[name], tensor.float().numpy(), name)

    def test_upload_of_what_is_no_array(self):
        for value in ("text", None, [object()]):
            with self.assertRaisesRegex(TypeError, "'fc.weight'.*array of numbers"):
                Client("http://localhost").finetune(ARCH, "shapes", init="upload",
                                                    parameters={"fc.weight": value})

    @unittest.skipIf(torch is None, "needs PyTorch")
    def test_upload_of_a_module(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half()
        with Server(text(job("queued"))) as server:
            Client(server.url).finetune(net, "shapes", (3, 8, 8), init="upload")
        body = server.requests[0][3]
        self.assertEqual(body["arch"]["input"]["shape"], [3, 8, 8])
        sent, _ = parse_safetensors(base64.b64decode(body["parameters"]))
        self.assertEqual(set(sent), set(net.state_dict()))
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(sent[name], tensor.float().numpy(), name)


@unittest.skipIf(torch is None, "needs PyTorch")
class Trainable(unittest.TestCase):
    """What can be predicted, and yet not be trained as it is."""

    class Twice(nn.Module if torch else object):
        def __init__(self, **settings):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.block = nn.Sequential(nn.BatchNorm2d(3, **settings), nn.ReLU())

        def forward(self, x):
            return self.block(self.conv(self.block(x))).mean((2, 3))

    def test_batch_norms_that_are_called_twice(self):
        for settings in ({}, {"affine": False}):
            with Server(text(job("queued"))) as server, \
                    self.assertRaisesRegex(TraceError, "2 times.*track_running_stats") as caught:
                Client(server.url).finetune(self.Twice(**settings), "shapes", (3, 8, 8))
            self.assertEqual(caught.exception.module, "block.0")
            self.assertEqual(server.requests, [])
        with Server(text(job("queued"))) as server:
            Client(server.url).finetune(self.Twice(track_running_stats=False), "shapes", (3, 8, 8))
        self.assertEqual(len(server.requests), 1)
        trace(self.Twice(), (3, 8, 8))


    def test_unknown_data_sets(self):
        for names, has in ((["shapes", "photos"], "it has photos, shapes"), ([], "none at all")):
            sets = [{"name": n, "channels": 3, "height": 32, "width": 32} for n in names]
            with Server(text({"datasets": sets})) as server, self.assertRaises(GhnError) as caught:
                Client(server.url).finetune(nn.Conv2d(1, 4, 3), "nope")
            self.assertEqual((caught.exception.code, caught.exception.where),
                             ("unknown_dataset", "dataset"))
            self.assertRegex(str(caught.exception), f"'nope'.*{has}")

    def test_frozen_parameters(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        net[0].unused = nn.Linear(1, 1).requires_grad_(False)
        with Server(text(job("queued"))) as server:
            client = Client(server.url)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                client.finetune(net, "shapes", (3, 8, 8))
            net[2].requires_grad_(False)
            with self.assertWarnsRegex(UserWarning, "2 that have it among them, '2.weight'") as seen:
                client.finetune(net, "shapes", (3, 8, 8))
        self.assertEqual(seen.filename, __file__)
        self.assertEqual(len(server.requests), 2)


class Looking(unittest.TestCase):
    def test_list_in_pages(self):
        pages = [text({"jobs": [job(step=3)] * 2, "next": "7"}),
                 text({"jobs": [job(step=1)], "next": None})]
        with Server(*pages) as server:
            found = Client(server.url).jobs("running")
        self.assertEqual([j.step for j in found], [3, 3, 1])
        self.assertEqual([r[1] for r in server.requests],
                         ["/jobs?state=running&limit=100",
                          "/jobs?state=running&limit=98&before=7"])
        with Server(pages[0]) as server:
            self.assertEqual(len(Client(server.url).jobs(limit=2)), 2)
        self.assertEqual([r[1] for r in server.requests], ["/jobs?limit=2"])

    def test_history_is_fetched_where_it_is_not_there(self):
        with Server(text({"jobs": [job()], "next": None}),
                    text(job(history=[point(0), point(5)]))) as server:
            found = Client(server.url).jobs()[0]
            self.assertEqual([p["step"] for p in found.history], [0, 5])
            self.assertEqual(len(found.history), 2)
        self.assertEqual(len(server.requests), 2)

    def test_refresh_and_cancel(self):
        with Server(text(job("queued")), text(job(step=4)), text(job("cancelled", 5))) as server:
            found = Client(server.url).job("0123456789abcdef")
            self.assertIs(found.refresh(), found)
            self.assertEqual((found.state, found.step, found.steps), ("running", 4, 20))
            self.assertEqual(found.cancel().state, "cancelled")
            self.assertTrue(found.finished)
        self.assertEqual([r[:2] for r in server.requests],
                         [("GET", "/jobs/0123456789abcdef")] * 2 +
                         [("DELETE", "/jobs/0123456789abcdef")])

    def test_ids_stay_in_their_place(self):
        with Server(problem(404, "unknown_job", "none")) as server, \
                self.assertRaises(GhnError) as caught:
            Client(server.url).job("../models?x")
        self.assertEqual(server.requests[0][1], "/jobs/..%2Fmodels%3Fx")
        self.assertEqual(caught.exception.code, "unknown_job")

    def test_datasets(self):
        with Server(text({"datasets": [{"name": "shapes"}]})) as server:
            self.assertEqual(Client(server.url).datasets(), [{"name": "shapes"}])

    def test_as_text(self):
        found = Job(None, job(step=5, progress=point(5, test_top1=0.5)))
        self.assertEqual(str(found), "job 0123456789abcdef: running, step 5 of 20, loss 2.25, "
                                     "train 25 %, test 50 %")


class Waiting(unittest.TestCase):
    def wait(self, *replies, timeout=30.0, **settings):
        """(job, [(state, step) whenever there was news], requests)."""
        seen = []
        with Server(*replies) as server:
            found = Job(Client(server.url, **settings), job("queued"))
            try:
                found.wait(timeout, lambda j: seen.append((j.state, j.step)))
            finally:
                self.requests, self.seen, self.found = server.requests, seen, found
        return found

    def test_events(self):
        end = job("succeeded", 20, progress=point(20))
        found = self.wait(stream("retry: 2000\n\n", ("job", job("queued")), ("job", job()),
                                 ": still here\n\n", ("progress", point(5)),
                                 ("progress", point(20)), ("job", end)),
                          text({**end, "history": [point(0), point(20)]}))
        self.assertEqual(self.seen, [("running", 0), ("running", 5), ("running", 20),
                                     ("succeeded", 20)])
        self.assertEqual([p["step"] for p in found.history], [0, 20])
        self.assertEqual([r[1] for r in self.requests],
                         [f"/jobs/{found.id}/events", f"/jobs/{found.id}"])

    def test_a_stream_that_breaks_off_is_taken_up_again(self):
        broken = stream(("job", job()), ("progress", point(5)), "event: progress\ndata: {")
        end = text(job("succeeded", 20, history=[]))
        self.wait(broken, text(job(step=5, progress=point(5), history=[point(0), point(5)])),
                  stream(("progress", point(9)), ("job", job("succeeded", 20))), end)
        self.assertEqual(self.requests[2][2]["Last-Event-ID"], "5")
        self.assertEqual([s for s in self.seen if s[1] == 9], [("running", 9)])
        self.assertEqual(self.found.state, "succeeded")

    def test_polling_where_there_are_no_events(self):
        for none in (problem(503, "too_many_streams", "too many"), text({}), (None, {}, b"")):
            self.wait(none, text(job(step=3)), none, text(job("succeeded", 20, history=[])))
            self.assertEqual(self.seen, [("running", 3), ("succeeded", 20)])

    def test_training_that_goes_back_a_few_steps(self):
        with Server(stream(("progress", point(5)), ("progress", point(8)),
                           ("progress", point(6)), ("job", job("cancelled"))),
                    text(job("cancelled"))) as server:
            histories = []
            Job(Client(server.url), job()).wait(
                30, lambda j: histories.append([p["step"] for p in j.info.get("history", [])]))
        self.assertEqual(histories[:3], [[5], [5, 8], [5, 6]])

    def test_failure(self):
        with self.assertRaises(GhnError) as caught:
            self.wait(stream(("job", job("failed", 7, error=FAILURE))),
                      text(job("failed", 7, error=FAILURE, history=[])))
        self.assertEqual((caught.exception.code, caught.exception.detail),
                         ("diverged", "the loss is not finite"))
        self.assertEqual(self.found.state, "failed")

    def test_cancelled_is_no_error(self):
        self.assertEqual(self.wait(stream(("job", job("cancelled", 7))),
                                   text(job("cancelled", 7))).state, "cancelled")

    def test_timeout(self):
        start = time.monotonic()
        with self.assertRaisesRegex(TimeoutError, "running still, at step 3 of 20"):
            self.wait(stream(("job", job(step=3))), text(job(step=3)), timeout=0.7)
        self.assertLess(time.monotonic() - start, 5)

    def test_errors_of_the_callback_come_through(self):
        def callback(_):
            raise FileNotFoundError("of the callback")
        with Server(stream(("job", job()))) as server, \
                self.assertRaisesRegex(FileNotFoundError, "of the callback"):
            Job(Client(server.url), job("queued")).wait(10, callback)

    def test_a_server_that_stays_away(self):
        with Server(text({})) as server:
            url = server.url
        with self.assertRaises(GhnError) as caught:
            Job(Client(url, max_wait=1), job()).wait(30)
        self.assertEqual(caught.exception.code, "connection")

    def test_finished_already(self):
        self.assertEqual(Job(None, job("succeeded")).wait().state, "succeeded")

    def test_parsing(self):
        lines = b"id: 3\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\n:x\n\ndata: z\n\nevent: b\n\ndata: half"
        found = list(events(lines.splitlines(True)))
        self.assertEqual(found, [("a", "1\n2"), ("", ""), ("message", "z")])


@unittest.skipIf(torch is None, "needs PyTorch")
class Loading(unittest.TestCase):
    def parameters(self, arrays):
        with Server((200, {}, safetensors_bytes(arrays, {"step": "20"}))) as server:
            found = Job(Client(server.url), job("succeeded")).parameters()
        self.assertEqual(server.requests[0][1], "/jobs/0123456789abcdef/parameters")
        self.assertEqual(found.metadata, {"step": "20"})
        elements = sum(array.size for array in arrays.values())
        for text in (repr(found), str(found)):
            self.assertEqual(text, f"<Parameters of step 20: {len(arrays)} tensors, {elements:,} "
                                   "values>")
        return found

    def net(self):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))

    def arrays(self, net):
        generator = np.random.default_rng(0)
        return {n: np.array(7) if t.dtype == torch.int64 else
                generator.random(tuple(t.shape)).astype(np.float32)
                for n, t in net.state_dict().items()}

    def test_into_a_module(self):
        net = self.net()
        places = [t.data_ptr() for t in net.parameters()]
        arrays = self.arrays(net)
        self.assertIs(self.parameters(arrays).load_into(net), net)
        self.assertEqual([t.data_ptr() for t in net.parameters()], places)
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), arrays[name], name)

    def test_untouched_after_any_error(self):
        net = self.net()
        before = {n: t.clone() for n, t in net.state_dict().items()}
        arrays = self.arrays(net)
        for change in ({"3.bias": np.zeros(3, np.float32)}, {"4.bias": np.zeros(3, np.float32)},
                       {"1.running_var": np.zeros(3, np.float32)}, {"3.bias": None}):
            bad = {n: a for n, a in {**arrays, **change}.items() if a is not None}
            with self.assertRaises(GhnError) as caught:
                self.parameters(bad).load_into(net)
            self.assertEqual(caught.exception.code, "invalid_answer")
            for name, tensor in net.state_dict().items():
                self.assertTrue(torch.equal(tensor, before[name]), name)


class Real(unittest.TestCase):
    """A real server and worker."""

    @classmethod
    def setUpClass(cls):
        if torch is None:
            raise unittest.SkipTest("needs PyTorch")
        support.program("daemon/ghn-worker")
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers, beside other tests
        import tempfile
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        checkpoint = os.path.join(folder.name, "new.safetensors")
        subprocess.run([support.program("clients/ghn/ghn"), "new", "-o", checkpoint, "--classes",
                        "10"], check=True, capture_output=True, timeout=120)
        daemon = support.Daemon(checkpoint)
        daemon.__enter__()
        cls.addClassCleanup(daemon.__exit__)
        cls.client = Client(daemon.url)

    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    RECIPE = {"batch_size": 8, "eval_images": 16, "precision": "f32"}

    def test_from_a_module_to_trained_parameters(self):
        net, seen = self.net(), []
        found = self.client.finetune(net, "shapes", steps=30, **self.RECIPE)
        found.wait(120, lambda j: seen.append((j.state, j.step)))
        self.assertEqual((found.state, found.step), ("succeeded", 30))
        self.assertEqual(seen[-1], ("succeeded", 30))
        self.assertEqual([found.history[0]["step"], found.history[-1]["step"]], [0, 30])
        self.assertIn("succeeded, step 30 of 30", str(found))
        parameters = found.parameters()
        self.assertEqual(set(parameters), set(net.state_dict()))
        parameters.load_into(net)
        self.assertEqual(int(net[1].num_batches_tracked), 30)
        self.assertTrue(torch.isfinite(net.eval()(torch.randn(2, 3, 32, 32))).all())
        self.assertIn(found.id, [j.id for j in self.client.jobs("succeeded")])

    def test_it_starts_from_the_module(self):
        net = self.net()
        found = self.client.finetune(net, "shapes", (3, 32, 32), steps=1, lr=0, weight_decay=0,
                                     init="upload", **self.RECIPE).wait(120)
        for name, array in found.parameters().items():
            if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                np.testing.assert_array_equal(array, net.state_dict()[name].numpy(), name)

    def test_cancel(self):
        found = self.client.finetune(self.net(), "shapes", (3, 32, 32), steps=1000000,
                                     **self.RECIPE)
        with self.assertRaises(TimeoutError):
            found.wait(1.5)
        self.assertEqual(found.cancel().wait(60).state, "cancelled")

    def test_errors(self):
        with self.assertRaises(GhnError) as caught:
            self.client.finetune(self.net(), "nothing", (3, 32, 32))
        self.assertEqual(caught.exception.code, "unknown_dataset")
        with self.assertRaisesRegex(GhnError, "it has .*shapes"):
            self.client.finetune(self.net(), "nothing")
        with self.assertRaises(GhnError) as caught:
            self.client.job("aaaaaaaaaaaaaaaa")
        self.assertEqual((caught.exception.status, caught.exception.code), (404, "unknown_job"))
        found = self.client.finetune(self.net(), "shapes", (3, 32, 32), steps=50, lr=1e9,
                                     clip_norm=0, **self.RECIPE)
        with self.assertRaises(GhnError) as caught:
            found.wait(120)
        self.assertEqual(caught.exception.code, "diverged")

    def test_datasets(self):
        self.assertIn("shapes", [d["name"] for d in self.client.datasets()])


if __name__ == "__main__":
    unittest.main()
