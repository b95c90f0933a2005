"""Networks that an explainer could get wrong without a word: each is explained rightly, or refused in words."""

import copy
import itertools
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.methods import lrp_gamma


def test_squeeze_leaves_a_batch_of_one_alone(written, images):
    squeezing = written(lambda n, x: n.head(torch.relu(n.conv(x)).mean((2, 3), keepdim=True).squeeze()))
    expected = rn.explain(written(lambda n, x: n.classify(torch.relu(n.conv(x)))), images, [0, 3], layers="all")
    for count in (1, 2):
        found = rn.explain(squeezing, images[:count], [0, 3], layers="all")
        torch.testing.assert_close(found.relevance, expected.relevance[:count])
        torch.testing.assert_close(found.logits, expected.logits[:count])
        assert found.ledger().worst_residual < 1e-4


@pytest.mark.parametrize(
    "write",
    [
        lambda n: n[0].weight.data[:, 1:].zero_(),
        lambda n: n[0].weight.data[3, 5, 0, 1].add_(1),
        lambda n: n[0].weight.detach().numpy()[:, 5:].fill(0),
        lambda n: n[1].running_var.numpy()[7:8].fill(0.1),
    ],
)
def test_a_write_that_pytorch_does_not_count_is_seen(write):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3)).eval()
    x = torch.randn(2, 32, 5, 5)
    rn.explain(network, x)
    write(network)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)
        self.steps, self.named = [self.a, nn.functional.relu], {"last": (torch.flatten, self.b)}
        self.log = []

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        self.log.append(1)
        return self.named["last"][1](x.flatten(1))


def test_modules_in_a_plain_list_are_those_of_the_network(images):
    network = Listed().eval()
    assert {"a", "b"} <= set(rn.explain(network, images, layers="all").layers)
    assert network.log == []
    network.load_state_dict({k: v * 2 for k, v in network.state_dict().items()}, assign=True)
    torch.testing.assert_close(rn.explain(network, images).logits, network(images))


def test_modules_that_pytorch_does_not_know_of_are_refused(images):
    network = Listed()
    network.steps.append(nn.BatchNorm2d(4))
    statistics = copy.deepcopy(network.steps[-1].state_dict())
    with pytest.raises(rn.UnsupportedNetworkError, match=r"steps holds modules.*nn\.ModuleList"):
        rn.explain(network.eval(), images)
    for name, value in network.steps[-1].state_dict().items():
        assert torch.equal(value, statistics[name])


RANDOM = {
    "noise of fixed shape": lambda n, x: n.classify(n.conv(x) + torch.randn(4, 8, 8)),
    "noise of the batch's shape": lambda n, x: n.classify(n.conv(x) + torch.randn(x.shape[0], 4, 8, 8)),
    "drop path": lambda n, x: n.classify(n.conv(x) * (0.5 + torch.rand(x.shape[0], 1, 1, 1)).floor()),
    "dropout in a gate": lambda n, x: n.classify(n.conv(x) * torch.sigmoid(functional.dropout(n.conv(x), 0.5, True))),  # noqa: FBT003
}


