# ruff: noqa: PLC3002 - a lambda called at once names a value within another lambda
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.methods import METHODS, lrp_gamma
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.registry import graph_of
from rlrp_nb.engine.rules import RULES
from rlrp_nb.engine.tracing import trace


def test_r_lrp_keeps_nothing_but_the_outputs_of_relus(residual, images):
    graph = trace(residual, images)
    kept = {step.op for step in graph.steps if step.index in plan(graph, METHODS["rlrp"], None, ledger=False).keep}
    assert kept == {"aten.relu"}


POOLED = {
    "by a pool alone": lambda a: nn.functional.max_pool2d(a, 2),
    "by others too": lambda a: nn.functional.max_pool2d(a, 2) + a[..., ::2, ::2],
    "by two pools": lambda a: nn.functional.max_pool2d(a, 2) + nn.functional.max_pool2d(a, 2),
}


@pytest.mark.parametrize(
    ("read", "layers", "ops"),
    [
        ("by a pool alone", None, {"aten.max_pool2d"}),
        ("by a pool alone", ["relu"], {"aten.relu"}),
        ("by others too", None, {"aten.relu"}),
        ("by two pools", None, {"aten.relu"}),
    ],
)
def test_a_relu_is_not_kept_where_a_pool_alone_reads_it(written, images, read, layers, ops):
    graph = trace(written(lambda n, x: n.classify(POOLED[read](n.conv(x).relu()))), images)
    made = plan(graph, METHODS["rlrp"], layers, ledger=False)
    assert {step.op for step in graph.steps if step.index in made.keep} == ops


def test_everything_else_is_freed_after_its_last_use(residual, images):
    graph = trace(residual, images)
    made = plan(graph, METHODS["rlrp"], None, ledger=False)
    freed = [index for frees in made.frees for index in frees]
    assert len(freed) == len(set(freed))
    values = {step.index for step in graph.steps if step.sources} | {graph.input}
    assert set(freed) == values - made.keep - {graph.output}
    for step, frees in zip(graph.steps, made.frees, strict=True):
        later = [s for s in graph.steps if s.index > step.index]
        assert not any(set(frees) & s.reads() for s in later)


def test_layers_by_any_of_their_names(residual, images):
    graph = trace(residual, images)
    by_block = plan(graph, METHODS["rlrp"], ["1.0"], ledger=False).wanted
    assert by_block == plan(graph, METHODS["rlrp"], "1.0.relu:2", ledger=False).wanted
    assert len(by_block) == 1


def test_unknown_layers_are_refused_with_the_list(residual, images):
    with pytest.raises(rn.InputError, match=r"\['2.7'\].*0\.0.*1\.1.*4"):
        rn.explain(residual, images, layers=["1.0", "2.7"])


@pytest.mark.parametrize("layers", [[["1.0"]], [{}], [1]])
def test_layers_that_are_no_names_are_refused(residual, images, layers):
    with pytest.raises(rn.InputError, match="are not layers that receive relevance"):
        rn.explain(residual, images, layers=layers)


@pytest.mark.parametrize(
    "start", [nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Sequential(nn.Tanh(), nn.Identity())]
)
def test_flat_needs_a_layer_with_weights_first(start, images):
    network = nn.Sequential(start, nn.Conv2d(3, 2, 3), nn.Flatten()).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match="flat rule needs"):
        rn.explain(network, images, 0, "epsilon-plus-flat")


