"""The conservation ledger: where relevance goes at each layer, and whether the books balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlrp_nb.printable import printable

_HEAD = ("layer", "op", "out", "in", "bias", "factor", "residual")


@dataclass(frozen=True)
class LedgerRow:
    """One layer of the ledger, for one sample and one target.

    Attributes
    ----------
    layer
        Name of the layer.
    op
        The ATen op, without its namespace.
    relevance_out
        Sum of the relevance at the layer's output, where it arrives.
    relevance_in
        Sum of the relevance that the layer hands on to its inputs.
    bias
        The part that the layer's bias keeps, in the same unit.
    factor
        What the layer lets through of what arrives: for an activation ``sum R_z / sum R_a``, for an affine map the
        share that it passes on (1 but for rules that damp). Not a number where nothing arrives.
    residual
        How far the books are from balancing, relative to the sum of absolute values: for an affine map
        ``in + bias - passed on``, for an activation the largest total deviation from ``R_z = |a| / max |a| * R_a``. Not
        a number where a method promises no identity (gradient x input at a smooth activation or a gate).
    """

    layer: str
    op: str
    relevance_out: float
    relevance_in: float
    bias: float
    factor: float
    residual: float


class Ledger(Sequence[LedgerRow]):
    """The ledger of one sample and one target, from the logits (first row) back to the input (last row)."""

    def __init__(self, rows: Sequence[LedgerRow]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - a row for a number, a ledger for a slice
        return Ledger(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __iter__(self) -> Iterator[LedgerRow]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def row(self, layer: str) -> LedgerRow:
        """Return the row of a layer.

        Raises
        ------
        KeyError
            There is no row of that name.
        """
        for row in self._rows:
            if row.layer == layer:
                return row
        raise KeyError(f"{layer!r} is not in the ledger; it has: {', '.join(row.layer for row in self._rows)}")

    @property
    def worst_residual(self) -> float:
        """The largest residual of all rows that have one; 0.0 for an empty ledger."""
        return max((row.residual for row in self._rows if row.residual == row.residual), default=0.0)

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name, ready for ``pandas.DataFrame``."""
        records = [asdict(row) for row in self._rows]
        return {name: [record[name] for record in records] for name in LedgerRow.__dataclass_fields__}

    def __str__(self) -> str:
        body = [
            (
                *map(printable, (r.layer, r.op)),
                *(f"{v:.3g}" for v in (r.relevance_out, r.relevance_in, r.bias, r.factor, r.residual)),
            )
            for r in self._rows
        ]
        widths = [max(len(line[column]) for line in [_HEAD, *body]) for column in range(len(_HEAD))]
        lines = [
            "  ".join(
                cell.ljust(width) if head in {"layer", "op"} else cell.rjust(width)
                for head, cell, width in zip(_HEAD, line, widths, strict=True)
            )
            for line in [_HEAD, *body]
        ]
        return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])

    def __repr__(self) -> str:
        return str(self)
