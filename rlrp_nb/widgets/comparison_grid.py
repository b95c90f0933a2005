"""ComparisonGrid: the same picture under several methods and classes; zoom, pan and cursor move together."""

from typing import TYPE_CHECKING

from rlrp_nb.widgets.answering import AnsweringWidget
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.traits import Bool, Enum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.models.classifier import Classifier


class ComparisonGrid(AnsweringWidget):
    """The same picture under several methods and classes; zoom, pan and cursor move together.

    ``across`` says what is compared, ``scale`` whether all maps share one colour scale.
    Link widgets of the same explanations with ``traitlets.link``, or in the browser alone with ``ipywidgets.jslink``.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    model : Classifier or None
        The network itself: with it the grid can measure how faithful each map is.
    title : str or None
        Name of the whole; None asks why the first image got its class.

    Raises
    ------
    InputError
        If the explanations cannot be shown together, or are not of this model.
    """

    _esm = asset("comparison_grid.js")

    smooth = Bool(default_value=True).tag(sync=True)
    across = Enum(("methods", "classes", "both", "images"), "both").tag(sync=True)
    scale = Enum(("own", "shared"), "own").tag(sync=True)

    def __init__(
        self,
        explanations: "Explanation | Sequence[Explanation]",
        *,
        model: "Classifier | None" = None,
        title: str | None = None,
    ) -> None:
        super().__init__(explanations, model, title=title)
