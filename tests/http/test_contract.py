"""proto/errors.json says what the code says."""
import json
import os
import re
import unittest

from harness import ROOT


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


class Errors(unittest.TestCase):
    maxDiff = None

    def test_every_code_is_documented(self):
        library = {name: (code, meaning) for name, code, meaning in re.findall(
            r'^GHN_STATUS\((\w+), \d+, "(\w+)", "([^"]+)"\)', read("lib", "base", "status.def"), re.M)}
        errors = read("daemon", "errors.def")
        expected = {}
        for name, status in re.findall(r"^GHND_LIBRARY\((\w+), (\d+)\)", errors, re.M):
            code, meaning = library.pop(name)
            expected[code] = (int(status), meaning)
        self.assertEqual({"OK"}, set(library), "statuses without an HTTP status")
        for _, status, code, meaning in re.findall(
                r'^GHND_ERROR\((\w+), (\d+), "(\w+)", "([^"]+)"\)', errors, re.M):
            self.assertNotIn(code, expected)
            expected[code] = (int(status), meaning)
        documented = json.loads(read("proto", "errors.json"))
        self.assertEqual(expected, {e["code"]: (e["status"], e["meaning"]) for e in documented})
        self.assertEqual(len(expected), len(documented))
        for entry in documented:
            self.assertEqual({"code", "status", "meaning", "advice", "example_detail"}, set(entry))
            self.assertTrue(all(entry.values()), entry)


if __name__ == "__main__":
    unittest.main()
