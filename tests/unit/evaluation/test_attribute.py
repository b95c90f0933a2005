"""Tests of attributes: the engine's own, and what is refused of others."""

import captum.attr
import pytest
import torch
from torch import nn

import rlrp_nb
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import check_case, engine_attribute, heatmaps_of
from tests.reference.networks import images, small_vgg
from tests.unit.evaluation.untouched import untouched

TARGETS = torch.tensor([0, 3])


def gradient(network, inputs, targets):
    inputs.requires_grad_()
    logits = network(inputs).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(logits, inputs)[0].sum(1)


@pytest.mark.parametrize("method", ["rlrp", "lrp-gamma", rlrp_nb.engine.methods.lrp_epsilon(0.5)])
def test_the_engines_heatmaps_are_those_of_explain(method):
    network, inputs = small_vgg(), images(2, 12)
    with untouched(network, inputs):
        found = heatmaps_of(engine_attribute(method), network, inputs, TARGETS)
    for sample, target in enumerate(TARGETS.tolist()):
        alone = rlrp_nb.explain(network, inputs[sample : sample + 1], target, method)
        torch.testing.assert_close(found[sample], alone.heatmap(), rtol=1e-10, atol=0)


def test_an_unknown_method_is_refused_before_anything_is_explained():
    with pytest.raises(InputError, match="Did you mean 'rlrp'"):
        engine_attribute("rlpr")


@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_other_attributes_may_differentiate(grad):
    network, inputs = small_vgg(), images(2, 12)

    def captums(network, inputs, targets):
        return captum.attr.Saliency(network).attribute(inputs.requires_grad_(), targets, abs=False).sum(1)

    with untouched(network, inputs), grad():
        found = [heatmaps_of(attribute, network, inputs, TARGETS) for attribute in (gradient, captums)]
    torch.testing.assert_close(*found)
    assert not found[0].requires_grad


def test_the_logits_come_back_from_the_check():
    network, inputs = small_vgg(), images(2, 12)
    with untouched(network, inputs):
        logits = check_case(network, inputs, TARGETS)
    torch.testing.assert_close(logits, network(inputs).detach())


class Raw(nn.Module):
    def forward(self, x):
        return [x]


def test_the_check_leaves_the_inputs_to_a_network_that_writes_into_its_own():
    network, inputs = nn.Sequential(nn.ReLU(inplace=True), small_vgg()).eval(), images(2, 12)
    with untouched(network, inputs, TARGETS):
        logits = check_case(network, inputs, TARGETS)
    torch.testing.assert_close(logits, network(inputs.clone()))


def test_what_cannot_be_measured_is_named():
    network, inputs = small_vgg(), images(2, 12)
    broken = inputs.clone()
    broken[1, 0, 0, 0] = torch.nan
    for arguments, words in (
        (("network", inputs, TARGETS), "network is a str"),
        ((network, inputs.numpy(), TARGETS), "inputs is a ndarray"),
        ((network, inputs[0], TARGETS), r"inputs has shape \(3, 12, 12\)"),
        ((network, inputs.float(), TARGETS), "inputs is torch.float32"),
        ((network, broken, TARGETS), r"NaN or infinite values \(in sample 1\)"),
        ((network, inputs[:0], TARGETS[:0]), "at least one sample"),
        ((network, inputs, [0, 3]), "targets is list"),
        ((network, inputs, TARGETS.float()), "targets is torch.float32"),
        ((network, inputs, TARGETS[:1]), r"targets is torch.int64 \(1,\)"),
        ((network, inputs, torch.tensor([0, 5])), r"target 5 of input 1 is no class .* 0 to 4"),
        ((network, inputs, torch.tensor([-1, 0])), "target -1 of input 0"),
    ):
        with pytest.raises(InputError, match=words):
            check_case(*arguments)
    overflowing = small_vgg()
    overflowing[-1].bias.data[2] = torch.inf
    for unfit, words in (
        (network[:3].eval(), r"returns \(2, 6, 12, 12\) for 2 inputs"),
        (nn.Sequential(Raw()).eval(), "returns list"),
        (overflowing, "logits for input 0 are NaN or infinite"),
        (small_vgg().train(), "the network, 0, 1 is in training mode"),
    ):
        with pytest.raises(UnsupportedNetworkError, match=words):
            check_case(unfit, inputs, TARGETS)


def test_one_layer_in_training_mode_is_named():
    network = small_vgg()
    network[1].train()
    with pytest.raises(UnsupportedNetworkError, match=r"^1 is in training mode"):
        check_case(network, images(2, 12), TARGETS)


