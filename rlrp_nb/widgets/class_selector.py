"""ClassSelector: probability bars of the classes, one to be chosen; a second one for a contrast."""

from rlrp_nb.errors import InputError
from rlrp_nb.widgets.base import SceneWidget
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.traits import Int


class ClassSelector(SceneWidget):
    """Probability bars of the classes, one to be chosen; a second one for a contrast.

    ``target`` is the chosen class as a key, ``"504"`` or ``"504-968"`` for a contrast, and ``k`` the number of bars.
    Link widgets of the same explanations with ``traitlets.link``, or in the browser alone with ``ipywidgets.jslink``.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    title : str or None
        Name of the whole; None asks why the first image got its class.
    """

    _esm = asset("class_selector.js")

    k = Int(5, min=1, max=20).tag(sync=True)

    @property
    def indices(self) -> int | tuple[int, int]:
        """The class that is chosen, or the pair of a contrast: what ``targets`` of :func:`rlrp_nb.explain` takes.

        Raises
        ------
        InputError
            The target is neither, as where seeds were explained.
        """
        index, _, negative = self.target.partition("-")
        try:
            return (int(index), int(negative)) if negative else int(index)
        except ValueError:
            raise InputError(
                f"The target {self.target!r} is neither a class, such as '504', nor a contrast, such as '504-968'."
            ) from None
