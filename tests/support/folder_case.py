"""A test case with a folder of its own."""
import json
import os
import tempfile
import unittest


class FolderCase(unittest.TestCase):
    """A test in a folder that goes with it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, value):
        """A file of a text, or of a value as JSON; its path."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(value if isinstance(value, str) else json.dumps(value))
        return self.path(name)
