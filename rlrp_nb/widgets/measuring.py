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
_SAME = 0.01  # of probabilities: what rounding can do to those of one network, and their own way through float16


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
        If the target is a contrast, there is no photograph, or the network is not the one that was explained.
    """
    import torch  # noqa: PLC0415 - torch is loaded on first use
    from PIL import Image  # noqa: PLC0415 - keeps the widget light

    from rlrp_nb.engine.snapshot import check_mode  # noqa: PLC0415 - torch is loaded on first use
    from rlrp_nb.evaluation.faithfulness import flip  # noqa: PLC0415 - torch is loaded on first use
    from rlrp_nb.evaluation.subject import answer  # noqa: PLC0415 - likewise

    if not target.isdigit():
        raise InputError(f"Target {target!r} is no single class; faithfulness follows the probability of one class.")
    if picture["probabilities"] is None:
        raise InputError(
            "The network has one output, and faithfulness follows the probability of one of several classes."
        )
    if picture["photo"] is None:
        raise InputError(f"{picture['name']} has no photograph; faithfulness needs the picture that was explained.")
    with Image.open(io.BytesIO(picture["photo"]["data"])) as photo:
        pixels = model.preprocess.normalise(photo)[None]
    height, width = pixels.shape[-2:]
    patch = max(1, round(min(height, width) / _PATCHES))
    per_step = math.ceil(math.ceil(height / patch) * math.ceil(width / patch) / _STEPS)
    pixels = pixels.to(next(model.network.parameters(), pixels))
    check_mode(model.network)
    said = answer(model.network, pixels)[0].float().softmax(0).cpu()
    shown = torch.from_numpy(unpack(picture["probabilities"]))
    if said.shape != shown.shape or not float((said - shown).abs().max()) <= _SAME:
        raise InputError(
            f"The network has changed since {picture['name']!r} was explained, or is another: it says something else "
            "of the same picture. Explain it anew."
        )
    found = flip(
        model.network,
        pixels,
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
