import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine import weighted


def test_sums_are_those_of_the_tensors(residual, images):
    explanation = rn.explain(residual.double(), images.double(), [1, (0, 2)], layers="all")
    for target in (0, 1):
        for sample in (0, 1):
            ledger = explanation.ledger(target, sample)
            assert ledger[0].layer == "4"
            assert ledger[0].relevance_out == pytest.approx(float(explanation.layers["4"][sample, target].sum()))
            assert ledger[-1].relevance_in == pytest.approx(float(explanation.relevance[sample, target].sum()))
            relu = ledger.row("0.2")
            assert relu.relevance_out == pytest.approx(float(explanation.layers["0.2"][sample, target].sum()))
            assert relu.relevance_in == pytest.approx(float(explanation.layers["0.0"][sample, target].sum()))
            assert relu.factor == pytest.approx(relu.relevance_in / relu.relevance_out)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_sums_of_large_layers_in_float32_are_as_good_as_its_numbers(order):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.AvgPool2d(316))
    network = network.append(nn.Flatten()).append(nn.Linear(4, 2)).eval()
    x = (torch.randn(1, 3, 320, 320) * 50 + 1000).to(memory_format=order)
    explanation = rn.explain(network, x, 0, layers="all")
    ledger = explanation.ledger()
    for name, relevance in explanation.layers.items():
        row = next(row for row in ledger if row.layer == name)
        exact, mass = float(relevance.double().sum()), float(relevance.double().abs().sum())
        assert abs(row.relevance_out - exact) <= 1e-6 * mass
    exact = explanation.relevance.double()
    assert abs(ledger[-1].relevance_in - float(exact.sum())) <= 1e-6 * float(exact.abs().sum())
    assert ledger.worst_residual < 1e-5


def test_bias_keeps_its_share():
    network = nn.Linear(2, 1).double()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 2.0]]))
        network.bias.fill_(3.0)
    (row,) = rn.explain(network, torch.tensor([[4.0, 5.0]], dtype=torch.float64), 0, layers="all").ledger()
    assert (row.relevance_out, row.relevance_in, row.bias, row.factor) == (17.0, 14.0, 3.0, 1.0)


def test_infinite_values_that_nothing_arrives_at_take_no_part(written, images):
    mask = torch.arange(64).reshape(8, 8) % 3 == 0

    def masked(network, x):
        z = network.conv(x)
        return network.head(z.masked_fill(mask, fill).amax((2, 3)))

    fill = -torch.inf
    found = rn.explain(written(masked), images, layers="all")
    fill = -1e9
    expected = rn.explain(written(masked), images, layers="all")
    assert torch.equal(found.relevance, expected.relevance)
    assert all(torch.equal(found.layers[name], expected.layers[name]) for name in expected.layers)
    for one, other in zip(found.ledger(), expected.ledger(), strict=True):
        assert one.layer == other.layer
        assert (one.relevance_out, one.relevance_in) == (other.relevance_out, other.relevance_in)
        assert one.residual < 1e-5


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_books_balance_at_every_layer(residual, images, dtype, bound):
    explanation = rn.explain(residual.to(dtype), images.to(dtype), "top3", layers="all")
    for target in range(3):
        rows = list(explanation.ledger(target, 1))
        assert [row.op for row in rows if row.op in {"conv2d", "linear"}] == ["linear"] + ["conv2d"] * 7
        assert all(row.residual < bound for row in rows)


def test_a_wrong_transpose_shows_at_its_layer(residual, images, monkeypatch):
    right = weighted.Convolution.pull
    monkeypatch.setattr(weighted.Convolution, "pull", lambda *a: right(*a) * 1.001)
    rows = rn.explain(residual, images, 0, layers="all").ledger()
    assert {row.op for row in rows if row.residual > 1e-4} == {"conv2d"}


def test_the_ledger_can_be_asked_for_later(residual, images):
    assert rn.explain(residual, images, "top2").ledger(1, 1) == rn.explain(
        residual, images, "top2", layers="all"
    ).ledger(1, 1)


def rescale(network):
    """Make the same function of other neurons, as before quantisation."""
    with torch.no_grad():
        for part in (network[2].weight, network[2].bias):
            part[0].mul_(8)
        network[4].weight[:, 0].div_(8)


def test_the_ledger_of_the_same_function_by_other_neurons_is_refused():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    explanation = rn.explain(network, torch.randn(2, 6), [0, (1, 2)])
    assert rn.explain(network, torch.randn(2, 6)).ledger().worst_residual < 1e-5
    logits = network(torch.ones(1, 6))
    rescale(network)
    torch.testing.assert_close(network(torch.ones(1, 6)), logits)
    with pytest.raises(rn.InputError, match="has changed since"):
        explanation.ledger()


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n[4].weight.data.mul_(2),
        lambda n: n.double(),
        lambda n: n.pop(4),
        lambda n: n.__setitem__(4, nn.Linear(8, 6, bias=False)),
    ],
)
def test_a_ledger_asked_for_after_the_network_changed_is_refused(residual, images, change, tmp_path):
    explanation = rn.explain(residual, images)
    change(residual)
    with pytest.raises(rn.InputError, match="has changed since"):
        explanation.ledger()
    loaded = rn.Explanation.load(explanation.save(tmp_path / "x.safetensors"))
    assert torch.equal(loaded.relevance, explanation.relevance)
