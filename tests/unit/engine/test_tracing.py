import functools
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.tracing import trace
from rlrp_nb.errors import InputError, UnsupportedNetworkError


def test_batch_size_stays_open(residual, images):
    graph = trace(residual, images)
    assert graph.batch_size is None
    for count in (1, 2, 5):
        assert rn.explain(residual, torch.randn(count, 3, 8, 8)).relevance.shape == (count, 1, 3, 8, 8)


def test_a_network_that_fixes_its_batch_size_is_traced_for_it(written, images):
    network = written(lambda n, x: n.classify(torch.relu(n.conv(x))).reshape(2, 5))
    graph = trace(network, images)
    assert graph.batch_size == 2
    free = written(lambda n, x: n.classify(torch.relu(n.conv(x))))
    torch.testing.assert_close(rn.explain(network, images).relevance, rn.explain(free, images).relevance)


def test_the_layer_that_cannot_take_the_input_is_named(residual):
    with pytest.raises(InputError, match=r"shape \(2, 4, 8, 8\): at layer '0.0' \(Conv2d\).*expected input"):
        trace(residual, torch.zeros(2, 4, 8, 8))
    with pytest.raises(InputError, match=r"\(3, 8, 8\)"):
        trace(residual, torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: n.classify(n.conv(x)) if x.sum() > 0 else n.classify(n.conv(-x)),
        lambda n, x: n.classify(n.conv(x)) * x.sum().item(),
        lambda n, x: n.classify(n.conv(x)) * float(x[0, 0, 0, 0]),
    ],
)
def test_control_flow_on_data_is_refused_in_words(written, images, function, capfd):
    with pytest.raises(UnsupportedNetworkError, match="decides by the values of a tensor"):
        trace(written(function), images)
    assert capfd.readouterr() == ("", "")  # the tracer's own print of its half-made graph is kept away


def test_what_the_network_prints_while_it_is_traced_is_left_alone(written, images, capfd):
    def talk(n, x):
        print("hello")  # noqa: T201 - the very thing
        return n.classify(n.conv(x))

    trace(written(talk), images)
    assert "hello" in capfd.readouterr().out


def test_modes_of_the_calling_thread_do_not_reach_the_graph(written, images):
    function = lambda n, x: n.classify(torch.relu(n.conv(x)))  # noqa: E731 - used twice below
    expected = rn.explain(written(function), images).relevance
    with torch.inference_mode():
        torch.testing.assert_close(rn.explain(written(function), images).relevance, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rn.explain(written(function), images).relevance, expected)
    with torch.device("meta"):
        torch.testing.assert_close(rn.explain(written_on_cpu(written, function), images).relevance, expected)


@functools.cache
def grid(size):
    return torch.linspace(-1, 1, size)


GRIDS = {}


def grid_of(x):
    """Return what is kept from run to run, made anew for another number of samples or another width."""
    if GRIDS.get("grid", torch.empty(0)).shape != x[:, 0, :1].shape:
        GRIDS["grid"] = torch.linspace(-1, 1, x.shape[-1]).expand(x.shape[0], 1, -1)
    return GRIDS["grid"][:, None]


@pytest.mark.parametrize("kept", [lambda x: grid(x.shape[-1]), grid_of])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_a_network_makes_at_its_first_run_and_keeps_is_not_the_tracers(written, kept, count):
    grid.cache_clear()
    GRIDS.clear()
    network, x = written(lambda n, x: n.classify(torch.relu(n.conv(x + kept(x))))), torch.randn(count, 3, 8, 8)
    logits = rn.explain(network, x).logits
    assert type(network(x)) is torch.Tensor
    torch.testing.assert_close(network(x), logits)


def test_a_sparse_tensor_that_a_network_holds_is_no_obstacle(residual, images):
    expected = rn.explain(residual, images).relevance
    residual.register_buffer("adjacency", torch.eye(3).to_sparse())
    assert torch.equal(rn.explain(residual, images).relevance, expected)


def test_a_network_that_returns_no_numbers_is_refused(written, images):
    with pytest.raises(UnsupportedNetworkError, match=r"shape \(2, 0\), which holds no logits"):
        rn.explain(written(lambda n, x: n.classify(n.conv(x))[:, :0]), images)


def written_on_cpu(written, function):
    with torch.device("cpu"):
        return written(function)


def test_a_forward_that_needs_more_arguments_is_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    class Named(nn.Module):
        def forward(self, *, x):
            return x

    class Optional(nn.Module):
        def forward(self, x, y=None, *rest, scale=2.0, **words):
            return x * scale if y is None and not rest and not words else y

    with pytest.raises(InputError, match=r"Two.forward\(x, y\).*missing a required argument: 'y'.*Wrap the network"):
        trace(Two(), torch.zeros(1, 2))
    with pytest.raises(InputError, match="Wrap the network in a module"):
        trace(Named(), torch.zeros(1, 2))
    assert torch.equal(rn.explain(Optional(), torch.ones(1, 2)).logits, torch.full((1, 2), 2.0))


def under_autocast(n, x):
    with torch.autocast("cpu", torch.bfloat16):
        return n.classify(n.conv(x))


