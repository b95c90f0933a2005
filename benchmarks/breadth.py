"""Every classification CNN of torchvision, explained once: one table, put into the documentation."""

from __future__ import annotations

import argparse
import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision import models

import rlrp_nb as rn
from benchmarks.contenders import BASELINE
from benchmarks.flops import count_flops
from rlrp_nb.engine.registry import graph_of
from rlrp_nb.models import torchvision_cnn
from tests.reference import backprop, zoo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
AGREES = 1e-4

_HEAD = """# Networks

Every classification CNN that torchvision builds is explained, each with random weights and random batch-norm
statistics, in float64, on one picture of noise of {size} pixels ({larger}).

- **Parameters**: in millions.
- **Ops**: how many different ATen ops the network comes down to; all of them are listed below the table.
- **FLOPs**: of one explanation, divided by those of one forward pass and one backward pass to the input by autograd.
- **Residual**: the largest of the ledger's, over all layers: how exactly the books balance.
- **Difference**: from R-LRP by automatic differentiation, an independent implementation
  (`tests/reference/backprop.py`), as a share of the largest relevance. Up to {agrees:g} counts as agreement.

Made by `python -m benchmarks.breadth`, and held by `tests/reference/test_breadth.py`.
"""


@dataclass(frozen=True)
class Row:
    """What was found for one network.

    Attributes
    ----------
    name
        As torchvision calls it.
    parameters
        How many it has.
    ops
        ATen ops of its graph.
    flops
        Of one explanation, divided by one forward and one backward pass to the input.
    residual
        The ledger's largest.
    difference
        Largest absolute difference from the reference, as a share of its largest absolute value.
    """

    name: str
    parameters: int
    ops: frozenset[str]
    flops: float
    residual: float
    difference: float


def examine(name: str) -> Row:
    """Explain one network and compare."""
    network = zoo.network(name, torch.float64)
    inputs = torch.randn(1, 3, zoo.size(name), zoo.size(name), generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        best = int(network(inputs).argmax())
    found = rn.explain(network, inputs, best, layers="all")
    seed = backprop.one_hot(found.logits.shape[1], [best], inputs.dtype)
    truth = backprop.relevance(network, inputs, seed)
    autograd = BASELINE.prepare(network)
    return Row(
        name,
        sum(parameter.numel() for parameter in network.parameters()),
        frozenset(step.op for step in graph_of(network, inputs).steps if step.sources),
        count_flops(lambda: rn.explain(network, inputs, best)) / count_flops(lambda: autograd(inputs, [best])),
        float(found.ledger().worst_residual),
        float((found.relevance[:, 0] - truth).abs().max() / truth.abs().max()),
    )


def examined(names: Sequence[str]) -> Iterator[Row]:
    """Examine one network after the other, and keep none."""
    for name in names:
        yield examine(name)
        gc.collect()


def refusals() -> list[tuple[str, str]]:
    """Return what is said of the vision transformers."""
    return [(name, refusal(name)) for name in sorted({*models.list_models(module=models)} - {*torchvision_cnn.names()})]


def refusal(name: str) -> str:
    """Return what is said of a network that is not explained."""
    try:
        torchvision_cnn.refuse_other_kinds(name)
    except rn.UnsupportedNetworkError as error:
        return str(error)
    raise AssertionError(f"{name} is not refused")


def page(rows: Sequence[Row]) -> str:
    """Return the whole page."""
    larger = ", ".join(f"{row.name}: {zoo.size(row.name)}" for row in rows if zoo.size(row.name) != zoo.size(""))
    lines = [
        _HEAD.format(size=zoo.size(""), larger=larger or "all the same", agrees=AGREES),
        "| Network | Parameters | Ops | FLOPs | Residual | Difference | Agrees |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {row.name} | {row.parameters / 1e6:.1f} | {len(row.ops)} | {row.flops:.2f} | {row.residual:.0e} | "
        f"{row.difference:.0e} | {'yes' if row.difference <= AGREES else '**no**'} |"
        for row in rows
    ]
    lines += ["", "## Their ops", "", "| ATen op | networks |", "|---|--:|"]
    ops = sorted({op for row in rows for op in row.ops})
    lines += [f"| `{op}` | {sum(op in row.ops for row in rows)} |" for op in ops]
    lines += ["", "## Refused", "", "A network that is no CNN is refused by name, in words:", ""]
    lines += [f"- `{name}`: {sentence}" for name, sentence in refusals()]
    lines += [
        "",
        "Of a network of your own, an error names each op without a rule, where it is and what to do.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breadth", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these networks; the table is then only printed")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    rows = []
    for row in examined(names or torchvision_cnn.names()):
        print(row.name, f"{row.flops:.3f} {row.residual:.1e} {row.difference:.1e}", file=sys.stderr, flush=True)
        rows.append(row)
    text = page(rows)
    if names:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
