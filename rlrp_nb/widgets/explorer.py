"""The Explorer: a network and an image, everything one can ask about them, in one widget."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.export import render
from rlrp_nb.output_file import check_output, write_whole
from rlrp_nb.widgets.answering import Answer, AnsweringWidget
from rlrp_nb.widgets.base import check_choice
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.request import text, texts, whole, wholes
from rlrp_nb.widgets.scene import build_addition, build_scene
from rlrp_nb.widgets.session import MAX_BYTES, Session, Tree
from rlrp_nb.widgets.traits import Bool, Enum, Float, Int, List, Unicode, validate

if TYPE_CHECKING:
    import os

    from rlrp_nb.engine.methods import Method
    from rlrp_nb.models.classifier import Classifier


class Explorer(AnsweringWidget):
    """See why a classifier decides as it does: classes, layers, methods, own pictures, covered regions.

    What was computed once is in the browser and is shown without asking Python again. What is missing is computed
    between the cells, or beside the main thread where that would take long or a cell is running; the newest request
    wins, and pictures are all taken, one after the other.

    ``target``, ``method``, ``layer``, ``image``, ``opacity``, ``view``, ``sign``, ``clip``, ``palette``, ``smooth``,
    ``across`` and ``scale`` can be set in Python, and the widget follows. They are not written back when the user
    changes them: each would be a message to the kernel for what the browser does alone. What is set moves the browser
    also where Python has that value already. The widgets that stand alone write back ``target`` and ``layer``. What was
    not computed cannot be set: ``target`` takes the keys of the classes
    that were explained, such as ``"967"``, or ``"967-968"`` for a contrast, and ``layer`` every name by which
    ``explanation.layers`` has the layer, of which it keeps the one that is shown.

    Parameters
    ----------
    model : Classifier
        What :func:`rlrp_nb.load_model` returns, or a network of your own wrapped in :class:`rlrp_nb.Classifier`.
    image : path, PIL image, array or tensor
        The first picture.
    targets : as :func:`rlrp_nb.explain`
        The classes that are explained at once. ``"top5"`` is all of them where the model has fewer than five.
    method : str or Method
        The method they are explained by. One of your own stands beside the others from then on.
    layers : "all", list of str or None
        The layers that can be looked at.

    Raises
    ------
    InputError
        If the model is not a Classifier, or the image, a target, the method or a layer cannot be used.

    Examples
    --------
    >>> import rlrp_nb as rn
    >>> from rlrp_nb.data.sample import sample_image
    >>> from rlrp_nb.widgets import Explorer
    >>> Explorer(rn.load_model("efficientnet_lite0"), sample_image("coffee"), layers=None)
    Explorer(efficientnet_lite0: espresso, cup, consomme; rlrp)
    """

    _esm = asset("explorer.js")
    _BRIEF = frozenset({"explain", "cover", "channels"})
    _KEPT = frozenset({"image"})

    k = Int(5, min=1, max=20).tag(sync=True)
    smooth = Bool(default_value=True).tag(sync=True)
    across = Enum(("methods", "classes", "both", "images", "pinned"), "classes").tag(sync=True)
    scale = Enum(("own", "shared"), "own").tag(sync=True)
    offered = List(Unicode()).tag(sync=True)
    max_bytes = Float(MAX_BYTES).tag(sync=True)

    def __init__(
        self,
        model: "Classifier",
        image: Any,  # noqa: ANN401 - whatever load_image takes
        *,
        targets: Any = "top5",  # noqa: ANN401 - as rlrp_nb.explain
        method: "str | Method" = "rlrp",
        layers: str | list[str] | None = "all",
    ) -> None:
        if not hasattr(model, "preprocess"):
            raise InputError(
                f"An Explorer shows pictures to a Classifier, but got a {type(model).__name__}. Use "
                "rlrp_nb.load_model(name), or wrap your network: "
                "rlrp_nb.Classifier(name, network, categories, preprocess, weights)."
            )
        self._session = Session(model, layers)
        if isinstance(targets, str) and targets == "top5":
            targets = _likeliest(model)
        position = self._session.add(image)
        super().__init__(self._session.explain(position, targets, method), model)
        self.offered = self._session.methods()

    @validate("target")
    def _check_target(self, proposal: Any) -> Any:  # noqa: ANN401 - traitlets has no type for it
        """Refuse a class that was not explained; a ClassSelector, and what is linked to one, takes any."""
        return check_choice(self.scene, proposal)

    def save_html(self, path: "str | os.PathLike[str]") -> Path:
        """Write everything that was computed as one page that needs no kernel.

        Parameters
        ----------
        path : path-like
            Where to write, ending in ``.html``; an existing file is replaced.

        Returns
        -------
        Path
            The absolute path of the file.

        Raises
        ------
        InputError
            If the file cannot be written there.
        FileFormatError
            If the name does not end in ``.html`` or ``.htm``.
        """
        target = check_output(path, (".html", ".htm"))
        page = render(self.scene)
        return write_whole(target, lambda file: file.write(page.encode()))

    def _answers(self) -> dict[str, Callable[[Tree, list[bytes]], Answer]]:
        return {
            **super()._answers(),
            "explain": self._explain,
            "methods": self._methods,
            "image": self._read,
            "cover": self._cover,
            "channels": self._channels,
        }

    def _forget(self) -> None:
        self._session.keep(len(self.scene["images"]))

    def _explain(self, message: Tree, _data: list[bytes]) -> Answer:
        yield 1.0, self._explained(whole(message, "image"), [_target(message)], text(message, "method"))

    def _methods(self, message: Tree, _data: list[bytes]) -> Answer:
        methods, refused = texts(message, "methods"), []
        for done, method in enumerate(methods, 1):
            try:
                tree = self._explained(whole(message, "image"), [_target(message)], method)
            except (
                UnsupportedNetworkError
            ) as problem:  # a method that does not suit this network keeps none of the others back
                refused.append(f"{method}: {problem}")
            else:
                yield done / len(methods), tree
        if refused:
            raise UnsupportedNetworkError(" ".join(refused))

    def _read(self, message: Tree, data: list[bytes]) -> Answer:
        name = str(message.get("name", "picture"))[:80]
        if len(data) != 1:
            raise InputError(f"The request has {len(data)} files; one picture at a time is needed. Ask again.")
        position = self._session.read(name, data[0])
        tree = self._explained(position, _likeliest(self._session.classifier), text(message, "method"))
        tree["picture"]["name"] = name
        yield 1.0, tree

    def _explained(self, position: int, targets: Any, method: str) -> Tree:  # noqa: ANN401 - as rlrp_nb.explain
        explanation = self._session.explain(position, targets, method)
        # Of a picture that the browser has, only what is new is sent.
        known = position < len(self.scene["images"])
        picture = build_addition(explanation) if known else build_scene([explanation])["images"][0]
        return {"image": position, "picture": picture}

    def _cover(self, message: Tree, _data: list[bytes]) -> Answer:
        left, top, right, bottom = wholes(message, "box", 4)
        classes = wholes(message, "classes")
        yield 1.0, self._session.cover(whole(message, "image"), (left, top, right, bottom), classes)

    def _channels(self, message: Tree, _data: list[bytes]) -> Answer:
        layer, method = text(message, "layer"), text(message, "method")
        yield 1.0, self._session.channels(whole(message, "image"), _target(message), method, layer)


def _likeliest(model: "Classifier") -> str:
    """Return the targets that are shown where none were asked for."""
    return f"top{min(5, len(model.categories))}"


def _target(message: Tree) -> int | tuple[int, int]:
    index, negative = whole(message, "index"), whole(message, "negative")
    return index if negative < 0 else (index, negative)
