"""python -m ghn_client: architectures for people with curl.

    python -m ghn_client trace torchvision:resnet50 --input 3,224,224 -o resnet50.json
    curl --json @resnet50.json -H 'Accept: */*' localhost:8080/predict -o resnet50.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, List, Optional, Tuple

from .client import Client
from .errors import GhnError, TraceError
from .safetensors import write_safetensors


def _shape(text: str) -> Tuple[int, ...]:
    try:
        shape = tuple(int(d) for d in text.lower().replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 3,224,224")
    return shape


def _setting(text: str) -> Tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ghn_client",
                                     description="Architectures and predictions for PyTorch "
                                                 "models.")
    commands = parser.add_subparsers(dest="command", required=True)
    trace = commands.add_parser("trace", help="write a model's architecture as a request",
                                description="Writes the architecture of a model as the body of "
                                            "POST /predict.")
    trace.add_argument("model", help="package.module:callable, or torchvision:NAME")
    trace.add_argument("--input", type=_shape, metavar="C,H,W",
                       help="shape of the input without the batch (default 3,224,224)")
    trace.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE",
                       help="argument of the callable, the value in JSON: num_classes=10")
    trace.add_argument("-o", "--output", default="-", help="file to write (default: stdout)")
    predict = commands.add_parser("predict", help="predict a request's parameters",
                                  description="Sends a request and writes the parameters as "
                                              "safetensors.")
    predict.add_argument("request", help="file that trace wrote")
    predict.add_argument("--url", default="http://localhost:8080")
    predict.add_argument("-o", "--output", required=True, help="safetensors file to write")
    return parser


def _trace(args: argparse.Namespace) -> None:
    from .building import build
    from .tracing import follow
    name = args.model.rpartition(":")[2]
    settings = dict(args.set)
    arch = follow(build(args.model, settings), args.input).arch
    arch["name"] = name
    text = json.dumps({"arch": arch}, allow_nan=False) + "\n"
    if args.output == "-":
        sys.stdout.write(text)
        return
    with open(args.output, "w", encoding="utf-8") as file:
        file.write(text)


def _predict(args: argparse.Namespace) -> None:
    with open(args.request, encoding="utf-8") as file:
        request = json.load(file)
    token = os.environ.get("GHN_TOKEN")
    prediction = Client(args.url, token).predict(request)
    write_safetensors(args.output, prediction.parameters or {}, prediction.metadata)
    print(prediction)


def main(arguments: Optional[List[str]] = None) -> int:
    """The command; returns its exit status."""
    args = _parser().parse_args(arguments)
    try:
        {"trace": _trace, "predict": _predict}[args.command](args)
    except (TraceError, GhnError, ValueError, OSError, ImportError, AttributeError,
            TypeError) as error:
        print(f"ghn_client: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
