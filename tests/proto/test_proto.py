"""The wire contract: schemas, OpenAPI document, error codes and examples agree with each other and
with the lists in the source.

usage: test_proto.py DUMP_OPS [unittest arguments]     DUMP_OPS: the program of that name here
"""
import collections
import json
import os
import re
import subprocess
import sys
import unittest

import jsonschema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROTO = os.path.join(ROOT, "proto")
SCHEMAS = os.path.join(PROTO, "schemas")
EXAMPLES = os.path.join(PROTO, "examples")
GOLDEN = os.environ.get("GHN_GOLDEN") or os.path.join(os.path.dirname(ROOT), "shared", "golden")
DUMP_OPS = None


def load(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def rows(path, pattern):
    """The groups of every line of a .def file that matches."""
    with open(os.path.join(ROOT, *path.split("/")), encoding="utf-8") as file:
        return [m.groups() for m in map(re.compile(pattern).match, file) if m]


def error_codes():
    """code -> HTTP status, of the daemon's list of errors."""
    statuses = dict(rows("lib/base/status.def", r'GHN_STATUS\((\w+), \d+, "(\w+)"'))
    errors = {code: int(http) for http, code in rows("daemon/errors.def", r'GHND_ERROR\(\w+, (\d+), "(\w+)"')}
    for status, http in rows("daemon/errors.def", r"GHND_LIBRARY\((\w+), (\d+)\)"):
        errors[statuses[status]] = int(http)
    return errors


def validator(name):
    """A validator of proto/schemas/NAME.schema.json."""
    schema = load(SCHEMAS, name + ".schema.json")
    resolver = jsonschema.RefResolver("file://" + os.path.join(SCHEMAS, name + ".schema.json"), schema)
    return jsonschema.Draft202012Validator(schema, resolver=resolver)


def references(value):
    """Every $ref within a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def at_pointer(document, pointer):
    for part in filter(None, pointer.split("/")):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


class Schemas(unittest.TestCase):
    def names(self):
        names = sorted(os.listdir(SCHEMAS))
        self.assertEqual(["arch", "datasets", "finetune-request", "genotype", "graph", "job", "jobs", "models",
                          "predict-request", "problem", "report"],
                         [n[:-len(".schema.json")] for n in names])
        return names

    def test_each_is_a_schema(self):
        for name in self.names():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(load(SCHEMAS, name))

    def test_references_lead_somewhere(self):
        for name in self.names():
            for ref in references(load(SCHEMAS, name)):
                with self.subTest(name, ref=ref):
                    file_name, _, pointer = ref.partition("#")
                    self.assertIsInstance(at_pointer(load(SCHEMAS, file_name or name), pointer), dict)


class SourceLists(unittest.TestCase):
    """The schemas against what the program was compiled from."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.source = json.loads(subprocess.run([DUMP_OPS], check=True, capture_output=True).stdout)
        cls.arch = load(SCHEMAS, "arch.schema.json")

    @staticmethod
    def describe(schema):
        """An attribute's schema in the words of the program's list."""
        item = schema["anyOf"][0] if "anyOf" in schema else schema
        kind = {"boolean": "bool", "number": "double"}.get(schema.get("type"), "int")
        if "anyOf" in schema:
            kind = "pair" if schema["anyOf"][1].get("minItems") == 2 else "ints"
        if "enum" in schema:
            kind = "choice"
        low, high = item.get("minimum"), item.get("maximum")
        return {"type": kind, "min": low, "max": high, "default": schema.get("default"), "choices": schema.get("enum", [])}

    def check_attr(self, attr, schema, required):
        found = self.describe(schema)
        expected = dict(attr)
        self.assertEqual(required, expected.pop("required"))
        if expected["type"] in ("bool", "choice"):
            expected["min"] = expected["max"] = None
        if required:
            expected["default"] = None
        self.assertEqual(expected, found)
        if found["type"] == "pair":
            allows_null = "null" in schema["anyOf"][0]["type"]
            self.assertEqual(attr["min"] <= 0, allows_null)
            self.assertEqual(schema["anyOf"][0], schema["anyOf"][1]["items"])

    def test_operations(self):
        ops = self.source["ops"]
        self.assertGreater(len(ops), 30)
        self.assertEqual([*ops, "cat"], self.arch["$defs"]["node"]["properties"]["op"]["enum"])
        conditions = {name: rule["then"]["$ref"] for rule in self.arch["$defs"]["node"]["allOf"]
                      for name in rule["if"]["properties"]["op"].get("enum", [rule["if"]["properties"]["op"].get("const")])}
        for name, op in ops.items():
            with self.subTest(name):
                schema = self.arch["$defs"][name]
                self.assertEqual(f"#/$defs/{name}", conditions[name])
                inputs = schema["properties"]["inputs"]
                self.assertEqual((op["min_inputs"], op["max_inputs"]), (inputs["minItems"], inputs["maxItems"]))
                self.assertEqual(op["min_inputs"] > 0, "inputs" in schema.get("required", []))
                self.assertTrue(schema["description"])
        self.assertEqual("#/$defs/concat", conditions["cat"])

    def test_attributes(self):
        for name, op in self.source["ops"].items():
            schema = self.arch["$defs"][name]
            attrs = schema["properties"]["attrs"]
            either = [alternative["required"][0] for alternative in attrs.get("oneOf", [])]
            required = set(attrs.get("required", [])) | set(either[:1])
            self.assertEqual(bool(required), "attrs" in schema.get("required", []), name)
            self.assertIs(attrs["additionalProperties"], False)
            self.assertEqual(set(op["attrs"]) | set(either[1:]), set(attrs["properties"]), name)
            for attr_name, attr in op["attrs"].items():
                with self.subTest(name, attr=attr_name):
                    self.check_attr(attr, attrs["properties"][attr_name], attr_name in required)

    def test_fields_of_a_recipe(self):
        fields = {name for _, name in rows("lib/train/recipe.c", r'    (FIELD|PICK)\("?(\w+)')}
        self.assertGreater(len(fields), 20)
        schema = load(SCHEMAS, "finetune-request.schema.json")["properties"]
        network = {"arch", "genotype", "net", "input", "num_classes", "model", "dataset", "parameters",
                   "dtype", "predict_class_layers", "include_tensors"}
        self.assertEqual(fields | network, set(schema))

    def test_cell_operations_and_primitives(self):
        genotype, graph = load(SCHEMAS, "genotype.schema.json"), load(SCHEMAS, "graph.schema.json")
        branch = genotype["$defs"]["branch"]["prefixItems"]
        self.assertEqual(self.source["cell_ops"], branch[0]["enum"])
        self.assertEqual(self.source["max_steps"], branch[1]["maximum"])
        self.assertEqual(2 * self.source["max_steps"], genotype["$defs"]["branches"]["maxItems"])
        self.assertEqual(self.source["primitives"], graph["$defs"]["node"]["properties"]["op"]["enum"])


class OpenApi(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.document = load(PROTO, "openapi.json")

    def operations(self):
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                yield path, method, operation

    def test_schemas_are_those_of_the_files(self):
        run = subprocess.run([sys.executable, "-B", os.path.join(PROTO, "bundle.py"), "--check"],
                             capture_output=True, text=True)
        self.assertEqual(("", 0), (run.stderr, run.returncode))

    def test_form(self):
        self.assertEqual("3.1.0", self.document["openapi"])
        self.assertLessEqual({"title", "version"}, set(self.document["info"]))
        names = [operation["operationId"] for _, _, operation in self.operations()]
        self.assertEqual(len(names), len(set(names)))
        for path, method, operation in self.operations():
            with self.subTest(path, method=method):
                self.assertIn(method, ("get", "post", "delete"))
                self.assertTrue(operation["summary"])
                self.assertTrue({"200", "202"} & set(operation["responses"]))
                in_path = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path" and p["required"]}
                self.assertEqual(set(re.findall(r"\{(\w+)\}", path)), in_path)
                for status, response in operation["responses"].items():
                    self.assertRegex(status, r"^[2-5]\d\d$")
                    self.assertTrue(self.resolve(response)["description"])

    def resolve(self, value):
        return at_pointer(self.document, value["$ref"][1:]) if "$ref" in value else value

    def test_references_lead_somewhere(self):
        found = list(references(self.document))
        self.assertGreater(len(found), 100)
        for ref in found:
            with self.subTest(ref):
                self.assertTrue(ref.startswith("#/"))
                self.assertIsInstance(at_pointer(self.document, ref[1:]), dict)

    def test_every_schema_is_one(self):
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(schema)

    def test_bundled_schemas_work(self):
        resolver = jsonschema.RefResolver("", self.document)
        request = jsonschema.Draft202012Validator(
            {"$ref": "#/components/schemas/PredictRequest"}, resolver=resolver)
        for path in examples(".request.json"):
            if os.path.exists(answer_of(path, "report")):
                with self.subTest(path):
                    request.validate(load(path))

    def test_routes_are_those_of_the_daemon(self):
        routes = {(method.lower(), path) for method, path in
                  rows("daemon/routes.def", r'GHND_ROUTE\(\w+, (\w+), "([^"]+)"')}
        self.assertTrue(routes)
        self.assertEqual(routes, {(method, path) for path, method, _ in self.operations()})

    def test_error_answers_list_their_codes(self):
        expected = collections.defaultdict(set)
        for code, status in error_codes().items():
            if status != 499:  # seen in logs only
                expected[str(status)].add(code)
        seen = set()
        for path, method, operation in self.operations():
            for status, response in operation["responses"].items():
                if status[0] in "23":
                    continue
                with self.subTest(path, method=method, status=status):
                    schema = self.resolve(response)["content"]["application/problem+json"]["schema"]
                    own = schema["allOf"][1]["properties"]
                    self.assertEqual(int(status), own["status"]["const"])
                    self.assertEqual(expected[status], set(own["code"]["enum"]))
                seen.add(status)
        self.assertEqual(set(expected), seen)


class Errors(unittest.TestCase):
    def test_the_schema_lists_every_code(self):
        codes = load(SCHEMAS, "problem.schema.json")["properties"]["code"]["enum"]
        self.assertEqual(sorted(error_codes()), sorted(codes))


def examples(suffix):
    return [os.path.join(EXAMPLES, n) for n in sorted(os.listdir(EXAMPLES)) if n.endswith(suffix)]


def answer_of(request, kind):
    return request.replace(".request.json", f".{kind}.json")


class Examples(unittest.TestCase):
    def test_each_request_has_one_answer(self):
        self.assertGreater(len(examples(".request.json")), 8)
        known = set()
        for path in examples(".request.json"):
            answers = [answer_of(path, kind) for kind in ("report", "problem", "job") if os.path.exists(answer_of(path, kind))]
            self.assertEqual(1, len(answers), path)
            known |= {path, *answers}
        known |= {os.path.join(EXAMPLES, name) for name in ("models.json", "jobs.json", "datasets.json")}
        self.assertEqual(known, set(examples("")))

    def test_good_requests_and_their_reports(self):
        request, report = validator("predict-request"), validator("report")
        reports = examples(".report.json")
        self.assertGreaterEqual(len(reports), 3)
        for path in reports:
            with self.subTest(path):
                report.validate(load(path))
                request.validate(load(path.replace(".report.json", ".request.json")))
                self.check_counts(load(path))

    def check_counts(self, report):
        for outcome in ("predicted", "initialised", "omitted"):
            tensors = [t for t in report["tensors"] if t["outcome"] == outcome]
            self.assertEqual(report[outcome]["tensors"], len(tensors))
            total = 0
            for tensor in tensors:
                size = 1
                for dim in tensor["shape"]:
                    size *= dim
                total += size
            self.assertEqual(report[outcome]["parameters"], total)

    def test_error_answers(self):
        problem, codes = validator("problem"), error_codes()
        for path in examples(".problem.json"):
            with self.subTest(path):
                answer = load(path)
                problem.validate(answer)
                self.assertEqual(codes[answer["code"]], answer["status"])
                self.assertEqual(f"urn:ghnd:error:{answer['code']}", answer["type"])

    def test_jobs(self):
        validator("finetune-request").validate(load(EXAMPLES, "finetune.request.json"))
        validator("job").validate(load(EXAMPLES, "finetune.job.json"))
        validator("jobs").validate(load(EXAMPLES, "jobs.json"))
        validator("datasets").validate(load(EXAMPLES, "datasets.json"))

    def test_models(self):
        validator("models").validate(load(EXAMPLES, "models.json"))


class Requests(unittest.TestCase):
    """What the schema of requests takes and refuses."""

    @classmethod
    def setUpClass(cls):
        cls.validator = validator("predict-request")

    def arch(self, **node):
        return {"arch": {"format": "ghn-arch/1", "input": {"shape": [3, 8, 8]}, "output": "n",
                         "nodes": [{"name": "n", "inputs": ["input"], **node}]}}

    def test_taken(self):
        for request in (
                self.arch(op="relu"),
                self.arch(op="conv2d", attrs={"out_channels": 4, "kernel": 3}),
                self.arch(op="conv2d", attrs={"out_channels": 4, "kernel_size": [3, 1], "stride": 2}),
                self.arch(op="adaptive_avg_pool2d", attrs={"output_size": [None, 1]}),
                self.arch(op="cat", attrs={"dim": -1}),
                {"graph": {"nodes": [{"op": "input"}], "edges": []}, "dtype": "bf16", "seed": 3}):
            with self.subTest(request):
                self.validator.validate(request)

    def test_refused(self):
        relu = self.arch(op="relu")
        graph = {"nodes": [{"op": "input"}], "edges": []}
        for request in (
                {}, [], {"model": "a"},
                {**relu, "graph": graph}, {**relu, "net": {"C": 32, "n_cells": 4}},
                {**relu, "dtype": "f64"}, {**relu, "model": "../x"}, {**relu, "seed": -1}, {**relu, "colour": 1},
                self.arch(op="swish"), self.arch(op="relu", attrs={"inplace": True}),
                self.arch(op="relu", inputs=[]), self.arch(op="relu", inputs=["input", "input"]),
                self.arch(op="conv2d"), self.arch(op="conv2d", attrs={"out_channels": 4}),
                self.arch(op="conv2d", attrs={"out_channels": 0, "kernel": 3}),
                self.arch(op="conv2d", attrs={"out_channels": 4, "kernel": None}),
                self.arch(op="conv2d", attrs={"out_channels": 4, "kernel": [3, 3, 3]}),
                {"genotype": {}}, {"genotype": {}, "net": {}},
                {"graph": {"nodes": [{"op": "conv"}], "edges": []}},
                {"graph": {"nodes": [{"op": "relu"}], "edges": []}},
                {"graph": {"nodes": [{"op": "input"}], "edges": [[0]]}}):
            with self.subTest(request):
                self.assertFalse(self.validator.is_valid(request))

    def test_networks_that_are_deployed(self):
        folder = os.path.join(ROOT, "deploy", "examples")
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
        self.assertTrue(names)
        for name in names:
            with self.subTest(name):
                self.validator.validate(load(folder, name))

    @unittest.skipUnless(os.path.isdir(os.path.join(GOLDEN, "deepnets")), "there is no golden data")
    def test_golden_genotypes_and_graphs(self):
        folder = os.path.join(GOLDEN, "deepnets")
        for name in sorted(os.listdir(folder)):
            case = load(folder, name)
            with self.subTest(name):
                self.validator.validate({"genotype": case["genotype"], "net": case["net_args"],
                                         "input": case["input"], "num_classes": case["num_classes"]})
                nodes = [{key: node[key] for key in ("op", "name", "shape")} for node in case["nodes"]]
                self.validator.validate({"graph": {"nodes": nodes, "edges": case["edges_1hop"]}})


if __name__ == "__main__":
    DUMP_OPS = sys.argv.pop(1)
    unittest.main()
