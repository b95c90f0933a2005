import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import rlrp_nb as rn
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess


def portrait(network):
    """Return all that an explanation must leave as it was."""
    return {
        "state": {k: (v.clone(), v.data_ptr(), v._version) for k, v in network.state_dict(keep_vars=True).items()},
        "gradients": {k: None if p.grad is None else p.grad.clone() for k, p in network.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in network.named_parameters()},
        "mode": [m.training for m in network.modules()],
        "modules": list(network.modules()),
        "hooks": [
            {k: list(v) for k, v in vars(m).items() if "hooks" in k and v is not None} for m in network.modules()
        ],
        "attributes": [sorted(vars(m)) for m in network.modules()],
    }


def assert_untouched(network, before):
    after = portrait(network)
    for name, (value, pointer, version) in before.pop("state").items():
        assert torch.equal(after["state"][name][0], value)
        assert after["state"][name][1:] == (pointer, version)
    after.pop("state")
    gradients = before.pop("gradients")
    for name, gradient in after.pop("gradients").items():
        assert (gradient is None) == (gradients[name] is None)
        assert gradient is None or torch.equal(gradient, gradients[name])
    assert after == before


@pytest.fixture
def lived_in(residual, images):
    """A network with gradients, a frozen layer and hooks of every kind."""
    nn.functional.cross_entropy(residual(images), torch.tensor([0, 1])).backward()
    residual[0].requires_grad_(requires_grad=False)
    residual[1].register_forward_hook(lambda *_: None)
    residual[1].register_forward_pre_hook(lambda *_: None)
    residual[4].register_full_backward_hook(lambda *_: None)
    return residual


@pytest.mark.parametrize("method", rn.available_methods())
def test_the_network_is_left_as_it_was(lived_in, images, method):
    before = portrait(lived_in)
    rn.explain(lived_in, images, "top3", method, layers="all").ledger()
    assert_untouched(lived_in, before)


@pytest.mark.parametrize("failure", ["shape", "target", "layer", "flat", "midway"])
def test_the_network_is_left_as_it_was_after_an_error(lived_in, images, failure, monkeypatch):
    before = portrait(lived_in)
    if failure == "midway":
        monkeypatch.setattr("rlrp_nb.engine.weighted.Convolution.pull", lambda *_: 1 / 0)
    with pytest.raises((rn.RlrpError, ZeroDivisionError)):
        rn.explain(
            nn.Sequential(nn.ReLU(), lived_in) if failure == "flat" else lived_in,
            images[:, :2] if failure == "shape" else images,
            99 if failure == "target" else None,
            "epsilon-plus-flat" if failure == "flat" else "rlrp",
            ["nowhere"] if failure == "layer" else None,
        )
    assert_untouched(lived_in, before)


def test_grad_mode_and_inputs_are_left_as_they_were(residual, images):
    images.requires_grad_()
    copied = images.detach().clone()
    explanation = rn.explain(residual, images)
    assert torch.is_grad_enabled()
    assert images.grad is None
    assert torch.equal(images.detach(), copied)
    assert not explanation.relevance.requires_grad


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.set_grad_enabled(True),
    ],
)
@pytest.mark.parametrize("method", ["rlrp", "gradient-x-input", "lrp-gamma"])
def test_modes_around_the_call_change_nothing(residual, images, mode, method):
    expected = rn.explain(residual, images, 1, method).relevance
    with mode():
        found = rn.explain(copy.deepcopy(residual), images.clone(), 1, method).relevance
    torch.testing.assert_close(found, expected)
    assert (found * 2).sum().isfinite()  # usable outside the mode


def test_wrapped_networks(residual, images):
    expected = rn.explain(residual, images, 1).relevance
    for wrapped in (nn.DataParallel(residual), torch.compile(residual)):
        assert torch.equal(rn.explain(wrapped, images, 1).relevance, expected)


def test_hooks_that_look_are_fine_and_hooks_that_change_are_refused(residual, images):
    seen = []
    handle = residual[1].register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    expected = rn.explain(residual, images, 1).relevance
    handle.remove()
    assert torch.equal(rn.explain(residual, images, 1).relevance, expected)
    assert set(seen) == {(2, 8, 4, 4)}
    residual[1].register_forward_hook(lambda _m, _i, output: output * 2)
    with pytest.raises(rn.UnsupportedNetworkError, match=r"hooks change the output of the network.*1"):
        rn.explain(residual, images, 1)


def _pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer.weight_orig


def _weight_normed(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer)
    return layer.weight_g


def _spectral_normed(layer):
    nn.utils.spectral_norm(layer).eval()
    return layer.weight_orig


