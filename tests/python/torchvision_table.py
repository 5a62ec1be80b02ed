"""The table of README.md that says what is predicted of every torchvision model.

    GHN_BUILD=build python3 tests/python/torchvision_table.py [--write]

prints it, or writes it between its two markers in README.md.
"""
import sys

import support

BEGIN, END = "<!-- torchvision-table:begin -->", "<!-- torchvision-table:end -->"
README = support.ROOT / "README.md"


def row(client, name):
    """(name, graph nodes, parameters, predicted parameters, {reason: parameters}) of a model;
    raises AssertionError unless every parameter is accounted for."""
    from ghn_client import trace
    from ghn_client.blocks import MEDIA_TYPE, Answer
    module = support.torchvision_model(name)
    arch = trace(module, support.input_shape(name))
    answer = Answer(client._request("POST", "/predict", {"arch": arch}, MEDIA_TYPE))
    sizes = {n: p.numel() for n, p in module.named_parameters()}
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters()}
    reasons, predicted = {}, 0
    for parameter, size in sizes.items():
        if parameter in answer.not_predicted:
            reason = answer.not_predicted[parameter]
            reasons[reason] = reasons.get(reason, 0) + size
            continue
        assert answer.shapes.get(parameter) == shapes[parameter], (name, parameter)
        predicted += size
    extra = (set(answer.shapes) | set(answer.not_predicted)) - set(sizes)
    assert not extra, (name, extra)
    nodes = len(support.graph_of(arch)["nodes"])
    return name, nodes, sum(sizes.values()), predicted, reasons


def line(name, nodes, parameters, predicted, reasons):
    """A row in Markdown."""
    share = "all" if predicted == parameters else f"{100 * predicted / parameters:.2f} %"
    why = "; ".join(f"{n:,}: {reason}" for reason, n in reasons.items()) or "-"
    return f"| {name} | {nodes:,} | {parameters:,} | {share} | {why} |"


def table(client):
    """The whole table."""
    lines = ["| model | nodes | parameters | predicted | not predicted (why) |",
             "|---|---:|---:|---:|---|"]
    lines += [line(*row(client, name)) for name in support.torchvision_names()]
    return "\n".join(lines) + "\n"


def current():
    """The table that README.md has, None without its markers."""
    if not README.exists():
        return None
    before, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN + "\n")
    content, end, _ = rest.partition(END)
    return content if begin and end else None


def main():
    from ghn_client import Client
    with support.Daemon(support.GOLDEN / "checkpoints" / "ghn2_imagenet.pt") as daemon:
        text = table(Client(daemon.url))
    if "--write" not in sys.argv[1:]:
        print(text, end="")
        return
    old = current()
    if old is None:
        raise SystemExit(f"{README} has not the lines {BEGIN} and {END}")
    whole = README.read_text(encoding="utf-8")
    README.write_text(whole.replace(f"{BEGIN}\n{old}{END}", f"{BEGIN}\n{text}{END}"),
                      encoding="utf-8")


if __name__ == "__main__":
    main()
