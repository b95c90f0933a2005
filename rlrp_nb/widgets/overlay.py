"""Overlay: photograph and relevance with everything to look closer: opacity, sign, clip, zoom, read-out."""

from rlrp_nb.widgets.base import LookWidget
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.traits import Bool


class Overlay(LookWidget):
    """Photograph and relevance with everything to look closer: opacity, sign, clip, zoom, read-out.

    ``opacity``, ``view``, ``sign``, ``clip``, ``palette`` and ``smooth`` are how it looks. Like ``target``, ``method``,
    ``layer`` and ``image`` they can be set in Python and follow other widgets of the same explanations by
    ``traitlets.link``, or in the browser alone by ``ipywidgets.jslink``; what the user moves here is not written back,
    so that nothing follows an Overlay.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    title : str or None
        Name of the whole; None asks why the first image got its class.
    """

    _esm = asset("overlay.js")

    smooth = Bool(default_value=True).tag(sync=True)
