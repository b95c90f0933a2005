"""``explain``: the way from a network and an input to an explanation."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import rlrp_nb
from rlrp_nb.engine.channels import channels_of_input
from rlrp_nb.engine.explanation import Explanation
from rlrp_nb.engine.hooks import check_hooks, unseen
from rlrp_nb.engine.layers import Layers
from rlrp_nb.engine.methods import Method, resolve
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import Relevance, forward, walk_back
from rlrp_nb.engine.registry import constants_of, look_up
from rlrp_nb.engine.snapshot import has_forward_hooks, unwrap
from rlrp_nb.engine.targets import resolve_targets
from rlrp_nb.engine.tracing import run_twin
from rlrp_nb.engine.transforms import check_untransformed
from rlrp_nb.errors import InputError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rlrp_nb.engine.accounts import Account
    from rlrp_nb.engine.graph import Graph
    from rlrp_nb.models.classifier import Classifier

_HALF = {torch.float16, torch.bfloat16}


def explain(
    model: nn.Module | Classifier,
    inputs: Any,  # noqa: ANN401 - a tensor, or whatever a classifier takes for a picture
    targets: Any = None,  # noqa: ANN401 - see below
    method: str | Method = "rlrp",
    layers: str | Collection[str] | None = None,
) -> Explanation:
    """Explain the outputs of a network by the relevance of its inputs.

    Parameters
    ----------
    model : nn.Module or Classifier
        A network in eval mode that returns logits ``(B, classes)``, or a classifier from ``load_model``.
    inputs : Tensor or image
        For a network a floating-point tensor ``(B, …)`` of the network's dtype and device. For a classifier a picture
        (a path, a PIL image, an array, a tensor ``(C, H, W)``) or several: a list, an array with one axis more, a uint8
        tensor ``(B, C, H, W)``. A floating-point tensor ``(B, C, H, W)`` is its network's input, preprocessed already:
        it is neither resized nor normalised, and no picture is kept.
    targets : optional
        What to explain. None: the most probable class of each sample. An int, or a list of K ints: these classes for
        every sample. ``"top5"``: the five most probable. A pair ``(positive, negative)``: the contrast of two classes;
        pairs can stand in a list. An integer tensor ``(B,)`` or ``(B, K)``: classes for each sample. A float tensor
        ``(B, K, classes)``: any seeds. For outputs with more axes, a tuple with one index per axis.
    method : str or Method
        ``"rlrp"`` or another of ``available_methods()``.
    layers : optional
        ``"all"``, a name or a list of names: layers whose relevance is kept. None keeps none.

    Returns
    -------
    Explanation
        One forward and one backward pass serve all targets and layers. The network is not changed in any way.

    Raises
    ------
    InputError
        An input, target, layer or method cannot be used as it is.
    UnsupportedNetworkError
        The network has a part without a rule, or is in training mode.

    Notes
    -----
    Sensitivities walk back through the network: through affine maps by their transpose, through activations by their
    secant slope times the relative activation ``|a| / max |a|``. The relevance of a tensor is its value times its
    sensitivity. This is the project's own reading of the abstract of Nyiri and Gibaru, arXiv 2501.14322 (2025).
    """
    images, categories = None, None
    if isinstance(model, nn.Module) or not hasattr(model, "preprocess"):
        network = unwrap(model)
        name = type(network).__name__
    else:
        network, name, categories = unwrap(model.network), model.name, tuple(model.categories)
        inputs, images = _pictures(model, inputs)
    chosen = resolve(method)
    inputs = check_inputs(network, inputs)
    with undisturbed(inputs):
        graph, constants, hooked = look_up(network, inputs)
        steps = plan(graph, chosen, layers, ledger=layers is not None)
        record = forward(graph, steps, constants, inputs)
        del constants  # the record keeps those that are read again
        # of a network without weights it could be the input itself
        logits = record.logits.clone(memory_format=torch.contiguous_format)
        if len(logits) != len(inputs):
            raise UnsupportedNetworkError(
                f"the network returns {len(logits)} rows for {len(inputs)} samples; accepted is one row of logits per "
                f"sample."
            )
        _check_finite(network, graph, logits, inputs)
        if hooked:
            check_hooks(network, hooked, logits, inputs)
        dtype = torch.float32 if inputs.dtype in _HALF else inputs.dtype
        asked = resolve_targets(targets, logits, dtype)
        relevance = walk_back(graph, steps, record, inputs, asked.seeds.reshape(-1, *logits.shape))

        sums = _sums(relevance.input)  # the map itself is the user's to change

        def replay() -> tuple[Account, ...]:
            return _accounts(network, graph, chosen, inputs, logits, asked.seeds, sums)

        kept = relevance.layers
        # of the samples, which come first whatever their axis within the network
        axes = {step.index: step.batch_dim or 0 for step in graph.steps if step.index in kept}
        channels = {i: graph.channels[i] for i in kept if graph.channels.get(i, axes[i]) != axes[i]}
        _check_relevance(network, graph, inputs, relevance)
        return Explanation(
            relevance=relevance.input.transpose(0, 1),
            logits=logits,
            targets=asked.positive,
            negatives=asked.negative,
            method=chosen.name,
            network=name,
            layers=Layers(
                [(names, kept[i].movedim(1 + axes[i], 0)) for i, names in steps.wanted.items() if i in kept],
                {names[0]: channels[i] - (channels[i] > axes[i]) for i, names in steps.wanted.items() if i in channels},
            ),
            images=images,
            categories=categories,
            versions=dict(_versions()),
            accounts=relevance.accounts if layers is not None else None,
            replay=replay,
            # what a classifier's pictures are prepared as has its channels first
            channels=channels_of_input(graph, inputs.shape[1:]) if categories is None else 0,
            seeds=asked.seeds.transpose(0, 1).contiguous() if bool((asked.positive < 0).any()) else None,
        )


def _accounts(  # noqa: PLR0917 - private, and called once
    network: nn.Module, graph: Graph, method: Method, inputs: Tensor, logits: Tensor, seeds: Tensor, sums: Tensor
) -> tuple[Account, ...]:
    """Run again for the ledger of the relevance that has these sums."""
    with undisturbed(inputs):
        steps = plan(graph, method, None, ledger=True)
        try:
            record = forward(graph, steps, constants_of(network, graph), inputs)
            same = torch.allclose(record.logits, logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
        except Exception:  # noqa: BLE001 - with layers that were cast or replaced an op can fail in any way
            same = False
        if same:
            relevance = walk_back(graph, steps, record, inputs, seeds.reshape(-1, *logits.shape))
            # other weights can make the same network of other neurons, and relevance sees neurons
            tolerance = (2e-2 if inputs.dtype in _HALF else 1e-3) * sums[1]
            same = bool(((_sums(relevance.input) - sums).abs() <= tolerance).all())
        if not same:
            raise InputError(
                "the network or its input has changed since this explanation was made; explain again for a ledger."
            )
        return relevance.accounts


def _sums(relevance: Tensor) -> Tensor:
    """Return the sums of relevance ``(K, B, …)`` and of its absolute values, float64 ``(2, K, B)``."""
    flat = relevance.reshape(*relevance.shape[:2], -1)
    return torch.stack([part.sum(-1, dtype=torch.float64) for part in (flat, flat.abs())])


@contextmanager
def undisturbed(inputs: Tensor) -> Iterator[None]:
    """Keep the caller's gradient, inference and autocast modes away from the computation."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(inputs.device.type, enabled=False))
        yield


