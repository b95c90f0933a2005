"""Explanations as one tree of plain values and bytes: what the page carries and what the widgets are sent.

Whole relevance tensors would be hundreds of megabytes. A person looks at where relevance sits, so each layer is sent as
its sum over channels, and a layer without extent in space as its strongest neurons.
"""

import io
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlrp_nb.class_name import shown_name
from rlrp_nb.engine.agreement import SAME_IN_HALF, says_the_same
from rlrp_nb.errors import InputError
from rlrp_nb.plots.caption import isolated
from rlrp_nb.printable import whole_signs
from rlrp_nb.widgets.buffers import Dtype, Packed, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rlrp_nb.engine.explanation import Explanation

Tree: TypeAlias = dict[str, Any]
Floats: TypeAlias = NDArray[np.float64]

FORMAT = 1
INPUT = "input"
_NAMESAKE = "input (layer)"
_STRONGEST = 24
_LIKELIEST = 10
_FLOAT16_BUDGET = 5_000_000  # bytes; where the layers would be larger together, they are sent as int8
_MOST_BYTES = 16_000_000  # of words and numbers beside the maps, which every browser tab reads whole
_ROW = 100  # bytes that a row of a ledger, or a target, has at least
_CHANNELS_AND_PLANE = 3
_BATCH_TARGETS_IMAGE = 5


def build_scene(explanations: "Sequence[Explanation]", *, title: str | None = None, most: int = _MOST_BYTES) -> Tree:
    """Gather explanations of one network into a tree that the browser can show.

    Explanations of the same photograph stand together, whatever their methods and targets.

    Parameters
    ----------
    explanations : sequence of Explanation
        At least one. All of the same network.
    title : str or None
        Heading; None asks why the first image got its class.
    most : int
        How many bytes names and ledgers may have; maps are not counted.

    Returns
    -------
    dict
        Plain values, and bytes under the keys ``data``.

    Raises
    ------
    InputError
        If there is no explanation, something else stands in the list, the networks differ, also where they have one
        name, there are too many targets and layers, or the title is no text.
    """
    _check(explanations, most)
    if not isinstance(title, str | None):
        raise InputError(f"The title is a {type(title).__name__}; give a text, or None for a question about the class.")
    first = explanations[0]
    dtype = _dtype(explanations)
    pictures: dict[tuple[bytes, int], Tree] = {}
    said: dict[tuple[bytes, int], Tensor] = {}
    seeds: dict[tuple[bytes, int], dict[int, Tensor]] = {}
    for explanation in explanations:
        alike: Counter[bytes] = Counter()
        for sample in range(len(explanation.logits)):
            photo, identity = _photo(explanation, sample)
            alike[identity] += photo is None  # inputs of one batch are not the same because the network says the same
            place = identity, alike[identity]
            if not says_the_same(explanation.logits[sample], said.setdefault(place, explanation.logits[sample])):
                raise InputError(
                    f"Two explanations of one image are of networks called {first.network!r} that say something else "
                    "of it, as before and after training. Give each a name of its own, by rlrp_nb.Classifier, and "
                    "show them one by one."
                )
            image = pictures.setdefault(place, _image(explanation, sample, photo))
            _check_seeds(explanation, sample, seeds.setdefault(place, {}))
            _add_results(image, explanation, sample, dtype)
    images = list(pictures.values())
    for position, image in enumerate(images, 1):
        image["name"] = f"Image {position}"
    return {
        "format": FORMAT,
        "title": whole_signs(title if title is not None else _question(images)),
        "network": whole_signs(first.network),
        "versions": dict(first.versions),
        "methods": list(dict.fromkeys(result["method"] for image in images for result in image["results"])),
        "images": images,
    }


def build_addition(explanation: "Explanation") -> Tree:
    """Gather what an explanation says about a picture that is in a scene already.

    Parameters
    ----------
    explanation : Explanation
        Of one sample.

    Returns
    -------
    dict
        ``targets`` and ``results`` of an image as :func:`build_scene` has them; what the network says about the
        picture, and the photograph, are not repeated.

    Raises
    ------
    InputError
        As :func:`build_scene`.
    """
    _check([explanation])
    addition: Tree = {"targets": [], "results": []}
    _add_results(addition, explanation, 0, _dtype([explanation]))
    return addition


