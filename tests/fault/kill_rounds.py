"""Daemon and workers are killed at random moments, while clients submit, look and cancel.

What must hold: no job that was acknowledged is lost, no key makes two jobs, a cancelled job stays
cancelled, no two workers are on one job, none is begun again once it has ended, what succeeds has the
parameters and the last evaluation of a run that nobody disturbed, and folders hold nothing that no
undisturbed job leaves.

usage: kill_rounds.py [unittest arguments]     KILL_ROUNDS: how many (5), KILL_SEED: of the moments
"""
import collections
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "http"))
import jobs
from harness import Daemon, wait_for

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
OPTIONS = ("--save-interval", "0.1", "--max-queued-jobs", "100000", "--max-jobs-kept", "100000", "--workers", "2",
           "--log-format", "json")
KINDS = 3
# Jobs that may be under way before clients wait with the next one: all of them are to see rounds.
BACKLOG = 12
LEFT = {"request.json", "parameters.safetensors", "history.jsonl", "lock"}
# A second worker may be waiting for the folder while the first one ends.
OVERLAP_SECONDS = 2


def body_of(kind):
    """A job of a second, one of a few kinds."""
    return jobs.short(seed=kind + 1, steps=150, batch_size=16)


class Clients:
    """Clients of a daemon that comes and goes; what they were told."""

    def __init__(self, seed):
        self.daemon = None
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.acknowledged = {}  # key -> (kind, id)
        self.cancelled = set()  # ids whose cancellation was acknowledged
        self.problems = []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(work,))
                        for work in (self.submit, self.submit, self.look, self.cancel, self.watch)]
        self.submissions = 0
        self.overlaps = {}  # job folder -> since when it has two workers

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def run(self, work):
        while not self.ending.is_set():
            daemon = self.daemon
            if daemon is None:
                time.sleep(0.01)
                continue
            try:
                work(daemon)
            except (OSError, http.client.HTTPException, ValueError):
                pass  # the daemon was killed meanwhile
            except AssertionError as error:
                self.problems.append(str(error))

    def pick(self, names):
        with self.lock:
            return self.random.choice(sorted(names)) if names else None

    def submit(self, daemon):
        """Sends one job until it is acknowledged, under one key, as a client should."""
        open_jobs = sum(len(daemon.get(f"/jobs?state={state}").json()["jobs"]) for state in ("queued", "running"))
        if open_jobs >= BACKLOG:
            self.ending.wait(0.2)
            return
        with self.lock:
            self.submissions += 1
            key, kind = f"key-{self.submissions}", self.random.randrange(KINDS)
        while not self.ending.is_set():
            try:
                answer = jobs.submit(daemon, body_of(kind), {"Idempotency-Key": key})
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                daemon = self.daemon or daemon
                continue
            if answer.status in (200, 202):
                with self.lock:
                    self.acknowledged[key] = (kind, answer.json()["id"])
                break
            if answer.status != 503:
                self.problems.append(f"{key}: {answer}")
        self.ending.wait(0.4)

    def look(self, daemon):
        with self.lock:
            ids = [job_id for _, job_id in self.acknowledged.values()]
        job_id = self.pick(ids)
        answer = daemon.get(f"/jobs/{job_id}") if job_id else daemon.get("/jobs")
        if answer.status not in (200, 503):
            self.problems.append(f"{job_id}: {answer}")
        time.sleep(0.05)

    def cancel(self, daemon):
        with self.lock:
            ids = [job_id for key, (_, job_id) in self.acknowledged.items() if int(key[4:]) % 4 == 0]
        job_id = self.pick(ids)
        if job_id:
            answer = daemon.request("DELETE", f"/jobs/{job_id}")
            if answer.status == 200 and answer.json()["state"] == "cancelled":
                with self.lock:
                    self.cancelled.add(job_id)
            elif answer.status not in (200, 503):
                self.problems.append(f"{job_id}: {answer}")
        self.ending.wait(0.2)

    def watch(self, daemon):
        now = time.monotonic()
        counts = collections.Counter(map(job_of, jobs.workers(daemon)))
        twice = {folder for folder, n in counts.items() if folder and n > 1}
        self.overlaps = {folder: self.overlaps.get(folder, now) for folder in twice}
        for folder, since in self.overlaps.items():
            if now - since > OVERLAP_SECONDS:
                self.problems.append(f"two workers are on {folder}")
        time.sleep(0.05)


