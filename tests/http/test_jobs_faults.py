"""Jobs on a full disk, in a folder that cannot be written, with data sets that change, with a ledger that fails:
each ends in a documented state, with a message, and the last good parameters are kept."""
import base64
import contextlib
import math
import os
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
import unittest

import jobs
from harness import Daemon, PATIENCE, SharedDaemon, read_safetensors, wait_for
import networks

MIB = 1 << 20


def can_mount():
    folder = tempfile.mkdtemp()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False,
                             capture_output=True).returncode == 0
    if mounted:
        subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)
    return mounted


CAN_MOUNT = can_mount()


def wide(**changes):
    """A network of 150 KB of parameters."""
    return {**jobs.long(**changes), **networks.chain(2, 64)}


def write_cifar(folder, images=20):
    os.makedirs(folder)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"".join(bytes([i % 10]) + bytes(3072) for i in range(images)))


def write_idx(folder, side, images=20):
    os.makedirs(folder)
    for name in ("train", "t10k"):
        with open(os.path.join(folder, f"{name}-images-idx3-ubyte"), "wb") as file:
            file.write(struct.pack(">4I", 2051, images, side, side) + bytes(images * side * side))
        with open(os.path.join(folder, f"{name}-labels-idx1-ubyte"), "wb") as file:
            file.write(struct.pack(">2I", 2049, images) + bytes(i % 10 for i in range(images)))


