"""Rules of the source itself: layers, includes, sizes, formatting, words that do not belong."""
import os
import re
import shutil
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ["base", "tensor", "arch", "deepnets", "graph", "ghn", "nn", "data", "train"]
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 80
# Paths of a particular machine; written in pieces so that this file does not hold them itself.
FORBIDDEN = re.compile(r"/wo" r"rk/|/ro" r"ot/|\.\./\.lib" r"rary|/ho" r"me/[a-z]")


def source_files():
    """Paths, relative to the root, of every file but what is built or hidden."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders
                      if not f.startswith("build") and f not in (".git", "__pycache__")]
        for name in names:
            if name == ".git":  # of a linked work tree
                continue
            yield os.path.relpath(os.path.join(folder, name), ROOT)


FILES = sorted(source_files())
C_FILES = [f for f in FILES if f.endswith((".c", ".h"))]


def lines_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().splitlines()


def includes_of(path):
    """(line number, included path) of every include with quotes."""
    for number, line in enumerate(lines_of(path), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match:
            yield number, match.group(1)


def functions_of(path):
    """(first line's number, lines) of every function body: with the formatter's style, one starts
    with an unindented line that ends in ") {" and ends with a "}" alone."""
    start = None
    for number, line in enumerate(lines_of(path), 1):
        if start is None and re.match(r"[a-z ].*\) \{$", line) and not re.match(r"  +\S+.*[;,]", line):
            start = number
        elif line == "}" and start is not None:
            yield start, number - start + 1
            start = None


class Source(unittest.TestCase):
    maxDiff = None

    def nothing(self, problems):
        self.assertEqual([], list(problems))

    def test_there_is_source(self):
        self.assertGreater(len(C_FILES), 20)

    def test_a_layer_includes_only_those_before_it(self):
        def problems():
            for path in C_FILES:
                parts = path.split(os.sep)
                if parts[0] != "lib" or len(parts) < 3:
                    continue
                allowed = LAYERS[:LAYERS.index(parts[1]) + 1]
                for number, included in includes_of(path):
                    if included.split("/")[0] not in allowed:
                        yield f"{path}:{number} includes {included}"
        self.nothing(problems())

    def test_every_lib_folder_is_a_layer(self):
        folders = {f.split(os.sep)[1] for f in C_FILES if f.startswith("lib" + os.sep)}
        self.assertLessEqual(folders, set(LAYERS))

    def test_only_lib_is_included_from_elsewhere_in_lib(self):
        self.nothing(f"{path}:{number} includes {included}" for path in C_FILES
                     for number, included in includes_of(path)
                     if "../" in included or
                     (path.startswith("lib") and included.startswith(("daemon/", "clients/"))))

    def test_the_library_neither_prints_nor_exits(self):
        call = re.compile(r"(?<![\w.>])(printf|puts|putchar|perror|exit|_exit|abort|syslog)\s*\(|"
                          r"\bf(printf|puts|putc)\s*\(\s*(stderr|stdout)")
        self.nothing(f"{path}:{number} {line.strip()}" for path in C_FILES
                     if path.startswith("lib" + os.sep)
                     for number, line in enumerate(lines_of(path), 1)
                     if call.search(line) and not line.lstrip().startswith(("*", "/*", "//")))

    def test_files_are_short(self):
        code = [f for f in FILES if f.endswith((".c", ".h", ".py", ".def"))]
        self.nothing(f"{path}: {len(lines_of(path))} lines" for path in code
                     if len(lines_of(path)) > MAX_FILE_LINES)

    def test_functions_are_short(self):
        found = [(path, start, n) for path in C_FILES for start, n in functions_of(path)]
        self.assertGreater(len(found), 50)
        self.nothing(f"{path}:{start}: {n} lines" for path, start, n in found
                     if n > MAX_FUNCTION_LINES)

    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is not installed")
    def test_c_is_formatted(self):
        run = subprocess.run(["clang-format", "--dry-run", "--Werror", *C_FILES], cwd=ROOT,
                             capture_output=True, text=True)
        self.assertEqual(0, run.returncode, run.stderr[-4000:])

    def test_no_machine_is_named(self):
        def problems():
            for path in FILES:
                try:
                    lines = lines_of(path)
                except UnicodeDecodeError:
                    continue
                for number, line in enumerate(lines, 1):
                    if FORBIDDEN.search(line):
                        yield f"{path}:{number} {line.strip()[:100]}"
        self.nothing(problems())

    def test_scripts_parse(self):
        scripts = [f for f in FILES if not f.endswith(".c") and lines_of_or_none(f)[:1] == ["#!/bin/bash"]]
        self.assertIn(os.path.join("tests", "run"), scripts)
        for path in scripts:
            with self.subTest(path):
                self.assertTrue(os.access(os.path.join(ROOT, path), os.X_OK), "not executable")
                run = subprocess.run(["bash", "-n", path], cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(("", 0), (run.stderr, run.returncode))


def lines_of_or_none(path):
    try:
        return lines_of(path)
    except UnicodeDecodeError:
        return []


if __name__ == "__main__":
    unittest.main()