def _pictures(model: Classifier, inputs: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401 - whatever is a picture
    """Return the batch for the network and the pictures it saw, uint8 ``(B, H, W, 3)``."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4 and inputs.is_floating_point():  # noqa: PLR2004 - a batch
        return inputs, None
    several = isinstance(inputs, list | tuple) or getattr(inputs, "ndim", 0) == 4  # noqa: PLR2004 - an array of pictures
    items = list(inputs) if several else [inputs]
    if not items:
        raise InputError(
            "inputs is an empty list; accepted is a picture (path, PIL image, array) or a list of pictures."
        )
    place = next(iter(model.network.parameters()), torch.empty(0, device="cpu"))
    prepared = [model.preprocess.prepare(item) for item in items]
    batch = torch.stack([each.pixels for each in prepared]).to(place.device, place.dtype)
    return batch, torch.stack([each.view for each in prepared])


def check_inputs(network: nn.Module, inputs: Any) -> Tensor:  # noqa: ANN401 - anything is checked
    """Return the input detached, or say what is wrong with it.

    Raises
    ------
    InputError
        It is no floating-point tensor of the network's dtype and device with finite values and at least one sample, or
        a transform such as ``torch.func.grad`` follows it or the network's weights.
    """
    if not isinstance(inputs, Tensor):
        raise InputError(
            f"inputs is a {type(inputs).__name__}; accepted for a network is a torch tensor (batch, …). Pictures are "
            "accepted with a classifier from rlrp_nb.load_model, or use torch.from_numpy(array)."
        )
    if not inputs.is_floating_point() or inputs.dtype.itemsize == 1:  # PyTorch hardly computes with eight bits
        raise InputError(
            f"inputs has dtype {inputs.dtype}; accepted is a floating-point tensor of 16 bits or more, prepared as in "
            "the network's training (for pictures of integers 0 to 255 usually inputs.float() / 255, then normalised)."
        )
    if inputs.is_nested:
        raise InputError("inputs is a nested tensor; accepted is a dense one, of samples that have the same shape.")
    if type(inputs).__torch_dispatch__ is not Tensor.__torch_dispatch__ and not isinstance(inputs, nn.Parameter):
        raise InputError(f"inputs is a {type(inputs).__name__}; accepted is an ordinary tensor with values.")
    check_untransformed(inputs, "inputs")
    if inputs.layout != torch.strided or inputs.is_meta:
        raise InputError(f"inputs is {inputs.layout} on {inputs.device}; accepted is a dense tensor with values.")
    if inputs.dim() == 0 or 0 in inputs.shape:
        raise InputError(
            f"inputs has shape {tuple(inputs.shape)}; accepted is (batch, …) with at least one sample and value."
        )
    place = next((p for p in network.parameters() if p.is_floating_point() and not p.is_meta), None)
    if place is not None:
        check_untransformed(place, "the network's first weight")
    if place is not None and (place.dtype != inputs.dtype or place.device != inputs.device):
        raise InputError(
            f"inputs is {inputs.dtype} on {inputs.device}, the network is {place.dtype} on {place.device}; accepted "
            "is the same for both: use inputs.to(next(network.parameters()))."
        )
    # a sum over NaN or infinity is not finite, and reads the input only once; of large finite values it may overflow
    if not bool(torch.isfinite(inputs.detach().sum())) and not bool(torch.isfinite(inputs).all()):
        wrong = [
            int(i)
            for i in (~torch.isfinite(inputs.flatten(1) if inputs.dim() > 1 else inputs[:, None])).any(1).nonzero()[:5]
        ]
        raise InputError(
            f"inputs holds NaN or infinite values (in sample {', '.join(map(str, wrong))}); accepted are finite "
            "values. Look for a division by zero in the preprocessing, or use torch.nan_to_num."
        )
    return inputs.detach()


def _check_finite(network: nn.Module, graph: Graph, logits: Tensor, inputs: Tensor) -> None:
    if not bool(torch.isfinite(logits).all()):
        raise UnsupportedNetworkError(
            f"the network's own logits are not finite {_first_not_finite(network, graph, inputs)}: its weights hold "
            "NaN or infinite values, it fills in infinite ones as by a mask, or the input overflows its dtype. Mend "
            "the weights, mask with large finite numbers, or use float32."
        )


def check_no_harm_by_hooks(network: nn.Module, inputs: Tensor) -> None:
    """Refuse a network whose forward hooks change its output, for what is computed without them.

    Raises
    ------
    InputError, UnsupportedNetworkError
        The network, or a hook of it, fails; or the hooks change the output.
    """
    network = unwrap(network)
    if hooked := has_forward_hooks(network):
        with undisturbed(inputs):
            for each in (unseen(inputs), inputs):
                check_hooks(network, hooked, run_twin(network, each), each, by_a_run=True)


def _check_relevance(network: nn.Module, graph: Graph, inputs: Tensor, relevance: Relevance) -> None:
    """Refuse relevance that is not finite, as after an activation that is infinite where the logits are not."""
    for found in (relevance.input, *relevance.layers.values()):
        # as for the inputs: the sum reads only once
        if not bool(torch.isfinite(found.sum())) and not bool(torch.isfinite(found).all()):
            where = _first_not_finite(network, graph, inputs)
            raise UnsupportedNetworkError(
                f"the relevance is not finite, as numbers overflow their dtype, or are infinite by a mask, {where}. "
                "Use float64, smaller seeds or finite masks, or mend weights that are NaN, infinite or far too large."
            )


def _first_not_finite(network: nn.Module, graph: Graph, inputs: Tensor) -> str:
    """Name the first layer whose output is not finite."""
    everything = plan(graph, resolve("rlrp"), None, ledger=True)
    values = forward(graph, everything, constants_of(network, graph), inputs).values
    for step in graph.steps:
        value = values.get(step.index)
        if step.sources and isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            return f"from layer {step.name!r} on"
    return "on the way back"


@cache
def _versions() -> dict[str, str]:
    return {"rlrp_nb": rlrp_nb.__version__, "torch": torch.__version__}
