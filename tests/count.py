"""Counts test cases: reads the logs that `meson test` leaves (a JSON object a line, one line a
program) and prints, as its last line, "N passed, N failed, N skipped".

A cmocka program and a unittest run say themselves how many cases they ran; any other program is one
case. A program that fails, although each of its cases passed, is one failed case more (a crash or a
sanitizer's finding). Exits with 1 if anything failed, or if nothing ran.
"""
import json
import re
import sys

CMOCKA = re.compile(r"^\[ +(PASSED|FAILED|SKIPPED) +\] (\d+) test\(s\)", re.M)
RAN = re.compile(r"^Ran (\d+) tests? in ", re.M)
VERDICT = re.compile(r"^(?:OK|FAILED)(?: \(([a-z =0-9,]*)\))?$", re.M)


def cmocka_counts(text):
    """(passed, failed, skipped) of every cmocka group in the text, or None if there is none."""
    found = CMOCKA.findall(text)
    total = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}
    for word, number in found:
        total[word] += int(number)
    return (total["PASSED"], total["FAILED"], total["SKIPPED"]) if found else None


def unittest_counts(text):
    """The same for unittest, which reports failures, errors and skips after the total."""
    ran = [int(number) for number in RAN.findall(text)]
    if not ran:
        return None
    kinds = {}
    for listed in VERDICT.findall(text):
        for item in filter(None, listed.split(", ")):
            name, number = item.split("=")
            kinds[name] = kinds.get(name, 0) + int(number)
    failed = sum(kinds.get(k, 0) for k in ("failures", "errors", "unexpected successes"))
    skipped = kinds.get("skipped", 0)
    return max(sum(ran) - failed - skipped, 0), failed, skipped


def program_counts(entry):
    """The counts of one program of the log."""
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    ok = entry["result"] in ("OK", "EXPECTEDFAIL")
    if entry["result"] == "SKIP":
        return 0, 0, 1
    counts = cmocka_counts(text) or unittest_counts(text)
    if counts is None:
        return (1, 0, 0) if ok else (0, 1, 0)
    if not ok and counts[1] == 0:
        return counts[0], 1, counts[2]
    return counts


def main():
    total = [0, 0, 0]
    for path in sys.argv[1:]:
        try:
            with open(path, encoding="utf-8") as log:
                for line in log:
                    counts = program_counts(json.loads(line))
                    total = [a + b for a, b in zip(total, counts)]
        except (OSError, ValueError, KeyError) as error:
            print(f"tests/count.py: the log is no help: {error}", file=sys.stderr)
            total[1] += 1
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