@pytest.mark.parametrize("name", RANDOM)
def test_chance_is_refused(written, images, name):
    with pytest.raises(rn.UnsupportedNetworkError, match="acts at random"):
        rn.explain(written(RANDOM[name]), images)


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: n.classify(n.conv((x * 3).long().to(x.dtype))),
        lambda n, x: n.classify(n.conv(x).int().float()),
        lambda n, x: n.classify((n.conv(x) > 0).float()),
    ],
)
def test_whole_numbers_are_refused(written, images, function):
    with pytest.raises(rn.UnsupportedNetworkError, match=r"whole numbers|aten\.gt"):
        rn.explain(written(function), images)


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(x).mean(0))),
        lambda n, x: n.classify(n.conv(x) * torch.softmax(n.conv(x), 0)),
        lambda n, x: n.classify(n.conv(x) + n.conv(x).flip(0)),
        lambda n, x: n.classify(n.conv(x).roll(1, 0)),
        lambda n, x: n.classify(n.conv(x).index_select(0, torch.tensor([1, 0]))),
        lambda n, x: n.classify(n.conv(x)[torch.arange(x.shape[0] - 1, -1, -1)]),
        lambda n, x: n.classify(n.conv(x).transpose(0, 1)[:, torch.arange(x.shape[0] - 1, -1, -1)].transpose(0, 1)),
        lambda n, x: n.classify(n.conv(x).unfold(0, 1, 1).squeeze(-1).flip(0)),
        lambda n, x: torch.tensor([[0.0, 1.0], [1.0, 0.5]]) @ n.classify(n.conv(x)),
        lambda n, x: n.classify(functional.layer_norm(n.conv(x), n.conv(x).shape)),
        lambda n, x: torch.ones(x.shape[0], x.shape[0]).tril() @ n.classify(n.conv(x)),
        lambda n, x: n.classify(n.conv(x)) - torch.ones(x.shape[0], x.shape[0]) @ n.classify(n.conv(x)) / x.shape[0],
        lambda n, x: n.classify(n.conv(x)) * torch.sigmoid(torch.ones(len(x), len(x)) @ n.classify(n.conv(x))),
        lambda n, x: functional.avg_pool1d(n.classify(n.conv(x)).T[None], 3, 1, 1)[0].T,
        lambda n, x: functional.conv1d(n.classify(n.conv(x)).T[None], torch.ones(5, 5, 3), padding=1)[0].T,
        lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(x).cummax(0).values)),
        lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(x)[torch.arange(x.shape[0] - 1, -1, -1)])),
        lambda n, x: n.classify(n.conv(x) * torch.sigmoid(functional.batch_norm(n.conv(x), None, None, training=True))),
    ],
)
def test_samples_that_meet_are_refused(written, images, function):
    with pytest.raises(rn.UnsupportedNetworkError, match="mixes"):
        rn.explain(written(function), images)


def test_samples_that_meet_behind_large_logits_are_refused(written, images):
    def mixing(n, x):
        return n.classify(n.conv(x) * torch.sigmoid(n.conv(x).cummax(0).values)) + 1e3

    with pytest.raises(rn.UnsupportedNetworkError, match="mixes"):
        rn.explain(written(mixing), images)


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_one_is_explained_by_the_branch_that_is_for_it(written, images, count):
    branching = written(lambda n, x: n.classify(torch.relu(n.conv(x)) * (-2.0 if x.shape[0] == 1 else 1.0)))
    plain = written(lambda n, x: n.classify(torch.relu(n.conv(x))))
    expected = rn.explain(plain, images[:count], 0).relevance
    for found in (rn.explain(branching, images[:n], 0) for n in (2, 1, 2, count)):
        torch.testing.assert_close(found.logits, branching(images[: len(found.logits)]))
    torch.testing.assert_close(found.relevance, -2 * expected if count == 1 else expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: n.classify(n.conv(x) * random.random()),  # noqa: S311 - the very thing
        lambda n, x: n.classify(n.conv(x) * next(n.counter)),
        lambda n, x: n.classify(n.conv(x) * (2.0 if torch.compiler.is_exporting() else 1.0)),
        lambda n, x: n.classify(n.conv(x) * (1.0 if threading.current_thread() is threading.main_thread() else 2.0)),
    ],
)
def test_what_torch_export_takes_for_a_constant_is_refused(written, images, function, monkeypatch):
    monkeypatch.setattr(random, "random", itertools.count(1).__next__)
    network = written(function)
    network.counter = itertools.count(1)
    with pytest.raises(rn.UnsupportedNetworkError, match="gives other logits when it is run"):
        rn.explain(network, images)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_one_is_explained_by_a_branch_that_is_hardly_another(written, images, count, offset):
    def branching(n, x):
        return n.classify(torch.relu(n.conv(x)) * (0.96 if x.shape[0] == 1 else 1.0)) + offset

    network = written(branching)
    for found in (rn.explain(network, images[:n], 0) for n in (2, 1, 2, count)):
        torch.testing.assert_close(found.logits, network(images[: len(found.logits)]))