def test_a_mode_within_the_network_is_refused_in_words(written, images):
    with pytest.raises(UnsupportedNetworkError, match=r"mode or under a condition.*autocast"):
        trace(written(under_autocast), images)


FORKED = """
import multiprocessing
import torch
from torch import nn

torch.set_num_threads(1)  # as in a DataLoader's processes: a fork has none of the threads of its parent
{setup}

def work(_):
    return {work}

before = work(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map(work, [0]) == [before])
"""
PLAIN = FORKED.format(
    setup="leaf = torch.ones(3, requires_grad=True)", work="torch.autograd.grad((leaf * 2).sum(), leaf)[0].tolist()"
)
EXPLAINING = FORKED.format(
    setup="import rlrp_nb as rn\n"
    "network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()\n"
    "images = torch.rand(1, 3, 6, 6)",
    work="rn.explain(network, images, 1).relevance.tolist()",
)


def test_a_process_forked_after_an_explanation_explains_where_it_could_use_autograd():
    plain, explaining = (
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
        for code in (PLAIN, EXPLAINING)
    )
    assert explaining.stdout == plain.stdout, explaining.stderr


def test_an_attribute_that_holds_itself_is_refused_in_words():
    network = nn.Sequential(nn.Linear(3, 2)).eval()
    network[0].loop = []
    network[0].loop.append(network[0].loop)
    with pytest.raises(UnsupportedNetworkError, match=r"a list or dict in an attribute holds itself.*of a class"):
        rn.explain(network, torch.zeros(1, 3))
    network[0].loop = SimpleNamespace(loop=network[0].loop)
    rn.explain(network, torch.zeros(1, 3))


def test_an_error_that_cannot_say_what_it_is_is_told_by_its_name(written, images):
    class Silent(Exception):  # noqa: N818 - a user's own name
        def __str__(self):
            raise ValueError

    def fail(*_):
        raise Silent

    with pytest.raises(InputError, match=r"in Written.forward: Silent\. Pass"):
        rn.explain(written(fail), images)


@pytest.mark.parametrize("how", ["autocast", "halves"])
def test_a_network_that_computes_in_half_precision_within_is_explained(images, how):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(8, 4)  # the first weight, whose dtype the input has to have
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
            self.body[1].running_var.fill_(0.3)
            if how == "halves":
                self.body[0].bfloat16()

        def forward(self, x):
            if how == "halves":
                x = x.bfloat16()
            with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
                x = self.body(x)
            return self.head(x.float().flatten(1))

    network = Mixed().eval()
    found = rn.explain(network, images, 1, layers="all")
    expected = rn.explain(nn.Sequential(network.body.float(), nn.Flatten(), network.head), images, 1).relevance
    assert (found.relevance - expected).abs().max() < 0.02 * expected.abs().max()
    assert found.ledger().worst_residual < 1e-2


KEPT = {}


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_what_a_network_keeps_by_the_number_of_samples_has_values(written, images, samples):
    KEPT.clear()

    def cached(network, x):
        if len(x) not in KEPT:
            KEPT[len(x)] = torch.ones(len(x), 1, 1, 1)
        return network.classify(network.conv(x) * KEPT[len(x)])

    network, x = written(cached), images[:1].repeat(samples, 1, 1, 1)
    rn.explain(network, x)
    for n in (1, 2, 3):
        assert type(network(images[:1].repeat(n, 1, 1, 1)).detach()) is torch.Tensor
        assert len(rn.explain(network, images[:1].repeat(n, 1, 1, 1)).relevance) == n
    assert {type(kept) for kept in KEPT.values()} == {torch.Tensor}


def test_a_hook_on_all_modules_that_reads_numbers_is_named(residual, images):
    def look(_module, _inputs, output):
        assert not output.isnan().any()

    hook = nn.modules.module.register_module_forward_hook(look)
    try:
        with pytest.raises(
            UnsupportedNetworkError, match=r"hook on all modules.* remove it, or register it on the net"
        ):
            rn.explain(residual, images)
    finally:
        hook.remove()
    rn.explain(residual, images)


def test_a_network_that_explains_another_within_is_refused(images):
    class Guided(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 3))
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 3))

        def forward(self, x):
            return self.head(x * rn.explain(self.backbone, x).relevance[:, 0])

    network = Guided().eval()
    assert network(images).shape == (len(images), 3)
    with pytest.raises(UnsupportedNetworkError, match="explains another one within its forward"):
        rn.explain(network, images)


@pytest.mark.parametrize("method", ["rlrp", "gradient-x-input"])
def test_the_data_of_a_weight_are_the_weight_held_constant(written, images, method):
    def attended(n, x, weights):  # as NAM attention is published
        z = n.conv(x)
        share = weights(n.norm.weight).abs()
        return n.classify(z * torch.sigmoid(n.norm(z) * (share / share.sum())[:, None, None]))

    found = []
    for weights in (lambda w: w.data, lambda w: w.detach()):
        network = written(lambda n, x, weights=weights: attended(n, x, weights))
        network.norm = nn.BatchNorm2d(4).eval()
        with torch.no_grad():
            network.norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0, 1.5]))
        found.append(rn.explain(network, images, 1, method).relevance)
    torch.testing.assert_close(*found)
