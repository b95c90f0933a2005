"""Pixel flipping, Deletion, Insertion and ROAD: equal to loops that are written out, and what the figures mean."""

from types import SimpleNamespace

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation import faithfulness
from rlrp_nb.evaluation.faithfulness import Flipping, flip, patch_ranks, road
from rlrp_nb.evaluation.fill import blur, filled, impute


def small_network(channels=2, dtype=torch.float64):
    torch.manual_seed(3)
    layers = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    return nn.Sequential(*layers).to(dtype).eval()


def case(samples=3, channels=2, height=9, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, channels, height, width, generator=generator, dtype=torch.float64)
    heatmaps = torch.randn(samples, height, width, generator=generator, dtype=torch.float64)
    return inputs, heatmaps, torch.arange(samples) % 5


def naive(network, image, heatmap, target, patch, per_step, fill, *, least_first):
    """Return one curve, patch by patch and step by step, as the definition says it."""
    height, width = heatmap.shape
    boxes = [(top, left) for top in range(0, height, patch) for left in range(0, width, patch)]
    means = [float(heatmap[top : top + patch, left : left + patch].mean()) for top, left in boxes]
    order = sorted(range(len(boxes)), key=lambda i: (-means[i], i))
    if least_first:
        order.reverse()
    changed = image.clone()
    curve = [network(changed[None]).softmax(1)[0, target]]
    for start in range(0, len(order), per_step):
        for position in order[start : start + per_step]:
            top, left = boxes[position]
            changed[:, top : top + patch, left : left + patch] = fill[:, top : top + patch, left : left + patch]
        curve.append(network(changed[None]).softmax(1)[0, target])
    return torch.stack(curve).detach()


@pytest.mark.parametrize("fill", ["blur", "imputation"])
def test_autocast_changes_nothing(fill):
    inputs, heatmaps, targets = case()
    given = small_network(dtype=torch.float32), inputs.float(), heatmaps.float(), targets
    found = flip(*given, patch=2, fill=fill)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = flip(*given, patch=2, fill=fill)
    assert torch.equal(again.morf, found.morf)
    assert torch.equal(again.lerf, found.lerf)


@pytest.mark.parametrize(("patch", "per_step"), [(1, 1), (2, 1), (3, 2), (4, 5), (20, 1), (1, 100)])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_curves_equal_the_loop_that_is_written_out(patch, per_step, batch):
    network = small_network()
    inputs, heatmaps, targets = case()
    found = flip(network, inputs, heatmaps, targets, patch=patch, per_step=per_step, batch=batch)
    fills = blur(inputs)
    for sample in range(len(inputs)):
        one = network, inputs[sample], heatmaps[sample], int(targets[sample]), patch, per_step, fills[sample]
        torch.testing.assert_close(found.morf[sample], naive(*one, least_first=False), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.lerf[sample], naive(*one, least_first=True), rtol=1e-12, atol=1e-14)


class Counting(nn.Module):
    """A network that counts the inputs it is given, and the most at once."""

    def __init__(self, network):
        super().__init__()
        self.network, self.inputs, self.most = network, 0, 0

    def forward(self, images):
        self.inputs += len(images)
        self.most = max(self.most, len(images))
        return self.network(images)


