"""The contenders: heatmaps for every network, settings said, and the network left as it was, whatever happens."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rlrp_nb.engine.methods import lrp_epsilon
from rlrp_nb.errors import InputError, MissingPackageError, UnsupportedNetworkError
from rlrp_nb.evaluation.comparing import compare
from rlrp_nb.evaluation.contender import (
    Contender,
    available_contenders,
    last_spatial_layer,
    occlusion,
    random_control,
    resolve_contenders,
)
from rlrp_nb.evaluation.domain import Range

DOMAIN = Range(torch.zeros(3), torch.ones(3))
INPUTS = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([1, 4])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.relu(self.branch(x) + x)
        return self.head(self.pool(x).flatten(1))


@pytest.fixture
def network():
    return Residual().eval()


def state(network):
    return (
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        [(p.requires_grad, p.grad) for p in network.parameters()],
        [module.training for module in network.modules()],
        [
            sum(len(getattr(m, hooks)) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"))
            for m in network.modules()
        ],
        [vars(module).get("forward") for module in network.modules()],
    )


def same(first, second):
    return all(torch.equal(first[0][name], second[0][name]) for name in first[0]) and first[1:] == second[1:]


@pytest.mark.parametrize("name", available_contenders())
def test_each_gives_heatmaps_and_leaves_the_network_alone(network, name):
    (contender,) = resolve_contenders(name, DOMAIN)
    before, inputs = state(network), INPUTS.clone()
    heatmaps = contender.attribute(network, INPUTS, TARGETS)
    assert heatmaps.shape == (2, 12, 12)
    assert heatmaps.isfinite().all()
    assert not heatmaps.requires_grad
    assert heatmaps.abs().amax((1, 2)).min() > 0
    assert same(before, state(network))
    assert torch.equal(inputs, INPUTS)
    assert contender.name == name
    assert contender.title
    assert contender.description


@pytest.mark.parametrize("name", available_contenders())
def test_no_heatmap_depends_on_the_images_beside_it(network, name):
    (contender,) = resolve_contenders(name, DOMAIN)
    together = contender.attribute(network, INPUTS, TARGETS)
    for k in range(2):
        alone = contender.attribute(network, INPUTS[k : k + 1], TARGETS[k : k + 1])
        torch.testing.assert_close(alone[0], together[k], rtol=1e-4, atol=1e-5 * float(together[k].abs().max()))


class Centred(Residual):
    def __init__(self, *, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        return super().forward(x.sub_(0.4).mul_(2) if self.inplace else (x - 0.4) * 2)


@pytest.mark.parametrize("name", available_contenders())
def test_a_network_that_writes_into_its_input_has_the_heatmaps_of_one_that_does_not(name):
    (contender,) = resolve_contenders(name, DOMAIN)
    found, expected = (contender.attribute(Centred(inplace=it).eval(), INPUTS.clone(), TARGETS) for it in (True, False))
    torch.testing.assert_close(found, expected)


class Broken(Residual):
    def forward(self, x):
        x = self.pool(self.relu(self.stem(x)))
        raise RuntimeError("half way")


@pytest.mark.parametrize(
    "name", ["saliency", "integrated-gradients", "smoothgrad", "grad-cam", "occlusion", "zennit-epsilon-gamma-box"]
)
def test_an_error_half_way_leaves_the_network_alone(name):
    network = Broken().eval()
    (contender,) = resolve_contenders(name, DOMAIN)
    before = state(network)
    with pytest.raises(RuntimeError, match="half way"):
        contender.attribute(network, INPUTS, TARGETS)
    assert same(before, state(network))


class Functional(Residual):
    def forward(self, x):
        x = functional.relu(self.branch(self.stem(x)))
        return self.head(functional.adaptive_avg_pool2d(x, 2).flatten(1))


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations:UserWarning")
def test_within_inference_mode_the_heatmaps_are_the_same(network):
    options = {"methods": available_contenders(), "metrics": ("gini",), "progress": False, "resamples": 10}
    expected = compare(network, INPUTS, **options)
    with torch.inference_mode():
        found = compare(Residual().eval(), INPUTS.clone(), **options)
    assert found.failures == expected.failures == ()
    torch.testing.assert_close(found.values, expected.values)


def test_grad_cam_finds_the_last_maps_before_pooling(network):
    assert last_spatial_layer(network, INPUTS[:1]) == "relu"
    assert last_spatial_layer(Functional().eval(), INPUTS[:1]) == "branch"
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    plain = nn.Sequential(features, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5))
    assert last_spatial_layer(plain, INPUTS[:1]) == "0.1"
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), shared, nn.Flatten(), nn.Linear(256, 5))
    assert last_spatial_layer(twice, INPUTS[:1]) == "2"
    with pytest.raises(UnsupportedNetworkError, match="has no module that returns maps"):
        last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), INPUTS[:1])
    (contender,) = resolve_contenders("grad-cam", DOMAIN)
    assert contender.note(network, INPUTS[:1]) == "layer relu"


def test_a_control_is_the_same_for_the_same_image_and_another_for_another(network):
    control = random_control()
    first = control.attribute(network, INPUTS, TARGETS)
    assert torch.equal(first, control.attribute(network, INPUTS, TARGETS))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, control.attribute(network, INPUTS + 1e-3, TARGETS))
    assert not torch.equal(first, random_control(seed=1).attribute(network, INPUTS, TARGETS))
    assert 0 <= first.min() < first.max() <= 1


def test_the_edges_are_sobels(network):
    (edges,) = resolve_contenders("edges", DOMAIN)
    found = edges.attribute(network, INPUTS.double(), TARGETS)
    grey = INPUTS.double().mean(1)
    for row, column in ((5, 5), (1, 8)):
        near = grey[0, row - 1 : row + 2, column - 1 : column + 2]
        weights = torch.tensor([1.0, 2.0, 1.0]).double()
        across = ((near[:, 2] - near[:, 0]) * weights).sum() / 8
        down = ((near[2] - near[0]) * weights).sum() / 8
        assert found[0, row, column].item() == pytest.approx(float(across**2 + down**2) ** 0.5)


def test_methods_of_every_kind_are_understood():
    def mine(_network, inputs, _targets):
        return inputs.sum(1)

    listed = resolve_contenders(["rlrp", lrp_epsilon(0.5), occlusion(), mine], DOMAIN)
    assert [one.name for one in listed] == ["rlrp", "lrp-epsilon(0.5)", "occlusion", "mine"]
    assert "epsilon 0.5" in listed[1].description
    assert [one.method is not None for one in listed] == [True, True, False, False]
    named = resolve_contenders({"a": lrp_epsilon(0.5), "b": lrp_epsilon(1.0), "c": mine}, DOMAIN)
    assert [one.name for one in named] == [one.title for one in named] == ["a", "b", "c"]
    assert named[2].attribute is mine
    assert [one.name for one in resolve_contenders(mine, DOMAIN)] == ["mine"]
    assert [one.name for one in resolve_contenders("random", DOMAIN)] == ["random"]


@pytest.mark.parametrize("name", ["random", "smoothgrad"])
def test_what_is_drawn_does_not_depend_on_the_default_dtype(name):
    (contender,) = resolve_contenders(name, DOMAIN)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 5)).eval()
    usual = contender.attribute(network, INPUTS, TARGETS)
    torch.set_default_dtype(torch.float64)
    try:
        found = contender.attribute(network, INPUTS, TARGETS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(usual, found)


def test_titles_that_would_be_the_same_are_told_apart_by_the_names():
    def Random(_network, inputs, _targets):  # noqa: N802 - as a user may write it
        return inputs.sum(1)

    found = resolve_contenders(["random", Random, "rlrp"], DOMAIN)
    assert [contender.title for contender in found] == ["Random (random)", "Random (Random)", "R-LRP"]


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([], "methods is empty"),
        ({}, "methods is empty"),
        ("rlpr", "method 'rlpr' is not known. Did you mean 'rlrp'"),
        (["rlrp", "rlrp"], "methods has rlrp twice"),
        ([lrp_epsilon(0.25), "lrp-epsilon"], "methods has lrp-epsilon twice"),
        ([3], "a method is a int"),
        (3, "methods is a int"),
        ({None: "rlrp"}, "methods has a method called None: its name has to be a text"),
        ({"": "rlrp"}, "methods has a method called ''"),
    ],
)
def test_what_is_no_method_is_named(methods, words):
    with pytest.raises(InputError, match=words):
        resolve_contenders(methods, DOMAIN)


@pytest.mark.parametrize(("name", "package"), [("saliency", "captum"), ("zennit-epsilon-plus-flat", "zennit")])
def test_a_package_that_is_missing_is_named(monkeypatch, name, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"comes from {package}, .*pip install 'rlrp-nb\[compare\]'"):
        resolve_contenders(name, DOMAIN)
    assert resolve_contenders("edges", DOMAIN)


def test_relevance_that_explodes_is_an_error():
    network = nn.Sequential(
        nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5, bias=False)
    ).eval()
    with torch.no_grad():
        network[0].weight.fill_(1 / 3)
        network[3].weight.zero_()
        network[3].weight[:, 0], network[3].weight[:, 1] = 1e3, -1e3  # a logit of 0, out of large contributions
    (contender,) = resolve_contenders("zennit-epsilon-plus-flat", DOMAIN)
    with pytest.raises(InputError, match=r"relevance explodes: from 1 at the logit to 2\.0e\+09 at the input"):
        contender.attribute(network, torch.ones(2, 3, 12, 12), TARGETS)


def test_saved_values_are_not_those_of_another_method_under_the_same_words(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 5)).eval()

    def asked(power):
        method = Contender("mine", "Mine", "the inputs", lambda _network, inputs, _targets: inputs.sum(1) ** power)
        return compare(network, INPUTS, methods=method, metrics="gini", path=tmp_path / "values.jsonl", progress=False)

    assert asked(1)["mine", "gini"].tolist() == asked(1)["mine", "gini"].tolist()
    with pytest.raises(InputError, match="has values of the method 'mine' as 'the inputs"):
        asked(8)


@pytest.mark.parametrize("name", [name for name in available_contenders() if name not in {"random", "edges"}])
def test_hooks_that_change_the_output_are_refused(network, name):
    (contender,) = resolve_contenders(name, DOMAIN)
    plain = contender.attribute(network, INPUTS, TARGETS)
    with network.stem.register_forward_hook(lambda *_: None):
        assert torch.equal(contender.attribute(network, INPUTS, TARGETS), plain)
    with (
        network.register_forward_pre_hook(lambda _module, given: (given[0] - 0.5,)),
        pytest.raises(UnsupportedNetworkError, match="forward hooks change the output"),
    ):
        contender.attribute(network, INPUTS, TARGETS)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"title": None}, "title is None; accepted is a text"),
        ({"name": 3}, "name is 3; accepted is a text"),
        ({"attribute": "rlrp"}, "attribute is a str; accepted is a function"),
        ({"note": "as is"}, "note is a str; accepted is a function"),
        ({"method": "rlrp"}, "method is a str; accepted is a Method of the engine, or None"),
        ({"method": lambda *_: None}, "method is a function; .* is the contender's attribute"),
    ],
)
def test_a_method_that_no_table_could_show_is_refused_when_it_is_made(wrong, words):
    right = {"name": "mine", "title": "Mine", "description": "", "attribute": lambda *_: None}
    with pytest.raises(InputError, match=words):
        Contender(**{**right, **wrong})
