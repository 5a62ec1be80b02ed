"""GHN-2 in PyTorch, as ghn2-spec C says it, on graphs in the graph form: the peer of lib/ghn in
training. As plain as can be, and with nothing of libghn."""
import torch
import torch.nn.functional as F

from support import distances

PRIMITIVES = ("max_pool", "avg_pool", "sep_conv", "dil_conv", "conv", "msa", "cse", "sum", "concat",
              "input", "bias", "bn", "ln", "pos_enc", "glob_avg")
CUTOFF = 50


def nearest(table, value):
    """The row of the nearest entry, the smaller of two."""
    return min(range(len(table)), key=lambda row: (abs(table[row] - value), row))


def as_4d(shape):
    return tuple(shape) + (1,) * (4 - len(shape))


class Hypernet:
    """The hypernetwork of a configuration with those tensors, by name."""

    def __init__(self, config, tensors):
        self.config, self.tensors = config, tensors
        self.channels = sorted({1, 3, config["num_classes"], *range(8, 64, 8), *range(64, 4096, 16),
                                *range(4096, 8193, 32)})
        self.sides = sorted({*range(1, max(12, config["max_shape"][3]), 2), 14, 16})

    def linear(self, name, x):
        weight = self.tensors[name + ".weight"]
        return F.linear(x, weight.flatten(1), self.tensors[name + ".bias"])

    # --- Embeddings (C2 to C4) ---

    def channel_row(self, count):
        return self.channels.index(8) if 4 <= count <= 7 else nearest(self.channels, count)

    def side_row(self, side):
        return self.sides.index(3) if side == 2 else nearest(self.sides, side)

    def shape_rows(self, shape):
        if shape is None:
            return [len(self.channels)] * 2 + [len(self.sides)] * 2
        o, i, h, w = as_4d(shape)
        return [self.channel_row(o), self.channel_row(i), self.side_row(h), self.side_row(w)]

    def features(self, graph):
        ops = torch.tensor([PRIMITIVES.index(node["op"]) for node in graph["nodes"]])
        rows = torch.tensor([self.shape_rows(node["shape"]) for node in graph["nodes"]])
        channel = self.tensors["shape_enc.embed_channel.weight"]
        spatial = self.tensors["shape_enc.embed_spatial.weight"]
        return self.tensors["embed.weight"][ops] + torch.cat(
            [channel[rows[:, 0]], channel[rows[:, 1]], spatial[rows[:, 2]], spatial[rows[:, 3]]], 1)

    def message(self, name, h):
        return F.relu(self.linear(name + ".fc.2", F.relu(self.linear(name + ".fc.0", h))))

    def gru(self, m, h):
        t = self.tensors
        i = F.linear(m, t["gnn.gru.weight_ih"], t["gnn.gru.bias_ih"]).chunk(3)
        s = F.linear(h, t["gnn.gru.weight_hh"], t["gnn.gru.bias_hh"]).chunk(3)
        reset, update = torch.sigmoid(i[0] + s[0]), torch.sigmoid(i[1] + s[1])
        new = torch.tanh(i[2] + reset * s[2])
        return (1 - update) * new + update * h

    def sweep(self, h, order, into):
        """h (a list of rows) after a sweep; into[v]: [(u, distance)]."""
        for v in order:
            m = torch.zeros_like(h[v])
            if into[v]:
                rows = torch.stack([h[u] for u, _ in into[v]])
                length = torch.tensor([[d] for _, d in into[v]], dtype=rows.dtype)
                m = (self.message("gnn.mlp", rows) * (length == 1)
                     + self.message("gnn.mlp_ve", rows) / length).sum(0)
            h[v] = self.gru(m, h[v])
        return h

    def embed(self, graph):
        n = len(graph["nodes"])
        before, after = [[] for _ in range(n)], [[] for _ in range(n)]
        for u, v, d in distances(graph, CUTOFF):
            before[v].append((u, d))
            after[u].append((v, d))
        h = self.sweep(list(self.features(graph)), range(n), before)
        h = self.sweep(h, reversed(range(n)), after)
        return F.layer_norm(torch.stack(h), (self.config["hid"],), self.tensors["ln.weight"],
                            self.tensors["ln.bias"])

    # --- Parameters (C5 to C8) ---

    def block(self, e, kh, kw):
        """W (O, I, kh, kw)."""
        o, i, s, _ = self.config["max_shape"]
        a = F.relu(self.linear("decoder.fc.0", e)).view(-1, s, s)[:, :kh, :kw].permute(1, 2, 0)
        b = F.relu(self.linear("decoder.conv.0", a))
        return self.linear("decoder.conv.2", b).view(kh, kw, o, i).permute(2, 3, 0, 1)

    def weight(self, e, shape, is_class):
        o, i, kh, kw = as_4d(shape)
        w = self.block(e, kh, kw)
        if is_class:
            w = self.linear("decoder.class_layer_predictor.1", F.relu(w[:, :, 0, 0]).t()).t()
            w = w[:, :, None, None]
        w = w[torch.arange(o) % w.shape[0]][:, torch.arange(i) % w.shape[1]]
        if len(shape) == 4 and o == 1 and kh >= 11:
            return w
        beta = 1 if len(shape) == 4 and (i == 1 or kh < kw) else 2
        return (w * (beta / (i * kh * kw)) ** 0.5).reshape(shape)

    def vector(self, e, n, is_norm_weight, is_class):
        q = self.linear("decoder_1d.fc.2", F.relu(self.linear("decoder_1d.fc.0", e))).view(2, -1)
        t = q[0 if is_norm_weight else 1]
        if is_class:
            t = self.linear("bias_class.1", F.relu(t))
        t = t[torch.arange(n) % len(t)]
        return 2 * torch.sigmoid(0.5 * t) if is_norm_weight else torch.tanh(0.2 * t)

    def predict(self, graph):
        """The parameters of the graph's network by name."""
        embeddings, predicted = self.embed(graph), {}
        last = len(graph["nodes"]) - 1
        for v, (node, e) in enumerate(zip(graph["nodes"], embeddings)):
            name, shape = node["name"], node["shape"]
            if shape is None or not name or "pool" in node["op"]:
                continue
            if len(shape) > 1:
                predicted[name] = self.weight(e, shape, v == last - 1)
            elif node["op"] in ("bn", "ln"):
                predicted[name] = self.vector(e, shape[0], True, False)
                bias = name[:-len("weight")] + "bias"
                predicted[bias] = self.vector(e, shape[0], False, False)
            else:
                predicted[name] = self.vector(e, shape[0], False, v == last)
        return predicted
