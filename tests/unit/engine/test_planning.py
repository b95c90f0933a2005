import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.tracing import trace


def test_r_lrp_keeps_nothing_but_the_outputs_of_relus(residual, images):
    graph = trace(residual, images)
    kept = {step.op for step in graph.steps if step.index in plan(graph, METHODS["rlrp"], None, ledger=False).keep}
    assert kept == {"aten.relu"}


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
