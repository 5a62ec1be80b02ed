#!/usr/bin/python3
"""Writes the schemas of proto/schemas into openapi.json, so that it stands by itself; a server sends it as it is.

usage: bundle.py [--check]     --check: changes nothing, fails if something is out of step
"""
import json
import os
import re
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
OPENAPI = os.path.join(FOLDER, "openapi.json")
SUFFIX = ".schema.json"
WIDTH = 140


def component_name(file_name):
    """"predict-request.schema.json" -> "PredictRequest"."""
    return "".join(part.capitalize() for part in file_name[:-len(SUFFIX)].split("-"))


def localise(value, component):
    """A schema of one file with its references turned into those of the bundle."""
    if isinstance(value, list):
        return [localise(item, component) for item in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        if key == "$ref" and isinstance(item, str):
            file_name, _, pointer = item.partition("#")
            target = component_name(file_name) if file_name else component
            result[key] = f"#/components/schemas/{target}{pointer}"
        elif key != "$schema":
            result[key] = localise(item, component)
    return result


def components():
    folder = os.path.join(FOLDER, "schemas")
    result = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(SUFFIX):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                result[component_name(name)] = localise(json.load(file), component_name(name))
    return result


def text_of(value, indent=0):
    """JSON with short values on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    if indent + len(flat) <= WIDTH or not value or not isinstance(value, (dict, list)):
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        items = [f"{inner}{json.dumps(key)}: {text_of(item, indent + 2)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if all(isinstance(item, str) and " " not in item for item in value):  # a list of words, as many to a line as fit
        words = re.sub(rf"(.{{1,{WIDTH - indent - 4}}})(?: |$)", inner + r"\1\n", flat[1:-1])
        return "[\n" + words + " " * indent + "]"
    return "[\n" + ",\n".join(inner + text_of(item, indent + 2) for item in value) + "\n" + " " * indent + "]"


def main():
    with open(OPENAPI, encoding="utf-8") as file:
        before = file.read()
    document = json.loads(before)
    document["components"]["schemas"] = components()
    after = text_of(document) + "\n"
    if after == before:
        return 0
    if "--check" in sys.argv[1:]:
        print("openapi.json is out of step with the schemas; run proto/bundle.py", file=sys.stderr)
        return 1
    with open(OPENAPI, "w", encoding="utf-8") as file:
        file.write(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