@pytest.mark.parametrize(("patch", "per_step"), [(1, 1), (1, 4), (3, 1)])
def test_patches_that_look_like_their_fill_cost_nothing_and_change_nothing(patch, per_step):
    network = Counting(small_network()).eval()
    inputs, heatmaps, targets = case()
    inputs[0, :, 2:] = inputs[1, 1, 4:] = 0  # of the second sample one channel still differs
    inputs[2] = 0
    found = flip(network, inputs, heatmaps, targets, patch=patch, per_step=per_step, fill="black")
    passed, asked = network.inputs, 0
    for sample in range(3):
        one = network, inputs[sample], heatmaps[sample], int(targets[sample]), patch, per_step, torch.zeros(2, 9, 7)
        curves = [naive(*one, least_first=least_first) for least_first in (False, True)]
        torch.testing.assert_close(found.morf[sample], curves[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.lerf[sample], curves[1], rtol=1e-12, atol=1e-14)
        asked += len({float(score) for curve in curves for score in curve})
    passed -= 6  # by which it is found out whether samples meet
    assert passed <= asked < 2 * found.morf.numel() - 6
    assert (found.morf[2] == found.morf[2, 0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_gets_no_more_at_once_than_is_allowed(dtype):
    network = Counting(small_network(dtype=dtype)).eval()
    inputs, heatmaps, targets = case()
    flip(network, inputs.to(dtype), heatmaps, targets, patch=1, batch=5)
    assert network.most == 5


def test_a_linear_network_has_the_areas_that_can_be_worked_out():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).double().eval()
    network[1].weight = nn.Parameter(torch.tensor([[4.0, 3.0, 2.0, 1.0]]).double())
    inputs = torch.ones(1, 1, 2, 2).double()
    heatmaps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    found = flip(network, inputs, heatmaps, torch.tensor([0]), patch=1, fill=torch.zeros(()), score="logit")
    assert found.morf.tolist() == [[10, 6, 3, 1, 0]]
    assert found.lerf.tolist() == [[10, 9, 7, 4, 0]]
    assert found.aopc.item() == pytest.approx((0 + 4 + 7 + 9 + 10) / 5)
    assert found.abpc.item() == pytest.approx((0 + 3 + 4 + 3 + 0) / 5)
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.deletion.item() == pytest.approx((8 + 4.5 + 2 + 0.5) / 4)
    assert found.insertion.item() == pytest.approx((9.5 + 8 + 5.5 + 2) / 4)
    opposite = flip(network, inputs, -heatmaps, torch.tensor([0]), patch=1, fill=torch.zeros(()), score="logit")
    assert opposite.abpc.item() == pytest.approx(-found.abpc.item())


def test_the_true_relevance_is_more_faithful_than_chance_and_its_opposite_less():
    network = small_network()
    inputs, _, targets = case()
    inputs.requires_grad_(True)  # noqa: FBT003 - torch's own signature
    logits = network(inputs).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, inputs)
    heatmaps = (gradient * inputs).sum(1)
    fill = torch.zeros(())
    abpc = {sign: flip(network, inputs.detach(), sign * heatmaps, targets, patch=1, fill=fill).abpc for sign in (1, -1)}
    assert (abpc[1] > 0).all()
    torch.testing.assert_close(abpc[1], -abpc[-1])


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float64, (2, 6, 5), elements=st.floats(-1e6, 1e6)),
    st.integers(1, 7),
)
def test_ranks_number_every_patch_once(heatmaps, patch):
    ranks = patch_ranks(torch.from_numpy(heatmaps), patch)
    corners = ranks[:, ::patch, ::patch].flatten(1)
    assert corners.sort(1).values.tolist() == [list(range(corners.shape[1]))] * 2
    for top in range(0, 6, patch):
        for left in range(0, 5, patch):
            inside = ranks[:, top : top + patch, left : left + patch]
            assert (inside == inside[:, :1, :1]).all()


def test_of_equal_patches_the_upper_left_one_comes_first():
    assert patch_ranks(torch.zeros(1, 2, 2), 1).tolist() == [[[0, 1], [2, 3]]]
    corners = torch.arange(9).reshape(3, 3)
    for value in (0.1, -0.7, 1 / 3):  # no sum of these in float64 is what a product would be
        assert torch.equal(patch_ranks(torch.full((1, 8, 7), value, dtype=torch.float64), 3)[0, ::3, ::3], corners)


def test_a_small_patch_at_the_edge_is_ranked_by_its_mean():
    heatmap = torch.tensor([[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]])
    assert patch_ranks(heatmap, 2).tolist() == [[[1, 1, 0], [1, 1, 0]]]


