"""What all widgets share: the scene, how it is looked at, a stable repr, and a picture for where no script runs."""

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import MissingPackageError
from rlrp_nb.plots.colormap import Palette
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.scene import Tree, build_scene, choices

try:
    import anywidget
    from traitlets import CFloat, Dict, Enum, Int, List, TraitError, Unicode, validate
except ImportError as error:
    raise MissingPackageError(
        f"The widgets need a package that is not installed ({error}). Install it with: pip install 'rlrp-nb[lab]'"
    ) from error

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation

VIEWS = ("strength", "even", "beside")
PALETTES = get_args(Palette)
SIGNS = ("both", "positive", "negative")
_NAMED = 12


class SceneWidget(anywidget.AnyWidget):
    """A view of one scene. Everything but the scene is a choice that the browser makes by itself.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    title : str or None
        Name of the whole; None asks why the first image got its class.

    Raises
    ------
    InputError
        As :func:`rlrp_nb.widgets.scene.build_scene`.
    """

    _css = asset("rlrp.css")

    scene = Dict().tag(sync=True)
    image = Int(0, min=0).tag(sync=True)
    method = Unicode().tag(sync=True)
    target = Unicode().tag(sync=True)
    layer = Unicode("input").tag(sync=True)
    categories = List(Unicode()).tag(sync=True)

    def __init__(self, explanations: "Explanation | Sequence[Explanation]", *, title: str | None = None) -> None:
        listed = explanations if isinstance(explanations, Sequence) else [explanations]
        scene = build_scene(listed, title=title)
        first = scene["images"][0]
        super().__init__(
            scene=scene,
            method=first["results"][0]["method"],
            target=first["targets"][0]["key"],
            categories=list(listed[0].categories or ()),
        )
        self._png = _still(listed[0])

    @validate("image", "method", "layer")
    def _check_choice(self, proposal: Any) -> Any:  # noqa: ANN401 - traitlets has no type for it
        """Refuse what the scene does not have: the browser would show something else in its place."""
        return check_choice(self.scene, proposal)

    def __repr__(self) -> str:
        first = self.scene["images"][0]
        labels = ", ".join(target["label"] for target in first["targets"][:3])
        return f"{type(self).__name__}({self.scene['network']}: {labels}; {', '.join(self.scene['methods'])})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - as anywidget declares it
        """Add a picture, for GitHub, nbviewer and untrusted notebooks."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture = base64.b64encode(self._png).decode("ascii")
        return data | {"text/plain": repr(self), "image/png": picture}, metadata


class LookWidget(SceneWidget):
    """A view that shows maps, and how it shows them."""

    opacity = CFloat(0.85, min=0, max=1).tag(sync=True)
    view = Enum(VIEWS, "strength").tag(sync=True)
    sign = Enum(SIGNS, "both").tag(sync=True)
    clip = CFloat(99, min=90, max=100).tag(sync=True)
    palette = Enum(PALETTES, PALETTES[0]).tag(sync=True)

    @validate("opacity", "clip")
    def _check_number(self, proposal: Any) -> float:  # noqa: ANN401 - traitlets has no type for it
        """Refuse what is no number, which every comparison with a bound lets through."""
        value, trait = float(proposal["value"]), proposal["trait"]
        if math.isnan(value):
            raise TraitError(f"{trait.name} is {value}; accepted is a number from {trait.min} to {trait.max}.")
        return value


def check_choice(scene: Tree, proposal: Any) -> Any:  # noqa: ANN401 - traitlets has no type for it
    """Return the value of a proposal.

    Parameters
    ----------
    scene : dict
        What is shown.
    proposal : Bunch
        As traitlets hands it to a validator of ``image``, ``method``, ``target`` or ``layer``.

    Raises
    ------
    TraitError
        If the scene does not have it.
    """
    value, name = proposal["value"], proposal["trait"].name
    known = choices(scene, name)
    if value not in known:
        raise TraitError(
            f"{name} is {value!r}; accepted is one of {shortlist([repr(each) for each in known], _NAMED)}."
        )
    return value


def _still(explanation: "Explanation") -> bytes:
    from rlrp_nb.plots.picture import picture  # noqa: PLC0415 - Pillow's fonts are only needed here

    file = io.BytesIO()
    picture(explanation).save(file, "PNG", optimize=True)
    return file.getvalue()
