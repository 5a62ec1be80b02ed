"""Jobs to send, and ways to wait for them."""
import json
import os

from harness import wait_for
import networks

# Workers' threads wait for each other at every step, which takes long on a machine that is busy with
# other tests; one thread does not wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

JSON = {"Content-Type": "application/json"}


def short(**changes):
    """A request for a job of a second."""
    return networks.tiny(**{"dataset": "shapes", "steps": 30, "batch_size": 8, "eval_images": 16, **changes})


def long(**changes):
    """One for a job that lasts longer than any test."""
    return short(**{"steps": 1000000, **changes})


def submit(daemon, body, headers=None):
    return daemon.request("POST", "/finetune", body, {**JSON, **(headers or {})})


def wait_for_state(daemon, job_id, states, seconds=90):
    def look():
        job = daemon.get(f"/jobs/{job_id}").json()
        return job if job["state"] in states else None
    return wait_for(look, seconds, f"{' or '.join(states)}")


def finished(daemon, job_id, seconds=90):
    return wait_for_state(daemon, job_id, ("succeeded", "failed", "cancelled"), seconds)


def done(daemon, body):
    """Submits and waits to the end."""
    answer = submit(daemon, body)
    assert answer.status == 202, answer
    return finished(daemon, answer.json()["id"])


def running(daemon, body, steps=1):
    """Submits and waits until so many steps are done."""
    answer = submit(daemon, body)
    assert answer.status == 202, answer

    def look():
        job = daemon.get(f"/jobs/{answer.json()['id']}").json()
        return job if job["state"] == "running" and job["step"] >= steps else None
    return wait_for(look, 60, "a running job")


def workers_on(folder):
    """Process ids of the workers on jobs in a state folder, whoever started them."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                state = file.read().rsplit(") ", 1)[1][0]
        except OSError:
            continue
        if state != "Z" and any(a.startswith(os.path.join(folder, "jobs", "").encode()) for a in arguments):
            found.append(int(name))
    return found


def workers(daemon):
    return workers_on(daemon.folder)


def read_event(text):
    """{"event", "data", "id"} of an event's lines; None for a comment or a retry."""
    event = {}
    for line in text.split("\n"):
        key, _, value = line.partition(": ")
        if key in ("event", "data", "id"):
            event[key] = json.loads(value) if key == "data" else value
    return event if "data" in event else None


def read_events(body):
    assert body.endswith(b"\n\n"), body[-100:]
    return [event for event in map(read_event, body.decode().split("\n\n")) if event]


class Stream:
    """An event stream, read event by event."""

    def __init__(self, daemon, job_id, **headers):
        self.connection = daemon.connect()
        self.connection.request("GET", f"/jobs/{job_id}/events", headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.response.close()
        self.connection.close()

    def next(self):
        """The next event; None at the end."""
        lines = []
        while True:
            line = self.response.readline().decode()
            if not line:
                return None
            if line != "\n":
                lines.append(line.rstrip("\n"))
                continue
            event = read_event("\n".join(lines))
            lines = []
            if event:
                return event

    def wait_for(self, name):
        while True:
            event = self.next()
            assert event, f"the stream ended before {name}"
            if event["event"] == name:
                return event

    def rest(self):
        return list(iter(self.next, None))