@torch.no_grad()
def inserted(network, image, heatmap, target, patch, per_step, fill):
    """Return the Insertion of a heatmap: its patches are put into the fill, the most relevant first."""
    height, width = heatmap.shape
    boxes = [(top, left) for top in range(0, height, patch) for left in range(0, width, patch)]
    means = [float(heatmap[top : top + patch, left : left + patch].mean()) for top, left in boxes]
    order = sorted(range(len(boxes)), key=lambda i: (-means[i], i))
    canvas, done, area = fill.clone(), 0, 0.0
    before = float(network(canvas[None]).softmax(1)[0, target])
    while done < len(order):
        many = (len(order) % per_step or per_step) if done == 0 else per_step
        for position in order[done : done + many]:
            top, left = boxes[position]
            canvas[:, top : top + patch, left : left + patch] = image[:, top : top + patch, left : left + patch]
        after = float(network(canvas[None]).softmax(1)[0, target])
        area += (before + after) / 2 * many / len(order)
        before, done = after, done + many
    return area


@pytest.mark.parametrize(("patch", "per_step"), [(1, 1), (1, 9), (2, 3), (3, 4), (20, 1)])
def test_insertion_and_deletion_equal_loops_that_insert_and_delete(patch, per_step):
    network = small_network()
    inputs, heatmaps, targets = case()
    found = flip(network, inputs, heatmaps, targets, patch=patch, per_step=per_step, fill="mean")
    fills = inputs.mean((2, 3), keepdim=True).expand_as(inputs)
    for sample in range(len(inputs)):
        one = network, inputs[sample], heatmaps[sample], int(targets[sample]), patch, per_step, fills[sample]
        assert found.insertion[sample].item() == pytest.approx(inserted(*one), rel=1e-12)
        deleted = naive(*one, least_first=False).numpy()
        shares = found.shares.numpy()
        area = sum((shares[i + 1] - shares[i]) * (deleted[i] + deleted[i + 1]) / 2 for i in range(len(shares) - 1))
        assert found.deletion[sample].item() == pytest.approx(area, rel=1e-12)


def test_shares_count_the_smaller_last_step():
    network = small_network()
    found = flip(network, *case(height=2, width=5), patch=1, per_step=4)
    torch.testing.assert_close(found.shares, torch.tensor([0, 0.4, 0.8, 1]).double())


@pytest.mark.parametrize("fill", ["blur", "mean", "black"])
def test_a_fill_by_name_is_that_of_filled(fill):
    network = small_network()
    found = flip(network, *case(), patch=2, per_step=3, fill=fill)
    given = flip(network, *case(), patch=2, per_step=3, fill=filled(case()[0], fill))
    assert torch.equal(found.morf, given.morf)
    assert torch.equal(found.lerf, given.lerf)


