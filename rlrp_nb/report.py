"""An explanation in words and numbers: as text for a terminal, as plain data for JSON."""

import math
import sys
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from rlrp_nb.class_name import distinct_name, shown_name
from rlrp_nb.errors import InputError
from rlrp_nb.plots.caption import headline, method_title, output, percent
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.engine.ledger import Ledger

TOP = 5
_WIDTH = 30


class LedgerSummary(NamedTuple):
    """A ledger in brief.

    Attributes
    ----------
    layers, balanced
        How many layers it has, and how many of them have a residual.
    worst_residual, worst_layer
        The largest residual, and the layer where it is; None where no layer has one.
    bias_share, most_biased_layer, most_biased_share
        What biases keep of what a layer accounts for, ``|bias| / (|bias| + |relevance in|)``: at the median layer among
        those with a bias, and where it is the most; None without biases.
    """

    layers: int
    balanced: int
    worst_residual: float | None
    worst_layer: str | None
    bias_share: float | None
    most_biased_layer: str | None
    most_biased_share: float | None


def summarize(ledger: "Ledger") -> LedgerSummary:
    """Find what a person would look for in a ledger first.

    Parameters
    ----------
    ledger : Ledger
        What :meth:`Explanation.ledger` returned.

    Returns
    -------
    LedgerSummary
        See there.
    """
    residuals = [(row.residual, row.layer) for row in ledger if math.isfinite(row.residual)]
    shares = [(abs(row.bias) / (abs(row.bias) + abs(row.relevance_in)), row.layer) for row in ledger if row.bias]
    worst, biased = max(residuals, default=(None, None)), max(shares, default=(None, None))
    middle = median(share for share, _ in shares) if shares else None
    return LedgerSummary(len(ledger), len(residuals), worst[0], worst[1], middle, biased[1], biased[0])


def class_bars(explanation: "Explanation", sample: int = 0) -> str:
    """Draw the most probable classes as bars of text.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    sample : int
        Position in the batch.

    Returns
    -------
    str
        One line per class; of a network with one output its value.
    """
    top = [
        {**entry, "name": printable(distinct_name(explanation.categories, entry["class"]))}
        for entry in _top(explanation, sample)
    ]
    if not explanation.has_probabilities:
        return f"  {top[0]['name']}  output {output(top[0]['logit'])}"
    wide = max(len(entry["name"]) for entry in top)
    lines = [f"  {e['name']:{wide}}  {percent(e['probability']):>8}  {_bar(e['probability'])}".rstrip() for e in top]
    return "\n".join(lines)


def ledger_in_words(explanation: "Explanation", target: int = 0, sample: int = 0) -> str:
    """Say what was explained, by which method, and what its ledger shows.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    target : int
        Position among the explained targets, not a class index.
    sample : int
        Position in the batch.

    Returns
    -------
    str
        A few lines.
    """
    summary = summarize(explanation.ledger(target, sample))
    lines = [f"{printable(headline(explanation, target, sample))}: explained by {method_title(explanation.method)}"]
    if summary.worst_residual is not None:
        worst = f"{summary.worst_residual:.1e} or better (worst: {printable(str(summary.worst_layer))})"
        lines.append(f"  the books of {summary.balanced} layers balance to {worst}")
    if summary.bias_share is not None and summary.most_biased_share is not None:
        most = f"{percent(summary.most_biased_share)} in {printable(str(summary.most_biased_layer))}"
        lines.append(f"  biases absorb {percent(summary.bias_share)} at the median layer (most: {most})")
    return "\n".join(lines)


def as_data(explanation: "Explanation", sample: int = 0) -> dict[str, Any]:
    """Return an explanation's numbers, without its maps, as plain values that JSON can hold.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    sample : int
        Position in the batch.

    Returns
    -------
    dict
        ``method``; ``top``, the most probable classes, of one output without a probability; ``targets``, each with its
        class (None for a seed given as numbers), the class it is held against or None, the sum and the extremes of its
        heatmap, the sum of the relevance at each layer that was kept, and its ledger in brief; ``versions``.
    """
    return {
        "method": explanation.method,
        "top": _top(explanation, sample),
        "targets": [_target(explanation, target, sample) for target in range(explanation.targets.shape[1])],
        "versions": dict(explanation.versions),
    }


def _target(explanation: "Explanation", target: int, sample: int) -> dict[str, Any]:
    heatmap = explanation.heatmap(target, sample).double()
    index, other = int(explanation.targets[sample, target]), int(explanation.negatives[sample, target])
    seed = {"class": None, "name": explanation.label(target, sample), "probability": None, "logit": None}
    return {
        **(_class(explanation, index, sample) if index >= 0 else seed),
        "against": _class(explanation, other, sample) if other >= 0 else None,
        "relevance": {"sum": float(heatmap.sum()), "min": float(heatmap.min()), "max": float(heatmap.max())},
        "layers": {name: float(kept[sample, target].double().sum()) for name, kept in explanation.layers.items()},
        "ledger": summarize(explanation.ledger(target, sample))._asdict(),
    }


def _top(explanation: "Explanation", sample: int) -> list[dict[str, Any]]:
    if explanation.logits.ndim != 2:  # noqa: PLR2004 - samples and classes
        raise InputError(
            f"the logits have shape {tuple(explanation.logits.shape)}; only classes, (samples, classes), can be listed."
        )
    order = explanation.logits[sample].argsort(descending=True)[:TOP]
    return [_class(explanation, int(index), sample) for index in order]


def _class(explanation: "Explanation", index: int, sample: int) -> dict[str, Any]:
    return {
        "class": index,
        "name": shown_name(explanation.categories, index),
        "probability": float(explanation.probabilities[sample, index]) if explanation.has_probabilities else None,
        "logit": float(explanation.logits[sample, index]),
    }


def _bar(share: float) -> str:
    length = round(_WIDTH * share) if math.isfinite(share) else 0
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#" * length
    return "█" * length
