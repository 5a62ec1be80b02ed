"""The examples of the contract, sent as they are."""
import base64
import json
import os
import struct
import unittest

from harness import ROOT, SharedDaemon

EXAMPLES = os.path.join(ROOT, "proto", "examples")
# Answers hold values of a hypernetwork made with seed 1, which another machine's arithmetic may change in the last digits.
CLOSE = 1e-4


def load(name):
    with open(os.path.join(EXAMPLES, name), "rb") as file:
        return file.read()


def names(kind):
    suffix = f".{kind}.json"
    return [name[:-len(suffix)] for name in sorted(os.listdir(EXAMPLES)) if name.endswith(suffix)]


def floats(text):
    """Little-endian f32 in base64."""
    return [x for (x,) in struct.iter_unpack("<f", base64.b64decode(text, validate=True))]


class Examples(SharedDaemon):
    def assert_alike(self, expected, found, path):
        """Equal, but for real numbers, which are close, and encoded ones."""
        self.assertIs(type(expected), type(found), path)
        if isinstance(expected, dict):
            self.assertEqual(set(expected), set(found), path)
            for key, value in expected.items():
                if key == "data":
                    self.assert_alike(floats(value), floats(found[key]), f"{path}.{key}")
                elif key not in ("generator", "hypernetwork_sha256"):
                    self.assert_alike(value, found[key], f"{path}.{key}")
        elif isinstance(expected, list):
            self.assertEqual(len(expected), len(found), path)
            for i, value in enumerate(expected):
                self.assert_alike(value, found[i], f"{path}[{i}]")
        elif isinstance(expected, float):
            self.assertAlmostEqual(expected, found, delta=CLOSE * max(1, abs(expected)), msg=path)
        else:
            self.assertEqual(expected, found, path)

    def test_reports(self):
        self.assertGreaterEqual(len(names("report")), 4)
        for name in names("report"):
            with self.subTest(name):
                answer = self.daemon.predict(load(name + ".request.json"), "application/json")
                self.assertEqual(200, answer.status, answer)
                self.assert_alike(json.loads(load(name + ".report.json")), answer.json(), name)

    def test_files(self):
        for name in names("report"):
            for accept in (None, "application/vnd.ghn.blocks"):
                with self.subTest(name, accept=accept):
                    answer = self.daemon.predict(load(name + ".request.json"), accept)
                    self.assertEqual(200, answer.status, answer)

    def test_problems(self):
        self.assertGreaterEqual(len(names("problem")), 12)
        for name in names("problem"):
            with self.subTest(name):
                expected = json.loads(load(name + ".problem.json"))
                answer = self.daemon.predict(load(name + ".request.json"))
                self.assert_problem(answer, expected["status"], expected["code"], expected["where"])
                self.assertEqual(expected["title"], answer.json()["title"])

    def test_models(self):
        expected = json.loads(load("models.json"))["models"][0]
        found = self.daemon.get("/models").json()["models"][0]
        self.assertEqual({**expected, "sha256": found["sha256"]}, found)


if __name__ == "__main__":
    unittest.main()
