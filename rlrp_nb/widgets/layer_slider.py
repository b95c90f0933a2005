"""LayerSlider: the layers of the network from input to logits, with the ledger line of the chosen one."""

from rlrp_nb.widgets.base import PALETTES, SceneWidget
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.traits import Enum


class LayerSlider(SceneWidget):
    """The layers of the network from input to logits, with the ledger line of the chosen one.

    ``layer`` is the name of the chosen layer, ``palette`` its colours.
    Link widgets of the same explanations with ``traitlets.link``, or in the browser alone with ``ipywidgets.jslink``.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    title : str or None
        Name of the whole; None asks why the first image got its class.
    """

    _esm = asset("layer_slider.js")

    palette = Enum(PALETTES, PALETTES[0]).tag(sync=True)
