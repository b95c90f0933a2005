"""Whether the books of an explanation balance, and how much of the output arrives at the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlrp_nb.engine.explainer import explain
from rlrp_nb.evaluation.attribute import check_case

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rlrp_nb.engine.methods import Method


def conservation_error(network: nn.Module, inputs: Tensor, targets: Tensor, method: str | Method = "rlrp") -> Tensor:
    """Return how far the ledger is from balancing, at its worst layer.

    At each layer what is handed on, plus what the bias keeps, has to be what the method says is passed on, and at each
    activation every value has to be. The deviation is relative to the sum of absolute values (the L1 mass) there. It
    measures rounding in a correct engine: below 1e-4 in float32, below 1e-10 in float64.

    Parameters
    ----------
    network, inputs, targets
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    method : str or Method
        ``"rlrp"`` or another of ``rlrp_nb.available_methods()``. Where gradient x input promises no identity (at smooth
        activations and gates), there is no deviation either.

    Returns
    -------
    Tensor
        float64 ``(B,)``, on the CPU.

    Raises
    ------
    InputError, UnsupportedNetworkError
        As `check_case` and ``rlrp_nb.explain`` raise them.
    """
    check_case(network, inputs, targets)
    # naming no layer keeps the ledger, and keeps no layer
    explanation = explain(network, inputs, targets, method, layers=())
    residuals = [explanation.ledger(sample=sample).worst_residual for sample in range(len(inputs))]
    return torch.tensor(residuals, dtype=torch.float64, device="cpu")


def share_at_input(network: nn.Module, inputs: Tensor, targets: Tensor, method: str | Method = "rlrp") -> Tensor:
    """Return the sum of the input's relevance as a share of the logit it explains.

    It is 1 where a method conserves everything and no bias keeps any. R-LRP conserves up to a factor: a share far from
    1 is no fault of it, and only its heatmap's proportions have a meaning.

    Parameters
    ----------
    network, inputs, targets, method
        As in `conservation_error`.

    Returns
    -------
    Tensor
        float64 ``(B,)``, on the inputs' device; infinite or not a number where the logit is exactly 0. In networks so
        deep that relevance is rescaled to fit its dtype (see ``Explanation.relevance``), the share is that of the
        rescaled relevance.

    Raises
    ------
    InputError, UnsupportedNetworkError
        As `check_case` and ``rlrp_nb.explain`` raise them.
    """
    check_case(network, inputs, targets)
    explanation = explain(network, inputs, targets, method)
    logits = explanation.logits.double().gather(1, targets.to(explanation.logits.device)[:, None])[:, 0]
    return explanation.relevance[:, 0].flatten(1).sum(1, dtype=torch.float64) / logits