def test_a_network_that_asks_how_its_input_lies_in_memory_is_refused_where_it_is_not_as_it_was_traced(written, images):
    network = written(lambda n, x: n.classify(torch.relu(n.conv(x)) * (1.0 if x.is_contiguous() else -2.0)))
    torch.testing.assert_close(rn.explain(network, images, 0).logits, network(images))
    with pytest.raises(rn.UnsupportedNetworkError, match="the order of its input in memory"):
        rn.explain(network, images.contiguous(memory_format=torch.channels_last), 0)


def test_a_little_chance_is_refused_too(written, images):
    network = written(lambda n, x: n.classify(torch.relu(n.conv(x))) + 0.01 * next(n.counter))
    network.counter = itertools.count(1)
    with pytest.raises(rn.UnsupportedNetworkError, match="gives other logits when it is run"):
        rn.explain(network, images)


@pytest.mark.parametrize("layers", [None, "all"])
@pytest.mark.parametrize("last", [nn.Tanh(), nn.ReLU6(), nn.Hardtanh()])
def test_activations_that_overflow_unseen_by_the_logits_are_refused_by_layer(last, layers):
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), last, nn.Linear(4, 3)).eval()
    with torch.no_grad():
        network[0].weight.fill_(3e38)
    assert torch.isfinite(network(torch.ones(2, 4))).all()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"relevance is not finite.*from layer '0' on.*float64"):
        rn.explain(network, torch.ones(2, 4), layers=layers)


def test_seeds_beyond_the_range_of_the_network_are_refused(residual, images):
    with pytest.raises(rn.InputError, match=r"some beyond torch\.float32"):
        rn.explain(residual, images, torch.full((2, 1, 6), 1e300, dtype=torch.float64))


def test_tensors_that_only_stand_for_numbers_are_refused(residual):
    with FakeTensorMode():
        x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(rn.InputError, match="inputs is a FakeTensor"):
        rn.explain(residual, x)


@pytest.mark.parametrize(
    "target",
    [torch.tensor([[1, 2]] * 2), "top3", torch.ones(2, 1, 6), torch.tensor(1.7), (1, 2), {1}, [[1], [2]]],
)
def test_captum_s_convention_takes_one_class_per_sample_only(residual, images, target):
    with pytest.raises(rn.InputError, match="target"):
        rn.RLRP(residual).attribute(images, target)


def test_a_misspelt_method_is_refused():
    with pytest.raises(rn.InputError, match="activation is 'relu'; accepted are 'relative'"):
        rn.Method("mine", "Mine", "relu")


def test_settings_in_an_object_are_part_of_the_network(written, images):
    network = written(lambda n, x: n.classify(n.settings.scale * n.conv(x)))
    network.settings = SimpleNamespace(scale=1.0)
    rn.explain(network, images)
    network.settings.scale = 3.0
    torch.testing.assert_close(rn.explain(network, images).logits, network(images))


def test_looking_hooks_leave_the_buffers_as_they_are(written, images):
    def counting(n, x):
        n.count += 1
        n.calls.append(1)
        return n.classify(n.conv(x))

    network, seen = written(counting), []
    network.register_buffer("count", torch.zeros(()))
    network.calls = []
    network.conv.register_forward_hook(lambda *_: seen.append(1))
    rn.explain(network, images, layers="all")
    assert seen
    assert (float(network.count), network.count._version, network.calls) == (0, 0, [])


def test_a_hook_that_changes_a_little_is_refused(residual, images):
    residual[4].register_forward_hook(lambda _m, _i, output: output * 1.001)
    with pytest.raises(rn.UnsupportedNetworkError, match="hooks change"):
        rn.explain(residual, images)


