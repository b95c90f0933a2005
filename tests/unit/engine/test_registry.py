import gc
import sys
import threading
import weakref

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine import registry
from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.registry import constants_of, graph_of, look_up
from rlrp_nb.engine.rules import RULES


@pytest.fixture
def traces(monkeypatch):
    """Count how often a network is traced."""
    calls, real = [], registry.trace
    monkeypatch.setattr(registry, "trace", lambda network, x: calls.append(tuple(x.shape)) or real(network, x))
    return calls


def test_a_network_is_traced_once_per_shape(residual, images, traces):
    for batch in (images, images[:1], images.repeat(3, 1, 1, 1)):
        rn.explain(residual, batch)
    assert len(traces) == 1
    rn.explain(residual, torch.randn(1, 3, 10, 12))
    assert traces[1:] == [(1, 3, 10, 12)]


def test_what_is_known_of_a_network_holds_its_present_weights(residual, images):
    before = look_up(residual, images)
    residual[4].weight.data = residual[4].weight.detach() * 2
    residual[4].bias = nn.Parameter(torch.ones_like(residual[4].bias))
    after = look_up(residual, images)
    assert after.graph is before.graph
    expected = constants_of(residual, after.graph)
    assert expected.keys() == after.constants.keys() == before.constants.keys()
    # of the constants some are the lists from which others are taken
    tensors = {i: value for i, value in expected.items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(after.constants[i], value) for i, value in tensors.items())
    assert sum(not torch.equal(before.constants[i], value) for i, value in tensors.items()) == 2


def test_graphs_of_what_a_network_was_are_not_kept(residual, images):
    before = weakref.ref(graph_of(residual, images))
    residual[4].eps = 1.0  # any setting that code could read
    graph_of(residual, images)
    gc.collect()
    assert before() is None


def test_graphs_of_ever_new_shapes_are_not_kept_without_end(images, monkeypatch):
    monkeypatch.setattr(registry, "_MOST_GRAPHS", 2)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    first = weakref.ref(graph_of(network, images))
    expected = rn.explain(network, images, 1).relevance
    for size in (9, 10):
        rn.explain(network, torch.randn(1, 3, size, size), 1)
    gc.collect()
    assert first() is None
    torch.testing.assert_close(rn.explain(network, images, 1).relevance, expected)


@pytest.mark.parametrize("classes", [1, 2])
def test_an_input_at_the_edge_between_classes_is_explained(classes):
    """There the range of the logits is smaller than what rounds differently where batch-norm is folded."""
    torch.manual_seed(0)
    layers = [part for _ in range(12) for part in (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.Flatten(), nn.Linear(8 * 36, classes)).eval()
    for norm in network:
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_var.uniform_(0.05, 0.2)
    images = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        logits = network(images)[0]
        network[-1].bias -= logits - logits.mean() if classes > 1 else logits
        assert network(images).abs().max() > 0 or classes == 1
    found = rn.explain(network, images, 0)
    torch.testing.assert_close(found.logits, network(images), rtol=1e-3, atol=1e-3 * float(logits.abs().max()))


def test_hooks_that_come_and_go_are_known(residual, images):
    assert look_up(residual, images).hooked == []
    hook = residual[1].register_forward_hook(lambda *_: None)
    assert look_up(residual, images).hooked == ["1"]
    hook.remove()
    assert look_up(residual, images).hooked == []


def test_weights_die_with_their_network_and_do_not_wait_until_cycles_are_collected(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 3)).eval()
    mark = bytearray(network[2].weight.nbytes)  # memory that lives as long as anything that uses it
    network[2].weight.data = torch.frombuffer(mark, dtype=torch.float32).view_as(network[2].weight)
    held = sys.getrefcount(mark)
    gc.disable()
    try:
        rn.explain(network, images, 0)
        assert sys.getrefcount(mark) == held
        del network
        assert sys.getrefcount(mark) < held
    finally:
        gc.enable()