def test_answers_that_are_no_heatmaps_are_named():
    network, inputs = small_vgg(), images(2, 12)
    broken = torch.zeros(2, 12, 12)
    broken[1, 3, 3] = torch.inf
    for answer, words in (
        (torch.zeros(2, 3, 12, 12), r"returned torch.float32 \(2, 3, 12, 12\).*\(2, 12, 12\)"),
        (torch.zeros(2, 12, 12, dtype=torch.bool), "returned torch.bool"),
        (torch.zeros(2, 12, 12, dtype=torch.complex64), "returned torch.complex64"),
        (broken.numpy(), "returned ndarray"),
        (None, "returned NoneType"),
        (broken, "heatmap 1 has values that are NaN or infinite"),
    ):
        with pytest.raises(InputError, match=words):
            heatmaps_of(lambda *_, answer=answer: answer, network, inputs, TARGETS)


def _looks(*_):
    return None


def _train(network):
    network[1].train()


def _freeze(network):
    network[0].weight.requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _hook(network):
    network[3].register_forward_hook(lambda *_: None)


def _hook_backward(network):
    network[1].register_full_backward_hook(lambda _module, found, _given: (found[0].clamp(min=0),))


def _hook_before(network):
    network[1].register_full_backward_pre_hook(lambda *_: None)


def _exchange_hooks(network):
    for key in list(network[3]._forward_hooks):
        del network[3]._forward_hooks[key]
    _hook(network)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_hook_backward, "hooks of the network"),
        (_hook_before, "hooks of the network"),
        (_exchange_hooks, "hooks of the network"),
        (_train, "mode of 1"),
        (_freeze, "requires_grad of 0.weight"),
        (_hook, "hooks of the network"),
    ],
)
def test_an_attribute_that_changes_the_network_is_refused(change, words):
    network, inputs = small_vgg(), images(2, 12)
    network[3].register_forward_hook(_looks)

    def attribute(network, inputs, targets):
        change(network)
        return gradient(network, inputs, targets)

    with pytest.raises(InputError, match=f"the attribute changed the network: {words}"):
        heatmaps_of(attribute, network, inputs, TARGETS)
    assert not any(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    kinds = [kind for kind in vars(network) if kind.endswith("_hooks")]
    hooks = [hook for module in network.modules() for kind in kinds for hook in (vars(module)[kind] or {}).values()]
    assert hooks == [_looks]


@pytest.mark.parametrize("held", [False, True])
def test_an_attribute_may_call_backward_and_leaves_no_gradient(held):
    network, inputs = small_vgg(), images(2, 12)
    if held:
        network(inputs).sum().backward()
    before = [None if parameter.grad is None else parameter.grad.clone() for parameter in network.parameters()]

    def saliency(network, inputs, targets):
        inputs.requires_grad_()
        network(inputs).gather(1, targets[:, None]).sum().backward()
        return inputs.grad.sum(1)

    expected = heatmaps_of(gradient, network, inputs, TARGETS)
    for _ in range(2):
        torch.testing.assert_close(heatmaps_of(saliency, network, inputs, TARGETS), expected)
    for parameter, gradients in zip(network.parameters(), before, strict=True):
        assert parameter.grad is None if gradients is None else torch.equal(parameter.grad, gradients)


def test_an_attribute_cannot_write_into_the_inputs_and_targets():
    network, inputs = small_vgg(), images(2, 12)
    with untouched(network, inputs, TARGETS):
        heatmaps_of(lambda _, x, targets: x.zero_().sum(1) + targets.zero_().sum(), network, inputs, TARGETS)


def test_a_network_that_takes_channels_last_is_refused():
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x.permute(0, 3, 1, 2)).mean((2, 3))

    with pytest.raises(InputError, match=r"takes inputs \(2, 12, 16, 3\) with channels on axis 3; measures take"):
        engine_attribute()(ChannelsLast().eval(), torch.randn(2, 12, 16, 3), torch.tensor([0, 1]))


def test_the_autocast_of_the_caller_is_not_that_of_the_attribute():
    network, inputs = small_vgg(), images(2, 12)
    network, inputs = network.float(), inputs.float()
    expected = heatmaps_of(gradient, network, inputs, TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = heatmaps_of(gradient, network, inputs, TARGETS)
    assert torch.equal(found, expected)


def test_an_attribute_that_fails_says_why_and_leaves_nothing_behind():
    network, inputs = small_vgg(), images(2, 12)

    def failing(network, _inputs, _targets):
        _hook_backward(network)
        _freeze(network)
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        heatmaps_of(failing, network, inputs, TARGETS)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not network[1]._backward_hooks
