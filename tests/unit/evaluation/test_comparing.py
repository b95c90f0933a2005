"""``compare``: right numbers; broken images, failing methods and killed processes lose themselves alone."""

import gc
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.errors import InputError, MissingPackageError, UnsupportedNetworkError
from rlrp_nb.evaluation import comparing
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.comparing import compare
from rlrp_nb.evaluation.complexity import gini
from rlrp_nb.evaluation.contender import occlusion, smoothgrad, zennit_epsilon_gamma_box
from rlrp_nb.evaluation.domain import Range
from rlrp_nb.evaluation.faithfulness import flip
from rlrp_nb.evaluation.metric import METRICS
from rlrp_nb.models.preprocess import Preprocess

INPUTS = torch.rand(7, 1, 10, 10, generator=torch.Generator().manual_seed(1)) - 0.3
MASKS = torch.zeros(7, 10, 10, dtype=torch.bool)
MASKS[:, 2:6, 3:8] = True


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 5)
    ).eval()


def run(network=None, images=INPUTS, **options):
    chosen = {"methods": ("rlrp", "lrp-0", "random"), "batch": 3, "progress": False, "resamples": 50, **options}
    return compare(network or small(), images, **chosen)


def test_values_are_those_of_the_functions_called_by_hand():
    network = small()
    found = run(network, metrics=("abpc", "gini", "noise-similarity"), patch=2, per_step=4)
    assert found.values.shape == (3, 3, 7)
    targets = network(INPUTS).argmax(1)
    for method in ("rlrp", "lrp-0"):
        heatmaps = engine_attribute(method)(network, INPUTS, targets)
        abpc = flip(network, INPUTS, heatmaps, targets, patch=2, per_step=4).abpc
        np.testing.assert_allclose(found[method, "abpc"], abpc, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[method, "gini"], gini(heatmaps), rtol=1e-5)
    assert found.failures == ()


def test_the_batch_changes_rounding_only():
    options = {"methods": ("rlrp", "lrp-epsilon", "random"), "masks": MASKS, "progress": False, "resamples": 10}
    one, many = (compare(small(), INPUTS, batch=batch, **options) for batch in (1, 7))
    np.testing.assert_allclose(one.values, many.values, rtol=1e-3, atol=1e-5)


def test_numbers_that_are_numpys_give_the_same_and_fit_the_same_file(tmp_path):
    numbers = {"patch": 4, "per_step": 2, "batch": 3, "seed": 5, "resamples": 30}
    first = run(targets=2, path=tmp_path / "file", **numbers)
    again = run(targets=np.int64(2), path=tmp_path / "file", **{k: np.int64(v) for k, v in numbers.items()})
    assert again.table() == first.table()


def test_within_inference_mode_the_values_are_the_same():
    options = {"masks": MASKS, "metrics": tuple(METRICS), "patch": 2, "per_step": 4}
    expected = run(**options)
    with torch.inference_mode():
        found = run(**options)
    assert found.failures == ()
    kept = [k for k, metric in enumerate(found.metrics) if metric.name != "cost"]  # which is a time
    assert len(kept) > 12
    np.testing.assert_array_equal(found.values[:, kept], expected.values[:, kept])


def test_defaults_are_sensible():
    found = compare(small(), INPUTS, progress=False)
    assert found.methods[0] == found.reference == "rlrp"
    assert [metric.name for metric in found.metrics] == ["aopc", "abpc", "noise-similarity", "gini"]
    assert "patches of 1 x 1 pixels, 7 per step, 15 steps until all 100" in found.protocol()
    with_masks = run(masks=MASKS, methods="rlrp")
    assert [metric.name for metric in with_masks.metrics][-3:] == ["pointing-game", "mass-accuracy", "rank-accuracy"]
    assert rn.compare is compare


def draws(_network, inputs, _targets):
    """Draw from each of the global generators."""
    numbers = torch.rand(inputs[:, 0].shape) + torch.from_numpy(np.random.rand(*inputs[:, 0].shape))  # noqa: NPY002 - on purpose
    return numbers + torch.tensor([[[random.random()]] for _ in inputs])  # noqa: S311 - likewise


