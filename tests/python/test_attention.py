"""Attention is found however it is written, and only where it is one."""
import unittest

import support

torch, _ = support.require_torch()

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from ghn_client import TraceError, trace  # noqa: E402
from interpreter import compare  # noqa: E402

TOKENS, WIDTH, HEADS = 6, 8, 2


def fused(q, k, v):
    """PyTorch 2's function, which PyTorch 1.13 has not: found by its name."""
    if torch.overrides.has_torch_function((q, k, v)):
        return torch.overrides.handle_torch_function(fused, (q, k, v), q, k, v)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


fused.__name__ = "scaled_dot_product_attention"
fused.__module__ = "torch.nn.functional"


def timm(self, x):
    b, n, c = x.shape
    qkv = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    attn = (q @ k.transpose(-2, -1)) * self.scale
    attn = self.drop(attn.softmax(dim=-1))
    return (attn @ v).transpose(1, 2).reshape(b, n, c)


def chunks(self, x):
    b, n, c = x.shape
    q, k, v = (t.view(b, n, HEADS, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
    attn = F.softmax(torch.matmul(q, k.transpose(-1, -2)) / self.scale, dim=-1)
    return torch.matmul(attn, v).transpose(1, 2).contiguous().view(b, n, c)


def einsums(self, x):
    b, n, c = x.shape
    q, k, v = self.qkv(x).view(b, n, 3, HEADS, -1).unbind(2)
    attn = torch.einsum("bihd,bjhd->bhij", q * self.scale, k).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", attn, v).flatten(2)


def separate(self, x):
    b, n, c = x.shape
    q, k, v = (f(x).view(b, n, HEADS, -1).permute(0, 2, 1, 3)
               for f in (self.query, self.key, self.value))
    attn = nn.Softmax(dim=-1)(q @ k.mT * self.scale)
    return (attn @ v).permute(0, 2, 1, 3).reshape(b, n, c)


def single(self, x):
    q, k, v = self.qkv(x).split(WIDTH, -1)
    return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)


def with_fused(self, x):
    b, n, c = x.shape
    q, k, v = self.qkv(x).view(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return fused(q, k, v).transpose(1, 2).reshape(b, n, c)


class Block(nn.Module):
    """Two attentions and what is usually between them."""

    def __init__(self, attend, scale=(WIDTH // HEADS) ** -0.5):
        super().__init__()
        self.attend, self.scale = attend, scale
        self.drop = nn.Dropout(0.1)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.out(self.attend(self, x))
        return self.attend(self, x)


class Recognised(unittest.TestCase):
    def check(self, attend, scale=None, *settings):
        block = Block(attend, *settings)
        arch = compare(self, block, (TOKENS, WIDTH))
        found = [n["attrs"] for n in arch["nodes"] if n["op"] == "attention"]
        expected = {"num_heads": 1 if attend is single else HEADS}
        if scale is not None:
            expected["scale"] = scale
        self.assertEqual(found, [expected] * 2)
        self.assertNotIn("softmax", [n["op"] for n in arch["nodes"]])
        return arch

    def test_as_timm_writes_it(self):
        self.check(timm)

    def test_another_scale(self):
        self.check(timm, 0.3, 0.3)

    def test_chunks_and_division(self):
        self.check(chunks, None, 2.0)

    def test_einsum(self):
        self.check(einsums)

    def test_separate_projections(self):
        arch = self.check(separate)
        self.assertEqual([n["op"] for n in arch["nodes"]][:5],
                         ["linear", "linear", "linear", "concat", "attention"])

    def test_one_head_without_scale(self):
        self.check(single, 1.0)

    def test_fused(self):
        self.check(with_fused)

    def test_the_same_input_as_query_key_and_value(self):
        def bare(self, x):
            return (x @ x.mT * self.scale).softmax(-1) @ x
        arch = compare(self, Block(bare, WIDTH ** -0.5), (TOKENS, WIDTH))
        self.assertEqual([n["op"] for n in arch["nodes"]],
                         ["concat", "attention", "linear", "add", "concat", "attention"])

    def test_windows(self):
        def windows(self, x):
            w = x.unflatten(1, (2, 3))
            b, g, n, c = w.shape
            q, k, v = self.qkv(w).view(b, g, n, 3, HEADS, -1).permute(3, 0, 1, 4, 2, 5)
            attn = (q @ k.mT * self.scale).softmax(-1)
            return (attn @ v).transpose(2, 3).flatten(3).flatten(1, 2)
        self.check(windows)


class Refused(unittest.TestCase):
    def refuse(self, attend):
        with self.assertRaisesRegex(TraceError, "self-attention|attention is|no counterpart"):
            trace(Block(attend), (TOKENS, WIDTH))

    def test_softmax_over_the_wrong_dimension(self):
        def wrong(self, x):
            q, k, v = self.qkv(x).split(WIDTH, -1)
            return (q @ k.mT).softmax(1) @ v
        self.refuse(wrong)

    def test_interleaved_heads(self):
        def interleaved(self, x):
            b, n, c = x.shape
            q, k, v = self.qkv(x).view(b, n, HEADS, -1, 3).permute(4, 0, 2, 1, 3)
            return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
        self.refuse(interleaved)

    def test_masks(self):
        def masked(self, x):
            q, k, v = self.qkv(x).split(WIDTH, -1)
            mask = torch.ones(TOKENS, TOKENS).triu(1).bool()
            return (q @ k.mT).masked_fill(mask, -1e9).softmax(-1) @ v
        self.refuse(masked)

    def test_no_softmax(self):
        def linear(self, x):
            q, k, v = self.qkv(x).split(WIDTH, -1)
            return (q @ k.mT) @ v
        self.refuse(linear)


if __name__ == "__main__":
    unittest.main()
