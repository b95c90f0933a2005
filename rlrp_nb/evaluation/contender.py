"""The contenders of a comparison: methods of the engine, of other projects, and two controls, all called in one way.

The other projects' methods work on a twin of the network, which shares its weights and nothing else: their hooks and
their changes to layers never touch the network itself, whatever goes wrong.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet

from rlrp_nb.checks import check_texts
from rlrp_nb.engine.explainer import check_no_harm_by_hooks
from rlrp_nb.engine.methods import METHODS, TRANSPOSE, Method
from rlrp_nb.engine.modules import each_module, modules_of
from rlrp_nb.engine.twins import separate
from rlrp_nb.errors import InputError, MissingPackageError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.identity import identity

if TYPE_CHECKING:
    from rlrp_nb.evaluation.attribute import Attribute
    from rlrp_nb.evaluation.domain import Range

    Note: TypeAlias = Callable[[nn.Module, Tensor], str]
    ContenderLike: TypeAlias = "str | Method | Contender | Attribute"

_POOLING = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_PLANE = 4  # axes of a batch of channels of maps
_EXPLODED = 1e6
_AT_ONCE = 32  # inputs that a method which asks the network often is allowed at once


@dataclass(frozen=True)
class Contender:
    """A method that takes part in a comparison.

    Parameters
    ----------
    name : str
        What it is called in code.
    title : str
        What it is called in figures.
    description : str
        What it does, every setting included.
    attribute : callable
        Takes a network, inputs ``(B, C, H, W)`` and int64 targets ``(B,)``; returns heatmaps ``(B, H, W)``.
    method : Method, optional
        The engine's method behind it, if it is one.
    note : callable, optional
        Takes a network and one input ``(1, C, H, W)``; says what was found for this network.
    """

    name: str
    title: str
    description: str
    attribute: Attribute
    method: Method | None = None
    note: Note | None = None

    def __post_init__(self) -> None:
        """Refuse what no table could show, and what is no method."""
        check_texts(name=self.name, title=self.title, description=self.description)
        for name, called in (("attribute", self.attribute), ("note", self.note)):
            if not callable(called) and (called is not None or name == "attribute"):
                raise InputError(f"{name} is a {type(called).__name__}; accepted is a function.")
        if not isinstance(self.method, Method | None):
            raise InputError(
                f"method is a {type(self.method).__name__}; accepted is a Method of the engine, or None. A function "
                "that makes heatmaps is the contender's attribute."
            )


def saliency() -> Contender:
    """Return the absolute gradient, largest channel (Simonyan, Vedaldi and Zisserman, 2014), by Captum."""

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with _twin(network, inputs) as twin:
            gradient: Tensor = _captum("Saliency")(twin).attribute(_leaf(inputs), target=targets)
        return gradient.detach().amax(1)

    return Contender(
        "saliency", "Saliency", "Captum's Saliency: the absolute gradient of the logit, largest channel", attribute
    )


def integrated_gradients(steps: int = 32) -> Contender:
    """Return integrated gradients (Sundararajan, Taly and Yan, 2017), by Captum.

    Parameters
    ----------
    steps : int
        Of the Gauss-Legendre quadrature from the baseline, an input of zeros, to the input.
    """

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with _twin(network, inputs) as twin:
            found: Tensor = _captum("IntegratedGradients")(twin).attribute(
                _leaf(inputs), target=targets, n_steps=steps, internal_batch_size=max(len(inputs), _AT_ONCE)
            )
        return found.detach().to(inputs.dtype).sum(1)

    return Contender(
        "integrated-gradients",
        "Integrated gradients",
        f"Captum's IntegratedGradients: {steps} steps by Gauss-Legendre from an input of zeros, channels summed",
        attribute,
    )


def smoothgrad(domain: Range, samples: int = 25, sigma: float = 0.15) -> Contender:
    """Return SmoothGrad (Smilkov, Thorat, Kim, Viegas and Wattenberg, 2017), its gradients by Captum.

    Every image gets the same noise, so that its heatmap does not depend on the images beside it.

    Parameters
    ----------
    domain : Range
        Of the network's input.
    samples : int
        How many noisy inputs are averaged.
    sigma : float
        Standard deviation of the noise as a share of the range.
    """

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        low, high = domain.around(inputs)
        generator = torch.Generator().manual_seed(0)
        total = torch.zeros_like(inputs)
        with _twin(network, inputs) as twin:
            method = _captum("Saliency")(twin)
            for _ in range(samples):
                drawn = torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
                noise = drawn.to(inputs) * (sigma * (high - low))
                total += method.attribute(_leaf(inputs + noise), target=targets, abs=False).detach()
        return (total / samples).abs().sum(1)

    return Contender(
        "smoothgrad",
        "SmoothGrad",
        f"the mean of Captum's gradients of {samples} noisy inputs (Gaussian, standard deviation {sigma:g} of the "
        "input's range, the same for every image), absolute values summed over channels",
        attribute,
    )


def grad_cam() -> Contender:
    """Return Grad-CAM (Selvaraju et al., 2017) at the last maps before pooling, by Captum."""

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with _twin(network, inputs) as twin:
            layer = dict(modules_of(twin))[last_spatial_layer(network, inputs[:1])]
            method = _captum("LayerGradCam")(twin, layer)
            maps: Tensor = method.attribute(_leaf(inputs), target=targets, relu_attributions=True).detach()
        enlarged = functional.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)
        return enlarged[:, 0]

    return Contender(
        "grad-cam",
        "Grad-CAM",
        "Captum's LayerGradCam, ReLU applied, at the module that is last to return maps larger than one pixel and is "
        "no pooling; enlarged bilinearly",
        attribute,
        note=lambda network, inputs: f"layer {last_spatial_layer(network, inputs)}",
    )


def occlusion(window: float = 1 / 7, stride: float = 1 / 14) -> Contender:
    """Return occlusion (Zeiler and Fergus, 2014), by Captum.

    Parameters
    ----------
    window, stride : float
        Side of the square that is set to zero, and how far it moves, as shares of the input's shorter side.
    """

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        side, step = (max(1, round(share * min(inputs.shape[2:]))) for share in (window, stride))
        channels = inputs.shape[1]
        with torch.no_grad(), _twin(network, inputs) as twin:
            found: Tensor = _captum("Occlusion")(twin).attribute(
                inputs.detach(),
                target=targets,
                sliding_window_shapes=(channels, side, side),
                strides=(channels, step, step),
                baselines=0,
                perturbations_per_eval=max(1, _AT_ONCE // len(inputs)),
            )
        return found.mean(1).to(inputs.dtype)

    return Contender(
        "occlusion",
        "Occlusion",
        f"Captum's Occlusion: a square of {window:.3g} of the shorter side set to zero, moved by {stride:.3g} of it",
        attribute,
    )


def zennit_epsilon_plus_flat() -> Contender:
    """Return zennit's composite EpsilonPlusFlat."""
    return _zennit("EpsilonPlusFlat", "zennit-epsilon-plus-flat", "zennit ε+flat")