def test_what_draws_from_a_global_generator_draws_the_same_in_every_run():
    options = {"methods": {"draws": draws}, "metrics": ("gini", "noise-similarity")}
    np.testing.assert_array_equal(run(**options).values, run(**options).values)
    assert len(set(run(**options)["draws", "gini"])) == len(INPUTS)


def test_the_network_its_gradients_and_the_random_numbers_are_left_alone():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one

    run(network, methods={"rlrp": "rlrp", "draws": draws}, metrics=("abpc", "noise-similarity", "randomisation"))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002 - likewise


def test_black_is_the_smallest_value_where_the_preprocessing_is_not_known():
    network = small()
    found = run(network, metrics="aopc", methods="rlrp", fill="black")
    fill = INPUTS.amin((0, 2, 3))[:, None, None]
    np.testing.assert_array_equal(found.values, run(network, metrics="aopc", methods="rlrp", fill=fill).values)
    assert "all 100 are replaced, by black, the lower end of that range; score" in found.protocol()


def test_values_for_another_range_of_the_input_are_not_taken(tmp_path):
    path, before, after = tmp_path / "file", Preprocess((10, 10), grey=True), Preprocess((10, 10), mean=0.5, grey=True)
    network = small()
    names = tuple(map(str, range(network(INPUTS).shape[1])))
    run(rn.Classifier("mine", network, names, before, ""), metrics=("gini",), methods=("rlrp",), path=path)
    with pytest.raises(InputError, match="What differs: range of the input"):
        run(rn.Classifier("mine", network, names, after, ""), metrics=("gini",), methods=("rlrp",), path=path)


def test_the_network_is_let_go_with_its_last_name():
    gc.disable()  # networks can be large: they must not wait until cycles are collected
    try:
        network = small()
        gone = weakref.ref(network)
        run(network, methods=["rlrp", "random"], metrics=["abpc", "noise-similarity", "gini", "cost"])
        del network
        assert gone() is None
    finally:
        gc.enable()


def test_a_broken_image_loses_itself_alone():
    spoilt = INPUTS.clone()
    spoilt[3, 0, 0, 0] = math.nan
    found = run(images=spoilt, metrics=("abpc", "gini"))
    whole = run(metrics=("abpc", "gini"))
    rest = [0, 1, 2, 4, 5, 6]
    assert np.isnan(found.values[:, :, 3]).all()
    np.testing.assert_allclose(found.values[:, :, rest], whole.values[:, :, rest], rtol=1e-4, atol=1e-6)
    assert [(f.method, f.image) for f in found.failures] == [(None, 3)]
    assert all(row.images == 6 and row.missing == 0 for row in found.table())
    assert "6 of 7 used" in found.protocol()


@pytest.mark.parametrize("change", [Path.unlink, lambda path: picture(9).save(path)], ids=["vanishes", "is another"])
def test_a_picture_that_changes_meanwhile_loses_itself_alone(change, tmp_path):
    class First(nn.Module):
        def forward(self, x):
            return x[:, 0].flatten(1)

    model = rn.Classifier("first", First().eval(), tuple(map(str, range(16))), Preprocess(size=4), "none")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(number).save(path)

    def method(_network, inputs, _targets):
        if paths[1].exists():
            change(paths[1])
        return inputs.sum(1)

    options = {"metrics": "gini", "progress": False, "batch": 1, "resamples": 50}
    expected = compare(model, paths, methods={"mine": lambda _network, inputs, _targets: inputs.sum(1)}, **options)
    found = compare(model, paths, methods={"mine": method}, **options)
    np.testing.assert_array_equal(found["mine", "gini"][[0, 2]], expected["mine", "gini"][[0, 2]])
    (failure,) = found.failures
    assert failure[:3] == ("mine", None, 1)
    assert re.match(r"there is no file|it is another than when the comparison began", failure.reason)


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8))


