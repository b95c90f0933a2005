"""What an explanation costs, counted in FLOPs and bytes and never timed, and that the benchmarks count right."""

import copy
import functools
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.cases import TARGETS, Case, build
from benchmarks.contenders import BASELINE, CONTENDERS
from benchmarks.flops import count_flops
from benchmarks.measure import Cost, Result
from benchmarks.memory import kept_bytes, peak_bytes
from benchmarks.table import HEADER, rows, summary
from rlrp_nb import RLRP, explain
from rlrp_nb.engine.product import backward_product
from rlrp_nb.engine.windows import Windows

NETWORKS = ("vgg16", "resnet50")


@functools.cache
def prepared(name):
    """A network, an input, and the FLOPs of one forward pass and one backward pass to the input by autograd."""
    network, inputs = build(name), Case(name, 1, 64).inputs()
    explain(network, inputs, TARGETS[0])  # builds the graph and folds the batch-norm, once and for all
    forward = count_flops(lambda: network(inputs))
    both = count_flops(lambda: BASELINE.prepare(network)(inputs, TARGETS[:1]))
    return network, inputs, forward, both - forward


@pytest.mark.parametrize("name", NETWORKS)
def test_one_target_costs_one_forward_and_one_backward_to_the_input(name):
    network, inputs, forward, backward = prepared(name)
    flops = count_flops(lambda: explain(network, inputs, TARGETS[0]))
    # rows of a dense layer's weights that meet the zeros behind a ReLU are left out: at 64 pixels VGG16 is mostly dense
    assert 0.94 * (forward + backward) <= flops <= 1.02 * (forward + backward)
    assert count_flops(lambda: RLRP(network).attribute(inputs, TARGETS[0])) == flops


@pytest.mark.parametrize("name", NETWORKS)
def test_targets_share_one_forward(name):
    network, inputs, forward, backward = prepared(name)
    flops = count_flops(lambda: explain(network, inputs, list(TARGETS)))
    assert 0.98 <= flops / (forward + len(TARGETS) * backward) <= 1.02


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_of_all_layers_costs_no_second_pass(name):
    network, inputs, _, _ = prepared(name)
    targets = list(TARGETS[:2])
    alone = count_flops(lambda: explain(network, inputs, targets))
    assert count_flops(lambda: explain(network, inputs, targets, layers="all")) == alone


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_grow_with_the_batch_and_no_faster(name):
    network, inputs, _, _ = prepared(name)
    several = inputs.repeat(3, 1, 1, 1)
    explain(network, several, TARGETS[0])  # the first time, the graph is compared with the network
    one = count_flops(lambda: explain(network, inputs, TARGETS[0]))
    # for one sample, weights that meet a zero are left out
    assert 3 * one <= count_flops(lambda: explain(network, several, TARGETS[0])) <= 3.15 * one


def test_rows_that_are_left_out_are_not_counted():
    weight, s = torch.randn(520, 510), torch.randn(2, 520)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert count_flops(lambda: backward_product(s, weight)) == 2 * 2 * 520 * 510
    s[:, 100:] = 0
    assert count_flops(lambda: backward_product(s[:1], weight)) == 2 * 100 * 510
    torch.set_num_threads(before)


@pytest.mark.parametrize(("kernel", "padding"), [((1, 1), (0, 0)), ((3, 3), (1, 1))])
def test_convolutions_of_few_windows_count_as_much_as_convolutions(kernel, padding):
    x, weight = torch.randn(2, 8, 5, 5), torch.randn(6, 8, *kernel)
    windows = Windows(kernel, (1, 1), padding, (1, 1))
    flops = count_flops(lambda: torch.conv2d(x, weight, padding=padding))
    assert flops == 2 * 50 * weight.numel()
    assert count_flops(lambda: windows.convolve(x, weight, None)) == flops
    assert count_flops(lambda: windows.pull(torch.randn(2, 6, 5, 5), weight, (5, 5))) == flops