def zennit_epsilon_alpha2_beta1_flat() -> Contender:
    """Return zennit's composite EpsilonAlpha2Beta1Flat."""
    return _zennit("EpsilonAlpha2Beta1Flat", "zennit-epsilon-alpha2-beta1-flat", "zennit ε-α2β1-flat")  # noqa: RUF001 - Greek


def zennit_epsilon_gamma_box(domain: Range) -> Contender:
    """Return zennit's composite EpsilonGammaBox.

    Parameters
    ----------
    domain : Range
        Of the network's input: the box.
    """
    return _zennit("EpsilonGammaBox", "zennit-epsilon-gamma-box", "zennit ε-γ-box", domain)  # noqa: RUF001 - Greek


def random_control(seed: int = 0) -> Contender:
    """Return uniform noise that depends on the image and the seed alone: what any method has to beat."""

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001 - an Attribute
        return torch.stack([_noise(image, seed) for image in inputs.detach()]).to(inputs)

    return Contender(
        "random",
        "Random",
        f"a control: uniform noise, drawn anew for each image from its pixels and seed {seed}",
        attribute,
    )


def edges_control() -> Contender:
    """Return the strength of the image's edges: as sharp as any heatmap, and blind to the network."""

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001 - an Attribute
        grey = functional.pad(inputs.detach().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device="cpu").to(inputs)
        kernels = torch.stack([across, across.T])[:, None] / 8
        return functional.conv2d(grey, kernels).square().sum(1).sqrt()

    return Contender(
        "edges",
        "Edges",
        "a control: Sobel's gradient magnitude of the mean channel; knows nothing of the network",
        attribute,
    )


