#!/usr/bin/python3
"""Times the public PyTorch implementation of GHN-2, for comparison with bench_predict.

    reference_predict.py --ppuda DIR --checkpoint FILE [--save DIR] NETWORK...

DIR is a checkout of facebookresearch/ppuda. A NETWORK is the name of a torchvision classification
model, or a JSON file with a "genotype" and its "net_args" (as the golden cases have them). For each
network it prints the best of several runs: building the graph, and predicting with the graph given,
in milliseconds. --save writes the graph of each network in the graph form, which bench_predict
reads: both then predict the very same graph.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import time
import types
import warnings


def stand_in(name, **members):
    """Puts an empty module in place of one that is not installed and that prediction does not need."""
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def rearrange(tensor, pattern, h=None):
    """The two patterns of einops that the reference uses: splitting and merging heads. Both end in a
    reshape, which its graphs depend on."""
    if pattern == "b n (h d) -> b h n d":
        b, n, width = tensor.shape
        return tensor.reshape(b, n, h, width // h).permute(0, 2, 1, 3).reshape(b, h, n, width // h)
    if pattern == "b h n d -> b n (h d)":
        b, heads, n, d = tensor.shape
        return tensor.permute(0, 2, 1, 3).reshape(b, n, heads * d)
    raise NotImplementedError(pattern)


def import_reference(folder):
    stand_in("einops", rearrange=rearrange)
    stand_in("tqdm", tqdm=iter)
    for name in ("h5py", "matplotlib", "matplotlib.pyplot", "matplotlib.cm"):
        stand_in(name)
    sys.path.insert(0, folder)
    from ppuda.deepnets1m import genotypes, graph, net
    from ppuda.ghn import nn
    return types.SimpleNamespace(genotypes=genotypes, graph=graph, net=net, nn=nn)


def make_network(reference, name, num_classes):
    """A function that makes the network, and a name for it."""
    import torchvision
    if name.endswith(".json"):
        with open(name, encoding="utf-8") as file:
            case = json.load(file)
        genotype = reference.genotypes.from_dict(case["genotype"])
        imagenet = case.get("input", [3, 32, 32])[1] > 32
        return os.path.basename(name).split("--")[0], lambda: reference.net.Network(
            num_classes=num_classes, genotype=genotype, is_imagenet_input=imagenet,
            fc_layers=case["net_args"].get("fc_layers", 1),
            **{k: v for k, v in case["net_args"].items() if k != "fc_layers"})
    return name, lambda: getattr(torchvision.models, name)(num_classes=num_classes)


def best(runs, function):
    """The least time of a run in ms, and the last result."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times), result


def graph_form(reference, ghn, graph, network):
    """The graph in the project's own form."""
    batch = reference.graph.GraphBatch([graph])
    batch._cat()
    _, params = ghn._map_net_params(batch, [network])
    nodes = []
    for i, primitive in enumerate(batch.node_feat[:, 0].tolist()):
        matched = params[i][0] if i in params else {}
        shape = matched.get("sz")
        nodes.append({"op": reference.genotypes.PRIMITIVES_DEEPNETS1M[primitive],
                      "name": matched.get("param_name"),
                      "shape": None if shape is None else [int(n) for n in shape]})
    edges = batch.edges[batch.edges[:, 2] == 1][:, :2].tolist()
    return {"nodes": nodes, "edges": edges}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ppuda", required=True, help="checkout of facebookresearch/ppuda")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--save", help="folder for the graphs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: all")
    parser.add_argument("networks", nargs="+")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    sys.setrecursionlimit(10000)

    import torch
    if args.threads:
        torch.set_num_threads(args.threads)
    reference = import_reference(args.ppuda)
    ghn = reference.nn.GHN.load(args.checkpoint, debug_level=0, device="cpu")
    print(f"best of {args.runs}, ms      graph    predict")
    for argument in args.networks:
        name, make = make_network(reference, argument, ghn.num_classes)
        network = make().eval()
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            with torch.enable_grad():
                building, graph = best(args.runs, lambda: reference.graph.Graph(
                    network, ve_cutoff=50 if ghn.ve else 1))
            if args.save:
                path = os.path.join(args.save, name + ".json")
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(graph_form(reference, ghn, graph, make().eval()), file)
            batch = reference.graph.GraphBatch([graph])
            batch.to_device("cpu")
            predicting, _ = best(args.runs, lambda: ghn(network, graphs=batch))
        print(f"{name:20} {building:9.1f} {predicting:9.1f}", flush=True)


if __name__ == "__main__":
    main()
