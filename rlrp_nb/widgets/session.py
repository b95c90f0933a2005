"""What an Explorer asks of the engine: explanations of its images, covered regions, channels of a layer."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rlrp_nb.class_name import shown_name
from rlrp_nb.engine.agreement import says_the_same
from rlrp_nb.errors import InputError
from rlrp_nb.widgets.buffers import pack
from rlrp_nb.widgets.scene import channel_axis, own_layer

if TYPE_CHECKING:
    from torch import Tensor

    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.engine.methods import Method
    from rlrp_nb.models.classifier import Classifier
    from rlrp_nb.models.preprocess import Prepared

Tree: TypeAlias = dict[str, Any]

MAX_BYTES = 10_000_000  # a Jupyter server takes messages of 10 MiB, and drops the connection over a longer one
MAX_PIXELS = 40_000_000
MAX_HELD = 40_000_000  # pixels of all pictures together as the network takes them, fifteen bytes each
_CHANNELS = 12
_LIKELIEST = 3


class Session:
    """A classifier and the images that were shown to it.

    Parameters
    ----------
    classifier : Classifier
        What is explained.
    layers : str or list of str or None
        Layers that every explanation keeps.
    """

    def __init__(self, classifier: "Classifier", layers: str | list[str] | None) -> None:
        self.classifier = classifier
        self.layers = layers
        self._images: list[Prepared] = []
        self._methods: dict[str, Method] = {}  # the user's own: a browser asks by name
        self._said: dict[int, Tensor] = {}  # what the network said of each image when it was first explained

    def add(self, image: Any) -> int:  # noqa: ANN401 - whatever load_image takes
        """Keep an image and return its position.

        Parameters
        ----------
        image : path, PIL image, array or tensor
            As :func:`rlrp_nb.load_image`.

        Returns
        -------
        int
            Position among the images.

        Raises
        ------
        InputError
            If it is not a picture, or the network cannot take it.
        """
        self._images.append(self.classifier.preprocess.prepare(image))
        return len(self._images) - 1

    def keep(self, count: int) -> None:
        """Keep the first images and forget the others: what could not be explained, or was overtaken."""
        del self._images[count:]
        self._said = {position: logits for position, logits in self._said.items() if position < count}

    def explain(self, position: int, targets: Any, method: "str | Method") -> "Explanation":  # noqa: ANN401 - as rlrp_nb.explain
        """Explain one image with the session's layers.

        Parameters
        ----------
        position : int
            Which image.
        targets : as :func:`rlrp_nb.explain`
            What to explain.
        method : str or Method
            By which method. One that was handed over is known by its name afterwards.

        Returns
        -------
        Explanation
            Of one sample.

        Raises
        ------
        InputError
            If a target or the method cannot be used, or the network is another than at the first explanation: maps of
            both would stand in one scene.
        """
        return self._explain(position, targets, method, self.layers)

    def cover(self, position: int, box: tuple[int, int, int, int], targets: list[int]) -> Tree:
        """Predict again with a rectangle of the image replaced by the image's mean colour.

        Parameters
        ----------
        position : int
            Which image.
        box : (left, top, right, bottom)
            Pixels of the picture as the network sees it; right and bottom are not covered.
        targets : list of int
            Classes whose probabilities are wanted.

        Returns
        -------
        dict
            ``before`` and ``after``: probabilities of the targets, or the output where the network has one alone;
            ``likeliest``: classes after covering.

        Raises
        ------
        InputError
            If the rectangle is empty or leaves the picture, there is no such class, or the network has changed.
        """
        import torch  # noqa: PLC0415 - torch is loaded on first use

        pixels = self._image(position).pixels
        height, width = pixels.shape[-2:]
        left, top, right, bottom = box
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise InputError(f"The rectangle {box} is empty or leaves the picture of {width} x {height} pixels.")
        count = len(self.classifier.categories)
        if unknown := [target for target in targets if not 0 <= target < count]:
            raise InputError(f"There is no class {unknown[0]}; there are {count}, numbered from 0.")
        covered = pixels.clone()
        covered[:, top:bottom, left:right] = pixels.mean(dim=(1, 2), keepdim=True)
        logits = self._logits(torch.stack([pixels, covered]))
        self._check_said(position, logits[0])
        one = logits.shape[1] == 1  # of which a softmax is 1, whatever the network says
        before, after = logits.float() if one else logits.float().softmax(1)
        values, indices = after.topk(min(_LIKELIEST, len(after)))
        return {
            "before": [float(before[target]) for target in targets],
            "after": [float(after[target]) for target in targets],
            "likeliest": [
                {
                    "label": shown_name(self.classifier.categories, int(index)),
                    **({"probability": None, "output": float(value)} if one else {"probability": float(value)}),
                }
                for value, index in zip(values, indices, strict=True)
            ],
        }

    def channels(self, position: int, target: Any, method: str, layer: str) -> Tree:  # noqa: ANN401 - as rlrp_nb.explain
        """Rank the channels of one layer by the relevance that passes through them.

        Parameters
        ----------
        position : int
            Which image.
        target : int or pair of int
            What is explained.
        method, layer : str
            By which method, at which layer as the scene calls it; it has to have extent in space.

        Returns
        -------
        dict
            ``count``, and ``channels``: index, sum and map of the strongest.

        Raises
        ------
        InputError
            If the layer has no channel maps, or the network has changed.
        """
        own = own_layer(layer)
        explanation = self._explain(position, [target], method, [own])
        relevance = explanation.layers[own][0, 0].detach().cpu().double().numpy()
        if relevance.ndim != 3:  # noqa: PLR2004 - channels and a plane
            raise InputError(f"Layer {layer!r} has no channel maps: its shape is {relevance.shape}.")
        relevance = np.moveaxis(relevance, channel_axis(explanation, own), 0)
        sums = relevance.sum(axis=(1, 2))
        strongest = abs(sums).argsort(kind="stable")[::-1][:_CHANNELS]
        return {
            "count": len(sums),
            "channels": [
                {"index": int(index), "sum": float(sums[index]), "map": dict(pack(relevance[index], "int8"))}
                for index in strongest
            ],
        }

    def read(self, name: str, data: bytes) -> int:
        """Keep an image that was uploaded and return its position.

        Parameters
        ----------
        name : str
            What the file is called; only for messages.
        data : bytes
            A picture file.

        Returns
        -------
        int
            Position among the images.

        Raises
        ------
        InputError
            If the file is too large or is not a picture, or too many were added before.
        """
        from rlrp_nb.data.image import decode_image  # noqa: PLC0415 - keeps the widget light

        if len(data) > MAX_BYTES:
            raise InputError(
                f"{name!r} has {len(data) / 1e6:.0f} MB; pictures up to {MAX_BYTES / 1e6:.0f} MB are accepted. "
                "Make it smaller."
            )
        picture = decode_image(data, name, max_pixels=MAX_PIXELS)
        _, height, width = self.classifier.preprocess.shape
        held = (len(self._images) + 1) * height * width
        if held > MAX_HELD:
            raise InputError(
                f"With {name!r} there would be {len(self._images) + 1} pictures of {held / 1e6:.0f} million pixels, "
                f"and {MAX_HELD / 1e6:.0f} million are kept. Open another Explorer."
            )
        return self.add(picture)

    def _explain(
        self,
        position: int,
        targets: Any,  # noqa: ANN401 - as rlrp_nb.explain
        method: "str | Method",
        layers: str | list[str] | None,
    ) -> "Explanation":
        from rlrp_nb.engine.explainer import explain  # noqa: PLC0415 - torch is loaded on first use

        by = self._methods.get(method, method) if isinstance(method, str) else method
        shown = self._image(position)
        if self._said and position not in self._said:  # a new picture stands beside those that were explained before
            known = next(iter(self._said))
            self._check_said(known, self._logits(self._image(known).pixels[None])[0])
        found = explain(self.classifier, self._batch(shown.pixels[None]), targets, by, layers)
        self._check_said(position, found.logits[0])
        if not isinstance(by, str):
            self._methods[by.name] = by
        return replace(found, images=shown.view[None])

    def _check_said(self, position: int, logits: "Tensor") -> None:
        """Refuse what another network says of an image than the one that was explained first."""
        first = self._said.setdefault(position, logits)
        if not says_the_same(logits, first):
            raise InputError(
                "The network has changed since its first explanation here: it says something else of the same picture. "
                "What is on show is from before, and nothing is added to it. Open another Explorer."
            )

    def methods(self) -> list[str]:
        """Return the names of all methods that can be asked for, the user's own last."""
        from rlrp_nb.engine.methods import available_methods  # noqa: PLC0415 - torch is loaded on first use

        return list(dict.fromkeys([*available_methods(), *self._methods]))

    def _image(self, position: int) -> "Prepared":
        if not 0 <= position < len(self._images):
            raise InputError(f"There is no image {position}; there are {len(self._images)}.")
        return self._images[position]

    def _logits(self, inputs: "Tensor") -> "Tensor":
        from rlrp_nb.engine.snapshot import check_mode  # noqa: PLC0415 - torch is loaded on first use
        from rlrp_nb.evaluation.subject import answer  # noqa: PLC0415 - likewise

        check_mode(self.classifier.network)  # it may be in training by now, and would learn from being looked at
        logits: Tensor = answer(self.classifier.network, self._batch(inputs))
        return logits

    def _batch(self, inputs: "Tensor") -> "Tensor":
        """Return inputs where the network is, and of its dtype."""
        return inputs.to(next(self.classifier.network.parameters(), inputs))