_OTHERS: dict[str, Callable[[Range], Contender]] = {
    "saliency": lambda _: saliency(),
    "integrated-gradients": lambda _: integrated_gradients(),
    "smoothgrad": smoothgrad,
    "grad-cam": lambda _: grad_cam(),
    "occlusion": lambda _: occlusion(),
    "zennit-epsilon-plus-flat": lambda _: zennit_epsilon_plus_flat(),
    "zennit-epsilon-alpha2-beta1-flat": lambda _: zennit_epsilon_alpha2_beta1_flat(),
    "zennit-epsilon-gamma-box": zennit_epsilon_gamma_box,
    "random": lambda _: random_control(),
    "edges": lambda _: edges_control(),
}


def available_contenders() -> tuple[str, ...]:
    """Return the names that a comparison knows: the engine's methods, those of Captum and zennit, two controls."""
    return (*METHODS, *_OTHERS)


def resolve_contenders(
    methods: ContenderLike | Iterable[ContenderLike] | Mapping[str, ContenderLike], domain: Range
) -> tuple[Contender, ...]:
    """Return the contenders that a user's `methods` stand for.

    Parameters
    ----------
    methods
        One, or several, or a dict with names of one's own: names of :func:`available_contenders`, the engine's
        ``Method``, a ``Contender``, or any callable ``(network, inputs, targets) -> heatmaps``.
    domain : Range
        Of the network's input.

    Raises
    ------
    InputError
        There is none, one is named twice, a name is not known, or something is no method.
    MissingPackageError
        One comes from a package that is not installed.
    """
    if isinstance(methods, Mapping):
        unnamed = [name for name in methods if not isinstance(name, str) or not name]
        if unnamed:
            raise InputError(f"methods has a method called {unnamed[0]!r}: its name has to be a text.")
        pairs: list[tuple[str | None, Any]] = list(methods.items())
    elif isinstance(methods, str | Method | Contender) or callable(methods):
        pairs = [(None, methods)]
    elif isinstance(methods, Iterable):
        pairs = [(None, method) for method in methods]
    else:
        raise InputError(f"methods is a {type(methods).__name__}: give names, callables, or a dict of them.")
    if not pairs:
        raise InputError(f"methods is empty: choose from {', '.join(available_contenders())}.")
    chosen = tuple(_resolve(name, method, domain) for name, method in pairs)
    names = [contender.name for contender in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"methods has {', '.join(twice)} twice: give a dict, so that each has a name of its own.")
    titles = Counter(contender.title for contender in chosen)
    return tuple(c if titles[c.title] == 1 else replace(c, title=f"{c.title} ({c.name})") for c in chosen)