def test_a_method_that_fails_on_one_image_loses_that_image():
    network = small()

    def sometimes(_network, inputs, _targets):
        heatmaps = inputs.sum(1)
        heatmaps[(inputs == INPUTS[4]).flatten(1).all(1)] = math.nan
        return heatmaps

    found = run(network, methods=("rlrp", sometimes), metrics=("gini",))
    assert np.isnan(found["sometimes", "gini"]).tolist() == [False] * 4 + [True, False, False]
    ((method, metric, image, reason),) = found.failures
    assert (method, metric, image) == ("sometimes", None, 4)
    assert reason.startswith("the heatmap has values that are NaN")
    row = next(row for row in found.table() if row.method == "sometimes")
    assert (row.images, row.missing) == (6, 1)
    assert "(n = 6)" in found.to_markdown()
    assert found.difference("sometimes", "gini").count == 6


def test_a_method_that_always_fails_is_shown_as_failed():
    asked = []

    def broken(_network, inputs, _targets):
        asked.append(len(inputs))
        raise ValueError("no such thing\nas luck")

    def refuses(_network, inputs, _targets):
        asked.append(-len(inputs))
        raise UnsupportedNetworkError("not for this network.")

    found = run(methods=("rlrp", broken, refuses), metrics=("gini",))
    assert np.isnan(found.values[1:]).all()
    assert asked == [3, 1, 1, 1, -3, 3, 1, 1, 1, -3, 1, 1, -1]
    text = found.to_markdown()
    assert "| broken | failed |" in text
    assert "- broken, 7 x: ValueError: no such thing" in text
    assert "- refuses, 7 x: not for this network." in text


def doubles_weights(network, inputs, _targets):
    network[0].weight.data.mul_(2)  # by a way that PyTorch does not count
    return inputs.sum(1)


def learns(network, inputs, _targets):
    network.train()(inputs)
    network.eval()
    return inputs.sum(1)


@pytest.mark.parametrize(
    ("method", "tensors"), [(doubles_weights, r"0\.weight"), (learns, r"1\.running_mean, 1\.running_var")]
)
def test_a_method_that_writes_into_the_network_is_refused_by_name(method, tensors, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    path = tmp_path / "values.jsonl"
    with pytest.raises(InputError, match=rf"the method 'mine' changed the network: {tensors}.*deepcopy"):
        run(network, methods={"rlrp": "rlrp", "mine": method}, metrics="gini", path=path)
    assert "mine" not in [json.loads(line).get("method") for line in path.read_text().splitlines()]


def replaces(network, _inputs, _targets):
    network[1] = nn.Tanh().eval()


def sets(network, _inputs, _targets):
    network[2].kernel_size = 3


def patches(network, _inputs, _targets):
    network[1].forward = torch.tanh


@pytest.mark.parametrize("change", [replaces, sets, patches])
def test_a_method_that_changes_layers_or_settings_is_refused_by_name(change):
    def method(network, inputs, targets):
        change(network, inputs, targets)
        return inputs.sum(1)

    with pytest.raises(InputError, match=r"the method 'mine' changed the network: layers, hooks or settings"):
        run(methods={"rlrp": "rlrp", "mine": method}, metrics="gini")


def test_a_metric_that_writes_into_the_network_is_refused_by_name():
    def halves(network, inputs, _heatmaps, _targets):
        network[-1].bias.data.add_(0.5)
        return inputs.flatten(1).sum(1)

    with pytest.raises(InputError, match=r"the method 'rlrp' or the metric 'halves' changed .*: 4\.bias"):
        run(methods="rlrp", metrics=halves)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_network_that_counts_its_runs_can_be_compared(inplace):
    class Counting(nn.Sequential):
        def __init__(self):
            super().__init__(nn.ReLU(inplace=inplace), *small())
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x):
            self.runs += 1
            self.last = [x]
            return super().forward(x)

    network = Counting().eval()
    found = run(network, metrics=("aopc", "noise-similarity"))
    assert found.failures == ()
    same = nn.Sequential(nn.ReLU(), *small()).eval()
    np.testing.assert_allclose(found.values, run(same, metrics=("aopc", "noise-similarity")).values, rtol=1e-5)
    assert network.runs > 0


