"""Runs an architecture with given parameters, by PyTorch, one node after the other: what the form
says and nothing else, so that a comparison with the module shows whether its trace is faithful."""
import torch
import torch.nn.functional as F

from ghn_client import trace


def run(arch, state, x, node_class=None):
    """The output of arch in evaluation mode. state: state_dict of the module, buffers included.
    node_class: in place of Node, for another mode."""
    values = {arch["input"]["name"]: x}
    assert x.shape[1:] == tuple(arch["input"]["shape"])
    for node in arch["nodes"]:
        inputs = [values[name] for name in node["inputs"]]
        values[node["name"]] = (node_class or Node)(node, state).run(inputs)
    return values[arch["output"]]


def batched(inputs):
    """Sources have a batch of one; gives all the same batch."""
    n = max(v.shape[0] for v in inputs)
    return [v.expand(n, *v.shape[1:]) for v in inputs]


class Node:
    """One node, with a method for every operation that is not simply a function of PyTorch."""

    PLAIN = {"relu": F.relu, "relu6": F.relu6, "silu": F.silu, "hardswish": F.hardswish,
             "hardsigmoid": F.hardsigmoid, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
             "leaky_relu": F.leaky_relu, "elu": F.elu, "gelu": F.gelu, "mean": torch.mean,
             "softmax": lambda x, dim=-1: F.softmax(x, dim),
             "pad": F.pad, "roll": torch.roll, "permute": torch.permute,
             "zeros_like": torch.zeros_like, "identity": lambda x: x,
             "dropout": lambda x, p=0.5: x,
             "stochastic_depth": lambda x, p=0.5, mode="row": x}

    def __init__(self, node, state):
        self.node, self.state = node, state
        self.attrs = node.get("attrs", {})

    def param(self, slot):
        """The tensor of a slot, None where there is none."""
        key = self.node.get("params", {}).get(slot, f"{self.node['name']}.{slot}")
        return self.state.get(key)

    def buffer(self, slot):
        """A buffer, which lies with the weight."""
        key = self.node.get("params", {}).get("weight", f"{self.node['name']}.weight")
        return self.state[key.rpartition("weight")[0] + slot]

    def run(self, inputs):
        op = self.node["op"]
        if op in self.PLAIN:
            return self.PLAIN[op](inputs[0], **self.attrs)
        return getattr(self, op)(*inputs, **self.attrs)

    def bias(self, wanted):
        bias = self.param("bias")
        assert (bias is not None) == wanted
        return bias

    def conv2d(self, x, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1,
               bias=True):
        weight = self.param("weight")
        assert weight.shape == (out_channels, x.shape[1] // groups, *kernel)
        return F.conv2d(x, weight, self.bias(bias), stride, padding, dilation, groups)

    def linear(self, x, out_features, bias=True):
        weight = self.param("weight")
        assert weight.shape == (out_features, x.shape[-1])
        return F.linear(x, weight, self.bias(bias))

    def batch_norm2d(self, x, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        weight, bias = (self.param("weight"), self.bias(True)) if affine else (None, None)
        if not track_running_stats:
            return F.batch_norm(x, None, None, weight, bias, True, momentum, eps)
        return F.batch_norm(x, self.buffer("running_mean"), self.buffer("running_var"), weight,
                            bias, False, momentum, eps)

    def layer_norm(self, x, normalized_shape=None, eps=1e-5, elementwise_affine=True):
        affine = elementwise_affine
        weight, bias = (self.param("weight"), self.bias(True)) if affine else (None, None)
        return F.layer_norm(x, normalized_shape or x.shape[-1:], weight, bias, eps)

    def group_norm(self, x, num_groups, eps=1e-5, affine=True):
        weight, bias = (self.param("weight"), self.bias(True)) if affine else (None, None)
        return F.group_norm(x, num_groups, weight, bias, eps)

    def prelu(self, x, num_parameters=1, init=0.25):
        weight = self.param("weight")
        assert weight.numel() == num_parameters
        return F.prelu(x, weight)

    def max_pool2d(self, x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
        return F.max_pool2d(x, kernel, stride or kernel, padding, dilation, ceil_mode)

    def avg_pool2d(self, x, kernel, stride=None, padding=0, ceil_mode=False,
                   count_include_pad=True):
        return F.avg_pool2d(x, kernel, stride or kernel, padding, ceil_mode, count_include_pad)

    def adaptive_avg_pool2d(self, x, output_size):
        return F.adaptive_avg_pool2d(x, [n or None for n in output_size])

    def flatten(self, x, start_dim=1, end_dim=-1):
        return x.flatten(start_dim, end_dim)

    def reshape(self, x, shape):
        return x.reshape(x.shape[0], *shape)

    def slice(self, x, dim, start=0, end=None, step=1):
        return x[(slice(None),) * (dim % x.dim()) + (slice(start, end, step),)]

    def channel_shuffle(self, x, groups):
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def concat(self, *inputs, dim=1):
        return torch.cat(batched(inputs), dim)

    def add(self, a, b=None, value=0.0):
        assert b is None or a.dim() == b.dim()
        return a + (value if b is None else b)

    def mul(self, a, b=None, value=0.0):
        assert b is None or a.dim() == b.dim()
        return a * (value if b is None else b)

    def parameter(self, shape, batched=False, init="constant", value=0.0):
        tensor = self.param("weight")
        assert tensor.shape == tuple(shape)
        return tensor if batched else tensor[None]

    def pos_enc(self, shape, init="normal", value=0.02):
        return self.parameter(shape, True)

    def attention(self, x, num_heads, scale=0.0, relative_position=(0, 0)):
        *lead, tokens, width = x.shape
        q, k, v = (t.reshape(*lead, tokens, num_heads, -1).transpose(-2, -3)
                   for t in x.chunk(3, -1))
        scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
        if any(relative_position):
            table = self.param("relative_position_bias_table")
            index = relative_index(*relative_position)
            scores = scores + table[index].permute(2, 0, 1)
        mixed = scores.softmax(-1) @ v
        return mixed.transpose(-2, -3).reshape(*lead, tokens, width // 3)

    def window_attention(self, x, window_size, num_heads, shift_size=(0, 0), qkv_bias=True,
                         proj_bias=True, cosine=False):
        from torchvision.models.swin_transformer import shifted_window_attention
        tokens = window_size[0] * window_size[1]
        if cosine:
            hidden = F.relu(F.linear(log_positions(*window_size), self.param("cpb_mlp.0.weight"),
                                     self.param("cpb_mlp.0.bias")))
            table = F.linear(hidden, self.param("cpb_mlp.2.weight")).view(-1, num_heads)
            bias = 16 * torch.sigmoid(table[relative_index(*window_size)])
        else:
            bias = self.param("relative_position_bias_table")[relative_index(*window_size)]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1)[None]
        return shifted_window_attention(
            x, self.param("qkv.weight"), self.param("proj.weight"), bias, list(window_size),
            num_heads, list(shift_size), qkv_bias=self.param("qkv.bias"),
            proj_bias=self.param("proj.bias"), logit_scale=self.param("logit_scale"))


def relative_index(height, width):
    """For every pair of tokens of a window the row of its relative position in a table."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1


def log_positions(height, width):
    """Swin v2's logarithmic coordinates of relative positions, (2h - 1, 2w - 1, 2). A window of one
    token has the distance 0 alone, which torchvision would divide by 0."""
    axes = [torch.arange(-(n - 1), n, dtype=torch.get_default_dtype()) / max(n - 1, 1) * 8
            for n in (height, width)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return torch.sign(grid) * torch.log2(grid.abs() + 1) / 3


# --- Comparing a module with its trace ---

def randomise(module, seed=0):
    """Values for every parameter and running statistic that leave nothing at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        with torch.no_grad():
            if p.dim() > 1:
                p.normal_(std=1.5 * p[0].numel() ** -0.5, generator=generator)
            else:
                p.uniform_(0.5, 1.0, generator=generator)
    for name, b in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            b.uniform_(0.2, 0.9, generator=generator)
    return module.eval()


def compare(test, module, shape, tolerance=1e-4, batch=2):
    """Runs module and trace on the same input; returns the trace."""
    torch.manual_seed(0)
    randomise(module)
    arch = trace(module, shape)
    x = torch.randn(batch, *shape)
    with torch.no_grad():
        expected = module(x)
        found = run(arch, module.state_dict(), x)
    test.assertEqual(found.shape, expected.shape)
    scale = float(expected.abs().max())
    test.assertGreater(float(expected.std()), 1e-6 * scale, "the output says nothing")
    test.assertLessEqual(float((found - expected).abs().max()), tolerance * scale)
    return arch
