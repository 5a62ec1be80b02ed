"""Jobs through what happens to daemons, workers and disks."""
import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

import jobs
from harness import GHND, Daemon, PATIENCE, SharedDaemon, wait_for
import networks

# Long enough to be interrupted, short enough to be waited for, in a slower build too.
STEPS = int(400 / PATIENCE)


def middling(**changes):
    return jobs.short(**{"steps": STEPS, "batch_size": 32, **changes})


def parameters(daemon, job_id):
    answer = daemon.get(f"/jobs/{job_id}/parameters")
    assert answer.status == 200, answer
    return answer.body


class Life(unittest.TestCase):
    maxDiff = None
    assert_problem = SharedDaemon.assert_problem

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, *options):
        return Daemon("--save-interval", "0.2", *options, folder=self.folder)

    def ledger(self, sql, *values):
        with contextlib.closing(sqlite3.connect(os.path.join(self.folder, "jobs.sqlite"), timeout=10)) as db:
            with db:
                return db.execute(sql, values).fetchall()

    def kill(self, daemon):
        daemon.process.kill()
        daemon.process.wait()
        daemon.log.close()

    @classmethod
    def setUpClass(cls):
        with Daemon() as daemon:
            job = jobs.done(daemon, middling())
            assert job["state"] == "succeeded", job
            cls.undisturbed = parameters(daemon, job["id"])

    def assert_undisturbed(self, daemon, job_id):
        job = jobs.finished(daemon, job_id)
        self.assertEqual(("succeeded", STEPS), (job["state"], job["step"]), job)
        steps = [point["step"] for point in job["history"]]
        self.assertEqual(sorted(set(steps)), steps)
        self.assertEqual([], [point for point in job["history"] if point["step"] > 0 and point["loss"] is None])
        self.assertTrue(self.undisturbed == parameters(daemon, job_id), "the parameters differ")

    def test_stop_and_go_on(self):
        with self.daemon() as daemon:
            job = jobs.running(daemon, middling(), steps=20)
        with self.daemon("--workers", "0") as daemon:
            found = daemon.get(f"/jobs/{job['id']}").json()
            self.assertEqual("running", found["state"])
            self.assertGreaterEqual(found["history"][-1]["step"], 20)
        with self.daemon() as daemon:
            self.assert_undisturbed(daemon, job["id"])
            self.assertEqual(0, daemon.get(f"/jobs/{job['id']}").json()["attempts"])

    def test_a_stop_with_an_event_stream_open(self):
        with self.daemon() as daemon:
            job = jobs.running(daemon, jobs.long())
            with jobs.Stream(daemon, job["id"]) as stream:
                stream.wait_for("progress")
                started = time.monotonic()
                daemon.signal(signal.SIGTERM)
                self.assertIsNotNone(stream.rest())
                self.assertEqual(0, daemon.process.wait(20 * PATIENCE))
                self.assertLess(time.monotonic() - started, 10 * PATIENCE)

    def test_the_daemon_is_killed(self):
        daemon = self.daemon()
        job, waiting = (jobs.submit(daemon, middling()).json() for _ in range(2))
        wait_for(lambda: daemon.get(f"/jobs/{job['id']}").json()["step"] >= 20, 60, "a running job")
        self.assertLessEqual(len(jobs.workers(daemon)), 1)
        self.kill(daemon)
        wait_for(lambda: not jobs.workers_on(self.folder), 2, "the worker's end")
        with self.daemon() as daemon:
            self.assert_undisturbed(daemon, job["id"])
            self.assert_undisturbed(daemon, waiting["id"])

    def test_a_worker_is_killed(self):
        with self.daemon() as daemon:
            job = jobs.running(daemon, middling(), steps=20)
            os.kill(jobs.workers(daemon)[0], signal.SIGKILL)
            wait_for(lambda: daemon.metric("ghnd_worker_restarts_total") == 1)
            self.assert_undisturbed(daemon, job["id"])

    def test_a_worker_is_stopped_by_hand(self):
        """It saves, and another one goes on; that is no death."""
        with self.daemon() as daemon:
            job = jobs.running(daemon, middling(), steps=20)
            os.kill(jobs.workers(daemon)[0], signal.SIGTERM)
            self.assert_undisturbed(daemon, job["id"])
            self.assertEqual(0, daemon.metric("ghnd_worker_restarts_total"))

    def test_workers_that_always_die(self):
        with self.daemon("--worker", "/bin/false") as daemon:
            job = jobs.done(daemon, jobs.short())
            self.assertEqual(("failed", "worker_died", 3), (job["state"], job["error"]["code"], job["attempts"]))
            self.assertIn("status 1", job["error"]["detail"])
            self.assertEqual(2, daemon.metric("ghnd_worker_restarts_total"))

    def script(self, name, text):
        """A program of bash."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/bash\n{text}")
        os.chmod(path, 0o755)
        return path

    def test_a_worker_that_hangs(self):
        """It does not hold its place for ever: another one takes its job up."""
        with self.daemon("--worker-silence", "3") as daemon:
            job = jobs.running(daemon, middling(), steps=20)
            os.kill(jobs.workers(daemon)[0], signal.SIGSTOP)
            wait_for(lambda: daemon.metric("ghnd_worker_restarts_total") == 1, 10)
            self.assertIn("did and said nothing for 3 seconds", daemon.log_text())
            self.assert_undisturbed(daemon, job["id"])

    def test_workers_that_always_hang(self):
        script = self.script("stopped", "kill -STOP $$\n")
        with self.daemon("--worker-silence", "0.5", "--worker", script) as daemon:
            job = jobs.done(daemon, jobs.short())
            self.assertEqual(("failed", "worker_died", 3), (job["state"], job["error"]["code"], job["attempts"]))
            self.assertIn("did and said nothing", job["error"]["detail"])

    def test_a_worker_that_computes_in_silence(self):
        """As one that evaluates: that is no reason to kill it."""
        script = self.script("silent", "while :; do :; done\n")
        with self.daemon("--worker-silence", "1.5", "--worker", script) as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
            wait_for(lambda: jobs.workers(daemon))
            found = jobs.workers(daemon)
            time.sleep(4)
            self.assertEqual(found, jobs.workers(daemon))
            daemon.request("DELETE", f"/jobs/{job['id']}")

    def test_a_worker_that_is_not_there(self):
        """The job waits for one, however long that takes; none of it is an attempt."""
        with self.daemon("--worker", "/nonexistent/ghn-worker") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
            wait_for(lambda: "could not be started" in daemon.log_text(), 30, "a line in the log")
            self.assertEqual(("running", None), tuple(daemon.get(f"/jobs/{job['id']}").json()[k]
                                                      for k in ("state", "error")))
            other = jobs.submit(daemon, jobs.short()).json()
            self.assertEqual(200, daemon.request("DELETE", f"/jobs/{other['id']}").status)
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job["id"])
            self.assertEqual(("succeeded", 0), (job["state"], job["attempts"]))

    def test_a_worker_that_does_not_listen(self):
        """One that ignores SIGTERM is killed a second after a job is cancelled."""
        script = self.script("deaf", 'trap "" TERM\nwhile :; do sleep 0.2; done\n')
        with self.daemon("--worker", script) as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
            wait_for(lambda: jobs.workers(daemon))
            daemon.request("DELETE", f"/jobs/{job['id']}")
            self.assertEqual("cancelled", daemon.get(f"/jobs/{job['id']}").json()["state"])
            wait_for(lambda: not jobs.workers(daemon), 3, "the worker's end")

    def test_two_daemons_on_one_folder(self):
        with self.daemon() as first:
            job = jobs.running(first, jobs.long())
            log = os.path.join(self.folder, "log2")
            port_file = os.path.join(self.folder, "port2")
            with open(log, "wb") as file:
                second = subprocess.Popen(
                    [GHND, "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir", self.folder,
                     "--checkpoint", first.checkpoints[0]], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            try:
                wait_for(lambda: os.path.exists(port_file), 20)
                self.assertEqual(1, len(jobs.workers(first)))
                port = first.port
                with open(port_file, encoding="ascii") as file:
                    first.port = int(file.read())
                answer = first.get("/jobs")
                self.assert_problem(answer, 503, "ledger_unavailable")
                self.assertIn("another ghnd", answer.json()["detail"])
                first.port = port
            finally:
                second.terminate()
                self.assertEqual(0, second.wait(20 * PATIENCE))
            self.assertEqual("running", first.get(f"/jobs/{job['id']}").json()["state"])

    def test_a_lock_that_is_held(self):
        """A worker does not touch a folder in which another one still works."""
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
        lock = os.path.join(self.folder, "jobs", job["id"], "lock")
        with open(lock, "wb") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            with self.daemon() as daemon:
                wait_for(lambda: jobs.workers(daemon))
                time.sleep(1)
                self.assertEqual([], daemon.get(f"/jobs/{job['id']}").json()["history"])
                fcntl.flock(holder, fcntl.LOCK_UN)
                self.assertEqual("succeeded", jobs.finished(daemon, job["id"])["state"])

    def test_a_damaged_entry(self):
        with self.daemon("--workers", "0") as daemon:
            damaged, sound = (jobs.submit(daemon, jobs.short()).json()["id"] for _ in range(2))
        self.ledger("UPDATE jobs SET state = 'nonsense' WHERE id = ?", damaged)
        with self.daemon() as daemon:
            self.assertEqual("succeeded", jobs.finished(daemon, sound)["state"])
            job = daemon.get(f"/jobs/{damaged}").json()
            self.assertEqual(("failed", "damaged_job"), (job["state"], job["error"]["code"]))
            self.assertEqual(2, len(daemon.get("/jobs").json()["jobs"]))

    def test_damaged_files(self):
        def cut(path):
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)
        for name, damage in (("request.json", cut), ("request.json", os.unlink), ("initial.safetensors", cut),
                             ("initial.safetensors", os.unlink)):
            with self.subTest(name, damage=damage.__name__):
                with self.daemon("--workers", "0") as daemon:
                    job = jobs.submit(daemon, jobs.short()).json()
                damage(os.path.join(self.folder, "jobs", job["id"], name))
                with self.daemon() as daemon:
                    job = jobs.finished(daemon, job["id"])
                    self.assertEqual(("failed", "damaged_job"), (job["state"], job["error"]["code"]))
                    self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])

    def test_a_damaged_checkpoint(self):
        with self.daemon() as daemon:
            job = jobs.running(daemon, jobs.long(), steps=20)
        with open(os.path.join(self.folder, "jobs", job["id"], "state.safetensors"), "r+b") as file:
            file.seek(-5, os.SEEK_END)
            byte = file.read(1)
            file.seek(-5, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job["id"])
            self.assertEqual(("failed", "damaged_job", "state-dir"),
                             (job["state"], job["error"]["code"], job["error"]["where"]))
            self.assertEqual(200, daemon.get(f"/jobs/{job['id']}/parameters").status)

    def test_a_ledger_that_is_none(self):
        with open(os.path.join(self.folder, "jobs.sqlite"), "wb") as file:
            file.write(b"this is no ledger\n" * 1000)
        with self.daemon() as daemon:
            self.check_no_ledger(daemon, "not a database")

    def test_no_place_for_jobs(self):
        with open(os.path.join(self.folder, "jobs"), "wb"):
            pass
        with self.daemon() as daemon:
            self.check_no_ledger(daemon, "Not a directory")

    def home(self):
        """A daemon of somebody who has just got an account."""
        home = os.path.join(self.folder, "home")
        os.mkdir(home)
        path = os.path.join(home, ".local", "state", "ghnd")
        return path, Daemon("--state-dir", path, folder=self.folder)

    def test_a_fresh_account(self):
        path, daemon = self.home()
        with daemon:
            self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])
        self.assertEqual(0o700, os.stat(path).st_mode & 0o777)
        self.assertEqual(0o755, os.stat(os.path.dirname(path)).st_mode & 0o777)

    def test_a_state_folder_that_cannot_be_made(self):
        with open(os.path.join(self.folder, "file"), "wb"):
            pass
        with self.daemon("--state-dir", os.path.join(self.folder, "file", "ghnd")) as daemon:
            self.check_no_ledger(daemon, "the folder cannot be made: Not a directory")

    @staticmethod
    def unavailable(daemon):
        return daemon.log_text().count("jobs are not available")

    def assert_jobs_come(self, daemon, job_id=None):
        """What was in the way is gone: nobody has to restart the daemon."""
        wait_for(lambda: daemon.get("/jobs").status == 200, 20, "the ledger")
        self.assertEqual(1, daemon.log_text().count("jobs are available"))
        self.assertEqual(1, daemon.metric("ghnd_ledger_available"))
        for done in [job_id] * bool(job_id) + [jobs.submit(daemon, jobs.short()).json()["id"]]:
            self.assertEqual("succeeded", jobs.finished(daemon, done)["state"])

    def test_a_state_folder_that_comes_later(self):
        blocked = os.path.join(self.folder, "disk")
        orphan = os.path.join(blocked, "ghnd", "jobs", "abcdefghij012345")
        with open(blocked, "wb"):
            pass
        with self.daemon("--state-dir", os.path.join(blocked, "ghnd")) as daemon:
            self.check_no_ledger(daemon, "Not a directory")
            time.sleep(6)
            self.assertEqual(1, self.unavailable(daemon))  # told once, however often it was tried
            os.unlink(blocked)
            os.makedirs(orphan)
            self.assert_jobs_come(daemon)
            self.assertFalse(os.path.exists(orphan))

    def test_a_ledger_that_is_moved_away(self):
        path = os.path.join(self.folder, "jobs.sqlite")
        with open(path, "wb") as file:
            file.write(b"this is no ledger\n" * 1000)
        with self.daemon() as daemon:
            self.check_no_ledger(daemon, "not a database")
            os.rename(path, path + ".bad")
            self.assert_jobs_come(daemon)

    def test_a_daemon_that_ends_slowly(self):
        """The next one takes its jobs over as soon as it is gone."""
        with self.daemon("--workers", "0") as first:
            job = jobs.submit(first, jobs.short()).json()
            second = Daemon("--save-interval", "0.2", "--state-dir", self.folder)
            try:
                self.assert_problem(second.get("/jobs"), 503, "ledger_unavailable")
            except AssertionError:
                second.stop()
                raise
        with second:
            self.assert_jobs_come(second, job["id"])

    def check_no_ledger(self, daemon, why):
        for answer in (jobs.submit(daemon, jobs.short()), daemon.get("/jobs"), daemon.get("/jobs/aaaaaaaaaaaaaaaa"),
                       daemon.request("DELETE", "/jobs/aaaaaaaaaaaaaaaa"),
                       daemon.get("/jobs/aaaaaaaaaaaaaaaa/parameters"),
                       daemon.get("/jobs/aaaaaaaaaaaaaaaa/events")):
            self.assert_problem(answer, 503, "ledger_unavailable")
            self.assertIn(why, answer.json()["detail"])
        self.assertEqual(200, daemon.predict(networks.tiny()).status)
        self.assertEqual(200, daemon.get("/readyz").status)
        self.assertEqual(200, daemon.get("/datasets").status)
        self.assertEqual(0, daemon.metric("ghnd_ledger_available"))

    def test_a_data_set_that_goes_away(self):
        data = os.path.join(self.folder, "data", "pictures")
        self.write_cifar(data)
        with self.daemon("--workers", "0") as daemon:
            names = [entry["name"] for entry in daemon.get("/datasets").json()["datasets"]]
            self.assertEqual(["pictures", "shapes"], names)
            job = jobs.submit(daemon, jobs.short(dataset="pictures"))
            self.assertEqual(202, job.status, job)
        shutil.rmtree(data)
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job.json()["id"])
            self.assertEqual(("failed", "unknown_dataset"), (job["state"], job["error"]["code"]))
            self.assert_problem(jobs.submit(daemon, jobs.short(dataset="pictures")), 404, "unknown_dataset")

    def test_what_is_no_data_set(self):
        """It is left out, and the log says why: once, and again when the reason changes."""
        data = os.path.join(self.folder, "data")
        for name in ("my photos", "empty", "good", ".hidden"):
            os.makedirs(os.path.join(data, name))
        shutil.rmtree(os.path.join(data, "good"))
        self.write_cifar(os.path.join(data, "good"))
        with self.daemon("--log-format", "json") as daemon:
            def told():
                for _ in range(3):
                    names = [entry["name"] for entry in daemon.get("/datasets").json()["datasets"]]
                    self.assertEqual(["good", "shapes"], names)
                return {line["name"]: line["detail"] for line in daemon.log_lines(msg="not a data set")}
            lines = told()
            self.assertEqual({"my photos", "empty"}, set(lines))
            self.assertIn("1 to 64 letters", lines["my photos"])
            self.assertEqual(2, len(daemon.log_lines(msg="not a data set")))
            os.rmdir(os.path.join(data, "empty"))
            with open(os.path.join(data, "empty"), "wb"):
                pass
            self.assertNotEqual(lines["empty"], told()["empty"])
            self.assertEqual(3, len(daemon.log_lines(msg="not a data set")))

    @staticmethod
    def write_cifar(folder):
        os.makedirs(folder)
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"".join(bytes([i % 10]) + bytes(3072) for i in range(20)))

    def test_what_was_never_acknowledged_is_removed(self):
        orphan = os.path.join(self.folder, "jobs", "abcdefghij012345")
        other = os.path.join(self.folder, "jobs", "not-a-job")
        os.makedirs(orphan)
        os.makedirs(other)
        with open(os.path.join(orphan, "request.json"), "wb"):
            pass
        with self.daemon():
            self.assertFalse(os.path.exists(orphan))
            self.assertTrue(os.path.exists(other))

    def test_a_key_survives_the_daemon(self):
        headers = {"Idempotency-Key": "a"}
        daemon = self.daemon("--workers", "0")
        first = jobs.submit(daemon, jobs.short(), headers)
        self.kill(daemon)
        with self.daemon("--workers", "0") as daemon:
            again = jobs.submit(daemon, jobs.short(), headers)
            self.assertEqual((202, first.json()["id"]), (again.status, again.json()["id"]))
            self.assertEqual("true", again.headers["Idempotent-Replayed"])

    def test_cancelled_while_the_daemon_was_down(self):
        """Whoever runs, the ledger is what counts."""
        daemon = self.daemon()
        job = jobs.running(daemon, jobs.long())
        daemon.request("DELETE", f"/jobs/{job['id']}")
        self.kill(daemon)
        with self.daemon() as daemon:
            time.sleep(0.5)
            self.assertEqual([], jobs.workers(daemon))
            self.assertEqual("cancelled", daemon.get(f"/jobs/{job['id']}").json()["state"])

    def test_cancelled_while_no_worker_has_it(self):
        """What was kept for going on is gone at once, as with a worker."""
        with self.daemon() as daemon:
            job = jobs.running(daemon, jobs.long())
        kept = lambda: os.listdir(os.path.join(self.folder, "jobs", job["id"]))
        with self.daemon("--workers", "0") as daemon:
            self.assertIn("state.safetensors", kept())
            answer = daemon.request("DELETE", f"/jobs/{job['id']}")
            self.assertEqual("cancelled", answer.json()["state"])
            self.assertNotIn("state.safetensors", kept())
            self.assertEqual(200, daemon.get(f"/jobs/{job['id']}/parameters").status)


if __name__ == "__main__":
    unittest.main()