def job_of(pid):
    """The job's folder that a worker is on; None if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
        return arguments[arguments.index(b"--job") + 1]
    except (OSError, ValueError):
        return None


def final(job):
    """What the last evaluation of a job found."""
    return [job["history"][-1][key] for key in ("step", "test_loss", "test_top1", "test_top5")]


class KillRounds(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ghnd-kill-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.clients = Clients(SEED)

    def references(self):
        """The parameters and the evaluation that each kind of job comes to when nobody disturbs it."""
        with Daemon() as daemon:
            done = [jobs.done(daemon, body_of(kind)) for kind in range(KINDS)]
            self.assertEqual(["succeeded"] * KINDS, [job["state"] for job in done])
            return [(daemon.get(f"/jobs/{job['id']}/parameters").body, final(job)) for job in done]

    def strike(self, chance, daemon):
        """Kills the daemon or one of its workers; returns a running daemon."""
        workers = jobs.workers(daemon)
        if workers and chance.random() < 0.4:
            try:
                os.kill(chance.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was done
            return daemon
        self.clients.daemon = None
        daemon.process.kill()
        daemon.process.wait()
        self.keep_log(daemon)
        if chance.random() < 0.5:  # or the next one starts beside them
            wait_for(lambda: not jobs.workers_on(self.folder), 5, "the end of orphaned workers")
        started = time.monotonic()
        daemon = Daemon(*OPTIONS, folder=self.folder)
        self.slowest_start = max(self.slowest_start, time.monotonic() - started)
        self.clients.daemon = daemon
        return daemon

    def keep_log(self, daemon):
        """Notes what a daemon that has ended said of jobs."""
        daemon.log.close()
        for line in daemon.log_text().splitlines():
            with contextlib.suppress(ValueError):  # the last one may be cut
                line = json.loads(line)
                if "job" in line:
                    self.said[line["job"]].append(line["msg"])

    def check_log(self):
        """No job is begun again once it has ended, and none ends twice."""
        ends = ("job succeeded", "job failed", "job cancelled")
        for job_id, lines in self.said.items():
            ended = [line in ends for line in lines]
            self.assertLessEqual(sum(ended), 1, (job_id, lines))
            if any(ended):
                self.assertNotIn("job started", lines[ended.index(True):], job_id)
        return collections.Counter(line for lines in self.said.values() for line in lines)

    def check_folder(self, job_id, allowed):
        names = set(os.listdir(os.path.join(self.folder, "jobs", job_id)))
        self.assertEqual(set(), names - allowed, job_id)

    def check(self, daemon, references):
        clients = self.clients
        self.assertEqual([], clients.problems[:5])
        ids = [job_id for _, job_id in clients.acknowledged.values()]
        self.assertEqual(len(ids), len(set(ids)), "two keys have one job")
        listed, before = [], ""
        while before is not None:
            page = daemon.get(f"/jobs?limit=1000{before}").json()
            listed += [job["id"] for job in page["jobs"]]
            before = page["next"] and f"&before={page['next']}"
        self.assertEqual(set(), set(ids) - set(listed), "acknowledged jobs are lost")
        # What is listed but was not acknowledged is the last request of a client that had to give up.
        self.assertLessEqual(len(set(listed) - set(ids)), 2)
        states = collections.Counter()
        for kind, job_id in clients.acknowledged.values():
            job = jobs.finished(daemon, job_id, 600)
            states[job["state"]] += 1
            self.assertEqual(job_id in clients.cancelled, job["state"] == "cancelled", job)
            self.assertNotEqual("failed", job["state"], job["error"])
            if job["state"] == "succeeded":
                found = daemon.get(f"/jobs/{job_id}/parameters").body
                self.assertTrue(found == references[kind][0], f"the parameters of {job_id} differ")
                self.assertEqual(references[kind][1], final(job), job_id)
        return states

    def test_rounds(self):
        print(f"{ROUNDS} rounds, KILL_SEED={SEED}", file=sys.stderr)
        chance = random.Random(SEED)
        references = self.references()
        self.slowest_start = 0
        self.said = collections.defaultdict(list)  # job -> what daemons' logs say of it
        struck = collections.Counter()
        daemon = Daemon(*OPTIONS, folder=self.folder)
        self.clients.daemon = daemon
        self.clients.start()
        try:
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(0, 2))
                before = daemon
                daemon = self.strike(chance, daemon)
                struck["workers" if daemon is before else "daemons"] += 1
            time.sleep(1)
        finally:
            self.clients.end()
        try:
            states = self.check(daemon, references)
        finally:
            daemon.stop()
        self.keep_log(daemon)
        for _, job_id in self.clients.acknowledged.values():
            self.check_folder(job_id, LEFT)
        said = self.check_log()
        print(f"killed: {dict(struck)}; {self.clients.submissions} jobs asked for, "
              f"{len(self.clients.acknowledged)} acknowledged; {dict(states)}; workers started: "
              f"{said['job started']}; slowest start {self.slowest_start:.2f} s", file=sys.stderr)
        self.assertGreater(states["succeeded"], 0)


if __name__ == "__main__":
    unittest.main()