def last_spatial_layer(network: nn.Module, inputs: Tensor) -> str:
    """Find the module that is the last to return maps of more than one pixel, and is no pooling.

    Parameters
    ----------
    network : nn.Module
        Is left alone: a twin is run.
    inputs : Tensor
        ``(1, C, H, W)``.

    Returns
    -------
    str
        Its name within the network. A module that is used several times is passed over, and so is one that hands on
        what a pooling returned.

    Raises
    ------
    UnsupportedNetworkError
        There is no such module.
    """
    order: list[str] = []
    pooled: list[int] = []
    kept: list[Tensor] = []  # alive until the end, so that no address is used twice

    def record(name: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim != _PLANE or output.shape[2] * output.shape[3] == 1:
                return
            kept.append(output)
            if isinstance(module, _POOLING):
                pooled.append(output.data_ptr())
            elif output.data_ptr() not in pooled:
                order.append(name)

        module.register_forward_hook(hook)

    with torch.no_grad(), _twin(network, inputs) as twin:
        for name, module in each_module(twin):
            record(name, module)
        twin(inputs)
    once = [name for name in order if name and order.count(name) == 1]
    if not once:
        raise UnsupportedNetworkError(
            f"{type(network).__name__} has no module that returns maps (B, C, H, W) larger than one pixel: Grad-CAM "
            "needs one. Leave it out for this network."
        )
    return once[-1]


def _resolve(name: str | None, method: object, domain: Range) -> Contender:
    if isinstance(method, str):
        if method in METHODS:
            contender = _engine(METHODS[method])
        elif method in _OTHERS:
            contender = _OTHERS[method](domain)
            _check_installed(method)
        else:
            near = get_close_matches(method.lower(), available_contenders(), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"method {method!r} is not known.{hint} Accepted are {', '.join(available_contenders())}, a Method, "
                "or a callable (network, inputs, targets) -> heatmaps."
            )
    elif isinstance(method, Contender):
        contender = method
    elif isinstance(method, Method):
        contender = _engine(method)
    elif callable(method):
        title = name or str(getattr(method, "__name__", type(method).__name__))
        contender = Contender(title, title, identity(method), cast("Attribute", method))
    else:
        raise InputError(
            f"a method is a {type(method).__name__}: give a name, a Method, or a callable (network, inputs, targets) "
            "-> heatmaps (B, H, W)."
        )
    return contender if name is None else replace(contender, name=name, title=name)


def _engine(method: Method) -> Contender:
    layers = {"convolutions": method.convolution, "dense layers": method.dense, "first layer": method.first}
    rules = "".join(f", {what} by {_setting(rule)}" for what, rule in layers.items() if rule not in {None, TRANSPOSE})
    return Contender(
        method.name,
        method.title,
        f"this engine's: activations by their {method.activation} slope{rules}; channels summed",
        engine_attribute(method),
        method,
    )


def _setting(rule: object) -> str:
    """Return a rule with its numbers."""
    numbers = [f"{field.name} {getattr(rule, field.name):g}" for field in fields(rule) if field.name != "needs"]  # type: ignore[arg-type]
    return " ".join([type(rule).__name__, *numbers])


def _zennit(composite: str, name: str, title: str, domain: Range | None = None) -> Contender:
    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        from zennit import composites  # noqa: PLC0415 - an optional package
        from zennit.attribution import Gradient  # noqa: PLC0415 - likewise

        # in a comparison within inference mode the ends are tensors that could not take part in a gradient
        ends = () if domain is None else [end.clone() for end in domain.around(inputs)]
        bounds = dict(zip(("low", "high"), ends, strict=False))
        made = getattr(composites, composite)(canonizers=[_canonizer(network)], **bounds)

        def seed(logits: Tensor) -> Tensor:
            return torch.zeros_like(logits).scatter_(1, targets.to(logits.device)[:, None], 1.0)

        with _twin(network, inputs) as twin, Gradient(twin, made) as attributor:
            _, relevance = attributor(_leaf(inputs), seed)
        heatmaps: Tensor = relevance.detach().sum(1)
        largest = float(heatmaps.abs().flatten(1).sum(1).max())
        if largest > _EXPLODED:
            raise InputError(f"relevance explodes: from 1 at the logit to {largest:.1e} at the input.")
        return heatmaps

    box = "" if domain is None else ", the box from the smallest to the largest possible input"
    return Contender(
        name,
        title,
        f"zennit's {composite} with its own settings{box}; ResNets with ResNetCanonizer, others with "
        "SequentialMergeBatchNorm; relevance 1 at the logit, channels summed",
        attribute,
        note=lambda network, _: type(_canonizer(network)).__name__,
    )


def _canonizer(network: nn.Module) -> Any:  # noqa: ANN401 - zennit's own type
    from zennit.canonizers import SequentialMergeBatchNorm  # noqa: PLC0415 - an optional package
    from zennit.torchvision import ResNetCanonizer  # noqa: PLC0415 - likewise

    return ResNetCanonizer() if isinstance(network, ResNet) else SequentialMergeBatchNorm()


def _captum(name: str) -> Any:  # noqa: ANN401 - a class of an optional package
    from captum import attr  # noqa: PLC0415 - an optional package

    return getattr(attr, name)


def _check_installed(method: str) -> None:
    package = "zennit" if method.startswith("zennit") else "captum"
    if method in {"random", "edges"}:
        return
    try:
        __import__(package)
    except ImportError as error:
        raise MissingPackageError(
            f"the method {method!r} comes from {package}, which is not installed: pip install 'rlrp-nb[compare]'."
        ) from error


@contextmanager
def _twin(network: nn.Module, inputs: Tensor) -> Iterator[nn.Module]:
    """Lend a twin that can be hooked, and that computes on a copy of what it is given.

    A network may write into its input, as one does that begins with an in-place ReLU or normalises in place. Gradients
    would then be those of what is written, and an input that is asked about again would be another one.

    Raises
    ------
    UnsupportedNetworkError
        Hooks, which the twin has none of, change what the network computes.
    """
    check_no_harm_by_hooks(network, inputs.detach())
    with separate(network) as twin:
        twin.register_forward_pre_hook(lambda _module, given: tuple(tensor.clone() for tensor in given))
        yield twin


def _leaf(inputs: Tensor) -> Tensor:
    return inputs.detach().clone().requires_grad_()


def _noise(image: Tensor, seed: int) -> Tensor:
    pixels = image.cpu().double().contiguous().numpy().tobytes()
    generator = torch.Generator().manual_seed(zlib.crc32(pixels, seed))
    return torch.rand(image.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