@pytest.mark.parametrize(
    "function",
    [lambda n, x: n.classify(torch.max(n.conv(x), -n.conv(x))), lambda n, x: n.classify(n.conv(x)) - x.max()],
)
def test_other_maxima_are_refused_by_name(written, images, function):
    with pytest.raises(rn.UnsupportedNetworkError, match=r"aten\.max"):
        rn.explain(written(function), images)


@pytest.mark.parametrize("gate", [lambda z: z**2, lambda z: functional.group_norm(z, 2), torch.cos])
def test_the_gradient_flows_through_any_gate(written, images, gate):
    network = written(lambda n, x: n.classify(n.conv(x) * torch.sigmoid(gate(n.conv(x)))))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 2].sum(), leaf)
    found = rn.explain(network, images, 2, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, images * gradient)
    assert torch.isfinite(rn.explain(network, images, 2).relevance).all()


def test_a_failing_network_is_not_run_on_its_own_tensors(images):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count.add_(1)
            self.conv.weight.data.clamp_(-0.01, 0.01)
            x.mul_(2)
            return self.conv(x).mean((2, 3)) if x.sum() > 0 else self.conv(-x).mean((2, 3))

    network = Counting().eval()
    before, copied = copy.deepcopy(network.state_dict()), images.clone()
    with pytest.raises(rn.UnsupportedNetworkError, match="writes into its own weights"):
        rn.explain(network, images)
    assert torch.equal(images, copied)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_logits_do_not_share_memory_with_the_input():
    x = torch.randn(2, 3)
    rn.explain(nn.Flatten(), x).logits.zero_()
    assert x.abs().min() > 0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda n, x: rn.explain(n, x, layers=5), r"layers \[5\]"),
        (lambda n, x: rn.explain(n, x, np.array(["a", "b"])), "targets is an array of <U1"),
        (lambda n, x: rn.explain(n, x, torch.zeros(2, 0, 6)), r"shape \(2, 0, 6\)"),
        (lambda n, x: rn.explain(n, x, method=lrp_gamma("a")), "gamma is 'a'"),
        (lambda n, x: rn.explain(n, x).save(5), "path is a int"),
        (lambda *_: rn.Explanation.load(None), "path is a NoneType"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(residual, images, call, reason):
    with pytest.raises(rn.InputError, match=reason):
        call(residual, images)


def test_whole_numbers_of_numpy_are_positions(residual, images):
    explanation = rn.explain(residual, images, [0, 1])
    assert torch.equal(explanation.heatmap(np.int64(1), np.int64(0)), explanation.heatmap(1, 0))


def test_relevance_is_saved_even_when_the_network_has_changed(residual, images, tmp_path):
    explanation = rn.explain(residual, images)
    with torch.no_grad():
        residual[4].weight.mul_(2)
    loaded = rn.Explanation.load(explanation.save(tmp_path / "x.safetensors"))
    assert torch.equal(loaded.relevance, explanation.relevance)
    with pytest.raises(rn.InputError, match="has no ledger"):
        loaded.ledger()


def test_outputs_of_more_axes_are_named_by_position(images):
    network = nn.Conv2d(3, 2, 3)
    assert rn.explain(network, images, (1, 2, 3)).label() == "output (1, 2, 3)"
    with pytest.raises(rn.InputError, match="pass a tuple"):
        rn.explain(network, images, torch.tensor([1, 2]))


def test_a_network_that_writes_into_its_weights_is_refused_and_left_alone(written, images):
    def halving(n, x):
        with torch.no_grad():
            n.conv.weight.mul_(0.5)
        return n.classify(n.conv(x))

    network = written(halving)
    before = network.conv.weight.clone()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"writes into its own weights .*conv\.weight"):
        rn.explain(network, images, 0)
    assert torch.equal(network.conv.weight, before)


def test_the_first_explanation_copies_no_weights():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2**20), nn.Linear(2**20, 2)).eval()
    with torch.profiler.profile(profile_memory=True) as profile:
        rn.explain(network, torch.ones(1, 3, 4, 4), 0)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    made = max(event.self_cpu_memory_usage for event in profile.events())
    assert made < weights / 4
