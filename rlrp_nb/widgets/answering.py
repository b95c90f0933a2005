"""What the widgets share that answer their browser half: the newest request wins, and a mistake is told in words."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from rlrp_nb.errors import InputError, RlrpError
from rlrp_nb.widgets.base import LookWidget
from rlrp_nb.widgets.buffers import detach
from rlrp_nb.widgets.latest import Current, Latest
from rlrp_nb.widgets.measuring import faithfulness
from rlrp_nb.widgets.request import parts, text, whole
from rlrp_nb.widgets.scene import INPUT, merge_image
from rlrp_nb.widgets.session import Tree
from rlrp_nb.widgets.traits import Bool, Float, Unicode

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.models.classifier import Classifier

# Each part of an answer comes with how much of the whole is done then, from 0 to 1.
Answer: TypeAlias = Iterator[tuple[float, Tree]]

_SHOWN = 80


class AnsweringWidget(LookWidget):
    """A view that can ask a classifier for what is missing.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        Of one network.
    model : Classifier or None
        The network, where it can be asked.
    title : str or None
        Name of the whole; None asks why the first image got its class.

    Raises
    ------
    InputError
        If the explanations cannot be shown, or are not of this model.
    """

    # Requests that take about as long as one explanation.
    _BRIEF = frozenset[str]()
    # Those that are answered whatever is asked for later.
    _KEPT = frozenset[str]()

    live = Bool(default_value=False).tag(sync=True)
    busy = Bool(default_value=False).tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    status = Unicode().tag(sync=True)
    error = Unicode().tag(sync=True)
    heard = Unicode().tag(sync=True)

    def __init__(
        self,
        explanations: "Explanation | Sequence[Explanation]",
        model: "Classifier | None",
        *,
        title: str | None = None,
    ) -> None:
        super().__init__(explanations, title=title)
        if model is not None and getattr(model, "name", None) != self.scene["network"]:
            raise InputError(
                f"The explanations are of {self.scene['network']!r}, but the model is {model!r}: pass the Classifier "
                "that was explained."
            )
        self._model = model
        self._latest = Latest()
        self.live = model is not None
        self.on_msg(self._hear)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything that was asked for is computed.

        Parameters
        ----------
        timeout : float or None
            Seconds; None waits as long as it takes.

        Returns
        -------
        bool
            Whether everything is done.
        """
        return self._latest.wait(timeout)

    def _answers(self) -> dict[str, Callable[[Tree, list[bytes]], Answer]]:
        """Return what answers each kind of request."""
        return {} if self._model is None else {"faithfulness": partial(self._faithfulness, self._model)}

    def _hear(self, _widget: object, message: Tree, buffers: list[memoryview]) -> None:
        """Take a request from the browser; answer beside the main thread what takes long, so that cells can go on."""
        kind, ask = (message.get("kind"), message.get("ask")) if isinstance(message, dict) else (None, None)
        answer = self._answers().get(kind) if isinstance(kind, str) else None
        # Said at once, also where the answer takes long: the browser tells by it that there is a kernel.
        heard = str(ask)[:_SHOWN]
        if answer is None:
            asked = repr(kind)[:_SHOWN]
            self.heard = heard
            self.error = f"The browser asked for {asked}, which this version of rlrp_nb does not know."
            return
        data, kept = [bytes(buffer) for buffer in buffers], kind in self._KEPT

        def job(current: Current) -> None:
            error = ""
            try:
                for done, tree in answer(message, data):
                    if not (kept or current()):
                        break
                    self._tell(message, tree)
                    self.progress = done
            except RlrpError as problem:
                error = str(problem)
            except Exception as problem:  # noqa: BLE001 - whatever happens is said in the widget, which lives on
                error = f"{type(problem).__name__}: {problem}"
            self._finish(current, error if kept or current() else "")
            self._forget()

        with self.hold_sync():
            self.busy, self.progress, self.error, self.heard = True, 0.0, "", heard
            self.status = str(message.get("status", "Computing"))[:200]
        self._latest.submit(job, brief=kind in self._BRIEF, kept=kept)

    def _finish(self, current: Current, error: str) -> None:
        with self.hold_sync():
            if error:  # what went wrong with others that were asked for together stays to be read
                self.error = f"{self.error} {error}".strip()
            # Where the job was overtaken, the widget already speaks of the next one.
            if current():
                self.busy, self.status = False, ""

    def _forget(self) -> None:
        """Let go of what a job left behind that is not in the scene."""

    def _tell(self, message: Tree, tree: Tree) -> None:
        """Keep an answer for views that open later, and send the part that is new to those that are open."""
        if "picture" in tree:
            self._publish(merge_image(self.scene, int(tree["image"]), tree["picture"]))
        if "faithfulness" in tree:
            self._publish(_measured(self.scene, tree["cell"], tree["faithfulness"]))
        bare, blocks = detach(tree)
        self.send({"kind": message["kind"], "ask": message.get("ask"), "tree": bare}, blocks)

    def _publish(self, scene: Tree) -> None:
        """Put a new scene in the place of the old one, which a cell may be saving at this moment, and send nothing.

        Past traitlets, which would send all of it, megabytes, and take it back where a browser asks for something that
        is refused at the same time.
        """
        self._trait_values["scene"] = scene

    def _faithfulness(self, model: "Classifier", message: Tree, _data: list[bytes]) -> Answer:
        cells = parts(message, "cells")
        for done, cell in enumerate(cells, 1):
            explained, picture = _explained(self.scene, cell), self.scene["images"][whole(cell, "image")]
            figures = faithfulness(model, picture, explained["pieces"][0], text(cell, "target"))
            yield done / len(cells), {"cell": cell, "faithfulness": figures}


def _measured(scene: Tree, cell: Tree, faithfulness: Tree) -> Tree:
    """Return a scene that says how faithful a map is."""
    explained = {**_explained(scene, cell), "faithfulness": faithfulness}
    result = {"method": text(cell, "method"), "targets": {text(cell, "target"): explained}}
    return merge_image(scene, whole(cell, "image"), {"targets": [], "results": [result]})


def _explained(scene: Tree, cell: Tree) -> Tree:
    """Return what the scene holds for an image, method and target."""
    position, method, target = whole(cell, "image"), text(cell, "method"), text(cell, "target")
    results = scene["images"][position]["results"] if 0 <= position < len(scene["images"]) else []
    found: Tree | None = next((each["targets"].get(target) for each in results if each["method"] == method), None)
    if found is None:
        raise InputError(f"Image {position} was not explained for {target!r} by {method!r} at {INPUT!r}.")
    return found
