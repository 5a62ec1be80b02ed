"""Traces of networks as people write them: functional style, shared modules, tricks with shapes;
and the errors for what cannot be expressed."""
import json
import unittest
import warnings

import support

torch, torchvision = support.require_torch()

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from ghn_client import TraceError, trace  # noqa: E402
from ghn_client.building import build  # noqa: E402
from interpreter import compare  # noqa: E402

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """A network whose forward function is given: forward(self, x)."""

    def __init__(self, forward, **members):
        super().__init__()
        self._forward = forward
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self._forward(self, x)


def conv(i=3, o=4, k=3, **settings):
    return nn.Conv2d(i, o, k, padding=k // 2, **settings)


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape))


def ops(arch):
    return [n["op"] for n in arch["nodes"]]


def node(arch, name):
    return next(n for n in arch["nodes"] if n["name"] == name)


class Form(unittest.TestCase):
    """What the form says."""

    def test_the_contract_s_example(self):
        class Tiny(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
                self.bn1 = nn.BatchNorm2d(64)
                self.relu = nn.ReLU()
                self.pool = nn.AdaptiveAvgPool2d(1)
                self.fc = nn.Linear(64, 10)

            def forward(self, x):
                return self.fc(torch.flatten(self.pool(self.relu(self.bn1(self.conv1(x)))), 1))

        self.assertEqual(trace(Tiny(), (3, 32, 32)), {
            "format": "ghn-arch/1", "name": "Tiny",
            "input": {"name": "input", "shape": [3, 32, 32]},
            "nodes": [
                {"name": "conv1", "op": "conv2d", "inputs": ["input"],
                 "attrs": {"out_channels": 64, "kernel": [3, 3], "padding": [1, 1],
                           "bias": False}},
                {"name": "bn1", "op": "batch_norm2d", "inputs": ["conv1"]},
                {"name": "relu", "op": "relu", "inputs": ["bn1"]},
                {"name": "pool", "op": "adaptive_avg_pool2d", "inputs": ["relu"],
                 "attrs": {"output_size": [1, 1]}},
                {"name": "flatten", "op": "flatten", "inputs": ["pool"]},
                {"name": "fc", "op": "linear", "inputs": ["flatten"],
                 "attrs": {"out_features": 10}}],
            "output": "fc"})

    def test_is_json(self):
        arch = trace(support.torchvision_model("maxvit_t"), (3, 224, 224))
        self.assertEqual(json.loads(json.dumps(arch, allow_nan=False)), arch)

    def test_names_are_unique_and_inputs_come_first(self):
        for name in ("resnet18", "googlenet", "shufflenet_v2_x0_5", "maxvit_t", "swin_v2_t"):
            known = {"input"}
            for n in trace(support.torchvision_model(name), support.input_shape(name))["nodes"]:
                self.assertNotIn(n["name"], known)
                self.assertLessEqual(set(n["inputs"]), known)
                known.add(n["name"])

    def test_default_names_are_the_state_dict_s(self):
        for name in ("resnet18", "densenet121", "convnext_tiny", "swin_v2_t", "maxvit_t"):
            module = support.torchvision_model(name)
            arch = trace(module, support.input_shape(name))
            renamed = {k for n in arch["nodes"] for k in n.get("params", {}).values()
                       if n["op"] != "parameter"}
            self.assertEqual(renamed, set(), name)

    def test_parameters_off_the_path_are_listed(self):
        module = support.torchvision_model("googlenet")
        arch = trace(module, (3, 224, 224))
        aux = {n: list(p.shape) for n, p in module.named_parameters() if n.startswith("aux")}
        self.assertTrue(aux)
        self.assertEqual(arch["unused_parameters"], aux)
        without = trace(support.torchvision_model("googlenet", aux_logits=False), (3, 224, 224))
        self.assertNotIn("unused_parameters", without)
        self.assertEqual(without["nodes"], arch["nodes"])

    def test_all_parameters_are_accounted_for(self):
        for name in ("alexnet", "inception_v3", "vit_b_16", "swin_t"):
            module = support.torchvision_model(name)
            arch = trace(module, support.input_shape(name))
            unused = arch.get("unused_parameters", {})
            self.assertLess(len(unused), len(list(module.parameters())))

    def test_module_is_left_as_it_was(self):
        module = torchvision.models.googlenet(weights=None, init_weights=False)
        module.conv1.eval()
        before = {k: v.clone() for k, v in module.state_dict().items()}
        modes = [m.training for m in module.modules()]
        attributes = [set(m.__dict__) for m in module.modules()]
        trace(module, (3, 224, 224))
        self.assertEqual([m.training for m in module.modules()], modes)
        self.assertEqual([set(m.__dict__) for m in module.modules()], attributes)
        for k, v in module.state_dict().items():
            self.assertTrue(torch.equal(v, before[k]), k)

    def test_channel_shuffle_is_recognised(self):
        arch = trace(support.torchvision_model("shufflenet_v2_x1_0"), (3, 224, 224))
        self.assertEqual(ops(arch).count("channel_shuffle"), 16)
        self.assertEqual(ops(arch).count("permute") + ops(arch).count("reshape"), 0)

    def test_build_by_name(self):
        self.assertEqual(type(build("torchvision:resnet18", {"num_classes": 7})).__name__, "ResNet")
        with self.assertRaises(ValueError):
            build("resnet18", {})


class Networks(unittest.TestCase):
    """Networks that are expressible, and compute the same."""

    def check(self, forward, shape=SHAPE, expected=None, **members):
        arch = compare(self, Net(forward, **members), shape)
        if expected is not None:
            self.assertEqual(ops(arch), expected)
        return arch

    def test_functional_weights(self):
        arch = self.check(lambda self, x: F.linear(F.relu(F.conv2d(
            x, self.kernel, self.offset, stride=2)).flatten(1), self.matrix),
            kernel=parameter(5, 3, 3, 3), offset=parameter(5), matrix=parameter(4, 45))
        convolution = arch["nodes"][0]
        self.assertEqual(convolution["params"], {"weight": "kernel", "bias": "offset"})

    def test_shared_module(self):
        arch = self.check(lambda self, x: self.b(self.a(self.a(x))), a=conv(3, 3), b=conv(3, 2),
                          expected=["conv2d"] * 3)
        self.assertEqual(arch["nodes"][1]["params"],
                         {"weight": "a.weight", "bias": "a.bias"})

    def test_names_that_are_taken(self):
        def forward(self, x):
            return self.relu(F.relu(self.input(x)).relu())
        arch = self.check(forward, input=conv(3, 3), relu=conv(3, 2))
        self.assertEqual([n["name"] for n in arch["nodes"]],
                         ["input_1", "relu_1", "relu_2", "relu"])
        self.assertEqual(arch["nodes"][0]["params"],
                         {"weight": "input.weight", "bias": "input.bias"})
        self.assertNotIn("params", arch["nodes"][3])

    def test_shared_parameter(self):
        a, b = nn.Linear(4, 4), nn.Linear(4, 4)
        b.weight = a.weight
        arch = self.check(lambda self, x: self.b(F.relu(self.a(x))), (4,), a=a, b=b)
        self.assertEqual(arch["nodes"][-1]["params"]["weight"], "a.weight")
        self.assertEqual(arch["nodes"][0].get("params"), None)

    def test_residuals(self):
        def forward(self, x):
            y = self.a(x)
            y += x
            return y + F.relu(y)
        self.check(forward, a=conv(3, 3), expected=["conv2d", "add", "relu", "add"])

    def test_x_plus_x_and_constants(self):
        self.check(lambda self, x: self.a((x + x) * 0.5 + 1 - 2 * x - (3 - x) / 4), a=conv(),
                   expected=["add", "mul", "add", "mul", "mul", "add", "mul", "add", "mul", "mul",
                             "add", "conv2d"])

    def test_constant_buffers_of_one_element(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()
                self.register_buffer("scale", torch.tensor(0.25))

            def forward(self, x):
                return self.a(x) * self.scale
        arch = compare(self, Scaled(), SHAPE)
        self.assertEqual(arch["nodes"][-1]["attrs"], {"value": 0.25})

    def test_dead_branches_are_left_out(self):
        def forward(self, x):
            dead = self.dead(x)
            torch.fft.fft(dead)  # not expressible, but nothing depends on it
            return self.a(x)
        arch = self.check(forward, a=conv(), dead=conv(), expected=["conv2d"])
        self.assertEqual(set(arch["unused_parameters"]), {"dead.weight", "dead.bias"})

    def test_sizes_and_control_flow(self):
        def forward(self, x):
            n, c, h, w = x.shape
            if h > 4 and x.size(-1) == w and len(x) == n and x.dim() == 4:
                x = F.avg_pool2d(x, x.size()[2:])
            for layer in self.layers:
                x = layer(x)
            return x.view(n, -1)
        self.check(forward, layers=nn.ModuleList([conv(3, 4, 1), nn.Tanh(), conv(4, 2, 1)]),
                   expected=["avg_pool2d", "conv2d", "tanh", "conv2d", "flatten"])

    def test_activations(self):
        for f in (F.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.hardsigmoid, torch.sigmoid,
                  torch.tanh, F.leaky_relu, F.elu, F.selu, lambda x: x.clamp(0, 6),
                  lambda x: x.clamp(min=0), lambda x: F.gelu(x, approximate="tanh"),
                  lambda x: F.leaky_relu(x, 0.2), lambda x: F.softmax(x, dim=1),
                  lambda x: x.relu(), lambda x: x.sigmoid() * x, lambda x: F.glu(x, 1),
                  nn.ReLU6(), nn.PReLU(4), nn.PReLU(), nn.Softmax(dim=-1), nn.Hardtanh(0, 6)):
            self.check(lambda self, x: self.f(self.a(x)), a=conv(), f=f)

    def test_norms(self):
        for norm in (nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False),
                     nn.BatchNorm2d(4, track_running_stats=False, eps=1e-3), nn.GroupNorm(2, 4),
                     nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True),
                     nn.LayerNorm((8, 8)), nn.LayerNorm(8, elementwise_affine=False)):
            self.check(lambda self, x: self.norm(self.a(x)), a=conv(), norm=norm)
        self.check(lambda self, x: self.norm(self.a(x)), (6,), a=nn.Linear(6, 4),
                   norm=nn.BatchNorm1d(4), expected=["linear", "batch_norm2d"])

    def test_pools(self):
        for pool in (nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, 1),
                     nn.MaxPool2d(3, 1, dilation=2), nn.AvgPool2d(3, 2, 1),
                     nn.AvgPool2d((2, 3), count_include_pad=False), nn.AdaptiveAvgPool2d((3, None)),
                     nn.AdaptiveMaxPool2d(2), lambda x: x.amax((2, 3)), lambda x: x.mean([2, 3]),
                     lambda x: x.mean(-1).mean(-1), lambda x: x.sum(dim=(2, 3), keepdim=True)):
            self.check(lambda self, x: self.pool(self.a(x)), a=conv(), pool=pool)

    def test_convolutions(self):
        for layer in (nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Conv2d(3, 4, (1, 3), (2, 1)),
                      nn.Conv2d(3, 4, 3, padding="same", dilation=2),
                      nn.Conv2d(3, 4, (2, 4), padding="same"), nn.Conv2d(3, 4, 3, padding="valid")):
            self.check(lambda self, x: self.a(x), a=layer)

    def test_shapes(self):
        for f in (lambda x: x.permute(0, 2, 3, 1), lambda x: x.transpose(1, 3),
                  lambda x: torch.swapaxes(x, -1, -2), lambda x: x.movedim(1, -1),
                  lambda x: x.flatten(2).mT, lambda x: x.reshape(len(x), 2, -1),
                  lambda x: x.unflatten(1, (2, 2)), lambda x: x[:, 1], lambda x: x[:, :, ::2, 1:-1],
                  lambda x: x[..., None, 0], lambda x: x[:, -1:], lambda x: x.unsqueeze(1),
                  lambda x: x[:, :, :1].squeeze(2), lambda x: x.narrow(1, 1, 2),
                  lambda x: x.select(2, 3), lambda x: torch.stack([x, x * 2], 2),
                  lambda x: torch.cat(x.chunk(2, 1)[::-1], dim=1),
                  lambda x: torch.cat(torch.split(x, [1, 3], 1)[::-1], 1),
                  lambda x: x.unbind(1)[2], lambda x: torch.roll(x, (1, -2), (2, 3)),
                  lambda x: F.pad(x, (1, 2, 0, 1)), lambda x: F.pad(x, (0, 0, 0, 0, 1, 1), value=2),
                  lambda x: F.channel_shuffle(x, 2), lambda x: x.contiguous().clone().detach(),
                  lambda x: torch.cat([x, torch.zeros_like(x)], 1), lambda x: x.float(),
                  lambda x: x.flatten(1, 2), lambda x: x.view(x.size(0), -1)):
            self.check(lambda self, x: self.f(self.a(x)), a=conv(), f=f)

    def test_option_a_shortcut(self):
        """ResNet's parameter-free shortcut of the CIFAR literature."""
        self.check(lambda self, x: self.a(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)),
                   a=nn.Conv2d(3, 6, 3, 2, 1), expected=["conv2d", "slice", "slice", "pad", "add"])

    def test_learned_tensors(self):
        self.check(lambda self, x: self.a(x) * self.scale.view(1, -1, 1, 1), a=conv(),
                   scale=parameter(4))
        self.check(lambda self, x: self.a(x) * self.scale + self.shift, a=conv(),
                   scale=parameter(4, 1, 1), shift=parameter(1, 4, 1, 1))
        self.check(lambda self, x: self.a(x) * self.alpha, a=conv(), alpha=parameter(1))
        self.check(lambda self, x: self.a(x) * self.alpha, a=conv(), alpha=nn.Parameter(
            torch.tensor(0.5)))
        self.check(lambda self, x: self.a(x) + self.table, (5, 6), a=nn.Linear(6, 4),
                   table=parameter(5, 4))
        self.check(lambda self, x: self.a(x) * (self.s * self.t), a=conv(), s=parameter(1, 4, 1, 1),
                   t=parameter(1, 4, 1, 1))
        tokens = self.check(lambda self, x: torch.cat(
            [self.cls.expand(x.shape[0], -1, -1), self.reg.repeat(len(x), 1, 1), self.a(x)], 1),
            (5, 6), a=nn.Linear(6, 4), cls=parameter(1, 1, 4), reg=parameter(1, 2, 4))
        self.assertEqual(tokens["nodes"][0]["attrs"]["batched"], True)

    def test_position_encoding_of_maps(self):
        arch = self.check(lambda self, x: self.a(x) + self.pos, a=conv(),
                          pos=parameter(1, 4, 8, 8), expected=["conv2d", "pos_enc", "add"])
        self.assertEqual(arch["nodes"][1]["params"], {"weight": "pos"})

    def test_squeeze_and_excite_with_expand(self):
        def forward(self, x):
            y = self.a(x)
            b, c, _, _ = y.size()
            g = F.adaptive_avg_pool2d(y, 1).view(b, c)
            g = torch.sigmoid(self.up(F.relu(self.down(g)))).view(b, c, 1, 1)
            return y * g.expand_as(y)
        self.check(forward, a=conv(), down=nn.Linear(4, 2), up=nn.Linear(2, 4), expected=[
            "conv2d", "adaptive_avg_pool2d", "flatten", "linear", "relu", "linear", "sigmoid",
            "reshape", "mul"])

    def test_dropout(self):
        arch = self.check(lambda self, x: self.d2(self.d(F.dropout(self.a(x), 0.1,
                                                                  self.training))),
                          a=conv(), d=nn.Dropout(0.0), d2=nn.Dropout2d(0.3),
                          expected=["conv2d", "dropout", "dropout"])
        self.assertEqual(arch["nodes"][1]["attrs"], {"p": 0.1})

    def test_log_softmax_at_the_end(self):
        arch = trace(Net(lambda self, x: F.log_softmax(self.a(x), dim=1), a=nn.Linear(4, 3)), (4,))
        self.assertEqual(ops(arch), ["linear"])

    def test_transformer_layer(self):
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        arch = self.check(lambda self, x: self.layer(x).mean(1), (5, 16), layer=layer)
        self.assertEqual(node(arch, "layer.self_attn")["attrs"], {"num_heads": 4})
        self.assertEqual(node(arch, "layer.self_attn.in_proj")["params"],
                         {"weight": "layer.self_attn.in_proj_weight",
                          "bias": "layer.self_attn.in_proj_bias"})

    def test_several_outputs(self):
        for f, n in ((lambda y: (y, y * 2), 2), (lambda y: {"aux": y * 2, "out": y}, 2),
                     (lambda y: [y], 1), (lambda y: (y, None, (y,)), 1),
                     (lambda y: [y, (y * 2, y * 3)], 3)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                arch = trace(Net(lambda self, x: self.f(self.a(x)), a=conv(), f=f), SHAPE)
            self.assertEqual(ops(arch), ["conv2d"])
            self.assertEqual(len(caught), int(n > 1))
            for warning in caught:
                self.assertIn(f"returns {n} tensors, of which only the first", str(warning.message))
                self.assertEqual(warning.filename, __file__)

    def test_a_forward_with_more_arguments(self):
        class Flagged(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x, double=False, *rest, scale=2.0, **options):
                y = self.a(x) * scale
                return y * 2 if double else y
        self.assertEqual(ops(compare(self, Flagged(), SHAPE)), ["conv2d", "mul"])

    def test_parameter_lists(self):
        self.check(lambda self, x: self.a(x) * self.scales[1], a=conv(),
                   scales=nn.ParameterList([parameter(4, 1, 1), parameter(4, 1, 1)]))

    def test_other_precisions(self):
        module = Net(lambda self, x: self.a(x.to(self.a.weight.dtype)), a=conv()).half()
        self.assertEqual(ops(trace(module, SHAPE)), ["conv2d"])


class InPlace(unittest.TestCase):
    """Operations in place change what other names for the tensor mean."""

    def test_activation_in_place_before_a_residual(self):
        def forward(self, x):
            y = self.a(x)
            z = self.b(F.relu(y, inplace=True))
            return z + y  # y is the rectified one by now
        arch = compare(self, Net(forward, a=conv(), b=conv(4, 4)), SHAPE)
        self.assertEqual(arch["nodes"][-1]["inputs"], ["b", "relu"])

    def test_methods_in_place_without_using_the_result(self):
        def forward(self, x):
            y = self.a(x)
            y.mul_(2).add_(1)
            y.relu_()
            return y
        arch = compare(self, Net(forward, a=conv()), SHAPE)
        self.assertEqual(ops(arch), ["conv2d", "mul", "add", "relu"])

    def test_another_name_for_the_same_tensor(self):
        def forward(self, x):
            y = self.a(x)
            z = y.contiguous()
            z += 1
            return y
        self.assertEqual(ops(compare(self, Net(forward, a=conv()), SHAPE)), ["conv2d", "add"])

    def test_a_changed_view_is_refused(self):
        def forward(self, x):
            y = self.a(x)
            y[:, 0].add_(1)
            return y
        with self.assertRaisesRegex(TraceError, "in place"):
            trace(Net(forward, a=conv()), SHAPE)


class Refusals(unittest.TestCase):
    """Errors name the module, the operation and what to do."""

    def refuse(self, forward, pattern, shape=SHAPE, **members):
        with self.assertRaisesRegex(TraceError, pattern) as caught:
            trace(Net(forward, **members), shape)
        return caught.exception

    def test_unknown_operation(self):
        inner = Net(lambda self, x: torch.fft.fft(x).real)
        error = self.refuse(lambda self, x: self.inner(self.a(x)), "no counterpart", a=conv(),
                            inner=inner)
        self.assertEqual(error.module, "inner")
        self.assertRegex(str(error), r"test_trace\.py:\d+")

    def test_unknown_layers(self):
        for layer in (nn.ConvTranspose2d(3, 3, 3), nn.Conv2d(3, 3, 3, padding=1,
                                                            padding_mode="reflect"),
                      nn.Upsample(scale_factor=2), nn.Unfold(2), nn.LocalResponseNorm(2),
                      nn.Softplus(), nn.InstanceNorm2d(3, track_running_stats=True)):
            error = self.refuse(lambda self, x: self.inner(x), "in module 'inner'", inner=layer)
            self.assertEqual(error.module, "inner")

    def test_recurrent_layers(self):
        self.refuse(lambda self, x: self.inner(x)[0], "in module 'inner'", (5, 4),
                    inner=nn.LSTM(4, 4, batch_first=True))

    def test_conditions_on_values(self):
        self.refuse(lambda self, x: self.a(x) if x.sum() > 0 else x, "condition", a=conv())
        self.refuse(lambda self, x: self.a(x) * x.mean().item(), "computed values", a=conv())

    def test_mixing_images(self):
        self.refuse(lambda self, x: self.a(x).mean(0), "batch", a=conv())
        self.refuse(lambda self, x: self.a(x) - self.a(x).mean(0, keepdim=True), "batch", a=conv())
        self.refuse(lambda self, x: self.a(x).view(-1, 4), "batch", a=conv())
        self.refuse(lambda self, x: self.a(x).transpose(0, 1), "batch", a=conv())
        self.refuse(lambda self, x: self.a(x)[0], "batch", a=conv())
        self.refuse(lambda self, x: F.softmax(self.a(x), dim=0), "batch", a=conv())
        self.refuse(lambda self, x: self.a(x).sum(), "batch", a=conv())

    def test_computed_weights(self):
        self.refuse(lambda self, x: F.conv2d(x, self.w * 2), "weight is not an nn.Parameter",
                    w=parameter(4, 3, 3, 3))
        self.refuse(lambda self, x: self.inner(x), "weight_norm",
                    inner=nn.utils.weight_norm(conv()))

    def test_constant_tensors(self):
        self.refuse(lambda self, x: self.a(x) + torch.ones(4, 8, 8), "constant tensor", a=conv())

    def test_unregistered_modules(self):
        hidden = [conv()]
        self.refuse(lambda self, x: hidden[0](x), "not registered")
        self.assertEqual(ops(trace(Net(lambda self, x: nn.ReLU()(x)), SHAPE)), ["relu"])

    def test_broadcasting_the_batch_away(self):
        self.refuse(lambda self, x: x + self.a(x).mean((1, 2, 3)), "batch|larger", a=conv(),
                    shape=(3, 8, 13))

    def test_repeating(self):
        self.refuse(lambda self, x: self.a(x).repeat(1, 2, 1, 1), "repeat", a=conv())
        self.refuse(lambda self, x: F.relu(self.a(x).mean((2, 3), keepdim=True).expand(
            -1, -1, 8, 8)), "expand", a=conv())

    def test_assignment(self):
        def forward(self, x):
            y = self.a(x)
            y[:, 0] = 0
            return y
        self.refuse(forward, "torch.cat", a=conv())

    def test_attention_that_is_not_plain(self):
        mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.refuse(lambda self, x: self.m(x, self.a(x), x)[0], "self-attention", (5, 8), m=mha,
                    a=nn.Linear(8, 8))
        self.refuse(lambda self, x: F.relu(self.m(x, x, x)[1]), "attention weights", (5, 8), m=mha)
        self.refuse(lambda self, x: self.m(x, x, x)[0], "batch_first", (5, 8),
                    m=nn.MultiheadAttention(8, 2))

    def test_compiled_modules(self):
        with self.assertRaisesRegex(TraceError, "TorchScript"):
            trace(torch.jit.script(conv()), SHAPE)

    def test_bad_input_shapes(self):
        for shape in ((), (0, 8, 8), (-3, 8, 8), 8, "large", [None, 8, 8]):
            with self.assertRaisesRegex(TraceError, "input_shape .* without the batch"):
                trace(conv(), shape)
        with self.assertRaisesRegex(TraceError, r"\[4, 8, 8\]"):
            trace(conv(), (4, 8, 8))
        for net in (conv(), Net(lambda self, x: self.a(x), a=nn.BatchNorm2d(3)),
                    support.torchvision_model("vit_b_32")):
            with self.assertRaisesRegex(TraceError, r"\(C, H, W\) without the batch, perhaps "
                                                    r"\(3, 32, 32\)"):
                trace(net, (1, 3, 32, 32))
        self.assertNotIn("(C, H, W)", str(self.refuse(
            lambda self, x: torch.fft.fft(x).real, "no counterpart", (1, 3, 8, 8))))
        trace(nn.Linear(5, 2), (2, 3, 4, 5))

    def test_a_network_without_its_input(self):
        self.refuse(lambda self, x: self.p * 2, "does not depend on the input|batch",
                    p=parameter(1, 4))


if __name__ == "__main__":
    unittest.main()
