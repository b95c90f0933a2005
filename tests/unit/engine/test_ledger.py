import pytest
import torch

import rlrp_nb as rn
from rlrp_nb.engine.ledger import Ledger, LedgerRow

ROWS = [
    LedgerRow("fc", "linear", 2.0, 1.5, 0.5, 1.0, 1e-8),
    LedgerRow("gate", "silu", 1.5, 0.5, 0.0, 1 / 3, float("nan")),
    LedgerRow("conv1", "conv2d", 0.5, 0.75, -0.25, 1.0, 3e-7),
]


def test_it_is_a_sequence_of_rows():
    ledger = Ledger(ROWS)
    assert len(ledger) == 3
    assert list(ledger) == ROWS
    assert ledger[-1] is ROWS[-1]
    assert isinstance(ledger[:2], Ledger)
    assert ledger == Ledger(ROWS) != Ledger(ROWS[:2])


def test_rows_by_name():
    assert Ledger(ROWS).row("gate") is ROWS[1]
    with pytest.raises(KeyError, match="'conv2' is not in the ledger; it has: fc, gate, conv1"):
        Ledger(ROWS).row("conv2")


def test_worst_residual_passes_over_rows_without_identity():
    assert Ledger(ROWS).worst_residual == 3e-7
    assert Ledger([]).worst_residual == 0


def test_columns_for_a_data_frame():
    columns = Ledger(ROWS).to_dict()
    assert list(columns) == ["layer", "op", "relevance_out", "relevance_in", "bias", "factor", "residual"]
    assert columns["layer"] == ["fc", "gate", "conv1"]
    assert columns["bias"] == [0.5, 0.0, -0.25]


def test_table_is_readable():
    lines = str(Ledger(ROWS)).splitlines()
    assert lines[0].split() == ["layer", "op", "out", "in", "bias", "factor", "residual"]
    assert lines[2].split() == ["fc", "linear", "2", "1.5", "0.5", "1", "1e-08"]
    assert len({len(line) for line in lines[2:]}) == 1  # columns are aligned


def test_no_name_in_the_table_tells_the_terminal_what_to_do():
    lines = str(Ledger([*ROWS, LedgerRow("a\x1b[2J\n\u202e", "lin\x07ear", 1.0, 1.0, 0.0, 1.0, 0.0)])).splitlines()
    assert lines[-1].split()[:2] == [r"a\x1b[2J\n\u202e", r"lin\x07ear"]
    assert all(line.isprintable() for line in lines)
    assert len({len(line.rstrip()) for line in lines[2:4]}) == 1  # columns are aligned


def test_the_gradient_enters_the_biases_of_a_gate_too(written, images):
    def squeeze_and_excite(n, x):
        z = n.conv(x)
        n.gate = n.conv(x.mean((2, 3), keepdim=True))
        return n.classify(z * torch.sigmoid(n.gate))

    network = written(squeeze_and_excite).double()
    rows = rn.explain(network, images[:1].double(), 2, "gradient-x-input", layers="all").ledger()
    (of_gate,) = (row for row in rows if row.layer == "conv:2")
    logit = network(images[:1].double())[0, 2]
    (s,) = torch.autograd.grad(logit, [network.gate])
    assert of_gate.bias == pytest.approx(float((network.conv.bias[:, None, None] * s).sum().detach()), rel=1e-9)
    assert of_gate.relevance_out == pytest.approx(float((network.gate * s).sum().detach()), rel=1e-9)
    assert abs(of_gate.residual) < 1e-12
