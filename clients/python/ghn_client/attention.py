"""Handlers of attention modules."""

from __future__ import annotations

from typing import Any, Optional

from torch import nn

from .graph import Unusable, Value
from .lowering import Context, Operand, Parameter, leaf_module


def _parameter(context: Context, module: nn.Module, key: str) -> Optional[Parameter]:
    """A parameter of a leaf module, by its name there ("qkv.weight"), or None."""
    tensor: Any = module
    for part in key.split("."):
        tensor = getattr(tensor, part, None)
    if tensor is None:
        return None
    names = {id(p): n for n, p in context.module.named_parameters()}
    if id(tensor) not in names:
        raise context.fail(f"its {key} is not one of the network's parameters")
    return Parameter(names[id(tensor)], tensor)


def _linear(context: Context, x: Value, weight: Optional[Parameter], bias: Optional[Parameter],
            name: str) -> Value:
    """A projection of a leaf module."""
    assert weight is not None
    params = {"weight": weight}
    if bias is not None:
        params["bias"] = bias
    out = weight.shape[0]
    return context.emit("linear", [x], x.shape[:-1] + (out,), params, name, out_features=out,
                        bias=bias is not None)


@leaf_module("multihead_attention")
def lower_multihead_attention(context: Context, module: nn.MultiheadAttention, query: Operand,
                              key: Operand, value: Operand, key_padding_mask: Any = None,
                              need_weights: bool = True, attn_mask: Any = None,
                              average_attn_weights: bool = True, is_causal: bool = False) -> Any:
    """Self-attention: the packed projection, attention, the output projection. Dropout of the
    attention weights has no counterpart and is left out."""
    x = context.value(query)
    if key != query or value != query:
        raise context.fail("only self-attention (query, key and value the same) can be expressed")
    if not module.batch_first:
        raise context.fail("it needs batch_first=True and inputs (batch, tokens, features)")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise context.fail("kdim, vdim, add_bias_kv and add_zero_attn cannot be expressed")
    if key_padding_mask is not None or attn_mask is not None or is_causal:
        raise context.fail("masks cannot be expressed")
    path = context.node.meta["path"]
    tokens, width = x.shape
    qkv = _linear(context, x, _parameter(context, module, "in_proj_weight"),
                  _parameter(context, module, "in_proj_bias"), f"{path}.in_proj")
    mixed = context.emit("attention", [qkv], (tokens, width), node_name=path,
                         num_heads=module.num_heads)
    out = _linear(context, mixed, _parameter(context, module, "out_proj.weight"),
                  _parameter(context, module, "out_proj.bias"), f"{path}.out_proj")
    return out, Unusable("attention weights")


@leaf_module("relative_attention")
def lower_relative_attention(context: Context, module: Any, input: Operand) -> Value:
    """MaxViT's attention: (..., tokens, features) with a table of relative positions."""
    x = context.value(input)
    path = context.node.meta["path"]
    qkv = _linear(context, x, _parameter(context, module, "to_qkv.weight"),
                  _parameter(context, module, "to_qkv.bias"), f"{path}.to_qkv")
    table = _parameter(context, module, "relative_position_bias_table")
    mixed = context.emit("attention", [qkv], x.shape, {"relative_position_bias_table": table},
                         path, num_heads=module.n_heads, scale=module.scale_factor,
                         relative_position=[module.size, module.size])
    return _linear(context, mixed, _parameter(context, module, "merge.weight"),
                   _parameter(context, module, "merge.bias"), f"{path}.merge")


@leaf_module("window_attention")
def lower_window_attention(context: Context, module: Any, input: Operand) -> Value:
    """Swin's attention within shifted windows, both versions."""
    x = context.value(input)
    keys = ["qkv.weight", "qkv.bias", "proj.weight", "proj.bias"]
    cosine = hasattr(module, "logit_scale")
    if cosine:
        keys += ["logit_scale", "cpb_mlp.0.weight", "cpb_mlp.0.bias", "cpb_mlp.2.weight"]
    else:
        keys += ["relative_position_bias_table"]
    params = {k: p for k in keys for p in [_parameter(context, module, k)] if p is not None}
    return context.emit("window_attention", [x], x.shape, params, context.node.meta["path"],
                        window_size=list(module.window_size), shift_size=list(module.shift_size),
                        num_heads=module.num_heads, qkv_bias=module.qkv.bias is not None,
                        proj_bias=module.proj.bias is not None, cosine=cosine)