def test_flat_walks_through_the_preprocessing_of_the_input(images):
    torch.manual_seed(0)

    class Prepared(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))

        def forward(self, x):
            x = (x - 0.2) / torch.tensor([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)
            return self.body(nn.functional.pad(x, (2, 2, 2, 2)).flip(1))

    network = Prepared().eval()
    prepared = ((images - 0.2) / torch.tensor([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)).flip(1)
    padded = nn.functional.pad(prepared, (2, 2, 2, 2))
    expected = rn.explain(network.body, padded, 1, "epsilon-plus-flat").relevance[..., 2:-2, 2:-2].flip(2)
    torch.testing.assert_close(rn.explain(network, images, 1, "epsilon-plus-flat").relevance, expected)


@pytest.mark.parametrize(
    "prepared",
    [
        lambda x: torch.stack([x[:, 0] / 2, x[:, 1] - 1, x[:, 2]], 1),
        lambda x: torch.select_scatter(x, x[:, 2] * 3, 1, 0),
        lambda x: torch.slice_scatter(x, x[:, 1:] - 1, 1, 1),
    ],
    ids=["stack", "select-scatter", "slice-scatter"],
)
def test_flat_walks_through_preprocessing_in_parts(prepared, images):
    torch.manual_seed(0)

    class Prepared(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

        def forward(self, x):
            return self.body(prepared(x))

    network = Prepared().eval()
    found = rn.explain(network, images, 1, "epsilon-plus-flat").relevance
    expected = rn.explain(network.body, prepared(images), 1, "epsilon-plus-flat").relevance
    torch.testing.assert_close(found.sum(2), expected.sum(2))


def test_a_plan_is_made_once_for_what_is_asked(residual, images):
    graph = trace(residual, images)
    made = plan(graph, METHODS["rlrp"], ["1.0", "4"], ledger=False)
    assert plan(graph, METHODS["rlrp"], ("4", "1.0"), ledger=False) is made
    others = [
        plan(graph, METHODS["rlrp"], ["1.0", "4"], ledger=True),
        plan(graph, METHODS["rlrp"], ["1.0"], ledger=False),
        plan(graph, METHODS["lrp-0"], ["1.0", "4"], ledger=False),
        plan(graph, lrp_gamma(0.1), ["1.0", "4"], ledger=False),
        plan(graph, lrp_gamma(0.2), ["1.0", "4"], ledger=False),
    ]
    assert len({id(p) for p in [made, *others]}) == 6


def test_the_second_explanation_plans_nothing(residual, images):
    for layers in (None, "all", ["1.0"]):
        rn.explain(residual, images, layers=layers)
    plans = dict(graph_of(residual, images).plans)
    for layers in (None, "all", ["1.0"]):
        rn.explain(residual, images[:1], layers=layers)
    assert graph_of(residual, images).plans == plans


def test_plans_do_not_pile_up(residual, images):
    graph = trace(residual, images)
    for number in range(100):
        plan(graph, lrp_gamma(1 + number), None, ledger=False)
    assert len(graph.plans) == 64


def overwritten(network, x):
    graph = trace(network, x)
    made = plan(graph, METHODS["rlrp"], None, ledger=False)
    return [step.op for step in graph.steps if made.overwrites.get(step.index)]


def test_only_what_nothing_reads_again_is_written_over(written, images):
    chain = written(lambda n, x: n.classify(n.conv(x).relu()))
    assert "aten.relu" in overwritten(chain, images)
    for function in (
        lambda n, x: n.classify(torch.cat([x.relu(), x[:, :1]], 1) + n.conv(x)),  # the user's input
        lambda n, x: n.classify((lambda z: z.relu() + z)(n.conv(x))),  # read again
        lambda n, x: n.classify(
            (lambda z: z.view(-1, 4, 8, 8).relu() * 2 + z.flatten(1)[:, :1, None, None])(n.conv(x))
        ),
        lambda n, x: n.classify((lambda z: z.transpose(2, 3).relu())(n.conv(x))),  # a view
    ):
        assert "aten.relu" not in overwritten(written(function), images)


def test_a_rule_of_one_s_own_for_relu_is_used_in_front_of_a_pool_too(monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    usual = rn.explain(network, x, 0).relevance
    monkeypatch.setitem(RULES, "aten.relu", Activation(lambda z: (z > 0.5).to(z.dtype)))
    found = rn.explain(network, x, 0)
    torch.testing.assert_close(found.relevance, rn.explain(network, x, 0, layers="all").relevance)
    assert not torch.allclose(found.relevance, usual)
    assert "relu" in [row.op for row in found.ledger()]  # which is of the same relevance


@torch.library.custom_op("rlrp_nb_test::squared_relu", mutates_args=())
def squared_relu(z: torch.Tensor) -> torch.Tensor:
    return z.clamp(min=0) ** 2


squared_relu.register_fake(torch.empty_like)
squared_relu.register_autograd(
    lambda ctx, s: 2 * s * ctx.saved_tensors[0].clamp(min=0),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),  # noqa: ARG005 - called by these names
)


@pytest.mark.parametrize("reads_output", [False, True])
def test_gradient_x_input_takes_no_secant_of_one_s_own_for_the_derivative(monkeypatch, written, images, reads_output):
    secant = torch.sqrt if reads_output else (lambda z: z.clamp(min=0))
    monkeypatch.setitem(RULES, "rlrp_nb_test.squared_relu", Activation(secant, reads_output=reads_output))
    network = written(lambda n, x: n.classify(squared_relu(n.conv(x)))).double()
    leaf = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    found = rn.explain(network, images.double(), 1, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, images.double() * gradient)