def merge_image(scene: Tree, position: int, image: Tree) -> Tree:
    """Return a scene with what a new explanation says about an image.

    Parameters
    ----------
    scene : dict
        What :func:`build_scene` made; it is left as it is, since another thread may be reading it.
    position : int
        Which image of the scene; one beyond the last adds a new one.
    image : dict
        An image of a scene of the same network, or what :func:`build_addition` made. What it holds replaces what is
        there.

    Returns
    -------
    dict
        The new scene, which shares with the given one whatever is the same in both.

    Raises
    ------
    InputError
        If there is no such position.
    """
    images = list(scene["images"])
    if not 0 <= position <= len(images):
        raise InputError(f"There is no image {position} to add to; there are {len(images)}.")
    held = images[position] if position < len(images) else {**image, "targets": [], "results": []}
    known = {target["key"] for target in held["targets"]}
    targets = [*held["targets"], *(target for target in image["targets"] if target["key"] not in known)]
    results = {result["method"]: result for result in held["results"]}
    for result in image["results"]:
        same = results.get(result["method"])
        joined = result if same is None else {**same, "targets": {**same["targets"], **result["targets"]}}
        results[result["method"]] = joined
    images[position : position + 1] = [{**held, "targets": targets, "results": list(results.values())}]
    methods = list(dict.fromkeys([*scene["methods"], *(result["method"] for result in image["results"])]))
    return {**scene, "images": images, "methods": methods}


def choices(scene: Tree, kind: str) -> list[int] | list[str]:
    """Return what of a scene can be looked at.

    Parameters
    ----------
    scene : dict
        What :func:`build_scene` made.
    kind : {"image", "method", "target", "layer"}
        Positions of the images, methods, keys of the targets, or names of the layers, of all images together.

    Returns
    -------
    list
        In the order of the scene.
    """
    images = scene["images"]
    if kind == "image":
        return list(range(len(images)))
    if kind == "method":
        return list(scene["methods"])
    if kind == "target":
        return list(dict.fromkeys(target["key"] for image in images for target in image["targets"]))
    results = [result for image in images for result in image["results"]]
    return list(dict.fromkeys(layer["name"] for result in results for layer in result["layers"]))


def _check(explanations: "Sequence[Explanation]", most: int = _MOST_BYTES) -> None:
    if not explanations:
        raise InputError("There is nothing to show: the list of explanations is empty. Pass at least one.")
    for position, explanation in enumerate(explanations):
        if not all(hasattr(explanation, name) for name in ("relevance", "targets", "heatmap", "layers", "ledger")):
            kind = type(explanation).__name__
            raise InputError(f"Item {position} is a {kind}, not an Explanation; pass what rlrp_nb.explain returned.")
        if explanation.relevance.ndim != _BATCH_TARGETS_IMAGE or explanation.channels is None:
            raise InputError(
                f"Item {position} has relevance of shape {tuple(explanation.relevance.shape)}; only explanations of "
                "images, (samples, targets, channels, height, width), can be shown."
            )
        if explanation.logits.ndim != 2:  # noqa: PLR2004 - samples and classes
            raise InputError(
                f"Item {position} has logits of shape {tuple(explanation.logits.shape)}; only explanations of classes, "
                "(samples, classes), can be shown."
            )
    _check_extent(explanations, most)
    networks = sorted({explanation.network for explanation in explanations})
    if len(networks) > 1:
        raise InputError(
            f"The explanations are of {len(networks)} networks ({', '.join(networks)}); write one page each."
        )
    if len({tuple(explanation.categories or ()) for explanation in explanations}) > 1:
        raise InputError(
            f"The explanations of {networks[0]!r} call its classes by different names; write one page each."
        )


def _check_extent(explanations: "Sequence[Explanation]", most: int) -> None:
    """Refuse what would be too large however short its numbers are, before anything is made of it."""
    total = 0
    for explanation in explanations:
        samples, targets = explanation.targets.shape
        rows = [account.layer for account in explanation.accounts or ()] or [*explanation.layers]
        label = max(map(len, explanation.categories or ()), default=0)
        total += samples * targets * (_ROW + label)
        total += samples * targets * sum(_ROW + len(name) for name in rows) * bool(explanation.layers)
    if total > most:
        raise InputError(
            f"The names and ledgers alone would be {total / 1e6:.0f} MB, and at most {most / 1e6:.0f} are shown. Put "
            "fewer pictures, classes, methods or layers together."
        )


def _dtype(explanations: "Sequence[Explanation]") -> Dtype:
    return "float16" if 2 * sum(map(_size, explanations)) <= _FLOAT16_BUDGET else "int8"


def _size(explanation: "Explanation") -> int:
    """Return how many numbers the layers of an explanation hold once channels are summed."""
    samples, targets = explanation.targets.shape
    planes = (_plane(explanation, name) for name in explanation.layers)
    return samples * targets * sum(math.prod(plane) for plane in planes)


def _image(explanation: "Explanation", sample: int, photo: Tree | None) -> Tree:
    height, width = _plane(explanation, None)
    probabilities = _array(explanation.probabilities[sample]) if explanation.has_probabilities else None
    return {
        "name": "",
        "width": width,
        "height": height,
        "photo": photo,
        "classes": _likeliest(explanation, sample),
        "probabilities": None if probabilities is None else dict(pack(probabilities)),
        "targets": [],
        "results": [],
    }