def test_a_network_that_keeps_something_for_each_shape_can_be_compared():
    class Keeping(nn.Sequential):
        def __init__(self):
            super().__init__(*small())
            self.kept = {}

        def forward(self, x):
            if x.shape not in self.kept:
                self.kept[x.shape] = torch.zeros(1)
            return super().forward(x + self.kept[x.shape])

    def mine(network, inputs, _targets):
        return network(inputs)[:, :1, None] * inputs.sum(1)

    options = {"images": INPUTS[:6], "methods": ("rlrp", mine, "random"), "metrics": ("aopc", "noise-similarity")}
    found = run(Keeping().eval(), **options)
    assert found.failures == ()
    np.testing.assert_allclose(found.values, run(**options).values, rtol=1e-5, atol=1e-6)


def test_a_network_that_writes_into_its_input_is_measured_on_the_pictures_themselves():
    def network(first):
        return nn.Sequential(first, *small()).eval()

    options = {"metrics": ("noise-similarity", "brightness-similarity", "amplification", "conservation")}
    found = run(network(nn.ReLU(inplace=True)), **options)
    expected = run(network(nn.ReLU()), **options)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-6)


def test_a_metric_that_fails_on_one_image_loses_that_value():
    def picky(_network, inputs, _heatmaps, _targets):
        if (inputs == INPUTS[2]).flatten(1).all(1).any():
            raise RuntimeError("not this one")
        return torch.where(inputs[:, 0, 0, 0] == INPUTS[5, 0, 0, 0], torch.inf, 1.0)

    found = run(methods=("rlrp",), metrics=("gini", picky))
    assert np.isnan(found["rlrp", "picky"]).tolist() == [False, False, True, False, False, True, False]
    assert not np.isnan(found["rlrp", "gini"]).any()
    assert [(f.metric, f.image, f.reason) for f in found.failures] == [
        ("picky", 2, "RuntimeError: not this one"), ("picky", 5, "the value is inf.")
    ]  # fmt: skip


def test_why_a_network_is_refused_is_said_in_full():
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.Softsign(), nn.Linear(8, 4), nn.LogSoftmax(1)).eval()
    with pytest.raises(UnsupportedNetworkError) as refused:
        rn.explain(network, INPUTS)
    found = run(network, methods=("rlrp",), metrics=("gini",), targets=[0] * 7)
    reason = found.failures[0].reason
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert len(lines) > 2
    assert all(line in reason for line in lines)
    assert "\n" not in reason


def own_gradient(network, inputs, targets):
    inputs.requires_grad_()
    network(inputs).gather(1, targets[:, None]).sum().backward()
    return (inputs.grad * inputs)[:, 0].detach()


def doubled(network, inputs, targets):
    network[0].register_forward_hook(lambda _module, _inputs, output: 2 * output)
    return own_gradient(network, inputs, targets)


def guided(network, inputs, targets):
    network[1].register_full_backward_hook(lambda _module, found, _given: (found[0].clamp(min=0),))
    return own_gradient(network, inputs, targets)


@pytest.mark.parametrize("method", [doubled, guided])
def test_a_method_that_leaves_hooks_is_named_and_the_next_is_measured_without(method):
    alone = run(methods=("rlrp", own_gradient), metrics=("gini",))
    beside = run(methods=("rlrp", method, own_gradient), metrics=("gini",))
    assert [failure.method for failure in beside.failures] == [method.__name__] * 7
    assert "the attribute changed the network: hooks of the network" in beside.failures[0].reason
    np.testing.assert_array_equal(beside["own_gradient", "gini"], alone["own_gradient", "gini"])
    np.testing.assert_array_equal(beside["rlrp", "gini"], alone["rlrp", "gini"])


def test_a_metric_that_leaves_hooks_is_refused_by_name():
    def hooking(network, inputs, _heatmaps, _targets):
        network[1].register_full_backward_hook(lambda *_: None)
        return inputs.flatten(1).sum(1)

    with pytest.raises(InputError, match=r"the metric 'hooking' changed .*: layers, hooks or settings"):
        run(methods="rlrp", metrics=hooking)


def test_a_metric_of_the_wrong_shape_is_said():
    def whole(_network, _inputs, heatmaps, _targets):
        return heatmaps

    found = run(methods=("rlrp",), metrics=(whole,))
    assert "it has to be a tensor (1,), a value per image" in found.failures[0].reason


