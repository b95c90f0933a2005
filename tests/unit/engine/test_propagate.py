# ruff: noqa: PLC3002 - a lambda called at once names a value within another lambda
import gc
import weakref

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine import propagate
from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import forward, walk_back
from rlrp_nb.engine.registry import constants_of
from rlrp_nb.engine.tracing import trace


@pytest.mark.parametrize("method", METHODS)
def test_targets_together_are_targets_one_by_one(residual, images, method):
    together = rn.explain(residual, images, [0, 3, (1, 2), 5], method, layers="all")
    for k, target in enumerate([0, 3, (1, 2), 5]):
        alone = rn.explain(residual, images, [target], method, layers="all")
        torch.testing.assert_close(together.relevance[:, k], alone.relevance[:, 0], rtol=1e-4, atol=1e-7)
        for name, relevance in alone.layers.items():
            torch.testing.assert_close(together.layers[name][:, k], relevance[:, 0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_samples_do_not_know_of_each_other(residual, images, method):
    together = rn.explain(residual, images, 2, method).relevance
    for n in range(len(images)):
        alone = rn.explain(residual, images[n : n + 1], 2, method).relevance
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-7)


LARGE = 4 * 2 * 8 * 8 * 8
"""Bytes of the largest value of `residual`: two samples of eight channels."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("most", "walks"), [(1, 5), (LARGE, 5), (2 * LARGE, 3), (4 * LARGE, 2), (5 * LARGE, 1)])
def test_large_targets_walk_a_few_at_a_time(residual, images, method, most, walks, monkeypatch):
    targets = [0, 3, (1, 2), 5, 4]
    expected = rn.explain(residual, images, targets, method).relevance
    sizes = []
    walk = propagate._walk
    monkeypatch.setattr(propagate, "_walk", lambda *given: (sizes.append(len(given[4])), walk(*given))[1])
    monkeypatch.setattr(propagate, "LARGEST", most)
    torch.testing.assert_close(rn.explain(residual, images, targets, method).relevance, expected)
    assert (len(sizes), sum(sizes)) == (walks, 5)


def test_layers_and_ledger_of_targets_that_walk_apart_are_joined(residual, images, monkeypatch):
    targets = [0, 3, (1, 2)]
    expected = rn.explain(residual.double(), images.double(), targets, layers="all")
    monkeypatch.setattr(propagate, "LARGEST", 1)
    found = rn.explain(residual, images.double(), targets, layers="all")
    for name, relevance in expected.layers.items():
        torch.testing.assert_close(found.layers[name], relevance)
    for target in range(3):
        for sample in range(len(images)):
            rows = zip(found.ledger(target, sample), expected.ledger(target, sample), strict=True)
            for row, other in rows:
                assert (row.layer, row.op) == (other.layer, other.op)
                assert row.relevance_out == pytest.approx(other.relevance_out)
                assert row.relevance_in == pytest.approx(other.relevance_in)


def test_targets_that_walk_apart_are_scaled_as_one(monkeypatch):
    torch.manual_seed(0)
    deep = [part for _ in range(400) for part in (nn.Linear(6, 6), nn.ReLU())]
    network = nn.Sequential(*deep, nn.Linear(6, 3)).eval()
    for layer in network[::2]:
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.zeros_(layer.bias)
        layer.weight.data /= 6
    with torch.no_grad():
        network[-1].weight[1] *= 1e-30
        network[0].weight *= 1e9
    x = torch.rand(2, 6)
    expected = rn.explain(network, x, [0, 1, (0, 1)]).relevance
    monkeypatch.setattr(propagate, "LARGEST", 1)
    found = rn.explain(network, x, [0, 1, (0, 1)]).relevance
    assert float(expected.abs().amax()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_relevance_of_a_layer_is_that_of_the_rest_of_the_network(residual, images):
    explanation = rn.explain(residual, images, 1, layers=["1.0", "0"])
    assert list(explanation.layers) == ["0.2", "1.0"]
    tail = torch.nn.Sequential(residual[1][1], *residual[2:])
    hidden = residual[1][0](residual[0](images))
    torch.testing.assert_close(explanation.layers["1.0"], rn.explain(tail, hidden, 1).relevance)


def test_the_map_and_the_layers_share_no_memory(images):
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(images[0].numel(), 4)).eval()
    for method in ("rlrp", "epsilon-plus-flat"):
        explanation = rn.explain(network, images, 0, method, layers="all")
        kept = [tensor.clone() for tensor in explanation.layers.values()]
        explanation.relevance.zero_()
        assert all(torch.equal(*pair) for pair in zip(kept, explanation.layers.values(), strict=True))


def test_the_logits_layer_holds_the_seed(residual, images):
    explanation = rn.explain(residual, images, [4, (0, 2)], layers="all")
    logits = residual(images)
    expected = torch.zeros(2, 2, 6)
    expected[:, 0, 4] = logits[:, 4]
    expected[:, 1, 0], expected[:, 1, 2] = logits[:, 0], -logits[:, 2]
    torch.testing.assert_close(explanation.layers["4"], expected)


def test_a_walk_uses_its_record_up(residual, images):
    graph = trace(residual, images)
    steps = plan(graph, METHODS["rlrp"], None, ledger=False)
    with torch.no_grad():
        constants = constants_of(residual, graph)
        record = forward(graph, steps, constants, images)
        kept = [weakref.ref(record.values[i]) for i in steps.keep]
        assert all(reference() is not None for reference in kept)
        walk_back(graph, steps, record, images, torch.ones(1, *record.logits.shape))
    gc.collect()
    assert all(reference() is None for reference in kept)
    assert record.states == {}


def test_a_branch_that_gets_no_sensitivity_is_no_obstacle(written, images):
    network = written(lambda n, x: n.classify(torch.cat([n.conv(x) * 0, n.conv(x)], 1)[:, 4:]))
    relevance = rn.explain(network, images, 0).relevance
    expected = rn.explain(written(lambda n, x: n.classify(n.conv(x))), images, 0).relevance
    torch.testing.assert_close(relevance, expected)


SHARING = {
    "skip": lambda n, x: n.classify((lambda a: (n.conv(a[:, :3]) + a).relu())(n.conv(x).relu())),
    "added to itself": lambda n, x: n.classify((lambda a: (a + a).relu() + a)(n.conv(x).relu())),
    "three uses": lambda n, x: n.classify((lambda a: (a + n.conv(a[:, 1:]).relu()).relu() + a)(n.conv(x).relu())),
    "concatenated twice": lambda n, x: n.classify((lambda a: torch.cat([a, a], 1)[:, 2:6].relu())(n.conv(x).relu())),
    "views": lambda n, x: n.classify(n.conv(x).relu().flatten(2).transpose(1, 2).relu().reshape(-1, 4, 8, 8).relu()),
    "the input added": lambda n, x: n.classify((n.conv(x) + torch.cat([x, x[:, :1]], 1)).relu()),
    "the input first": lambda n, x: n.classify((lambda a: n.conv(a).relu() + n.conv(a))(x.relu())),
    "logits activated": lambda n, x: n.classify(n.conv(x).relu()).relu(),
    "gated": lambda n, x: n.classify((lambda a: a * torch.sigmoid(a.mean((2, 3), keepdim=True)))(n.conv(x).relu())),
    "clamped": lambda n, x: n.classify((lambda a: nn.functional.relu6(a * 9) + a)(nn.functional.relu6(n.conv(x)))),
    "padded and pooled": lambda n, x: n.classify(
        nn.functional.max_pool2d(nn.functional.pad(n.conv(x).relu(), (1, 2, -1, 3)), 3, 2).relu()
    ),
}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("method", ["rlrp", "lrp-0", "gradient-x-input"])
def test_memory_that_is_written_over_changes_nothing(written, images, name, method):
    network, before = written(SHARING[name]), images.clone()
    lean = rn.explain(network, images, [1, (0, 2)], method)
    # with the ledger every value is kept, so that nothing is written over
    kept = rn.explain(network, images, [1, (0, 2)], method, layers="all")
    assert torch.equal(images, before)
    assert torch.equal(lean.logits, kept.logits)
    torch.testing.assert_close(lean.logits, network(images))
    assert torch.equal(lean.relevance, kept.relevance)
    assert torch.equal(lean.relevance, rn.explain(network, images, [1, (0, 2)], method).relevance)
    assert torch.equal(torch.tensor(lean.ledger().worst_residual), torch.tensor(kept.ledger().worst_residual))


@pytest.mark.parametrize("method", METHODS)
def test_no_tensor_waits_for_the_garbage_collector(written, images, method):
    network = written(lambda n, x: n.classify(nn.functional.silu(nn.functional.relu6(n.conv(x))).relu()))
    rn.explain(network, images, [0, 1], method)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        rn.explain(network, images, [0, 1], method)
        gc.collect()
        assert [type(found) for found in gc.garbage if isinstance(found, torch.Tensor)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