def _check_seeds(explanation: "Explanation", sample: int, known: "dict[int, Tensor]") -> None:
    """Refuse a seed other than the one that is shown under the same name, and note those that are not shown yet."""
    if explanation.seeds is None:  # of a file that was saved before they were kept nothing tells
        return
    for target, seed in enumerate(explanation.seeds[sample]):
        first = known.setdefault(target, seed)
        if not first.equal(seed.to(first)):
            raise InputError(
                f"Two explanations of one image have different seeds as target {target}, which would be shown as one; "
                "give all seeds to one call of explain."
            )


def _add_results(image: Tree, explanation: "Explanation", sample: int, dtype: Dtype) -> None:
    names = [None, *explanation.layers]
    ledgers = [_ledger(explanation, target, sample) for target in range(explanation.targets.shape[1])]
    layers = [_layer(explanation, name, ledgers[0]) for name in names]
    result = next((each for each in image["results"] if each["method"] == explanation.method), None)
    if result is None:
        result = {"method": explanation.method, "layers": layers, "targets": {}}
        image["results"].append(result)
    elif [layer["name"] for layer in result["layers"]] != [layer["name"] for layer in layers]:
        raise InputError(
            f"Two explanations by {explanation.method!r} of one image have different layers; "
            "compute both with the same `layers`."
        )
    known = {each["key"] for each in image["targets"]}
    for target, ledger in enumerate(ledgers):
        index, negative = int(explanation.targets[sample, target]), int(explanation.negatives[sample, target])
        key = f"seed-{target}" if index < 0 else str(index) if negative < 0 else f"{index}-{negative}"
        if index < 0 and explanation.seeds is None and key in result["targets"]:
            raise InputError(
                f"Two explanations by {explanation.method!r} of one image have seeds as targets, and nothing tells one "
                "from the other; give all seeds to one call of explain."
            )
        pieces = [_piece(explanation, name, target, sample, dtype) for name in names]
        if key in result["targets"] and not _is_same_map(
            _array(explanation.heatmap(target, sample)), result["targets"][key]["pieces"][0]
        ):
            raise InputError(
                f"Two explanations by {explanation.method!r} of one image for {explanation.label(target, sample)!r} "
                "are different maps, as by two methods of one name; give each Method a name of its own."
            )
        result["targets"][key] = {"pieces": pieces, "ledger": ledger}
        if key not in known:
            known.add(key)
            image["targets"].append(
                {
                    "key": key,
                    "index": index,
                    "negative": negative,
                    "label": explanation.label(target, sample),
                    **(_said(explanation, sample, index) if index >= 0 and negative < 0 else {"probability": None}),
                }
            )


def _photo(explanation: "Explanation", sample: int) -> tuple[Tree | None, bytes]:
    """Return the photograph as PNG, and what tells it from the other images."""
    if explanation.images is None:
        # Without a picture, samples of two explanations are the same input if the network says the same about them.
        return None, _array(explanation.logits[sample]).tobytes()
    pixels = explanation.images[sample].cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return {"media": "image/png", "data": file.getvalue()}, pixels.tobytes()


def _likeliest(explanation: "Explanation", sample: int) -> list[Tree]:
    order = np.argsort(-_array(explanation.logits[sample]), kind="stable")[:_LIKELIEST]
    return [
        {"index": int(index), "label": _category(explanation, int(index)), **_said(explanation, sample, int(index))}
        for index in order
    ]


def _said(explanation: "Explanation", sample: int, index: int) -> dict[str, float | None]:
    """Return how probable a class is or, where the network has one output alone, that output."""
    if explanation.has_probabilities:
        return {"probability": float(explanation.probabilities[sample, index])}
    return {"probability": None, "output": float(explanation.logits[sample, index])}


def _category(explanation: "Explanation", index: int) -> str:
    return shown_name(explanation.categories, index)


def shown_layer(name: str) -> str:
    """Return what a layer of a network is called in a scene, where the picture itself is called ``input``.

    Parameters
    ----------
    name : str
        Of the layer in the network.
    """
    return _NAMESAKE if name == INPUT else name


def own_layer(shown: str) -> str:
    """Return what a layer of a scene is called in its network.

    Parameters
    ----------
    shown : str
        What :func:`shown_layer` returned.
    """
    return INPUT if shown == _NAMESAKE else shown