@pytest.mark.parametrize(("given", "words"), [({"ginny": 1}, r"\['ginny'\]"), (torch.ones(1), "a Tensor")])
def test_a_family_without_its_metric_is_said(given, words):
    found = run(methods=("rlrp",), metrics=(replace(METRICS["gini"], family=lambda _trial: given),))
    wanted = rf"the metric 'gini' has a family that returned {words}; accepted is a dict with 'gini'\."
    assert re.fullmatch(wanted, found.failures[0].reason)


def test_metrics_of_the_engine_are_left_out_for_others():
    found = run(methods=("rlrp", "random"), metrics=("amplification", "gini"))
    assert np.isnan(found["random", "amplification"]).all()
    assert found.failures == ()
    assert "| Random | - |" in found.to_markdown()


def test_an_image_that_fails_costs_the_others_no_digits():
    network, inputs = small().bfloat16(), INPUTS.bfloat16()
    targets = torch.zeros(len(inputs), dtype=torch.int64)
    heatmaps = engine_attribute("rlrp")(network, inputs, targets)
    assert heatmaps.dtype == torch.float32

    def failing(network, inputs, targets):
        if bool((inputs == first).flatten(1).all(1).any()):
            raise ValueError
        return engine_attribute("rlrp")(network, inputs, targets)

    first = inputs[0]
    found = compare(network, inputs, targets=targets, methods={"mine": failing}, metrics="gini", progress=False)
    np.testing.assert_allclose(found["mine", "gini"][1:], gini(heatmaps)[1:], rtol=1e-5)
    assert np.isnan(found["mine", "gini"][0])


def test_the_unit_of_the_cost_is_timed_when_all_that_is_done_once_is_done(monkeypatch):
    asked, own = [], comparing._ask
    monkeypatch.setattr(
        comparing, "_ask", lambda a, n, inputs, *rest: (asked.append(len(inputs)), own(a, n, inputs, *rest))[1]
    )
    run(methods=("gradient-x-input",), metrics=("cost",), batch=2)
    # before each batch the unit, of all of it; the first time once before it is timed
    unit = 1 + comparing._UNITS
    assert asked[:unit] == [2] * unit


def test_the_cost_is_a_multiple_of_gradient_x_input():
    found = run(methods=("rlrp", "gradient-x-input", "random"), metrics=("cost", "gini"))
    assert (found.values[:, 0] > 0).all()
    row = next(row for row in found.table() if row.metric == "cost")
    assert row.mean == np.median(found["rlrp", "cost"])
    assert math.isnan(row.low)


def test_a_file_keeps_everything_and_grows(tmp_path):
    path = tmp_path / "values.jsonl"
    plain = run(metrics=("abpc", "gini"))
    first = run(metrics=("gini",), methods=("rlrp",), path=path)
    size = path.stat().st_size
    again = run(metrics=("gini",), methods=("rlrp",), path=path)
    assert path.stat().st_size == size
    np.testing.assert_array_equal(again.values, first.values)
    more = run(metrics=("abpc", "gini"), path=path)
    np.testing.assert_array_equal(more.values, plain.values)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (smoothgrad(Range(torch.zeros(1), torch.ones(1)), 2), smoothgrad(Range(torch.zeros(1), torch.ones(1) * 2), 2)),
        (occlusion(0.5, 0.2500001), occlusion(0.5, 0.2500002)),
        (
            zennit_epsilon_gamma_box(Range(-torch.ones(1), torch.ones(1))),
            zennit_epsilon_gamma_box(Range(-torch.ones(1) * 3, torch.ones(1))),
        ),
    ],
)
def test_a_method_set_by_numbers_that_its_description_rounds_or_leaves_out_does_not_fit_a_file(before, after, tmp_path):
    path = tmp_path / "values.jsonl"
    assert before.description == after.description
    first = run(metrics=("gini",), methods=before, path=path)
    np.testing.assert_array_equal(run(metrics=("gini",), methods=before, path=path).values, first.values)
    with pytest.raises(InputError, match=f"{before.name}.*choose another path"):
        run(metrics=("gini",), methods=after, path=path)


