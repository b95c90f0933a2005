"""Figures that need the network: how faithful a map is that is on show."""

import io
import math
from typing import TYPE_CHECKING

from rlrp_nb.errors import InputError
from rlrp_nb.widgets.buffers import Packed, unpack
from rlrp_nb.widgets.session import Tree

if TYPE_CHECKING:
    from rlrp_nb.models.classifier import Classifier

# A person waits for it: patches of a fourteenth of the side, flipped in 28 steps, are 57 runs of the network.
_PATCHES = 14
_STEPS = 28


def faithfulness(model: "Classifier", picture: Tree, heatmap: Packed, target: str) -> Tree:
    """Measure by pixel flipping how faithful a heatmap is, as :mod:`rlrp_nb.evaluation.faithfulness` defines it.

    Parameters
    ----------
    model : Classifier
        The network that was explained.
    picture : dict
        An image of a scene.
    heatmap : Packed
        Relevance at its input.
    target : str
        Key of the class: its index.

    Returns
    -------
    dict
        ``abpc`` and ``aopc`` of the probability, ``patch`` in pixels and ``steps``.

    Raises
    ------
    InputError
        If the target is a contrast, or there is no photograph.
    """
    import torch  # noqa: PLC0415 - torch is loaded on first use
    from PIL import Image  # noqa: PLC0415 - keeps the widget light

    from rlrp_nb.evaluation.faithfulness import flip  # noqa: PLC0415 - torch is loaded on first use

    if not target.isdigit():
        raise InputError(f"Target {target!r} is no single class; faithfulness follows the probability of one class.")
    if picture["photo"] is None:
        raise InputError(f"{picture['name']} has no photograph; faithfulness needs the picture that was explained.")
    with Image.open(io.BytesIO(picture["photo"]["data"])) as photo:
        pixels = model.preprocess.normalise(photo)[None]
    height, width = pixels.shape[-2:]
    patch = max(1, round(min(height, width) / _PATCHES))
    per_step = math.ceil(math.ceil(height / patch) * math.ceil(width / patch) / _STEPS)
    reference = next(model.network.parameters(), pixels)
    found = flip(
        model.network,
        pixels.to(reference),
        torch.from_numpy(unpack(heatmap))[None],
        torch.tensor([int(target)], device="cpu"),
        patch=patch,
        per_step=per_step,
    )
    return {
        "abpc": float(found.abpc[0]),
        "aopc": float(found.aopc[0]),
        "patch": patch,
        "steps": found.morf.shape[1] - 1,
    }