class Products(TorchDispatchMode):
    """Remembers the shape of every result of an op with FLOPs."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if func._overloadpacket in flop_registry:
            results = out if isinstance(out, tuple | list) else (out,)
            self.shapes |= {tuple(result.shape) for result in results if result is not None}
        return out


def gradients_of_weights(network, call):
    """Shapes of weights, or of their transposes, among the results of matrix products and convolutions."""
    weights = [tuple(p.shape) for p in network.parameters() if p.dim() > 1]
    transposed = [(shape[1], shape[0], *shape[2:]) for shape in weights]
    with Products() as products:
        call()
    assert products.shapes
    return products.shapes & {*weights, *transposed}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_of_a_weight_is_computed(name):
    network, inputs, _, _ = prepared(name)
    network.requires_grad_(requires_grad=True)
    try:
        # the test sees weight gradients where there are some
        assert gradients_of_weights(network, lambda: network(inputs)[:, 0].sum().backward())
        assert not gradients_of_weights(network, lambda: explain(network, inputs, list(TARGETS), layers="all"))
    finally:
        network.zero_grad()
        network.requires_grad_(requires_grad=False)


@pytest.mark.parametrize(("name", "times"), [("zennit, EpsilonPlusFlat", 2.9), ("Captum, LRP", 1.5)])
def test_peers_compute_more(name, times):
    network, (contender,) = build("vgg16"), [c for c in CONTENDERS if c.name == name]
    _, inputs, forward, backward = prepared("vgg16")
    run = contender.prepare(network)
    assert count_flops(lambda: run(inputs, TARGETS[:1])) == pytest.approx(times * (forward + backward), rel=0.01)


def test_captum_returns_more_than_a_million_times_the_logit_on_resnet():
    network, inputs = build("resnet50"), prepared("resnet50")[1]
    (contender,) = [c for c in CONTENDERS if c.name == "Captum, LRP"]
    (relevance,) = contender.prepare(network)(inputs, TARGETS[:1])
    assert relevance.sum().abs() > 1e6 * network(inputs)[0, TARGETS[0]].abs()


class Passes(TorchDispatchMode):
    """Counts the ops that read or write a whole activation, by name; views and what only reserves memory are left out.

    Written with a trailing underscore are those that write into memory which is there already.
    """

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if isinstance(out, torch.Tensor) and out.dim() in {4, 5} and out.numel() >= 8192 and not func.is_view:
            self.counts[func._overloadpacket.__name__] += 1
        return out


def test_an_activation_is_passed_over_once_on_each_way():
    convolution = [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    layers = [module for _ in range(5) for module in copy.deepcopy(convolution)]
    network = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    inputs = torch.randn(1, 8, 64, 64)
    explain(network, inputs, 0)
    with Passes() as passes:
        explain(network, inputs, 0)
    work = {name: n for name, n in passes.counts.items() if not name.startswith("empty")}
    assert {name: n for name, n in work.items() if name in {"relu_", "addcmul"}} == {"relu_": 5, "addcmul": 5}
    assert not {"relu", "add", "where"} & set(work)
    # those of the way back are transposed convolutions
    assert {n: c for n, c in work.items() if n.startswith("convolution")} == {"convolution": 10}


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_is_at_most_that_of_gradient_x_input(name):
    network, inputs, _, _ = prepared(name)
    gradient = peak_bytes(lambda: BASELINE.prepare(network)(inputs, TARGETS[:1]))
    assert peak_bytes(lambda: explain(network, inputs, TARGETS[0])) <= gradient


def test_memory_is_counted_to_the_byte():
    def call():
        first, second = torch.empty(1000), torch.empty(1000)
        del first
        return second, torch.empty(250)

    (second, third), kept = kept_bytes(call)
    assert kept == second.nbytes + third.nbytes == 5000
    assert peak_bytes(call) == 8000


def test_table_divides_each_round_by_its_own_baseline():
    explain_, layers, attribute, baseline, zennit, captum = CONTENDERS
    assert baseline is BASELINE
    costs = {
        (explain_, 1): Cost(100, 3_000_000, 1_000_000, [1.0, 4.0, 2.0]),
        (explain_, 5): Cost(300, 4_000_000, 1_000_000, [3.0, 12.0, 5.0]),
        (layers, 1): Cost(100, 9_000_000, 1_000_000, [2.0, 4.0, 4.0]),
        (attribute, 1): Cost(100, 3_000_000, 1_000_000, [1.0, 2.0, 2.0]),
        (baseline, 1): Cost(100, 5_000_000, 0, [1.0, 2.0, 4.0]),
        (baseline, 5): Cost(300, 5_000_000, 0, [3.0, 6.0, 12.0]),
        (zennit, 1): Cost(290, 7_000_000, 0, [3.0, 6.0, 12.0]),
    }
    refusals = {captum: "TypeError: no rule for <class 'Flatten'>, none"}
    result = Result(Case("vgg16", 8, 32), costs, refusals, building=1.5)
    (ours,) = [line.strip("| ").split(" | ") for line in summary([result])[2:]]
    # explain over gradient x input, zennit and Captum for one target, over gradient x input for five, and its peak
    assert ours[2:] == ["1.00 (0.75 to 1.50)", "0.33 (0.25 to 0.50)", "-", "1.00 (0.71 to 1.50)", "0.60", "1.5"]
    cells = [line.strip("| ").split(" | ") for line in rows([result])[2:]]
    times = ["1.00 (0.75 to 1.50)", "3.00 (2.12 to 4.50)"]
    assert cells[0][3:] == ["1.00", "3.00", *times, "3", "4", "1", "2.00"]
    assert cells[1][3:8:2] == ["1.00", "2.00 (1.50 to 2.00)", "9"]
    assert cells[1][4:9:2] == ["-", "-", "-"]
    assert cells[4][3:9] == ["2.90", "14.50", "3.00 (3.00 to 3.00)", "15.00 (15.00 to 15.00)", "7", "7"]
    assert cells[5][3] == "refused: TypeError: no rule for &lt;class 'Flatten'>, none"
    assert all(len(line) == len(HEADER) for line in cells)
