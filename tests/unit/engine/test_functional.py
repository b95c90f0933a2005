import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.functional import without_in_place_ops


def traced(network, x):
    with torch.no_grad():
        return export(network, (x,), dynamic_shapes=({0: Dim("batch")},), strict=False)


def runs_alike(network, x):
    """Whether the graph without in-place ops computes what the network does, op by op."""
    program = without_in_place_ops(traced(network, x))
    for node in program.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            assert not node.target._schema.is_mutable, node
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x.clone()), network(x.clone()))


class Steps(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def kept(n, x):
    """Write into a tensor and go on with the old name of it."""
    z = n.conv(x)
    functional.relu_(z)
    return (z + 1).mean((2, 3))


def added(n, x):
    out = functional.relu(n.conv(x), inplace=True)
    out += n.conv(x)
    out *= 2
    return functional.relu_(out).mean((2, 3))


def chunks(n, x):
    z = n.conv(x)
    left, _ = z.chunk(2, 1)
    left.relu_()
    return z.mean((2, 3))


def viewed(n, x):
    z = n.conv(x)
    flat = z.view(x.shape[0], -1)
    z.relu_()
    return flat


def assigned(n, x):
    z = n.conv(x)
    z[:, 1] = 0.0
    return z.mean((2, 3))


def read_before(n, x):
    z = n.conv(x)
    before = z.mean((2, 3))
    z.relu_()
    return before + z.mean((2, 3))


def viewed_before(n, x):
    z = n.conv(x)
    before = z.flatten(1)
    z.add_(1)
    return before * 1


def dropped(n, x):
    return functional.dropout(n.conv(x).flatten(1), training=False, inplace=True)


PLAIN = [kept, added, read_before, dropped]
SHARED = [chunks, viewed, assigned, viewed_before]


@pytest.mark.parametrize("function", PLAIN + SHARED)
def test_the_program_computes_what_the_network_computes(function, images):
    runs_alike(Steps(function).eval(), images)


# the same networks written without writing
PURE = {
    kept: lambda n, x: (n.conv(x).relu() + 1).mean((2, 3)),
    added: lambda n, x: (2 * (n.conv(x).relu() + n.conv(x))).relu().mean((2, 3)),
    chunks: lambda n, x: torch.cat([n.conv(x)[:, :2].relu(), n.conv(x)[:, 2:]], 1).mean((2, 3)),
    viewed: lambda n, x: n.conv(x).relu().flatten(1),
    assigned: lambda n, x: (n.conv(x) * torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(1, 4, 1, 1)).mean((2, 3)),
    read_before: lambda n, x: n.conv(x).mean((2, 3)) + n.conv(x).relu().mean((2, 3)),
    viewed_before: lambda n, x: n.conv(x).flatten(1) + 1,
    dropped: lambda n, x: n.conv(x).flatten(1),
}


@pytest.mark.parametrize("function", PURE)
def test_explanations_follow(function, images):
    network, pure = Steps(function).eval(), Steps(PURE[function]).eval()
    pure.load_state_dict(network.state_dict())
    explanation = rn.explain(network, images, [0, 1], layers="all")
    torch.testing.assert_close(explanation.logits, pure(images))
    torch.testing.assert_close(explanation.relevance, rn.explain(pure, images, [0, 1]).relevance)
    assert explanation.ledger(1).worst_residual < 1e-4


def test_a_network_that_writes_into_its_input_is_explained_without_writing(images):
    network = Steps(lambda n, x: n.conv(x.relu_()).mean((2, 3))).eval()
    copied = images.clone()
    relevance = rn.explain(network, images, 0).relevance
    assert torch.equal(images, copied)
    clean = Steps(lambda n, x: n.conv(x.relu()).mean((2, 3))).eval()
    clean.load_state_dict(network.state_dict())
    torch.testing.assert_close(relevance, rn.explain(clean, images, 0).relevance)


@pytest.mark.parametrize("function", PLAIN)
def test_the_usual_case_needs_no_decomposition(function, images, monkeypatch):
    program = traced(Steps(function).eval(), images)
    monkeypatch.setattr(type(program), "run_decompositions", lambda *_: pytest.fail("decomposed"))
    without_in_place_ops(program)
