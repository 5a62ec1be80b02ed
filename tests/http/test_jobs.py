"""Fine-tuning jobs: taken, looked at, followed, cancelled, and what is refused."""
import base64
import contextlib
import json
import os
import threading
import time
import unittest

import jobs
from harness import Daemon, PATIENCE, ROOT, SharedDaemon, read_safetensors, wait_for
import networks

KEYS = {"id", "state", "name", "dataset", "model", "init", "step", "steps", "created", "started",
        "finished", "attempts", "seconds_left", "progress", "error"}


class Jobs(SharedDaemon):
    options = ("--save-interval", "0.2")

    def test_from_submission_to_parameters(self):
        answer = jobs.submit(self.daemon, jobs.short())
        self.assertEqual(202, answer.status, answer)
        job = answer.json()
        self.assertEqual(KEYS, set(job))
        self.assertEqual(f"/jobs/{job['id']}", answer.headers["Location"])
        self.assertEqual(("queued", "tiny", "shapes", "first", "ghn", 0, 30),
                         tuple(job[k] for k in ("state", "name", "dataset", "model", "init", "step", "steps")))
        job = jobs.finished(self.daemon, job["id"])
        self.assertEqual(("succeeded", 30, None), (job["state"], job["step"], job["error"]))
        self.assertLessEqual(job["created"], job["started"])
        self.assertLessEqual(job["started"], job["finished"])
        steps = [point["step"] for point in job["history"]]
        self.assertEqual([0, 30], [steps[0], steps[-1]])
        self.assertEqual(sorted(set(steps)), steps)
        self.assertEqual(job["history"][-1], job["progress"])
        self.assertGreater(job["progress"]["test_loss"], 0)
        answer = self.daemon.get(f"/jobs/{job['id']}/parameters")
        self.assertEqual(200, answer.status)
        tensors, metadata = read_safetensors(answer.body)
        self.assertEqual([64, 3, 3, 3], tensors["conv1.weight"][1])
        self.assertIn("bn1.running_var", tensors)
        best = max((point for point in job["history"] if point["test_top1"] is not None and point["step"] > 0),
                   key=lambda point: (point["test_top1"], point["step"]))
        self.assertEqual(("tiny", "shapes", str(best["step"])),
                         tuple(metadata[k] for k in ("network", "dataset", "step")))
        self.assertAlmostEqual(best["test_top1"], float(metadata["test_top1"]), 5)
        again = self.daemon.get(f"/jobs/{job['id']}/parameters")
        self.assertEqual(answer.headers["ETag"], again.headers["ETag"])
        head = self.daemon.request("HEAD", f"/jobs/{job['id']}/parameters")
        self.assertEqual(str(len(answer.body)), head.headers["Content-Length"])

    def test_parameters_in_parts(self):
        """A download that broke off goes on, and what is there already is not sent again."""
        path = f"/jobs/{jobs.done(self.daemon, jobs.short())['id']}/parameters"
        whole = self.daemon.get(path)
        size, etag = len(whole.body), whole.headers["ETag"]
        self.assertEqual("bytes", whole.headers["Accept-Ranges"])
        with contextlib.closing(self.daemon.connect()) as connection:
            for asked, first, last in (("bytes=0-0", 0, 0), (f"bytes=100-{2 * size}", 100, size - 1),
                                       ("bytes=-64", size - 64, size - 1)):
                part = self.daemon.request("GET", path, headers={"Range": asked, "If-Range": etag}, connection=connection)
                self.assertEqual((206, f"bytes {first}-{last}/{size}", etag),
                                 (part.status, part.headers["Content-Range"], part.headers["ETag"]))
                self.assertEqual(whole.body[first:last + 1], part.body)
            other = self.daemon.request("GET", path, headers={"Range": "bytes=5-", "If-Range": '"other"'},
                                        connection=connection)
            self.assertEqual((200, whole.body), (other.status, other.body))
            same = self.daemon.request("GET", path, headers={"If-None-Match": f'"other", {etag}'}, connection=connection)
            self.assertEqual((304, b"", etag), (same.status, same.body, same.headers["ETag"]))
            self.assertIn(same.headers["Content-Length"], (None, str(size)))
            same = self.daemon.request("GET", path, headers={"If-Match": etag}, connection=connection)
            self.assertEqual((200, whole.body), (same.status, same.body))
            other = self.daemon.request("GET", path, headers={"If-Match": '"other"', "Range": "bytes=5-"},
                                        connection=connection)
            self.assert_problem(other, 412, "precondition_failed", "If-Match")
            behind = self.daemon.request("GET", path, headers={"Range": f"bytes={size}-"}, connection=connection)
            self.assert_problem(behind, 416, "range_not_satisfiable", "Range")
            self.assertEqual(f"bytes */{size}", behind.headers["Content-Range"])
            head = self.daemon.request("HEAD", path, headers={"Range": "bytes=0-0"}, connection=connection)
            self.assertEqual((200, str(size)), (head.status, head.headers["Content-Length"]))

    def test_it_starts_where_the_prediction_is(self):
        """With a learning rate of 0 the parameters stay as /predict gives them."""
        job = jobs.done(self.daemon, jobs.short(lr=0, seed=5, weight_decay=0))
        trained, _ = read_safetensors(self.daemon.get(f"/jobs/{job['id']}/parameters").body)
        predicted, _ = read_safetensors(self.daemon.predict(networks.tiny(seed=5)).body)
        for name, tensor in predicted.items():
            self.assertEqual(tensor, trained[name], name)

    def test_random_start(self):
        job = jobs.done(self.daemon, jobs.short(init="random", seed=3))
        self.assertEqual((None, "random"), (job["model"], job["init"]))
        other = jobs.done(self.daemon, jobs.short(init="random", seed=4))
        self.assertNotEqual(job["history"][0]["test_loss"], other["history"][0]["test_loss"])

    def test_uploaded_start(self):
        job = jobs.done(self.daemon, jobs.short())
        file = self.daemon.get(f"/jobs/{job['id']}/parameters").body
        text = base64.b64encode(file).decode()
        job = jobs.done(self.daemon, jobs.short(init="upload", parameters=text, lr=0, weight_decay=0))
        trained, _ = read_safetensors(self.daemon.get(f"/jobs/{job['id']}/parameters").body)
        self.assertEqual(read_safetensors(file)[0]["conv1.weight"], trained["conv1.weight"])
        self.assertIsNone(job["model"])

    def test_genotype(self):
        body = {**networks.GENOTYPE, "dataset": "shapes", "steps": 2, "batch_size": 4, "eval_images": 4}
        self.assertEqual("succeeded", jobs.done(self.daemon, body)["state"])

    def test_the_same_request_gives_the_same_numbers(self):
        files = [self.daemon.get(f"/jobs/{jobs.done(self.daemon, jobs.short())['id']}/parameters").body
                 for _ in range(2)]
        self.assertEqual(files[0], files[1])

    def test_fields_of_a_prediction(self):
        """A body for POST /predict will do; its class layers may be left to the initialiser."""
        files = [self.daemon.get(f"/jobs/{jobs.done(self.daemon, jobs.short(steps=1, lr=1e-9, **fields))['id']}"
                                 "/parameters").body
                 for fields in ({}, {"dtype": "bf16", "include_tensors": True}, {"predict_class_layers": False})]
        self.assertEqual(files[0], files[1])
        self.assertNotEqual(files[0], files[2])

    def test_epochs_and_shots(self):
        answer = jobs.submit(self.daemon, networks.tiny(
            dataset="shapes", epochs=2, n_shots=8, batch_size=16, eval_images=16))
        self.assertEqual(10, answer.json()["steps"])
        self.assertEqual(10, jobs.finished(self.daemon, answer.json()["id"])["step"])

    def test_divergence(self):
        job = jobs.done(self.daemon, jobs.short(lr=1e9, clip_norm=0, schedule="constant", steps=200))
        self.assertEqual(("failed", "diverged"), (job["state"], job["error"]["code"]))
        self.assertEqual({"code", "where", "detail"}, set(job["error"]))
        self.assertTrue(job["error"]["detail"])

    def test_cancel_while_it_runs(self):
        job = jobs.running(self.daemon, jobs.long())
        started = time.monotonic()
        answer = self.daemon.request("DELETE", f"/jobs/{job['id']}")
        self.assertEqual((200, "cancelled"), (answer.status, answer.json()["state"]))
        wait_for(lambda: not jobs.workers(self.daemon), 1.5, "the worker's end")
        self.assertLess(time.monotonic() - started, 2)
        job = self.daemon.get(f"/jobs/{job['id']}").json()
        self.assertEqual("cancelled", job["state"])
        self.assertIsNotNone(job["finished"])
        self.assertIsNone(job["error"])
        again = self.daemon.request("DELETE", f"/jobs/{job['id']}")
        self.assertEqual((200, job), (again.status, again.json()))

    def test_cancel_while_it_waits(self):
        first = jobs.running(self.daemon, jobs.long())
        second = jobs.submit(self.daemon, jobs.long()).json()
        self.assertEqual("queued", self.daemon.get(f"/jobs/{second['id']}").json()["state"])
        self.assert_problem(self.daemon.get(f"/jobs/{second['id']}/parameters"), 404, "no_parameters_yet")
        answer = self.daemon.request("DELETE", f"/jobs/{second['id']}")
        self.assertEqual("cancelled", answer.json()["state"])
        self.assertEqual("running", self.daemon.get(f"/jobs/{first['id']}").json()["state"])
        self.daemon.request("DELETE", f"/jobs/{first['id']}")

    def test_a_finished_job_stays_finished(self):
        job = jobs.done(self.daemon, jobs.short())
        answer = self.daemon.request("DELETE", f"/jobs/{job['id']}")
        self.assertEqual((200, "succeeded"), (answer.status, answer.json()["state"]))

    def test_list(self):
        ids = [jobs.done(self.daemon, jobs.short(steps=1))["id"] for _ in range(3)][::-1]
        listed = self.daemon.get("/jobs").json()
        self.assertEqual(ids, [job["id"] for job in listed["jobs"]][:3])
        self.assertEqual(KEYS, set(listed["jobs"][0]))
        page = self.daemon.get("/jobs?limit=2").json()
        self.assertEqual(ids[:2], [job["id"] for job in page["jobs"]])
        page = self.daemon.get(f"/jobs?limit=1&before={page['next']}").json()
        self.assertEqual(ids[2:], [job["id"] for job in page["jobs"]])
        states = {job["state"] for job in self.daemon.get("/jobs?state=succeeded").json()["jobs"]}
        self.assertEqual({"succeeded"}, states)
        self.assertEqual({"jobs": [], "next": None}, self.daemon.get("/jobs?before=1").json())
        for query, where in (("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"),
                             ("before=-1", "before"), ("state=lost", "state"), ("state=", "state")):
            with self.subTest(query):
                self.assert_problem(self.daemon.get("/jobs?" + query), 422, "out_of_range", where)

        self.assert_problem(self.daemon.get("/jobs?status=lost"), 400, "unknown_field", "status")

    def test_idempotency(self):
        body, headers = jobs.short(seed=77), {"Idempotency-Key": "one key"}
        first = jobs.submit(self.daemon, body, headers)
        second = jobs.submit(self.daemon, body, headers)
        self.assertEqual((202, 202), (first.status, second.status))
        self.assertNotIn("Idempotent-Replayed", first.headers)
        self.assertEqual(first.json()["id"], second.json()["id"])
        self.assertEqual("true", second.headers["Idempotent-Replayed"])
        self.assertEqual(first.headers["Location"], second.headers["Location"])
        other = jobs.submit(self.daemon, jobs.short(seed=78), headers)
        self.assert_problem(other, 422, "idempotency_conflict", "Idempotency-Key")
        for key in ("", "x" * 256):
            self.assert_problem(jobs.submit(self.daemon, body, {"Idempotency-Key": key}), 400, "bad_request",
                                "Idempotency-Key")

    def test_one_key_many_times_at_once(self):
        body, answers = jobs.short(seed=79), []
        threads = [threading.Thread(target=lambda: answers.append(
            jobs.submit(self.daemon, body, {"Idempotency-Key": "crowd"}))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, len({answer.json()["id"] for answer in answers}))
        self.assertEqual({202}, {answer.status for answer in answers})
        self.assertEqual(7, sum("Idempotent-Replayed" in answer.headers for answer in answers))
        folders = [n for n in os.listdir(os.path.join(self.daemon.folder, "jobs")) if n != "lock"]
        listed = {job["id"] for job in self.daemon.get("/jobs?limit=1000").json()["jobs"]}
        self.assertEqual(listed, set(folders))

    def test_refused(self):
        tiny = networks.tiny
        wrong = tiny(dataset="shapes")
        wrong["arch"]["nodes"][5]["attrs"]["out_features"] = 11
        small = tiny(dataset="shapes")
        small["arch"]["input"]["shape"] = [3, 28, 28]
        for body, status, code, where in (
                (tiny(), 400, "missing_field", "dataset"),
                (tiny(dataset=3), 400, "wrong_type", "dataset"),
                (tiny(dataset="cifar"), 404, "unknown_dataset", "dataset"),
                (tiny(dataset="../jobs"), 404, "unknown_dataset", "dataset"),
                (tiny(dataset="."), 404, "unknown_dataset", "dataset"),
                (tiny(dataset="jobs"), 404, "unknown_dataset", "dataset"),
                (tiny(dataset="shapes", model="none"), 404, "unknown_model", "model"),
                (tiny(dataset="shapes", colour=1), 400, "unknown_field", "colour"),
                (tiny(dataset="shapes", dtype="f8"), 422, "out_of_range", "dtype"),
                (tiny(dataset="shapes", predict_class_layers=1), 400, "wrong_type", "predict_class_layers"),
                (tiny(dataset="shapes", steps=0), 422, "out_of_range", "steps"),
                (tiny(dataset="shapes", steps="many"), 400, "wrong_type", "steps"),
                (tiny(dataset="shapes", steps=5, epochs=1), 422, "out_of_range", None),
                (tiny(dataset="shapes", steps=1000001), 422, "out_of_range", "steps"),
                (tiny(dataset="shapes", epochs=100000), 422, "out_of_range", "epochs"),
                (tiny(dataset="shapes", init="magic"), 422, "out_of_range", "init"),
                (tiny(dataset="shapes", optimizer="lion"), 422, "out_of_range", "optimizer"),
                (tiny(dataset="shapes", init="upload"), 400, "missing_field", "parameters"),
                (tiny(dataset="shapes", parameters="AAAA"), 400, "unknown_field", "parameters"),
                (tiny(dataset="shapes", init="upload", parameters="?"), 422, "out_of_range", "parameters"),
                (tiny(dataset="shapes", init="upload", parameters="A" * 12000), 422, "invalid_parameters", None),
                ({**networks.GRAPH, "dataset": "shapes"}, 422, "not_trainable", "graph"),
                ({"dataset": "shapes"}, 400, "missing_field", None),
                ([], 400, "wrong_type", ""),
                (wrong, 422, "shape_mismatch", "fc"),
                (small, 422, "shape_mismatch", None)):
            with self.subTest(code=code, where=where):
                self.assert_problem(jobs.submit(self.daemon, body), status, code, where)
        answer = jobs.submit(self.daemon, tiny(dataset="my photos"))
        self.assertIn("1 to 64 letters, digits", answer.json()["detail"])
        self.assert_problem(self.daemon.request("POST", "/finetune", b"{", jobs.JSON), 400, "json")
        self.assert_problem(self.daemon.request("POST", "/finetune", b"{}", {"Content-Type": "text/plain"}), 415,
                            "unsupported_media_type")

    def test_what_fields_there_are(self):
        """Whoever misspells one is shown them all, whatever form the network has."""
        with open(os.path.join(ROOT, "proto/schemas/finetune-request.schema.json"), encoding="ascii") as file:
            every = set(json.load(file)["properties"]) - {"dtype", "include_tensors"}
        genotype = {"genotype", "net", "input", "num_classes"}
        with open(os.path.join(ROOT, "proto/examples/genotype.request.json"), encoding="ascii") as file:
            body = json.load(file)
        for network, others in ((networks.tiny(), {"graph", *genotype}), (body, {"graph", "arch"})):
            answer = jobs.submit(self.daemon, {**network, "dataset": "shapes", "momentun": 0.5})
            self.assert_problem(answer, 400, "unknown_field", "momentun")
            for name in every - others:
                self.assertIn(f'"{name}"', answer.json()["detail"])

    def test_parameters_of_another_network(self):
        job = jobs.done(self.daemon, jobs.short(steps=1))
        file = self.daemon.get(f"/jobs/{job['id']}/parameters").body
        body = jobs.short(init="upload", parameters=base64.b64encode(file).decode())
        body["arch"]["nodes"][0]["attrs"]["out_channels"] = 32
        self.assert_problem(jobs.submit(self.daemon, body), 422, "invalid_parameters", "conv1.weight")

    def test_blocks_are_no_parameters(self):
        """They would be as large as they say when they are tiled."""
        file = self.daemon.predict(networks.tiny(), "application/vnd.ghn.blocks").body
        body = jobs.short(init="upload", parameters=base64.b64encode(file).decode())
        answer = jobs.submit(self.daemon, body)
        self.assert_problem(answer, 422, "invalid_parameters", "parameters")
        self.assertIn("blocks", answer.json()["detail"])

    def test_unknown_job(self):
        for method, path in (("GET", "/jobs/{}"), ("DELETE", "/jobs/{}"), ("GET", "/jobs/{}/parameters"),
                             ("GET", "/jobs/{}/events")):
            for name in ("aaaaaaaaaaaaaaaa", "x", "%2e%2e", "x" * 1000, "lock"):
                with self.subTest(path, id=name):
                    self.assert_problem(self.daemon.request(method, path.format(name)), 404, "unknown_job")
        self.assert_problem(self.daemon.get("/jobs/a/b"), 404, "not_found")
        self.assert_problem(self.daemon.get("/jobs//events"), 404, "not_found")

    def test_methods(self):
        for method, path, allow in (("PUT", "/jobs/a", "GET, HEAD, DELETE, OPTIONS"),
                                    ("DELETE", "/jobs", "GET, HEAD, OPTIONS"),
                                    ("GET", "/finetune", "POST, OPTIONS"),
                                    ("DELETE", "/jobs/a/events", "GET, HEAD, OPTIONS")):
            answer = self.daemon.request(method, path)
            self.assert_problem(answer, 405, "method_not_allowed")
            self.assertEqual(allow, answer.headers["Allow"])

    def test_datasets(self):
        shapes = self.daemon.get("/datasets").json()["datasets"][-1]
        self.assertEqual({"name": "shapes", "kind": "shapes", "classes": 10, "channels": 3, "height": 32, "width": 32,
                          "train_images": 50000, "test_images": 10000}, shapes)

    def test_example(self):
        with open(os.path.join(ROOT, "proto", "examples", "finetune.request.json"), "rb") as file:
            answer = self.daemon.request("POST", "/finetune", file.read(), jobs.JSON)
        self.assertEqual(202, answer.status, answer)
        job = jobs.finished(self.daemon, answer.json()["id"])
        with open(os.path.join(ROOT, "proto", "examples", "finetune.job.json"), encoding="utf-8") as file:
            expected = json.load(file)
        self.assertEqual(set(expected), set(job))
        for key in ("state", "name", "dataset", "model", "init", "step", "steps", "error"):
            self.assertEqual(expected[key], job[key])
        for end in (0, -1):
            self.assertEqual(set(expected["history"][end]), set(job["history"][end]))
            self.assertAlmostEqual(expected["history"][end]["test_loss"], job["history"][end]["test_loss"], delta=0.1)

    def test_metrics(self):
        jobs.done(self.daemon, jobs.short())
        self.assertGreater(self.daemon.metric('ghnd_jobs{state="succeeded"'), 0)
        self.assertGreater(self.daemon.metric('ghnd_jobs_ended_total{state="succeeded"'), 0)
        self.assertEqual(1, self.daemon.metric("ghnd_ledger_available"))
        job = jobs.running(self.daemon, jobs.long())
        wait_for(lambda: self.daemon.metric("ghnd_train_images_per_second") > 0, 20)
        self.assertEqual(1, self.daemon.metric('ghnd_jobs{state="running"'))
        self.daemon.request("DELETE", f"/jobs/{job['id']}")


class Events(SharedDaemon):
    options = ("--max-event-streams", "3")

    def test_from_the_start_to_the_end(self):
        job = jobs.submit(self.daemon, jobs.short(steps=60)).json()
        events = jobs.read_events(self.daemon.get(f"/jobs/{job['id']}/events").body)
        points = [event for event in events if event["event"] == "progress"]
        self.assertEqual(["0", "60"], [points[0]["id"], points[-1]["id"]])
        self.assertEqual([int(point["id"]) for point in points], [point["data"]["step"] for point in points])
        states = [event["data"]["state"] for event in events if event["event"] == "job"]
        self.assertEqual("succeeded", states[-1])
        self.assertEqual("job", events[-1]["event"])
        self.assertNotIn("succeeded", states[:-1])

    def test_of_a_finished_job(self):
        job = jobs.done(self.daemon, jobs.short())
        answer = self.daemon.get(f"/jobs/{job['id']}/events")
        self.assertEqual("text/event-stream", answer.headers["Content-Type"])
        events = jobs.read_events(answer.body)
        self.assertEqual(job["history"], [e["data"] for e in events if e["event"] == "progress"])
        self.assertEqual(1, sum(event["event"] == "job" for event in events))

    def test_last_event_id(self):
        job = jobs.done(self.daemon, jobs.short())
        for last, expected in (("0", [30]), ("30", []), ("-1", [0, 30]), ("x", [0, 30])):
            answer = self.daemon.get(f"/jobs/{job['id']}/events", **{"Last-Event-ID": last})
            steps = [e["data"]["step"] for e in jobs.read_events(answer.body) if e["event"] == "progress"]
            self.assertEqual(expected, [step for step in steps if step in (0, 30)], last)

    def test_cancelling_ends_the_stream(self):
        job = jobs.running(self.daemon, jobs.long())
        with jobs.Stream(self.daemon, job["id"]) as stream:
            self.assertEqual("job", stream.wait_for("job")["event"])
            stream.wait_for("progress")
            self.daemon.request("DELETE", f"/jobs/{job['id']}")
            self.assertEqual("cancelled", stream.rest()[-1]["data"]["state"])

    def test_no_more_than_so_many(self):
        job = jobs.running(self.daemon, jobs.long())
        streams = [jobs.Stream(self.daemon, job["id"]) for _ in range(3)]
        for stream in streams:
            stream.wait_for("job")
        self.assert_problem(self.daemon.get(f"/jobs/{job['id']}/events"), 503, "too_many_streams")
        streams.pop().close()  # a client that goes away is noticed, and makes room
        wait_for(lambda: self.try_stream(job["id"]), 10, "room")
        for stream in streams:
            stream.close()
        self.daemon.request("DELETE", f"/jobs/{job['id']}")

    def try_stream(self, job_id):
        with jobs.Stream(self.daemon, job_id) as stream:
            return stream.status == 200

    def test_a_client_that_reads_nothing_holds_nobody_up(self):
        job = jobs.running(self.daemon, jobs.long())
        with jobs.Stream(self.daemon, job["id"]):
            time.sleep(2)
            self.assertEqual(200, self.daemon.get("/healthz").status)
            self.assertEqual(200, self.daemon.get(f"/jobs/{job['id']}").status)
        self.daemon.request("DELETE", f"/jobs/{job['id']}")


class Silence(SharedDaemon):
    options = ("--workers", "0", "--send-window", "1")

    def test_a_comment_every_15_seconds(self):
        """Which keeps the connection, for longer than a client may take to read an answer."""
        job = jobs.submit(self.daemon, jobs.short()).json()
        with jobs.Stream(self.daemon, job["id"]) as stream:
            stream.wait_for("job")
            started = time.monotonic()
            self.assertEqual(b":\n", stream.response.readline())
            self.assertTrue(14 < time.monotonic() - started < 17 * PATIENCE)
            self.daemon.request("DELETE", f"/jobs/{job['id']}")
            self.assertEqual("cancelled", stream.wait_for("job")["data"]["state"])


class Limits(unittest.TestCase):
    assert_problem = SharedDaemon.assert_problem

    def test_queued_jobs(self):
        with Daemon("--workers", "0", "--max-queued-jobs", "2") as daemon:
            ids = [jobs.submit(daemon, jobs.short()).json()["id"] for _ in range(2)]
            answer = jobs.submit(daemon, jobs.short())
            self.assert_problem(answer, 429, "too_many_jobs")
            self.assertGreater(int(answer.headers["Retry-After"]), 0)
            daemon.request("DELETE", f"/jobs/{ids[0]}")
            self.assertEqual(202, jobs.submit(daemon, jobs.short()).status)

    def test_queued_jobs_that_come_at_once(self):
        """However many are looked at at the same time, no more are taken than may wait."""
        with Daemon("--workers", "0", "--max-queued-jobs", "2", "--threads", "8") as daemon:
            for _ in range(5):
                answers = []
                threads = [threading.Thread(target=lambda: answers.append(jobs.submit(daemon, jobs.short())))
                           for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual([202] * 2 + [429] * 6, sorted(answer.status for answer in answers))
                taken = {answer.json()["id"] for answer in answers if answer.status == 202}
                self.assertEqual(taken, {job["id"] for job in daemon.get("/jobs?state=queued").json()["jobs"]})
                for name in taken:
                    daemon.request("DELETE", f"/jobs/{name}")
            self.assertEqual(10, len(os.listdir(os.path.join(daemon.folder, "jobs"))) - 1)

    def test_steps(self):
        with Daemon("--workers", "0", "--max-train-steps", "10") as daemon:
            self.assert_problem(jobs.submit(daemon, jobs.short(steps=11)), 422, "out_of_range", "steps")
            self.assertEqual(202, jobs.submit(daemon, jobs.short(steps=10)).status)

    def test_disk_reserve(self):
        with Daemon("--disk-reserve", str(1 << 50)) as daemon:
            self.assert_problem(jobs.submit(daemon, jobs.short()), 507, "insufficient_storage")
            self.assertEqual([], [n for n in os.listdir(os.path.join(daemon.folder, "jobs")) if n != "lock"])
            self.assertEqual(200, daemon.predict(networks.tiny()).status)

    def test_body(self):
        with Daemon("--max-upload-bytes", "2000") as daemon:
            body = jobs.short(init="upload", parameters="A" * 4000)
            self.assert_problem(jobs.submit(daemon, body), 413, "body_too_large")

    def test_jobs_that_are_kept(self):
        with Daemon() as daemon:
            folder = daemon.folder
            daemon.own_folder = False
            ids = [jobs.done(daemon, jobs.short(steps=1))["id"] for _ in range(3)]
        with Daemon("--max-jobs-kept", "1", folder=folder) as daemon:
            daemon.own_folder = True
            wait_for(lambda: len(daemon.get("/jobs").json()["jobs"]) == 1)
            self.assertEqual(ids[-1], daemon.get("/jobs").json()["jobs"][0]["id"])
            folders = lambda: set(os.listdir(os.path.join(folder, "jobs"))) - {"lock"}
            wait_for(lambda: folders() == {ids[-1]})

    def test_many_that_are_no_longer_kept(self):
        with Daemon("--workers", "0") as daemon:
            folder = daemon.folder
            daemon.own_folder = False
            for _ in range(30):
                name = jobs.submit(daemon, jobs.long()).json()["id"]
                self.assertEqual(200, daemon.request("DELETE", f"/jobs/{name}").status)
        with Daemon("--max-jobs-kept", "0", folder=folder) as daemon:
            daemon.own_folder = True
            wait_for(lambda: daemon.get("/jobs").json()["jobs"] == [], 10)

    def test_time(self):
        with Daemon("--job-timeout", "1", "--save-interval", "0.2") as daemon:
            job = jobs.done(daemon, jobs.long())
            self.assertEqual(("failed", "time_limit"), (job["state"], job["error"]["code"]))
            self.assertIn("1 seconds of training", job["error"]["detail"])
            self.assertGreater(job["step"], 0)
            self.assertEqual(200, daemon.get(f"/jobs/{job['id']}/parameters").status)

    def test_two_workers(self):
        with Daemon("--workers", "2") as daemon:
            ids = [jobs.submit(daemon, jobs.long()).json()["id"] for _ in range(3)]
            wait_for(lambda: len(jobs.workers(daemon)) == 2)
            states = [daemon.get(f"/jobs/{name}").json()["state"] for name in ids]
            self.assertEqual(["running", "running", "queued"], states)


if __name__ == "__main__":
    unittest.main()
