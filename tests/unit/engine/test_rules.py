import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.rules import RULES, Linear
from tests.unit.engine.applied import Applied, changed


def doubled_part(y, _):
    y[:, 1] *= 2


def shifted_channels(y, x):
    y[:, 1:, :2] = x[:, :-1, :2]
    y[:, :-1, 2:4] = x[:, 1:, 2:4]


def numbers(y, x):
    y[:, :2] = torch.arange(5.0, dtype=x.dtype)
    y[:, 3, 0] = 7
    y[:, 2, ::2] += 1


def picked(y, x):
    y[:, [0, 2]] = x[:, [1, 3]]
    y[:, [1]] = 3


def masked(y, _):
    y[:, EYE] = 3


def numbers_of(x, *shape):
    return torch.linspace(-1, 1, math.prod(shape), dtype=x.dtype).reshape(shape)


EYE = torch.eye(4, 5, dtype=torch.bool)
FIRST = torch.tensor([[[2, 0, 1, 3, 0]]])

# Every op below is affine (or picks winners), so that its relevance is input times vector-Jacobian product exactly.
OPS = {
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 9)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), (4, 8, 7)),
    "conv2d same, even kernel": (nn.Conv2d(4, 6, 4, padding="same"), (4, 6, 6)),
    "conv2d valid": (nn.Conv2d(4, 6, 3, padding="valid"), (4, 6, 6)),
    "conv2d reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 6, 6)),
    "conv2d depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 6, 6)),
    "conv3d": (nn.Conv3d(2, 3, 2, stride=2, padding=1), (2, 4, 4, 4)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), (4, 5)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 5)),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 3, 2), (2, 3, 3, 3)),
    "linear": (nn.Linear(5, 3), (5,)),
    "linear by a vector": (lambda x: functional.linear(x, torch.arange(5.0, dtype=x.dtype)), (4, 5)),
    "linear over an axis": (nn.Linear(5, 3), (4, 5)),
    "batch_norm": (nn.BatchNorm2d(4), (4, 3, 3)),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 3, 3)),
    "matmul constant": (lambda x: x @ torch.linspace(-1, 1, 15, dtype=x.dtype).reshape(5, 3), (4, 5)),
    "constant matmul": (lambda x: torch.linspace(-1, 1, 8, dtype=x.dtype).reshape(2, 4) @ x, (4, 5)),
    "addmm": (
        lambda x: torch.addmm(torch.ones(3, dtype=x.dtype), x, torch.eye(5, 3, dtype=x.dtype), beta=2, alpha=3),
        (5,),
    ),
    "einsum": (lambda x: torch.einsum("bij,jk->bki", x, numbers_of(x, 5, 3)), (4, 5)),
    "einsum, constant first": (lambda x: torch.einsum("ki,bij->bkj", numbers_of(x, 3, 4), x), (4, 5)),
    "einsum along both": (lambda x: torch.einsum("bij,ij->bi", x, numbers_of(x, 4, 5)), (4, 5)),
    "einsum with points": (lambda x: torch.einsum("...j,kj->...k", x, numbers_of(x, 3, 5)), (4, 5)),
    "tensordot": (lambda x: torch.tensordot(x, numbers_of(x, 4, 3), dims=([1], [0])), (4, 5)),
    "inner": (lambda x: torch.inner(x, numbers_of(x, 3, 5)), (4, 5)),
    "mv": (lambda x: torch.mv(x, numbers_of(x, 5))[:, None], (5,)),
    "vecdot": (lambda x: torch.linalg.vecdot(x, numbers_of(x, 5)), (4, 5)),
    "multi_dot": (lambda x: torch.linalg.multi_dot([x, numbers_of(x, 5, 4), numbers_of(x, 4, 3)]), (5,)),
    "baddbmm": (lambda x: torch.baddbmm(x, numbers_of(x, 4, 4).expand(len(x), 4, 4), x, beta=2, alpha=3), (4, 5)),
    "lerp": (lambda x: torch.lerp(x, x.flip(1), 0.3), (4, 5)),
    "lerp of other strides": (
        lambda x: torch.lerp(x, x.flip(1).transpose(1, 2).contiguous().transpose(1, 2), 0.7),
        (4, 5),
    ),
    "lerp by a tensor": (lambda x: torch.lerp(x, x.flip(1), numbers_of(x, 5)), (4, 5)),
    "addcmul": (lambda x: torch.addcmul(x, x.flip(1), numbers_of(x, 5), value=0.3), (4, 5)),
    "addcdiv": (lambda x: torch.addcdiv(x, x.flip(1), 2 + numbers_of(x, 5), value=0.3), (4, 5)),
    "in place, of several": (
        lambda x: x.clone().lerp_(x.flip(1), 0.3).addcmul_(x, numbers_of(x, 5)).addcdiv_(x, 2 + numbers_of(x, 5)),
        (4, 5),
    ),
    "baddbmm_": (lambda x: x.clone().baddbmm_(numbers_of(x, 4, 4).expand(len(x), 4, 4), x), (4, 5)),
    "diff": (lambda x: torch.diff(x, dim=1), (4, 5)),
    "trapezoid": (lambda x: torch.trapezoid(x, dim=2), (4, 5)),
    "max_pool1d": (nn.MaxPool1d(3, 2, padding=1), (4, 9)),
    "max_pool2d overlapping, padded, ceil": (nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), (4, 8, 8)),
    "max_pool2d dilated": (nn.MaxPool2d(2, 1, dilation=2), (4, 6, 6)),
    "max_pool3d": (nn.MaxPool3d(2), (2, 4, 4, 4)),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d((2, 3)), (4, 5, 7)),
    "amax": (lambda x: x.amax((2, 3)), (4, 5, 5)),
    "max of an axis": (lambda x: x.max(1).values, (4, 5)),
    "avg_pool1d": (nn.AvgPool1d(3, 2, padding=1), (4, 9)),
    "avg_pool2d": (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), (4, 8, 8)),
    "avg_pool3d": (nn.AvgPool3d(2), (2, 4, 4, 4)),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(3), (4, 7)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((2, 3)), (4, 5, 7)),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d(2), (2, 5, 5, 5)),
    "mean": (lambda x: x.mean((2, 3)), (4, 5, 5)),
    "sum": (lambda x: x.sum(-1, keepdim=True), (4, 5)),
    "add constant": (lambda x: 2 + x + torch.arange(5.0, dtype=x.dtype), (4, 5)),
    "add of itself": (lambda x: x + x, (5,)),
    "add broadcast": (lambda x: x + x.mean((2, 3), keepdim=True), (4, 5, 5)),
    "add alpha": (lambda x: torch.add(x, x.flip(1), alpha=3), (5,)),
    "sub": (lambda x: x - 0.5 * x.flip(1), (5,)),
    "sub alpha": (lambda x: torch.sub(1 - x, x, alpha=2), (5,)),
    "rsub": (lambda x: torch.rsub(x, 3, alpha=2), (5,)),
    "neg": (lambda x: -x, (5,)),
    "mul constant": (lambda x: 3 * x * torch.arange(5.0, dtype=x.dtype), (4, 5)),
    "mul broadcast": (lambda x: x.mean(2, keepdim=True) * torch.arange(5.0, dtype=x.dtype), (4, 5)),
    "div constant": (lambda x: x / torch.arange(1.0, 6, dtype=x.dtype) / 2, (4, 5)),
    "cat": (lambda x: torch.cat([x, torch.ones(x.shape[0], 2, 5, dtype=x.dtype), 2 * x], 1), (4, 5)),
    "write into a part": (changed(doubled_part), (4, 5)),
    "write into zeros": (changed(shifted_channels, torch.zeros_like), (4, 5)),
    "write numbers": (changed(numbers), (4, 5)),
    "write broadcast": (changed(lambda y, x: y[:, :3].copy_(x[:, 3:] * 2)), (4, 5)),
    "write by a list": (changed(picked), (4, 5)),
    "write by a mask": (changed(masked), (4, 5)),
    "write all": (changed(lambda y, x: y.copy_(x.flip(1))), (4, 5)),
    "where": (lambda x: torch.where(EYE, 2 * x, x.flip(1)), (4, 5)),
    "where a number": (lambda x: torch.where(EYE, x, 3.0), (4, 5)),
    "masked_fill": (lambda x: x.masked_fill(EYE, 3), (4, 5)),
    "index_put, accumulated": (
        lambda x: torch.ops.aten.index_put(x, [None, torch.tensor([0, 0])], x[:, 2:], accumulate=True),
        (4, 5),
    ),
    "gather": (lambda x: x.gather(1, FIRST.expand(len(x), 2, 5)), (4, 5)),
    "take_along_dim": (lambda x: torch.take_along_dim(x, FIRST, 1), (4, 5)),
    "scatter": (lambda x: x.scatter(1, FIRST.expand(len(x), 1, 5), 2 * x[:, 1:2]), (4, 5)),
    "scatter_add": (lambda x: x.scatter_add(1, FIRST.expand(len(x), 1, 5), 2 * x[:, 1:2]), (4, 5)),
    "index_add": (lambda x: x.index_add(1, torch.tensor([1, 1]), x[:, :2], alpha=2), (4, 5)),
    "index_copy": (lambda x: x.index_copy(1, torch.tensor([1, 3]), x[:, :2]), (4, 5)),
    "tile": (lambda x: x.tile(1, 2, 1), (4, 5)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), (4, 5)),
    "rot90": (lambda x: torch.rot90(x, 1, (1, 2)), (4, 5)),
    "bmm": (lambda x: torch.bmm(x, torch.linspace(-1, 1, 15, dtype=x.dtype).view(5, 3).expand(len(x), 5, 3)), (4, 5)),
    "fold": (lambda x: functional.fold(functional.unfold(x, 3, padding=1), (5, 4), 3, padding=1), (2, 5, 4)),
    "grid_sample": (
        lambda x: functional.grid_sample(
            x, torch.linspace(-1, 1, 24, dtype=x.dtype).view(1, 3, 4, 2).expand(len(x), -1, -1, -1), align_corners=False
        ),
        (2, 5, 4),
    ),
    "stack": (lambda x: torch.stack([x, 2 * x], -1), (5,)),
    "flatten": (nn.Flatten(), (4, 5)),
    "unflatten": (lambda x: x.unflatten(1, (2, 2)), (4, 5)),
    "view": (lambda x: x.view(-1, 20), (4, 5)),
    "reshape": (lambda x: x.transpose(1, 2).reshape(x.shape[0], -1), (4, 5)),
    "squeeze, unsqueeze": (lambda x: x.unsqueeze(1).squeeze(2), (1, 5)),
    "permute": (lambda x: x.permute(0, 3, 1, 2), (4, 5, 6)),
    "transpose": (lambda x: x.transpose(1, -1).contiguous(), (4, 5, 6)),
    "channel shuffle": (nn.ChannelShuffle(2), (4, 3, 3)),
    "chunk": (lambda x: torch.cat(x.chunk(3, 1)[::-1], 1), (7, 2)),
    "split": (lambda x: torch.cat(x.split([3, 4], 1)[::-1], 1), (7, 2)),
    "getitem": (lambda x: x[:, 1:-1, ::2], (7, 6)),
    "select": (lambda x: x[:, 2], (4, 5)),
    "unbind": (lambda x: x.unbind(1)[1], (4, 5)),
    "index_select": (lambda x: x.index_select(1, torch.tensor([2, 0, 2])), (4, 5)),
    "index": (lambda x: x[:, [2, 1, 1]], (4, 5)),
    "index of several axes": (lambda x: x[:, [2, 0], :, [1, 1]].transpose(0, 1), (4, 3, 5)),
    "index by a tensor": (lambda x: x[..., torch.tensor([[3, 0], [1, 1]])], (4, 5)),
    "windows": (lambda x: x.unfold(1, 3, 2).unfold(2, 2, 1), (5, 4)),
    "expand": (lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1), (4, 5)),
    "repeat": (lambda x: x.repeat(1, 2, 1), (4, 5)),
    "flip, roll": (lambda x: x.flip(1).roll(1, 2), (4, 5)),
    "pad constant": (lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5), (4, 5)),
    "pad crop": (lambda x: functional.pad(x, (-1, 2)), (4, 5)),
    "pad reflect": (nn.ReflectionPad2d((1, 2, 0, 1)), (4, 5, 5)),
    "pad replicate": (nn.ReplicationPad2d(1), (4, 5, 5)),
    "pad zero": (nn.ZeroPad2d(1), (4, 5, 5)),
    "dropout": (nn.Dropout(), (5,)),
    "dropout2d": (nn.Dropout2d(), (4, 5, 5)),
    "upsample nearest": (nn.Upsample(scale_factor=2), (4, 3, 5)),
    "upsample nearest 2d": (nn.Upsample(size=(7, 5)), (4, 3, 3)),
    "upsample bilinear": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (4, 3, 3)),
    "interpolate bicubic": (lambda x: functional.interpolate(x, scale_factor=1.5, mode="bicubic"), (4, 4, 4)),
    "interpolate area": (lambda x: functional.interpolate(x, (2, 2), mode="area"), (4, 4, 4)),
    "upsample linear": (nn.Upsample(scale_factor=2, mode="linear"), (4, 5)),
    "upsample trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), (2, 3, 3, 3)),
    "pixel shuffle": (nn.PixelShuffle(2), (4, 3, 3)),
    "pixel unshuffle": (nn.PixelUnshuffle(2), (2, 4, 4)),
    "unfold": (nn.Unfold(2), (2, 4, 4)),
    "zeros_like": (lambda x: torch.cat([x, torch.zeros_like(x)], 1), (4, 5)),
    "to": (lambda x: x.to(torch.float64), (5,)),
    "type_as": (lambda x: (x.flip(1) * 2).type_as(x), (4, 5)),
    "type_as of a constant": (lambda x: x - torch.arange(5.0).expand_as(x).type_as(x), (4, 5)),
    "type_as of another shape": (lambda x: x * torch.arange(5.0).type_as(x.sum(1)), (4, 5)),
    "clone": (lambda x: x.clone(memory_format=torch.contiguous_format), (5,)),
    "in place": (lambda x: x.clone().mul_(2).add_(1), (5,)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # PyTorch's, about speed
@pytest.mark.parametrize("name", OPS)
def test_affine_op_hands_back_input_times_vector_jacobian_product(name):
    op, shape = OPS[name]
    generator = torch.Generator().manual_seed(0)
    network = Applied(op).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    output = network(x)
    seeds = torch.randn(2, 3, *output.shape[1:], dtype=torch.float64, generator=generator)
    explanation = rn.explain(network, x, targets=seeds, layers="all")
    leaf = x.clone().requires_grad_()
    for k in range(3):
        (gradient,) = torch.autograd.grad(network(leaf), leaf, seeds[:, k])
        torch.testing.assert_close(explanation.relevance[:, k], x * gradient, rtol=1e-12, atol=1e-12)
        assert explanation.ledger(k, 1).worst_residual < 1e-10
    torch.testing.assert_close(explanation.logits, output)


def test_every_rule_is_named_after_an_op_that_exists():
    # _adaptive_avg_pool1d and the like are named for symmetry and do not exist in every rank
    unknown = [name for name in RULES if not hasattr(torch.ops.aten, name.removeprefix("aten."))]
    assert set(unknown) <= {"aten._adaptive_avg_pool1d"}, unknown


def test_a_rule_can_be_added_by_adding_an_entry(monkeypatch, written, images):
    network = written(lambda n, x: n.classify(torch.relu(torch.cumsum(n.conv(x), 2))))
    with pytest.raises(rn.UnsupportedNetworkError, match=r"aten\.cumsum at cumsum"):
        rn.explain(network, images)
    monkeypatch.setitem(RULES, "aten.cumsum", type(RULES["aten.neg"])())
    assert rn.explain(network, images).ledger().worst_residual < 1e-4


def test_gate_is_held_constant(written, images):
    def squeeze_and_excite(n, x):
        z = n.conv(x)
        return n.classify(z * torch.sigmoid(n.conv.bias.reshape(1, -1, 1, 1) * z.mean((2, 3), keepdim=True)))

    network = written(squeeze_and_excite)
    relevance = rn.explain(network, images, 1).relevance[:, 0]
    leaf = images.clone().requires_grad_()
    z = network.conv(leaf)
    gate = torch.sigmoid(network.conv.bias.reshape(1, -1, 1, 1) * z.mean((2, 3), keepdim=True)).detach()
    (gradient,) = torch.autograd.grad(network.classify(z * gate)[:, 1].sum(), leaf)
    torch.testing.assert_close(relevance, images * gradient)


def test_layer_norm_holds_the_standard_deviation_constant():
    torch.manual_seed(0)
    network = nn.Sequential(nn.LayerNorm((3, 4)), nn.Flatten(), nn.Linear(12, 3)).double().eval()
    nn.init.normal_(network[0].weight)
    nn.init.normal_(network[0].bias)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    explanation = rn.explain(network, x, 1, layers="all")
    leaf = x.clone().requires_grad_()
    scale = (x.var((1, 2), unbiased=False, keepdim=True) + network[0].eps).rsqrt()
    normalised = (leaf - leaf.mean((1, 2), keepdim=True)) * scale * network[0].weight + network[0].bias
    (gradient,) = torch.autograd.grad(network[1:](normalised)[:, 1].sum(), leaf)
    torch.testing.assert_close(explanation.relevance[:, 0], x * gradient)
    assert explanation.ledger().worst_residual < 1e-10


def test_an_op_that_is_particular_about_strides_can_be_given_a_rule(monkeypatch, written, images):
    monkeypatch.setitem(RULES, "aten.kron", Linear())
    network = written(lambda n, x: n.classify(torch.kron(n.conv(x).relu(), torch.ones(1, 1, 2, 2))[..., :8, :8]))
    larger = written(lambda n, x: n.classify(nn.UpsamplingNearest2d(scale_factor=2)(n.conv(x).relu())[..., :8, :8]))
    expected = rn.explain(larger, images, 1).relevance
    torch.testing.assert_close(rn.explain(network, images, 1).relevance, expected)


@pytest.mark.parametrize("apart", [False, True])
def test_an_op_of_several_has_the_rule_that_it_was_given(monkeypatch, written, images, apart):
    def forward(n, x):
        z = n.conv(x).relu()
        if apart:  # what only PyTorch's own pass can write without writing in place
            z = z.clone()
            z[:, :1].mul_(1.0)
        return n.classify(torch.lerp(z, 2 * z, 0.5))

    class Halved(type(RULES["aten.add"])):
        def transpose(self, _call, s):
            return s * 0.5, s * 0.0

    monkeypatch.setitem(RULES, "aten.lerp", Halved())
    found = rn.explain(written(forward), images, 1).relevance
    expected = rn.explain(written(lambda n, x: n.classify(n.conv(x).relu())), images, 1).relevance
    torch.testing.assert_close(found, expected * 0.5)
