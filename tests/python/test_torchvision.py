"""Every classification model of torchvision: traced quickly, as the contract's schema wants it, and
predicted so that every parameter is either predicted or reported."""
import json
import time
import unittest

import support

support.require_torch()

import torchvision_table  # noqa: E402
from ghn_client import Client, trace  # noqa: E402


class All(unittest.TestCase):
    def test_traces(self):
        names = support.torchvision_names()
        self.assertGreaterEqual(len(names), 80)
        for name in names:
            module = support.torchvision_model(name)
            start = time.process_time()
            arch = trace(module, support.input_shape(name))
            with self.subTest(name):
                self.assertLess(time.process_time() - start, 10)
                self.assertGreater(len(arch["nodes"]), 20)
                self.assertLess(len(json.dumps(arch)), 1 << 18)

    def test_follow_the_schema(self):
        try:
            import jsonschema
        except ImportError as error:
            self.skipTest(f"needs jsonschema: {error}")
        folder = support.ROOT / "proto" / "schemas"
        schema = json.loads((folder / "arch.schema.json").read_text(encoding="utf-8"))
        validator = jsonschema.validators.validator_for(schema)(schema)
        for name in support.torchvision_names():
            with self.subTest(name):
                validator.validate(trace(support.torchvision_model(name),
                                         support.input_shape(name)))

    def test_predictions_and_the_table_of_the_readme(self):
        support.program("clients/ghn/ghn")
        with support.Daemon(support.GOLDEN / "checkpoints" / "ghn2_imagenet.pt") as daemon:
            table = torchvision_table.table(Client(daemon.url))
        self.assertEqual(torchvision_table.current(), table, "run tests/python/"
                         "torchvision_table.py --write")


if __name__ == "__main__":
    unittest.main()
