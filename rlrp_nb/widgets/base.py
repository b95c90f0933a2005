"""What all widgets share: the scene, how it is looked at, a stable repr, and a picture for where no script runs."""

import base64
import inspect
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from rlrp_nb.class_name import shown_name
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import InputError
from rlrp_nb.plots.colormap import Palette
from rlrp_nb.printable import printable
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.scene import Tree, build_scene, choices, shown_layer
from rlrp_nb.widgets.traits import AnyWidget, CFloat, Dict, Enum, Int, List, TraitError, Unicode, validate

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation

VIEWS = ("strength", "even", "beside")
PALETTES = get_args(Palette)
SIGNS = ("both", "positive", "negative")
_NAMED = 12
# What a browser moves by itself.
_CHOICES = frozenset({"image", "method", "target", "layer", "opacity", "view", "sign", "clip", "palette", "smooth"})
_CHOICES |= {"across", "scale", "k"}


class _CheckedWidget(AnyWidget):
    """A widget that says itself which arguments it takes; Python would name the class that has the constructor.

    Not in the class that has the constructor: help shows the arguments of ``__new__`` where one class has both.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as traitlets declares it
        signature = inspect.signature(cls)
        known = signature.parameters
        takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())  # as a subclass of the user's own may
        if not takes_any and (unknown := [name for name in kwargs if name not in known]):
            settable = [name for name in unknown if name in cls.class_trait_names(sync=True)]
            later = f" Set it once the widget is there: widget.{settable[0]} = ..." if settable else ""
            listed = ", ".join(map(repr, unknown))
            raise InputError(f"{cls.__name__} takes no {listed}; accepted are {', '.join(known)}.{later}")
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            explained = " Give what rlrp_nb.explain(model, image) returned." if "explanations" in known else ""
            raise InputError(f"{cls.__name__}: {error}; accepted are {', '.join(known)}.{explained}") from None
        return super().__new__(cls, *args, **kwargs)


class SceneWidget(_CheckedWidget):
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
        first, named = scene["images"][0], listed[0].categories or ()
        super().__init__(
            scene=scene,
            method=first["results"][0]["method"],
            target=first["targets"][0]["key"],
            categories=[shown_name(named, index) for index in range(len(named))],
        )
        self._other_names = {
            other: shown_layer(name)
            for explanation in listed
            for name in explanation.layers
            for other in explanation.layers.names_of(name)[1:]
        }
        self._png = _still(listed[0])

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - traitlets takes any
        """Tell the browser a choice also where it is none for Python: the user may have moved it since."""
        told = name in _CHOICES and self.has_trait(name)
        before = getattr(self, name) if told else None
        super().__setattr__(name, value)
        if told and getattr(self, name) == before:
            # A message of its own: of a value that Python has said before, Jupyter tells nobody.
            self.send({"kind": "set", "key": name, "value": before})

    def set_state(self, sync_data: Tree) -> None:
        """Take choices from a browser, and no scene: what was computed is read here again, and not by a browser alone.

        Before anything is set: validators of the choices look at the scene, and so may a job beside the main thread.
        """
        if "scene" in sync_data:
            raise TraitError("scene is what was computed here; a browser cannot set it, but only what is looked at.")
        super().set_state(sync_data)

    @validate("image", "method")
    def _check_choice(self, proposal: Any) -> Any:  # noqa: ANN401 - traitlets has no type for it
        """Refuse what the scene does not have: the browser would show something else in its place."""
        return check_choice(self.scene, proposal)

    @validate("layer")
    def _check_layer(self, proposal: Any) -> Any:  # noqa: ANN401 - traitlets has no type for it
        """Take every name by which the layer can be asked for, and set the one that is shown."""
        name = proposal["value"]
        if name not in choices(self.scene, "layer"):
            name = self._other_names.get(name, name)
        return check_choice(self.scene, {**proposal, "value": name})

    def __repr__(self) -> str:
        first = self.scene["images"][0]
        labels = ", ".join(target["label"] for target in first["targets"][:3])
        return printable(
            f"{type(self).__name__}({self.scene['network']}: {labels}; {', '.join(self.scene['methods'])})"
        )

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
    proposal : mapping
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
