"""An explanation in words and numbers."""

import io
import json
import math
import sys

import pytest
import torch
from torch import nn

from rlrp_nb.engine.explainer import explain
from rlrp_nb.engine.ledger import Ledger, LedgerRow
from rlrp_nb.report import as_data, class_bars, ledger_in_words, summarize


def row(layer, relevance_in, bias, residual):
    return LedgerRow(layer, "conv2d", relevance_in + bias, relevance_in, bias, 1.0, residual)


def test_a_ledger_in_brief():
    ledger = Ledger([row("a", 3.0, 1.0, 1e-7), row("b", -1.0, 1.0, math.nan), row("c", 1.0, 0.0, 3e-7)])
    assert summarize(ledger) == (3, 2, 3e-7, "c", 0.375, "b", 0.5)


def test_a_ledger_without_biases_or_residuals():
    assert summarize(Ledger([row("a", 0.0, 0.0, math.nan)])) == (1, 0, None, None, None, None, None)


@pytest.fixture(scope="module")
def explanation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 7)).eval()
    return explain(network, torch.rand(2, 1, 6, 6), targets=[1, (2, 3)], layers="all")


def test_the_data_are_those_of_the_explanation(explanation):
    data = as_data(explanation, sample=1)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [entry["class"] for entry in data["top"]] == explanation.logits[1].argsort(descending=True)[:5].tolist()
    first, contrast = data["targets"]
    assert first["name"] == "class 1"
    assert first["logit"] == float(explanation.logits[1, 1])
    assert first["relevance"]["sum"] == pytest.approx(float(explanation.relevance[1, 0].double().sum()))
    assert (contrast["class"], contrast["against"]["class"]) == (2, 3)
    assert set(contrast["layers"]) == set(explanation.layers)


def test_a_seed_that_is_no_class():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    seeded = explain(network, torch.rand(1, 1, 2, 2), targets=torch.eye(3)[None, :1])
    assert as_data(seeded)["targets"][0]["class"] is None
    assert ledger_in_words(seeded).startswith("seed 0: explained by R-LRP")


def test_the_most_probable_classes_are_bars(explanation):
    lines = class_bars(explanation).splitlines()
    assert [line.split()[1] for line in lines] == [str(entry["class"]) for entry in as_data(explanation)["top"]]
    lengths = [line.count("█") for line in lines]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 0


def test_the_ledger_in_words(explanation):
    words = ledger_in_words(explanation, 1)
    assert words.startswith("class 2 \N{MINUS SIGN} class 3, ")
    balanced = [row for row in explanation.ledger() if math.isfinite(row.residual)]
    assert f"the books of {len(balanced)} layers balance to" in words
    assert "biases absorb" in words


def test_one_output_has_a_value_and_no_probability():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).eval()
    nn.init.zeros_(network[1].weight)
    nn.init.constant_(network[1].bias, -2)
    explanation = explain(network, torch.rand(1, 1, 2, 2))
    assert class_bars(explanation) == "  class 0  output \N{MINUS SIGN}2"
    assert as_data(explanation)["top"] == [{"class": 0, "name": "class 0", "probability": None, "logit": -2.0}]
    assert ledger_in_words(explanation).startswith("class 0, output \N{MINUS SIGN}2: explained by R-LRP")


def test_bars_that_a_terminal_cannot_show(explanation, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = class_bars(explanation)
    assert "█" not in text
    assert "##" in text