@pytest.mark.parametrize("make", [_pruned, _weight_normed, _spectral_normed])
def test_weights_that_a_hook_makes_anew_are_refused_by_name_where_they_are_out_of_date(residual, images, make):
    part = make(residual[0][0])
    residual(images)
    rn.explain(residual, images, 1)
    part.data[0] *= -3
    with pytest.raises(rn.UnsupportedNetworkError, match=r"^0\.0\.weight is out of date.*Run the network once"):
        rn.explain(residual, images, 1)
    expected = residual(images)
    assert torch.allclose(rn.explain(residual, images, 1).logits, expected, atol=1e-5)


@pytest.mark.parametrize("make", [_pruned, _weight_normed, _spectral_normed])
def test_weights_that_a_hook_makes_anew_are_out_of_date_after_a_cast(residual, images, make):
    make(residual[0][0])
    residual(images)
    residual.double()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"^0\.0\.weight is out of date.*Run the network once"):
        rn.explain(residual, images.double(), 1)
    expected = residual(images.double())
    assert torch.allclose(rn.explain(residual, images.double(), 1).logits, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(residual, images, dtype):
    expected = rn.explain(residual, images, 1).relevance
    explanation = rn.explain(residual.to(dtype), images.to(dtype), 1, layers="all")
    assert explanation.logits.dtype == dtype
    assert explanation.relevance.dtype == torch.float32
    similarity = nn.functional.cosine_similarity(explanation.relevance.flatten(), expected.flatten(), dim=0)
    assert similarity > 0.99
    assert explanation.ledger().worst_residual < 1e-2


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ("cat.jpg", "inputs is a str; accepted for a network is a torch tensor"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"dtype torch\.uint8; accepted is a floating-point tensor"),
        (
            torch.zeros(2, 3, 8, 8, dtype=torch.float8_e5m2),
            r"dtype torch\.float8_e5m2; accepted is a floating-point tensor",
        ),
        (torch.zeros(0, 3, 8, 8), r"shape \(0, 3, 8, 8\); accepted is .*at least one sample"),
        (torch.tensor(1.0), r"shape \(\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.float64), r"float64 on cpu, the network is torch\.float32 on cpu"),
        (torch.full((2, 3, 8, 8), float("nan")), r"NaN or infinite values \(in sample 0, 1\)"),
        (torch.zeros(2, 3, 8, 8).index_fill(0, torch.tensor(1), float("inf")), r"in sample 1\)"),
        (torch.zeros(2, 5, 8, 8), r"at layer '0\.0' \(Conv2d\)"),
        (torch.zeros(2, 3, 8, 8).to_sparse(), "accepted is a dense tensor"),
        (torch.zeros(2, 3, 8, 8, device="meta"), "dense tensor with values"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.complex64), "complex64"),
    ],
)
def test_inputs_that_are_not_accepted(residual, inputs, reason):
    with pytest.raises(rn.InputError, match=reason):
        rn.explain(residual, inputs)


def test_training_mode_is_refused(residual, images):
    with pytest.raises(rn.UnsupportedNetworkError, match=r"training mode.*BatchNorm2d.*network\.eval\(\)"):
        rn.explain(residual.train(), images)


def test_the_first_layer_that_is_not_finite_is_named(residual, images):
    with torch.no_grad():
        residual[1][0].conv2.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(rn.UnsupportedNetworkError, match=r"from layer '1\.0\.conv2' on"):
        rn.explain(residual, images)


def test_a_classifier_explains_pictures(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).eval()
    classifier = Classifier(
        name="mine",
        network=network,
        categories=("cat", "dog"),
        preprocess=Preprocess(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        weights="random, for this test",
    )
    array = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8).numpy()
    path = tmp_path / "picture.png"
    rn.load_image(array).save(path)
    explanation = rn.explain(classifier, path, "top2")
    assert (explanation.network, explanation.categories) == ("mine", ("cat", "dog"))
    assert explanation.images.shape == (1, 16, 16, 3)
    seen = classifier.preprocess.view(path)
    assert explanation.images[0].numpy().tobytes() == seen.tobytes()
    batch = classifier.preprocess(array)[None]
    assert torch.equal(explanation.relevance, rn.explain(network, batch, "top2").relevance)
    several = rn.explain(classifier, [path, array, rn.load_image(path)], 1)
    assert several.relevance.shape == (3, 1, 3, 16, 16)
    torch.testing.assert_close(
        rn.explain(classifier, batch, 1).relevance[0], several.relevance[0], rtol=1e-4, atol=1e-7
    )
    with pytest.raises(rn.InputError, match="empty list"):
        rn.explain(classifier, [])
    with pytest.raises(rn.InputError, match=r"missing\.png"):
        rn.explain(classifier, tmp_path / "missing.png")


def test_default_device_of_the_caller_does_not_matter(residual, images):
    expected = rn.explain(residual, images, [1, 2]).relevance
    with torch.device("meta"):
        found = rn.explain(residual, images, [1, 2], layers="all")
    assert torch.equal(found.relevance, expected)