def _layer(explanation: "Explanation", name: str | None, ledger: dict[str, Tree]) -> Tree:
    """Describe a layer; None is the picture."""
    shape = _shape(explanation, name)
    kind = "map" if _is_map(explanation, name) else "units"
    shown = INPUT if name is None else shown_layer(name)
    operation = "the picture" if name is None else ledger.get(shown, {}).get("op", "")
    return {"name": shown, "op": operation, "shape": list(shape), "kind": kind}


def _piece(explanation: "Explanation", name: str | None, target: int, sample: int, dtype: Dtype) -> Tree:
    if name is None:
        # The map that everybody looks at keeps its precision: int8 would show steps where few pixels carry the peak.
        return dict(pack(_array(explanation.heatmap(target, sample)), "float16"))
    relevance = _array(explanation.layers[name][sample, target])
    if _is_map(explanation, name):
        return dict(pack(relevance.sum(axis=channel_axis(explanation, name)), dtype))
    values = relevance.reshape(-1)
    strongest = np.argsort(-np.abs(values), kind="stable")[:_STRONGEST]
    last = _is_output(explanation, values, target, sample)
    return {
        "indices": strongest.tolist(),
        "labels": [_category(explanation, int(index)) for index in strongest] if last else None,
        "values": dict(pack(values[strongest])),
        "size": values.size,
        **masses(values),
    }


def masses(values: Floats) -> dict[str, float]:
    """Return the positive and the negative relevance of an array, both at least 0."""
    return {"positive": float(values.clip(min=0).sum()), "negative": float(-values.clip(max=0).sum())}


def _is_output(explanation: "Explanation", values: Floats, target: int, sample: int) -> bool:
    """Tell the network's output, whose neurons are the classes: its relevance is each logit times its seed."""
    logits = _array(explanation.logits[sample])
    if values.shape != logits.shape:
        return False
    seed = np.zeros_like(logits)
    if explanation.seeds is not None:
        seed = _array(explanation.seeds[sample, target])
    else:
        for index, sign in ((explanation.targets, 1), (explanation.negatives, -1)):
            place = int(index[sample, target])
            if place >= 0:
                seed[place] = sign
    expected = logits * seed
    return bool(np.abs(values - expected).max() <= SAME_IN_HALF * np.abs(expected).max())


def _is_same_map(heatmap: Floats, held: Packed) -> bool:
    """Tell whether rounding can be all that a map differs by from the one that is there."""
    return bool(np.abs(heatmap - unpack(held)).max() <= SAME_IN_HALF * np.abs(heatmap).max())


def _ledger(explanation: "Explanation", target: int, sample: int) -> dict[str, Tree]:
    if not explanation.layers:
        # Without layers there is nowhere to show it, and asking for it would run the network again.
        return {}
    columns = explanation.ledger(target, sample).to_dict()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {shown_layer(row.pop("layer")): {key: _plain(value) for key, value in row.items()} for row in rows}


def _plain(value: object) -> object:
    """Return a number that JSON can write: infinite and undefined ones become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shape(explanation: "Explanation", name: str | None) -> tuple[int, ...]:
    """Return the lengths of a layer; None is the picture."""
    return tuple((explanation.relevance if name is None else explanation.layers[name]).shape[2:])


def _is_map(explanation: "Explanation", name: str | None) -> bool:
    """Tell a layer that has channels, and a plane for each of them."""
    is_deep = len(_shape(explanation, name)) == _CHANNELS_AND_PLANE
    return is_deep and math.prod(_plane(explanation, name)) > 1


def _plane(explanation: "Explanation", name: str | None) -> tuple[int, ...]:
    """Return the lengths of a layer without its channels."""
    shape = _shape(explanation, name)
    if len(shape) != _CHANNELS_AND_PLANE:
        return shape[-2:]
    axis = (explanation.channels or 0) if name is None else channel_axis(explanation, name)
    return (*shape[:axis], *shape[axis + 1 :])


def channel_axis(explanation: "Explanation", name: str) -> int:
    """Return which of a layer's three axes holds the channels.

    Where the network does not show it, it is the first, or in layers with channels last the last: a plane has about the
    proportions of the picture, which channels have by chance alone.

    Parameters
    ----------
    explanation : Explanation
        With the layer.
    name : str
        Of a layer of three axes besides samples and targets.
    """
    if name in explanation.layers.channels:
        return explanation.layers.channels[name]
    first, middle, last = explanation.layers[name].shape[2:]
    height, width = _plane(explanation, None)
    wanted = math.log(height / width)
    return 2 if abs(math.log(first / middle) - wanted) < abs(math.log(middle / last) - wanted) else 0


def _array(tensor: "Tensor") -> Floats:
    values: Floats = tensor.detach().cpu().double().numpy()
    return values


def _question(images: list[Tree]) -> str:
    if len(images) > 1:
        return "Why these answers?"
    return f"Why {isolated(images[0]['targets'][0]['label'])}?"
