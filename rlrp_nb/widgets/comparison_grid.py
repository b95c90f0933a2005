"""ComparisonGrid: the same picture under several methods and classes; zoom, pan and cursor move together."""

from traitlets import Bool, Enum

from rlrp_nb.widgets.base import LookWidget
from rlrp_nb.widgets.bundle import asset


class ComparisonGrid(LookWidget):
    """The same picture under several methods and classes; zoom, pan and cursor move together.

    ``across`` says what is compared, ``scale`` whether all maps share one colour scale.
    Link widgets of the same explanations with ``traitlets.link``, or in the browser alone with ``ipywidgets.jslink``.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    title : str or None
        Name of the whole; None asks why the first image got its class.
    """

    _esm = asset("comparison_grid.js")

    smooth = Bool(default_value=True).tag(sync=True)
    across = Enum(("methods", "classes", "both", "images"), "both").tag(sync=True)
    scale = Enum(("own", "shared"), "own").tag(sync=True)