def test_another_setting_method_network_or_image_does_not_fit_a_file(tmp_path):
    path = tmp_path / "values.jsonl"

    def mine(_network, inputs, _targets):
        return inputs.sum(1)

    run(metrics=("gini",), methods={"mine": mine}, path=path)
    before = path.read_bytes()
    other = small()
    other[0].weight.data[0] += 1e-3

    def changed(_network, inputs, _targets):
        return inputs.sum(1) * 2

    for options, words in (
        ({"patch": 3}, "patch"),
        ({"score": "logit"}, "score"),
        ({"fill": torch.zeros(())}, "fill"),
        ({"seed": 1}, "seed"),
        ({"batch": 2}, "batch"),
        ({"images": INPUTS[:5]}, "images"),
        ({"targets": 0}, "targets"),
        ({"masks": MASKS}, "masks"),
        ({"network": other}, "network"),
        ({"methods": {"mine": changed}}, "values of the method 'mine'"),
    ):
        with pytest.raises(InputError, match=words):
            run(**{"metrics": ("gini",), "methods": {"mine": mine}, "path": path, **options})
        assert path.read_bytes() == before


SCRIPT = """
import sys, torch
from tests.unit.evaluation.test_comparing import INPUTS, MASKS, slow, small
from rlrp_nb.evaluation.comparing import compare
torch.set_num_threads(1)
compare(small(), INPUTS, methods={"rlrp": "rlrp", "slow": slow}, metrics=("abpc", "gini", "noise-similarity"),
        batch=2, path=sys.argv[1], progress=False)
"""


def slow(network, inputs, targets):
    time.sleep(0.2)
    return engine_attribute("lrp-0")(network, inputs, targets)


def test_a_killed_process_loses_nothing_and_changes_nothing(tmp_path):
    path = tmp_path / "values.jsonl"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], cwd=Path(__file__).parents[3])
    while not path.exists() or path.read_bytes().count(b'"values"') < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    saved = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert 5 <= sum("values" in record for record in saved) < 4 * 2 * 3  # in the middle
    path.write_bytes(path.read_bytes() + b'{"method": "rlrp", "sta')  # as if it had died while writing
    methods = {"rlrp": "rlrp", "slow": engine_attribute("lrp-0")}
    options = {"metrics": ("abpc", "gini", "noise-similarity"), "batch": 2, "progress": False}
    whole = compare(small(), INPUTS, methods=methods, **options)
    resumed = compare(small(), INPUTS, methods={"rlrp": "rlrp", "slow": slow}, path=path, **options)
    np.testing.assert_array_equal(resumed.values, whole.values)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert sum("values" in record for record in lines) == 4 * 2 * 3
    assert lines[: len(saved)] == saved