@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_imputation_depends_on_what_is_hidden_and_not_on_the_batch(batch):
    network = small_network()
    inputs, heatmaps, targets = case()
    found = flip(network, inputs, heatmaps, targets, patch=2, per_step=3, fill="imputation", batch=batch)
    ranks = patch_ranks(heatmaps, 2)
    for step in range(found.morf.shape[1]):
        hidden = ranks < step * 3
        expected = network(impute(inputs, hidden)).softmax(1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(found.morf[:, step], expected, rtol=1e-10, atol=1e-12)


def test_more_are_imputed_at_once_than_the_network_is_given(monkeypatch):
    network, imputed, given = small_network(), [], []
    network.register_forward_pre_hook(lambda _, arguments: given.append(len(arguments[0])))
    monkeypatch.setattr(faithfulness, "impute", lambda x, hidden: (imputed.append(len(x)), impute(x, hidden))[1])
    flip(network, *case(), patch=2, per_step=3, fill="imputation", batch=2)
    assert max(given) == 2
    assert imputed == [sum(given) - 6]
    monkeypatch.setattr("rlrp_nb.evaluation.fill._AT_ONCE", 3 * case()[0][0].numel())
    imputed.clear()
    flip(network, *case(), patch=2, per_step=3, fill="imputation", batch=2)
    assert max(imputed) == 3


class Meeting(nn.Module):
    """A network whose samples meet in eval mode too."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(functional.layer_norm(x, x.shape))


@pytest.mark.parametrize("measure", [flip, road])
def test_networks_whose_samples_meet_are_refused_unless_they_are_given_one_at_a_time(measure):
    network = Meeting(small_network()).eval()
    with pytest.raises(UnsupportedNetworkError, match="logits of one image change with the images beside it"):
        measure(network, *case(), batch=2)
    alone = measure(network, *(part[:1] for part in case()), batch=1)
    assert alone is not None


def test_a_function_can_be_the_fill():
    network = small_network()
    inputs, heatmaps, targets = case()
    seen = []

    def fill(chosen, hidden):
        seen.append((tuple(chosen.shape), hidden.dtype, tuple(hidden.shape)))
        return filled(chosen, "black", black=-2.0)

    found = flip(network, inputs, heatmaps, targets, patch=3, fill=fill, batch=4)
    given = flip(network, inputs, heatmaps, targets, patch=3, fill=torch.tensor(-2.0))
    torch.testing.assert_close(found.morf, given.morf)
    assert seen[0] == ((4, 2, 9, 7), torch.bool, (4, 9, 7))
    with pytest.raises(InputError, match=r"fill has shape \(5, 5\)"):
        flip(network, inputs, heatmaps, targets, fill=lambda *_: torch.zeros(5, 5))


@pytest.mark.parametrize(
    "fill",
    [
        lambda chosen, _: chosen.fill_(-2),
        lambda chosen, hidden: torch.full_like(chosen, -2) * hidden.fill_(value=True)[:, None],
    ],
)
def test_a_function_that_writes_into_what_it_is_given_fills_only_what_is_hidden(fill):
    found = flip(small_network(), *case(), patch=3, fill=fill)
    given = flip(small_network(), *case(), patch=3, fill=torch.tensor(-2.0))
    torch.testing.assert_close(found.morf, given.morf)
    torch.testing.assert_close(found.lerf, given.lerf)


def test_accuracy_says_whether_the_target_has_the_highest_logit():
    network = small_network()
    inputs, heatmaps, _ = case(samples=5)
    targets = network(inputs).argmax(1)
    found = flip(network, inputs, heatmaps, targets, patch=3, score="accuracy", fill=torch.tensor(3.0))
    assert (found.morf[:, 0] == 1).all()
    whole = network(torch.full_like(inputs, 3.0)).argmax(1) == targets
    assert found.morf[:, -1].tolist() == whole.double().tolist()
    assert set(found.lerf.unique().tolist()) == {0.0, 1.0}
    wrong = flip(network, inputs, heatmaps, (targets + 1) % 5, patch=3, score="accuracy")
    assert (wrong.morf[:, 0] == 0).all()


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_road_removes_the_pixels_and_imputes_them(order):
    network = small_network()
    inputs, heatmaps, targets = case()
    shares = (0, 0.2, 0.5, 1)
    found = road(network, inputs, heatmaps, targets, shares=shares, order=order, noise=0.1, seed=4, batch=5)
    assert found.shape == (3, 4)
    signed = heatmaps if order == "morf" else -heatmaps
    for sample in range(3):
        positions = sorted(range(63), key=lambda i: -float(signed[sample].flatten()[i]))
        for column, many in enumerate((0, 12, 31, 63)):
            hidden = torch.zeros(63, dtype=torch.bool)
            hidden[positions[:many]] = True
            image = impute(inputs[sample : sample + 1], hidden.reshape(1, 9, 7), noise=0.1, seed=4)
            expected = network(image).softmax(1)[0, targets[sample]]
            torch.testing.assert_close(found[sample, column], expected, rtol=1e-10, atol=1e-12)


def test_road_by_default_and_its_seed():
    network = small_network()
    arguments = network, *case()
    found = road(*arguments)
    assert found.shape == (3, 7)
    assert torch.equal(found, road(*arguments))
    assert not torch.equal(found, road(*arguments, seed=1))
    assert not torch.equal(found, road(*arguments, order="lerf"))
    # 0.29 * 100 is a little less than 29 in binary numbers.
    hundred = network, *case(height=10, width=10)
    assert torch.equal(road(*hundred, shares=[0.29]), road(*hundred, shares=[0.295]))
    assert not torch.equal(road(*hundred, shares=[0.29]), road(*hundred, shares=[0.285]))


def test_the_generator_of_the_user_is_left_alone():
    network = small_network()
    state = torch.get_rng_state()
    road(network, *case(), shares=[0.5])
    assert torch.equal(state, torch.get_rng_state())


def test_the_network_and_the_inputs_are_left_as_they_were():
    network = small_network(dtype=torch.float32)
    inputs, heatmaps, targets = case()
    inputs = inputs.float()
    before = inputs.clone()
    found = flip(network, inputs, heatmaps, targets, patch=3)
    assert isinstance(found, Flipping)
    assert found.morf.dtype == torch.float32
    assert not found.morf.requires_grad
    assert torch.equal(before, inputs)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_patch_larger_than_the_input_is_the_whole_input():
    network = small_network()
    inputs, heatmaps, targets = case()
    whole = flip(network, inputs, heatmaps, targets, patch=max(inputs.shape[2:]))
    larger = flip(network, inputs, heatmaps, targets, patch=10**7)
    assert torch.equal(larger.morf, whole.morf)


def test_numbers_can_be_numpys():
    arguments = small_network(), *case()
    found = flip(*arguments, patch=np.uint8(2), per_step=np.int64(3), batch=np.int32(5))
    assert torch.equal(found.abpc, flip(*arguments, patch=2, per_step=3, batch=5).abpc)
    found = road(*arguments, batch=np.int64(7), seed=np.int64(3))
    assert torch.equal(found, road(*arguments, batch=7, seed=3))


def test_bad_input_is_named():
    network = small_network()
    inputs, heatmaps, targets = case()
    broken = heatmaps.clone()
    broken[1, 0, 0] = torch.nan
    for arguments, words in (
        ((inputs.numpy(), heatmaps, targets), r"inputs is a ndarray; .*torch\.as_tensor"),
        ((inputs, heatmaps.numpy(), targets), r"heatmaps is a ndarray; .*torch\.as_tensor"),
        ((inputs, heatmaps.to("meta"), targets), "heatmaps is a tensor on the meta device"),
        ((inputs, heatmaps, [0, 1, 2]), "targets is a list"),
        ((inputs[0], heatmaps, targets), r"accepted is \(B, C, H, W\)"),
        ((inputs.int(), heatmaps, targets), "inputs has dtype torch.int32"),
        ((inputs.half(), heatmaps, targets), "inputs is torch.float16 on cpu, the network is"),
        ((inputs.to_sparse(), heatmaps, targets), "inputs is a tensor of torch.float64 values in layout torch.sparse"),
        ((inputs[:0], heatmaps[:0], targets[:0]), "at least one sample"),
        ((inputs, heatmaps[:, :3], targets), r"heatmaps is torch.float64 \(3, 3, 7\); .* of shape \(3, 9, 7\)"),
        ((inputs, heatmaps.to_sparse(), targets), "heatmaps is a tensor of torch.float64 values in layout"),
        ((inputs, broken, targets), "heatmap 1 has values"),
        ((inputs, heatmaps, targets[:2]), "targets are"),
        ((inputs, heatmaps, targets.float()), "targets are torch.float32"),
        ((inputs, heatmaps, targets + 5), "are not all classes: accepted is 0 to 4"),
        ((inputs * torch.inf, heatmaps, targets), "inputs holds NaN or infinite"),
    ):
        for measure in (flip, road):
            with pytest.raises(InputError, match=words):
                measure(network, *arguments)
    for other in (None, SimpleNamespace(network=network)):
        with pytest.raises(InputError, match=r"accepted is a torch.nn.Module, such as model\.network"):
            flip(other, inputs, heatmaps, targets)
    for options, words in (
        ({"patch": 0}, "patch=0"),
        ({"per_step": 1.5}, "per_step=1.5"),
        ({"batch": True}, "batch=True"),
        ({"score": "loss"}, "score='loss'"),
        ({"fill": torch.zeros(3, 1, 1)}, r"fill has shape \(3, 1, 1\)"),
        ({"fill": np.zeros((3, 4, 9, 7))}, "fill is a ndarray: choose one of blur"),
        ({"fill": lambda *_: None}, "fill is a NoneType; accepted is a dense tensor"),
        ({"score": np.zeros(2)}, "score=.* is not known"),
        ({"fill": "white"}, "there is no fill 'white': choose one of blur, mean, black, imputation"),
    ):
        with pytest.raises(InputError, match=words):
            flip(network, inputs, heatmaps, targets, **options)
    for options, words in (
        ({"order": "random"}, "order='random'"),
        ({"shares": ()}, "at least one"),
        ({"shares": (0.5, 1.5)}, "from 0 to 1"),
        ({"shares": 0.5}, "at least one"),
        ({"shares": np.zeros((2, 2))}, "from 0 to 1"),
        ({"order": np.zeros(2)}, "order=.* is not known: choose 'morf' or 'lerf'"),
        ({"noise": None}, "noise=None"),
        ({"seed": None}, "seed=None has to be an integer from 0 to"),
        ({"shares": (torch.nan,)}, "from 0 to 1"),
        ({"score": "loss"}, "score='loss'"),
        ({"batch": 0}, "batch=0"),
        ({"noise": -1.0}, "noise=-1.0"),
    ):
        with pytest.raises(InputError, match=words):
            road(network, inputs, heatmaps, targets, **options)
    with pytest.raises(InputError, match="heatmap 1 has values"):
        road(network, inputs, broken, targets)
    for heatmap, patch, words in ((heatmaps[0], 2, "accepted is a real tensor"), (heatmaps, 0, "patch=0")):
        with pytest.raises(InputError, match=words):
            patch_ranks(heatmap, patch)
    one = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 1)).double().eval()
    for score in ("probability", "accuracy"):
        with pytest.raises(InputError, match=f"whose softmax is 1 whatever it says, so that '{score}' tells nothing"):
            flip(one, inputs, heatmaps, torch.zeros_like(targets), score=score)
    assert flip(one, inputs, heatmaps, torch.zeros_like(targets), score="logit").aopc.abs().min() > 0
    infinite = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 5)).double().eval()
    nn.init.constant_(infinite[1].bias, torch.inf)
    for score in ("probability", "accuracy"):
        with pytest.raises(InputError, match="score for input 0 is NaN"):
            flip(infinite, inputs, heatmaps, targets, score=score)
    for measure in (flip, road):
        with pytest.raises(UnsupportedNetworkError, match="training mode"):
            measure(network.train(), inputs, heatmaps, targets)
    with pytest.raises(InputError, match=r"the network returns \(6, 4, 9, 7\)"):
        flip(network[:2].eval(), inputs, heatmaps, targets, patch=20)


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_a_softmax_at_the_end_is_not_taken_twice(score):
    network, (inputs, heatmaps, targets) = small_network(), case()
    probable = nn.Sequential(network, nn.Softmax(1)).eval()
    if score == "probability":
        with pytest.raises(InputError, match=r"returns probabilities.*remove the softmax.*score='logit'"):
            flip(probable, inputs, heatmaps, targets, patch=3)
    else:
        found = flip(probable, inputs, heatmaps, targets, patch=3, score="logit")
        expected = flip(network, inputs, heatmaps, targets, patch=3)
        torch.testing.assert_close(found.aopc, expected.aopc)