def test_graphs_die_with_their_network(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval()
    explanation = rn.explain(network, images, 0)
    reference = weakref.ref(network)
    graph = weakref.ref(graph_of(network, images))
    del network, explanation
    gc.collect()
    assert reference() is None
    assert graph() is None


def fresh(network, images):
    """Explain with a copy that no one has explained before."""
    import copy  # noqa: PLC0415 - of this helper alone

    return rn.explain(copy.deepcopy(network), images).relevance


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n[0][0].weight.data.mul_(1.5),  # PyTorch counts no write through .data
        lambda n: n[0][1].running_mean.add_(0.5),
        lambda n: n[0][1].bias.data.fill_(0.3),
        lambda n: n.load_state_dict({k: v * 1.1 if v.is_floating_point() else v for k, v in n.state_dict().items()}),
        lambda n: setattr(n[0][1], "weight", nn.Parameter(torch.full((8,), 0.7))),
        lambda n: n.half().float(),
        lambda n: n[4].weight.data.neg_(),
        lambda n: setattr(n[0][1], "eps", 0.5),
        lambda n: n.__setitem__(2, nn.AdaptiveMaxPool2d(1)),
        lambda n: setattr(n[1][0], "relu", nn.LeakyReLU(0.3)),
    ],
)
def test_a_changed_network_is_never_explained_with_what_it_was(residual, images, change):
    before = rn.explain(residual, images).relevance
    with torch.no_grad():
        change(residual)
    after = rn.explain(residual, images).relevance
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, fresh(residual, images))


def test_training_goes_on_between_explanations(residual, images):
    optimiser = torch.optim.SGD(residual.parameters(), 0.1)
    for _ in range(3):
        residual.train()
        optimiser.zero_grad()
        nn.functional.cross_entropy(residual(images), torch.tensor([1, 2])).backward()
        optimiser.step()
        residual.eval()
        torch.testing.assert_close(rn.explain(residual, images).relevance, fresh(residual, images))


def test_a_network_that_compares_itself_in_its_own_way_is_one_of_its_own(images):
    class Alike(nn.Sequential):
        __hash__ = nn.Module.__hash__

        def __eq__(self, other):
            return torch.zeros(2) == 0  # of which Python cannot tell whether it is true

    for _ in range(2):
        network = Alike(nn.Flatten(), nn.Linear(192, 3)).eval()
        for _ in range(2):
            assert torch.allclose(rn.explain(network, images).logits, network(images), atol=1e-5)


def test_many_threads_get_one_graph_and_the_same_numbers(residual, images, traces):
    expected = rn.explain(residual, images, [0, 1, 2], "lrp-gamma", layers="all")
    results, errors = [], []

    def work(seed):
        try:
            for _ in range(4):
                results.append(rn.explain(residual, images, [0, 1, 2], "lrp-gamma", layers="all"))
                rn.explain(residual, torch.randn(1, 3, 8 + seed, 8), method="rlrp")
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed % 3,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(traces) == 3  # one for each shape
    for result in results:
        torch.testing.assert_close(result.relevance, expected.relevance, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(result.layers["1.0"], expected.layers["1.0"], rtol=1e-4, atol=1e-7)


class ForThree(nn.Module):
    """Works for three samples only, and does something to them in front of the head."""

    def __init__(self, inner):
        super().__init__()
        self.conv, self.inner, self.head = nn.Conv2d(3, 4, 3), inner, nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.inner(self.conv(x).view(3, 4, 6, 6)).mean((2, 3)))


def test_a_network_for_one_batch_size_is_explained_sample_by_sample():
    torch.manual_seed(0)
    network, inputs = ForThree(nn.ReLU()).eval(), torch.randn(3, 3, 8, 8)
    others = torch.cat([inputs[:1], 5 * inputs[1:]])
    torch.testing.assert_close(rn.explain(network, inputs, 1).relevance[0], rn.explain(network, others, 1).relevance[0])


def of_three_versions(z):
    return torch.stack([z, 2 * z, -z]).relu().sum(0)


def of_three_channels(z):
    return torch.cat([z[:, :3].transpose(0, 1).relu().transpose(0, 1), z[:, 3:]], 1)