def test_ctrl_c_goes_through_and_what_is_there_stays(tmp_path):
    path, asked = tmp_path / "values.jsonl", tmp_path / "asked"  # what is in a file is no part of the method

    def stops(_network, inputs, _targets):
        with asked.open("a") as file:
            file.write("once more\n")
        if asked.read_text().count("\n") == 4:  # once to know it, and for three batches
            raise KeyboardInterrupt
        return inputs.sum(1)

    with pytest.raises(KeyboardInterrupt):
        run(methods={"mine": stops}, metrics=("gini",), path=path)
    assert path.read_bytes().count(b'"values"') == 2
    np.testing.assert_array_equal(
        run(methods={"mine": stops}, metrics=("gini",), path=path).values,
        run(methods={"mine": stops}, metrics=("gini",)).values,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ()}, "methods is empty"),
        ({"metrics": ()}, "metrics is empty"),
        ({"methods": "rlpr"}, "Did you mean 'rlrp'"),
        ({"metrics": ("abpc", "abpc")}, "abpc twice"),
        ({"metrics": "mass-accuracy"}, "mass-accuracy need masks"),
        ({"images": []}, "images is empty"),
        ({"masks": MASKS[:2]}, "masks are"),
        ({"targets": 5}, "target 5 of image 0"),
        ({"batch": 0}, "batch=0"),
        ({"batch": None}, "batch=None"),
        ({"score": ["logit"]}, "is not known: choose 'probability', 'logit' or 'accuracy'"),
        ({"reference": np.zeros(2)}, "takes no part"),
        ({"patch": 1.5}, "patch=1.5"),
        ({"per_step": -1}, "per_step=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed=18446744073709551616 has to be an integer from 0 to 9223372036854775807"),
        ({"patch": 11}, "patch=11 is larger than the inputs of 10 x 10 pixels"),
        ({"path": b"a.jsonl"}, "path is a bytes"),
        ({"path": os.devnull}, "is there already and is not a file"),
        ({"path": "a\0b"}, "is no name of a file"),
        ({"path": "a" * 300}, "cannot be read and written: File name too long"),
        ({"resamples": 0}, "resamples=0"),
        ({"confidence": 95}, "confidence=95"),
        ({"fill": "white"}, "fill='white'"),
        ({"fill": 0}, "fill=0"),
        ({"fill": None}, "fill=None"),
        ({"fill": torch.tensor(torch.nan)}, "the fill holds NaN"),
        ({"fill": torch.zeros(2, 1, 1)}, r"fill has shape \(2, 1, 1\)"),
        ({"fill": torch.ones(1, dtype=torch.complex64)}, "the fill is torch.complex64"),
        ({"fill": torch.ones(1, device="meta")}, "the fill is torch.float32, meta"),
        ({"methods": {1: "rlrp"}}, "methods has a method called 1: its name has to be a text"),
        ({"score": "loss"}, "score='loss'"),
        ({"reference": "rlrp"}, "reference='rlrp' takes no part: choose one of mine"),
    ],
)
def test_what_cannot_be_compared_is_said_before_any_work(options, words, tmp_path):
    def never(_network, _inputs, _targets):
        raise AssertionError

    with pytest.raises(InputError, match=words):
        run(**{"methods": {"mine": never}, "metrics": ("gini",), "path": tmp_path / "a.jsonl", **options})
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_said_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'rlrp-nb\[compare\]'"):
        run(methods=("rlrp", "saliency"))


def test_the_progress_bar_counts_batches_and_can_be_left_out(capsys):
    run(metrics=("gini",), progress=True)
    assert "9/9" in capsys.readouterr().err
    run(metrics=("gini",))
    assert capsys.readouterr().err == ""


IMPORTING = """
import sys, torch
from torch import nn
from rlrp_nb.evaluation.comparing import compare
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)).eval()

def mine(network, inputs, targets):
    from helpers import heatmap
    import wave
    return heatmap(inputs)

def never(network, inputs, targets):
    if len(sys.argv) > 99:
        from ends import the_program
    return inputs.sum(1)

for _ in range(2):
    found = compare(network, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
                    methods=[mine, never], metrics="gini", path="saved.jsonl", progress=False)
    print(found["mine", "gini"].tolist())
"""


def test_what_a_method_imports_within_itself_is_a_part_of_it_from_the_beginning(tmp_path):
    def ran(power):
        (tmp_path / "helpers.py").write_text(f"def heatmap(x):\n    return x.sum(1) ** {power}\n", encoding="utf-8")
        (tmp_path / "ends.py").write_text("raise SystemExit\n", encoding="utf-8")
        command = [sys.executable, "-B", "-c", IMPORTING]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    first, again, other = ran(1), ran(1), ran(3)
    one, two = first.stdout.splitlines()
    assert one == two
    assert again.stdout == first.stdout
    assert "has values of the method 'mine'" in other.stderr


def test_an_object_that_keeps_something_from_its_first_call_goes_on(tmp_path):
    class Lazy:
        def __call__(self, _network, inputs, _targets):
            self.channels = inputs.shape[1]
            return inputs.sum(1)

    path, method = tmp_path / "saved.jsonl", Lazy()
    first = run(methods={"mine": method}, metrics="gini", path=path)
    again = run(methods={"mine": method}, metrics="gini", path=path)
    np.testing.assert_array_equal(first["mine", "gini"], again["mine", "gini"])


def test_a_method_that_changes_the_network_is_refused_before_anything_is_saved(tmp_path):
    def changing(network, inputs, _targets):
        with torch.no_grad():
            next(network.parameters()).add_(1)
        return inputs.sum(1)

    with pytest.raises(InputError, match="the method 'changing' changed the network"):
        run(methods=changing, metrics="gini", path=tmp_path / "saved.jsonl")