class Faults(unittest.TestCase):
    maxDiff = None
    assert_problem = SharedDaemon.assert_problem

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, *options, **more):
        return Daemon("--save-interval", "0.2", *options, folder=self.folder, **more)

    def mount(self, size):
        """A small file system of its own at self.folder."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", self.folder], check=True)
        self.addCleanup(subprocess.run, ["umount", self.folder], check=True)

    def fill(self):
        """Takes all the space there is on the disk of self.folder; the file that does."""
        filler = os.path.join(self.folder, "filler")
        with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        return filler

    def assert_failed(self, job, code, where, *detail):
        self.assertEqual(("failed", code, where), (job["state"], job["error"]["code"], job["error"]["where"]), job)
        for text in detail:
            self.assertIn(text, job["error"]["detail"])
        self.assertNotIn(self.folder, job["error"]["detail"])

    def assert_good_parameters(self, daemon, job_id):
        """The parameters can be had, and every number of them is finite."""
        answer = daemon.get(f"/jobs/{job_id}/parameters")
        self.assertEqual(200, answer.status, answer)
        tensors, metadata = read_safetensors(answer.body)
        for name, (dtype, _, data) in tensors.items():
            if dtype == "F32":
                values = struct.unpack(f"<{len(data) // 4}f", data)
                self.assertTrue(all(map(math.isfinite, values)), name)
        return metadata

    def assert_predicts(self, daemon):
        self.assertEqual(200, daemon.predict(networks.tiny()).status)
        self.assertEqual(200, daemon.get("/readyz").status)

    # --- Disks ---

    @unittest.skipUnless(CAN_MOUNT, "needs the right to mount")
    def test_a_disk_that_fills_up(self):
        self.mount("8m")
        with self.daemon("--disk-reserve", "0") as daemon:
            job = jobs.running(daemon, wide(), steps=5)
            wait_for(lambda: daemon.get(f"/jobs/{job['id']}/parameters").status == 200)
            filler = self.fill()
            wait_for(lambda: not jobs.workers(daemon), 60, "the worker's end")
            self.fill()  # what the worker has given back
            self.assert_predicts(daemon)
            self.assert_good_parameters(daemon, job["id"])
            self.assert_problem(jobs.submit(daemon, jobs.short()), 507, "insufficient_storage")
            # The ledger, on the same disk, may only be told now.
            os.unlink(filler)
            job = jobs.finished(daemon, job["id"])
            self.assert_failed(job, "io", "state-dir", "No space left on device")
            self.assert_good_parameters(daemon, job["id"])
            folders = set(os.listdir(os.path.join(self.folder, "jobs"))) - {"lock"}
            self.assertEqual({job["id"]}, folders)
            kept = os.listdir(os.path.join(self.folder, "jobs", job["id"]))
            self.assertEqual([], [name for name in kept if ".tmp." in name or name.startswith(("state", "initial"))])
            self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])

    @unittest.skipUnless(CAN_MOUNT, "needs the right to mount")
    def test_a_disk_that_is_below_the_reserve(self):
        self.mount("8m")
        with self.daemon("--disk-reserve", "16M") as daemon:
            self.assert_problem(jobs.submit(daemon, jobs.short()), 507, "insufficient_storage")
            self.assert_predicts(daemon)

    @unittest.skipUnless(CAN_MOUNT, "needs the right to mount")
    def test_a_job_that_the_disk_has_no_room_for(self):
        self.mount("8m")
        with self.daemon("--disk-reserve", "0") as daemon:
            large = {**jobs.short(), **networks.chain(2, 512)}
            self.assert_problem(jobs.submit(daemon, large), 507, "insufficient_storage")
            self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])

    def test_a_job_that_cannot_be_written(self):
        """It is not taken, and nothing of it stays; a limit on files stands in for a quota."""
        network = networks.chain(2, 128)
        with self.daemon() as daemon:
            parameters = daemon.predict(network).body
        limit = len(parameters) // 2

        def preexec():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        body = {**jobs.short(init="upload", parameters=base64.b64encode(parameters).decode()), **network}
        with self.daemon(preexec=preexec) as daemon:
            answer = jobs.submit(daemon, body)
            self.assert_problem(answer, 500, "io", "state-dir")
            self.assertNotIn(self.folder, answer.body.decode())
            self.assertEqual(["lock"], os.listdir(os.path.join(self.folder, "jobs")))
            self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])
        with self.daemon() as daemon:
            self.assertEqual("succeeded", jobs.done(daemon, body)["state"])

    def test_a_limit_on_files(self):
        """A stand-in for a quota: nothing longer than so many bytes can be written."""
        limit = 256 * 1024

        def preexec():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with self.daemon() as daemon:  # writes the checkpoint
            pass
        with self.daemon(preexec=preexec) as daemon:
            job = jobs.submit(daemon, wide())
            self.assertEqual(202, job.status, job)
            job = jobs.finished(daemon, job.json()["id"])
            self.assert_failed(job, "io", "state-dir", "state.safetensors", "File too large")
            self.assertEqual("0", self.assert_good_parameters(daemon, job["id"])["step"])
            self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])

    @unittest.skipUnless(CAN_MOUNT, "needs the right to mount")
    def test_a_folder_that_cannot_be_written(self):
        self.mount("64m")
        log = tempfile.mkdtemp(prefix="ghnd-test-")
        self.addCleanup(shutil.rmtree, log)
        state = ("--state-dir", self.folder)
        with self.daemon("--workers", "0", "--disk-reserve", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)
        with Daemon(*state, folder=log) as daemon:
            for answer in (jobs.submit(daemon, jobs.short()), daemon.get(f"/jobs/{job['id']}")):
                self.assert_problem(answer, 503, "ledger_unavailable")
                self.assertIn("Read-only file system", answer.json()["detail"])
            self.assert_predicts(daemon)
            subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)
            wait_for(lambda: daemon.get("/jobs").status == 200, 20, "the ledger")
            self.assertEqual("succeeded", jobs.finished(daemon, job["id"])["state"])

    # --- The ledger ---

    @staticmethod
    def begun(daemon):
        job = jobs.submit(daemon, jobs.short(steps=200)).json()
        wait_for(lambda: jobs.workers(daemon), 20)
        return job

    @staticmethod
    def wait_for_failures(daemon):
        """Waits until a worker has ended, and the ledger has not taken that again and again."""
        wait_for(lambda: not jobs.workers(daemon), 60, "the worker's end")
        wait_for(lambda: daemon.log_text().count("the ledger of jobs failed") >= 7, 60, "another try")

    def test_a_ledger_that_fails_for_a_while(self):
        """What a worker has done is written as soon as it can be, and not done again."""
        with self.daemon("--log-format", "json") as daemon:
            job = self.begun(daemon)
            with contextlib.closing(sqlite3.connect(os.path.join(self.folder, "jobs.sqlite"), timeout=10)) as db:
                db.execute("BEGIN IMMEDIATE")
                self.wait_for_failures(daemon)
                db.rollback()
            job = jobs.finished(daemon, job["id"])
            self.assertEqual("succeeded", job["state"])
            self.assertEqual(1, len(daemon.log_lines(msg="job started")), daemon.log_text())

    def test_a_job_that_waits_while_the_ledger_fails(self):
        """Nobody has to come with another request for it to be begun."""
        with self.daemon("--log-format", "json") as daemon:
            first = self.begun(daemon)
            second = jobs.submit(daemon, jobs.short()).json()
            with contextlib.closing(sqlite3.connect(os.path.join(self.folder, "jobs.sqlite"), timeout=10)) as db:
                db.execute("BEGIN IMMEDIATE")
                self.wait_for_failures(daemon)
                db.rollback()
            time.sleep(5)
            self.assertEqual("succeeded", jobs.finished(daemon, second["id"])["state"])
            self.assertEqual("succeeded", jobs.finished(daemon, first["id"])["state"])

    def test_a_ledger_that_is_lost(self):
        """Its jobs cannot be known any more, but what they came to is not deleted."""
        with self.daemon() as daemon:
            job = jobs.done(daemon, jobs.short())
        for name in os.listdir(self.folder):
            if name.startswith("jobs.sqlite"):
                os.unlink(os.path.join(self.folder, name))
        for _ in range(2):
            with self.daemon() as daemon:
                self.assert_problem(daemon.get(f"/jobs/{job['id']}"), 404, "unknown_job")
                self.assertEqual("succeeded", jobs.done(daemon, jobs.short())["state"])
        kept = os.path.join(self.folder, "jobs", job["id"] + ".unlisted", "parameters.safetensors")
        self.assertTrue(os.path.exists(kept))

    def test_an_older_ledger_that_is_put_back(self):
        """What it does not know of, but a worker has been at, is not deleted either."""
        with self.daemon() as daemon:
            first = jobs.done(daemon, jobs.short())
        ledger = os.path.join(self.folder, "jobs.sqlite")
        with contextlib.closing(sqlite3.connect(ledger)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(ledger, ledger + ".old")
        with self.daemon() as daemon:
            second = jobs.done(daemon, jobs.short())
        for name in os.listdir(self.folder):
            if name.startswith("jobs.sqlite") and not name.endswith(".old"):
                os.unlink(os.path.join(self.folder, name))
        os.rename(ledger + ".old", ledger)
        with self.daemon() as daemon:
            self.assertEqual("succeeded", daemon.get(f"/jobs/{first['id']}").json()["state"])
            self.assert_problem(daemon.get(f"/jobs/{second['id']}"), 404, "unknown_job")
        kept = os.path.join(self.folder, "jobs", second["id"] + ".unlisted", "parameters.safetensors")
        self.assertTrue(os.path.exists(kept))

    def test_an_entry_that_is_no_text(self):
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
            with contextlib.closing(sqlite3.connect(os.path.join(self.folder, "jobs.sqlite"), timeout=10)) as db, db:
                db.execute("UPDATE jobs SET name = CAST(x'6eff74' AS TEXT)")
            self.assertEqual("n?t", daemon.get(f"/jobs/{job['id']}").json()["name"])
            self.assertEqual(1, len(daemon.get("/jobs").json()["jobs"]))

    def test_a_folder_that_is_lost(self):
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
        shutil.rmtree(os.path.join(self.folder, "jobs", job["id"]))
        # Also where the state directory is given by a relative path, clients are told no part of it.
        with self.daemon("--state-dir", os.path.relpath(self.folder)) as daemon:
            self.assert_failed(jobs.finished(daemon, job["id"]), "damaged_job", "state-dir", "lock")

    def test_a_removal_that_was_cut_short(self):
        """A folder that was on its way out goes, or comes back where its job is still in the ledger."""
        with self.daemon() as daemon:
            kept, gone = (jobs.done(daemon, jobs.short(steps=1))["id"] for _ in range(2))
        folder = os.path.join(self.folder, "jobs")
        for name in (kept, gone):
            os.rename(os.path.join(folder, name), os.path.join(folder, name + ".removed"))
        with contextlib.closing(sqlite3.connect(os.path.join(self.folder, "jobs.sqlite"), timeout=10)) as db, db:
            db.execute("DELETE FROM jobs WHERE id = ?", (gone,))
        with self.daemon() as daemon:
            self.assertEqual({kept, "lock"}, set(os.listdir(folder)))
            self.assert_good_parameters(daemon, kept)

    def test_parameters_that_cannot_be_read(self):
        """That is not the same as that there are none."""
        with self.daemon() as daemon:
            job = jobs.done(daemon, jobs.short())
            path = os.path.join(self.folder, "jobs", job["id"], "parameters.safetensors")
            os.unlink(path)
            self.assert_problem(daemon.get(f"/jobs/{job['id']}/parameters"), 404, "no_parameters_yet")
            os.symlink(path, path)
            answer = daemon.get(f"/jobs/{job['id']}/parameters")
            self.assert_problem(answer, 500, "io", "state-dir")
            self.assertIn("symbolic links", answer.json()["detail"])
            self.assertNotIn(self.folder, answer.body.decode())

    def test_leftovers_of_killed_workers_go(self):
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
        folder = os.path.join(self.folder, "jobs", job["id"])
        for name in ("state.safetensors.tmp.1.0", "initial-full.safetensors"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(bytes(100))
        with self.daemon() as daemon:
            self.assertEqual("succeeded", jobs.finished(daemon, job["id"])["state"])
            wait_for(lambda: sorted(os.listdir(folder)) ==
                     ["history.jsonl", "lock", "parameters.safetensors", "request.json"], 5, "a tidy folder")
        # What a daemon did not come to, killed after the ledger was told, the next one does.
        for name in ("state.safetensors", "parameters.safetensors.tmp.1.0"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(bytes(100))
        with self.daemon("--workers", "0"):
            self.assertEqual(["history.jsonl", "lock", "parameters.safetensors", "request.json"],
                             sorted(os.listdir(folder)))

    def test_a_history_has_an_end(self):
        """However many evaluations there are, the file stays short enough to be read at every look."""
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short(steps=300, eval_every=1, eval_images=4)).json()
        path = os.path.join(self.folder, "jobs", job["id"], "history.jsonl")
        with open(path, "w", encoding="ascii") as file:
            for _ in range(20000):
                file.write('{"step": 0, "test_top1": 0.1}\n')
            file.write('{"step": 0, "te')  # and the disk was full
        before = os.path.getsize(path)
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job["id"], 200)
            self.assertEqual("succeeded", job["state"])
            self.assertEqual([0, 300], [job["history"][0]["step"], job["history"][-1]["step"]])
            self.assertLess(os.path.getsize(path) - before, 100 * 400)

    # --- Data sets ---

    def take(self, dataset, **changes):
        """A job on a data set that waits until the next daemon."""
        with self.daemon("--workers", "0") as daemon:
            answer = jobs.submit(daemon, jobs.short(dataset=dataset, **changes))
            self.assertEqual(202, answer.status, answer)
            return answer.json()["id"]

    def test_a_data_set_that_is_gone_when_a_job_goes_on(self):
        data = os.path.join(self.folder, "data", "pictures")
        write_cifar(data)
        with self.daemon() as daemon:
            job = jobs.running(daemon, jobs.long(dataset="pictures"), steps=20)
            wait_for(lambda: daemon.get(f"/jobs/{job['id']}/parameters").status == 200)
        shutil.rmtree(data)
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job["id"])
            self.assert_failed(job, "unknown_dataset", "dataset", "no such folder")
            self.assertGreater(int(self.assert_good_parameters(daemon, job["id"])["step"]), 0)

    def test_a_data_set_that_is_another_when_a_job_goes_on(self):
        data = os.path.join(self.folder, "data", "pictures")
        write_cifar(data)
        with self.daemon() as daemon:
            job = jobs.running(daemon, jobs.long(dataset="pictures"), steps=20)
        shutil.rmtree(data)
        write_cifar(data, images=30)
        with self.daemon() as daemon:
            job = jobs.finished(daemon, job["id"])
            self.assert_failed(job, "out_of_range", "state-dir", "state.safetensors", "data set")
            self.assert_good_parameters(daemon, job["id"])

    def test_images_of_the_wrong_size(self):
        data = os.path.join(self.folder, "data", "pictures")
        write_idx(data, 20)
        with self.daemon() as daemon:
            answer = jobs.submit(daemon, jobs.short(dataset="pictures"))
            self.assert_problem(answer, 422, "shape_mismatch", "pictures")
            self.assertIn("20 x 20", answer.json()["detail"])
            self.assertIn("32 x 32", answer.json()["detail"])

    def test_other_classes_than_the_hypernetworks(self):
        """The class layers are initialised then, as at a random start; the rest is predicted."""
        data = os.path.join(self.folder, "data", "hundred")
        os.makedirs(data)
        for name in ("train.bin", "test.bin"):
            with open(os.path.join(data, name), "wb") as file:
                file.write(b"".join(bytes([0, i]) + bytes(3072) for i in range(20)))
        files = {}
        with self.daemon() as daemon:
            for init in ("ghn", "random"):
                body = jobs.short(dataset="hundred", init=init, lr=0, weight_decay=0, seed=5, steps=1)
                body["arch"]["nodes"][-1]["attrs"]["out_features"] = 100
                job = jobs.done(daemon, body)
                self.assertEqual("succeeded", job["state"], job)
                files[init], _ = read_safetensors(daemon.get(f"/jobs/{job['id']}/parameters").body)
            answer = daemon.predict({"arch": body["arch"], "predict_class_layers": False})
            predicted, _ = read_safetensors(answer.body)
        for name in ("fc.weight", "fc.bias"):
            self.assertNotIn(name, predicted)
            self.assertTrue(files["random"][name] == files["ghn"][name], name)
        self.assertTrue(predicted["conv1.weight"] == files["ghn"]["conv1.weight"])
        self.assertFalse(files["random"]["conv1.weight"] == files["ghn"]["conv1.weight"])

    def test_images_whose_size_changes(self):
        data = os.path.join(self.folder, "data", "pictures")
        write_idx(data, 32)
        job = self.take("pictures")
        shutil.rmtree(data)
        write_idx(data, 20)
        with self.daemon() as daemon:
            self.assert_failed(jobs.finished(daemon, job), "shape_mismatch", "pictures", "20 x 20", "32 x 32")

    def test_a_data_set_that_is_damaged(self):
        data = os.path.join(self.folder, "data", "pictures")
        write_cifar(data)
        job = self.take("pictures")
        with open(os.path.join(data, "data_batch_3.bin"), "r+b") as file:
            file.write(bytes([77]))
        with self.daemon() as daemon:
            self.assert_failed(jobs.finished(daemon, job), "invalid_file", "dataset", "data_batch_3.bin", "label 77")
        with open(os.path.join(data, "data_batch_3.bin"), "r+b") as file:
            file.truncate(1000)
        with self.daemon() as daemon:
            answer = jobs.submit(daemon, jobs.short(dataset="pictures"))
            self.assert_problem(answer, 500, "invalid_file", "dataset")
            self.assertIn("data_batch_3.bin", answer.json()["detail"])
            self.assertNotIn(self.folder, answer.body.decode())

    # --- Training ---

    def test_a_loss_that_is_not_finite(self):
        changes = {"lr": 1e9, "clip_norm": 0, "schedule": "constant", "steps": 200}
        with self.daemon() as daemon:
            for more in ({}, {"eval_every": 1}):
                with self.subTest(more):
                    job = jobs.done(daemon, jobs.short(**changes, **more))
                    self.assert_failed(job, "diverged", "", "no longer finite", "a lower learning rate than 1e+09")
                    self.assert_good_parameters(daemon, job["id"])

    # --- Workers ---

    def test_a_worker_has_nothing_of_the_daemon_open(self):
        with self.daemon() as daemon, daemon.socket() as held:
            held.sendall(b"GET /healthz HTTP/1.1\r\n")  # a connection that is open
            jobs.running(daemon, jobs.long())
            (pid,) = jobs.workers(daemon)

            def files(process):
                found = {}
                for number in os.listdir(f"/proc/{process}/fd"):
                    with contextlib.suppress(OSError):
                        found[int(number)] = os.readlink(f"/proc/{process}/fd/{number}")
                return found
            theirs = set(files(daemon.process.pid).values())
            shared = {number: target for number, target in files(pid).items() if target in theirs}
            self.assertEqual({2}, set(shared) - {number for number, t in shared.items() if t == "/dev/null"}, shared)

    def test_a_worker_that_waits_listens(self):
        """Also one that waits for another to leave the folder ends when its job is cancelled."""
        import fcntl
        with self.daemon("--workers", "0") as daemon:
            job = jobs.submit(daemon, jobs.short()).json()
        with open(os.path.join(self.folder, "jobs", job["id"], "lock"), "wb") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            with self.daemon("--log-format", "json") as daemon:
                wait_for(lambda: jobs.workers(daemon))
                time.sleep(0.5)
                started = time.monotonic()
                daemon.request("DELETE", f"/jobs/{job['id']}")
                wait_for(lambda: not jobs.workers(daemon), 3, "the worker's end")
                self.assertLess(time.monotonic() - started, 0.6 * PATIENCE)


if __name__ == "__main__":
    unittest.main()