@pytest.mark.parametrize("inner", [of_three_versions, of_three_channels])
def test_an_axis_as_long_as_the_only_batch_is_not_taken_for_that_of_the_samples(inner):
    network = ForThree(inner).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"works for a batch of 3 only, and at .* another axis"):
        rn.explain(network, torch.randn(3, 3, 8, 8))


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.held = nn.Linear(6, 3), None

    def forward(self, x):
        return self.layer(x) * (self.held() if callable(self.held) else float(self.held.start))


def run_as_a_cell(n):
    return eval(f"lambda: {n}.0")  # noqa: S307 - code of its own each time


@pytest.mark.parametrize("make", [lambda n: slice(n, 9), run_as_a_cell], ids=["a slice", "code that is run again"])
def test_what_comes_to_lie_where_another_was_is_not_taken_for_it(make):
    network, x = Reads().eval(), torch.ones(1, 6)
    for n in range(1, 8):
        gc.collect()
        network.held = make(8 + n)
        network.held = make(n)  # at the address of what was explained before
        assert torch.equal(rn.explain(network, x, 0).logits, network(x))


def test_a_rule_that_is_replaced_or_taken_away_is_seen_by_networks_that_are_known(monkeypatch):
    network, x = nn.Sequential(nn.Linear(4, 3), nn.Hardshrink()).eval(), torch.ones(1, 4)
    found = []
    for factor in (1.0, 2.0):
        rule = Activation(lambda z, lambd=0.5, factor=factor: factor + lambd + 0 * z)
        monkeypatch.setitem(RULES, "aten.hardshrink", rule)
        found.append(rn.explain(network, x, 0).relevance)
    torch.testing.assert_close(found[1] / 2.5, found[0] / 1.5)
    monkeypatch.delitem(RULES, "aten.hardshrink")
    with pytest.raises(rn.UnsupportedNetworkError, match="hardshrink"):
        rn.explain(network, x, 0)


def test_a_global_that_is_called_like_an_attribute_is_not_read(written, images, traces, monkeypatch):
    network = written(lambda n, x: n.head(n.conv(x).mean((2, 3))))
    for number in range(3):
        for name in ("mean", "conv", "head"):
            monkeypatch.setitem(globals(), name, number)
        rn.explain(network, images)
    assert len(traces) == 1


def test_a_global_that_is_read_within_a_comprehension_is_seen(written, images, traces, monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    network = written(lambda n, x: n.head(sum(n.conv(x) * FACTOR for _ in range(2)).mean((2, 3))))  # noqa: F821 - set above
    one = rn.explain(network, images, 0).relevance
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    torch.testing.assert_close(rn.explain(network, images, 0).relevance, 2 * one)
    assert len(traces) == 2


class Doubling(nn.Linear):
    __factor__ = 1.0

    def forward(self, x):
        return super().forward(x) * self.__factor__


def test_an_attribute_of_a_class_with_underscores_around_it_is_seen(monkeypatch):
    network, x = Doubling(3, 2).eval(), torch.ones(1, 3)
    one = rn.explain(network, x, 0).relevance
    monkeypatch.setattr(Doubling, "__factor__", 2.0)
    torch.testing.assert_close(rn.explain(network, x, 0).relevance, 2 * one)


class Setting:
    factor = 1.0
    _one = None

    @classmethod
    def get(cls):
        return cls.factor

    @classmethod
    def one(cls):
        cls._one = cls._one or cls()
        return cls._one

    def value(self):
        return self.factor


@pytest.mark.parametrize("read", [lambda: Setting.get(), lambda: Setting.one().value(), lambda: Setting().value()])  # noqa: PLW0108 - forward reads it by name
def test_what_a_method_of_a_class_asks_it_for_is_seen(written, images, monkeypatch, read):
    network = written(lambda n, x: n.classify(n.conv(x) * read()))
    one = rn.explain(network, images, 0).relevance
    monkeypatch.setattr(Setting, "factor", 2.0)
    torch.testing.assert_close(rn.explain(network, images, 0).relevance, 2 * one)
