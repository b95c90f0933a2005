"""The study of the denominator: every variant against loops in float64, the decision, and the command itself."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from benchmarks.denominators import DENOMINATORS, bound, relevance
from benchmarks.rule_cases import CASES, MEASURES, Case
from benchmarks.rule_study import (
    FORMULAS,
    NETWORKS_OF_A_KIND,
    TEXT,
    equals_product_rule,
    ignores_scale,
    summarise,
    winners,
)

ROOT = Path(__file__).parents[2]


def denominators(a, name):
    """``a`` is (channels, positions); return d for every neuron, by the words of the definition."""
    d = np.empty_like(a)
    for c in range(a.shape[0]):
        for p in range(a.shape[1]):
            d[c, p] = {
                "layer": a.max(),
                "channel": max(a[c]),
                "position": max(a[:, p]),
                "mean": sum(v * v for v in a.flat) / sum(a.flat),
                "one": 1.0,
                "own": a[c, p],
            }[name]
    return d


def naive(weights, biases, x, target, name, channels, *, six=False):
    """Relevance of one sample in a dense net whose hidden layers have so many channels."""
    activations, slopes, a = [x], [], x
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = w @ a + b
        if layer == len(weights) - 1:
            break
        a = np.clip(z, 0, 6 if six else None)
        d = denominators(a.reshape(channels[layer], -1), name).ravel()
        slopes.append([(a[j] / z[j]) * a[j] / d[j] if z[j] > 0 else 0.0 for j in range(len(z))])
        activations.append(a)
    s = np.eye(len(b))[target]
    for w, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        s = (w.T @ s) * slope
    return x * (weights[0].T @ s)


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("name", DENOMINATORS)
def test_relevance_equals_loops_on_a_dense_net(name, six):
    torch.manual_seed(1)
    act = nn.ReLU6 if six else nn.ReLU
    network = nn.Sequential(nn.Linear(5, 12), act(), nn.Linear(12, 7), act(), nn.Linear(7, 3)).double().eval()
    if six:
        network[0].weight.data *= 10  # some reach 6
    inputs, targets = torch.randn(4, 5).double(), torch.tensor([0, 1, 2, 1])
    found = relevance(network, inputs, targets, name)
    linear = [network[i] for i in (0, 2, 4)]
    weights, biases = ([getattr(m, n).detach().numpy() for m in linear] for n in ("weight", "bias"))
    for i in range(4):
        wanted = naive(weights, biases, inputs[i].numpy(), int(targets[i]), name, (12, 7), six=six)
        np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", DENOMINATORS)
def test_relevance_equals_loops_on_maps_of_channels_and_positions(name):
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2)).double().eval()
    inputs, targets = torch.rand(2, 1, 3, 3).double(), torch.tensor([1, 0])
    found = relevance(network, inputs, targets, name)
    columns = network[0](torch.eye(9).double().reshape(9, 1, 3, 3)).flatten(1).detach()
    bias = network[0](torch.zeros(1, 1, 3, 3).double()).flatten().detach()
    weights = [(columns - bias).T.numpy(), network[3].weight.detach().numpy()]
    biases = [bias.numpy(), network[3].bias.detach().numpy()]
    for i in range(2):
        wanted = naive(weights, biases, inputs[i].flatten().numpy(), int(targets[i]), name, (3,))
        np.testing.assert_allclose(found[i].flatten().numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_layer_is_what_the_engine_does_and_own_is_gradient_x_input():
    model = rn.load_model("simple_cnn")
    inputs, targets = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 7, 3])
    for name, method in (("layer", "rlrp"), ("own", "gradient-x-input")):
        wanted = torch.stack(
            [
                rn.explain(model.network, x[None], int(t), method).relevance[0, 0]
                for x, t in zip(inputs, targets, strict=True)
            ]
        ).double()
        found = relevance(model.network, inputs, targets, name)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def test_a_dead_layer_hands_nothing_on():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    nn.init.constant_(network[0].bias, -100)
    for name in DENOMINATORS:
        assert not relevance(network, torch.ones(1, 2).double(), torch.tensor([0]), name).any()
        assert bound(network, torch.ones(1, 2).double(), name) == 0


def test_bounds_are_the_largest_shares():
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    network[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).double()
    found = {name: bound(network, torch.ones(1, 2).double(), name) for name in DENOMINATORS}
    assert found == pytest.approx({"layer": 1, "channel": 1, "position": 1, "mean": 3 / 2.5, "one": 3, "own": 1})


def test_which_denominators_cancel_in_a_chain_and_which_mind_the_scale_of_the_picture():
    assert [equals_product_rule(name) for name in DENOMINATORS] == [True, False, False, True, True, False]
    assert [ignores_scale(name) for name in DENOMINATORS] == [True, True, True, True, False, True]
    assert FORMULAS.keys() == DENOMINATORS.keys()


def result(kind, name, **shifts):
    """A network on which one denominator is shifted against the others, by measure."""
    generator = torch.Generator().manual_seed(3)
    base = {m: torch.rand(30, generator=generator).double() for m in ("AOPC", "ABPC", "noise", "mosaic", "Gini")}
    rows = {d: dict(base) for d in DENOMINATORS}
    rows[name] = {m: values + shifts.get(m, 0) for m, values in base.items()}
    return summarise(Case("x", kind, patch=1, per_step=1, black=True, noise=0.1, whole_cells=True), rows)


def test_the_decision_asks_for_two_networks_of_each_kind_and_no_loss():
    good, lost = {"AOPC": 0.1}, {"AOPC": 0.1, "noise": -0.01}
    chains, residuals = [result("chain", "mean", **good)] * 2, [result("residual", "mean", **good)] * 2
    assert winners(chains + residuals) == ("mean",)
    assert winners(chains + residuals[:1]) == ()
    assert winners([*chains, residuals[0], result("residual", "mean", **lost)]) == ()
    assert winners([*chains, residuals[0], result("residual", "mean", Gini=0.1)]) == ()
    assert result("chain", "mean", **lost).better("mean") == ("AOPC",)
    assert result("chain", "mean", **lost).worse("mean") == ("noise",)
    assert result("chain", "mean", **lost).better("layer") == ()


def test_the_command_makes_the_page_and_leaves_the_stored_one_alone():
    stored = ROOT / "docs" / "rule.md"
    before = stored.exists() and stored.read_bytes()
    command = [sys.executable, "-W", "error", "-m", "benchmarks.rule_study", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert (stored.exists() and stored.read_bytes()) == before
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == re.findall(r"^#.*", TEXT, re.MULTILINE)
    rows = [line for line in lines if line.startswith("| `") and line.count(" to ") == len(MEASURES)]
    assert [row.split("`")[1] for row in rows] == list(DENOMINATORS)
    for row in rows:
        if "`mean`" in row or "`one`" in row:  # in a chain they are the same heatmap as the default
            assert row.count("(+0.000, +0.000 to +0.000)") == len(MEASURES)
    assert any(line.startswith("No denominator meets that") for line in lines)


def test_every_number_of_the_page_comes_from_the_results():
    text = TEXT.split("## The question")[1]
    assert not re.findall(r"\d\.\d{2,}", text)
    assert len(CASES) == len({case.name for case in CASES})
    for kind in ("chain", "residual"):
        assert sum(case.kind == kind for case in CASES) >= NETWORKS_OF_A_KIND
