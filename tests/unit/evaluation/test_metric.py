"""The metrics of a comparison: each equals the function it stands for, and work that is shared is done once."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.comparing import compare
from rlrp_nb.evaluation.complexity import entropy, gini
from rlrp_nb.evaluation.conservation import conservation_error
from rlrp_nb.evaluation.contender import Contender, resolve_contenders
from rlrp_nb.evaluation.domain import Range
from rlrp_nb.evaluation.faithfulness import flip, road
from rlrp_nb.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from rlrp_nb.evaluation.metric import (
    DRAWS,
    METRICS,
    NOISE,
    RADIUS,
    ROAD_SHARES,
    Metric,
    Settings,
    Trial,
    resolve_metrics,
)
from rlrp_nb.evaluation.perturbation import Jpeg, Shift, uniform
from rlrp_nb.evaluation.randomisation import similarity_after_randomisation
from rlrp_nb.evaluation.robustness import similarity
from rlrp_nb.evaluation.stability import amplification, small_denominators

DOMAIN = Range(torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 1.0, 0.5]))
SPREAD = (DOMAIN.high - DOMAIN.low)[:, None, None]


@pytest.fixture(scope="module")
def trial():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 5)
    ).eval()
    inputs = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * SPREAD + DOMAIN.low[:, None, None]
    targets = torch.tensor([0, 3, 1])
    (contender,) = resolve_contenders("rlrp", DOMAIN)
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 1:6] = True
    heatmaps = contender.attribute(network, inputs, targets)
    settings = Settings(patch=2, per_step=3, batch=5, seed=4)
    return Trial(network, contender, inputs, heatmaps, targets, DOMAIN, settings, masks, 2.5)


def expected(trial):
    """Return every metric by the function it stands for, with the settings written out."""
    case = trial.network, trial.inputs, trial.heatmaps, trial.targets
    again = engine_attribute("rlrp"), trial.network, trial.inputs, trial.targets
    flipped = flip(*case, patch=2, per_step=3, fill="blur", batch=64)
    shares = {"shares": ROAD_SHARES, "noise": 0.01 * float(SPREAD.mean()), "seed": 4}
    removed = road(*case, order="lerf", **shares) - road(*case, order="morf", **shares)
    noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64).float()
    explain = again[0]
    changes = []
    for draw in uniform(torch.zeros(1, 3, 8, 8), radius=1.0, samples=DRAWS, seed=4):
        moved = explain(trial.network, trial.inputs + draw * RADIUS * SPREAD, trial.targets) - trial.heatmaps
        changes.append(moved.double().flatten(1).norm(dim=1) / trial.heatmaps.double().flatten(1).norm(dim=1))
    return {
        "aopc": flipped.aopc,
        "abpc": flipped.abpc,
        "insertion": flipped.insertion,
        "deletion": flipped.deletion,
        "road": removed.mean(1),
        "pointing-game": pointing_game(trial.heatmaps, trial.masks),
        "mass-accuracy": mass_accuracy(trial.heatmaps, trial.masks),
        "rank-accuracy": rank_accuracy(trial.heatmaps, trial.masks),
        "max-sensitivity": torch.stack(changes).amax(0),
        "noise-similarity": similarity(*again, lambda inputs: inputs + noise * NOISE * SPREAD),
        "jpeg-similarity": similarity(*again, Jpeg(50, DOMAIN.low.tolist(), DOMAIN.high.tolist())),
        "brightness-similarity": similarity(*again, lambda inputs: inputs + 0.1 * SPREAD),
        "shift-similarity": similarity(*again, Shift(1, 1)),
        "amplification": amplification(trial.network, trial.inputs, trial.targets, "rlrp"),
        "small-denominators": small_denominators(trial.network, trial.inputs, "rlrp"),
        "gini": gini(trial.heatmaps),
        "entropy": entropy(trial.heatmaps),
        "conservation": conservation_error(trial.network, trial.inputs, trial.targets, "rlrp"),
        "randomisation": similarity_after_randomisation(*again, seed=4),
        "cost": torch.full((3,), 2.5),
    }


def test_every_metric_equals_the_function_it_stands_for(trial):
    wanted = expected(trial)
    assert list(wanted) == list(METRICS)
    for name, metric in METRICS.items():
        found = metric.family(trial)[name]
        torch.testing.assert_close(found.double(), wanted[name].double(), rtol=1e-5, atol=1e-6, msg=name)


def test_no_value_depends_on_the_images_beside_it(trial):
    for name, metric in METRICS.items():
        whole = metric.family(trial)[name].double()
        for k in range(3):
            one = slice(k, k + 1)
            alone = Trial(
                trial.network, trial.contender, trial.inputs[one], trial.heatmaps[one], trial.targets[one], DOMAIN,
                trial.settings, trial.masks[one], trial.cost,
            )  # fmt: skip
            torch.testing.assert_close(
                metric.family(alone)[name].double(), whole[one], rtol=1e-3, atol=2e-6, msg=f"{name} {k}"
            )


def test_of_no_range_nothing_is_a_share(trial):
    flat = replace(trial, domain=Range(DOMAIN.low, DOMAIN.low))
    with pytest.raises(InputError, match="all pixels have one value, of whose range nothing can be a share"):
        _ = flat.spread


def test_metrics_that_come_out_of_the_same_work_share_it():
    families = {name: metric.family for name, metric in METRICS.items()}
    assert families["aopc"] is families["abpc"] is families["insertion"] is families["deletion"]
    assert families["pointing-game"] is families["mass-accuracy"] is families["rank-accuracy"]
    assert families["aopc"] is not families["road"]


def test_heatmaps_that_are_known_are_not_computed_again(trial):
    asked = []

    def attribute(_network, inputs, _targets):
        asked.append(len(inputs))
        return trial.heatmaps * 0 + inputs.sum(1)

    (contender,) = resolve_contenders(attribute, DOMAIN)
    watched = Trial(
        trial.network, contender, trial.inputs, trial.inputs.sum(1), trial.targets, DOMAIN, trial.settings, trial.masks
    )
    for name in ("noise-similarity", "shift-similarity", "brightness-similarity"):
        METRICS[name].family(watched)
    assert asked == [3, 3, 3]


def test_black_is_black_before_the_preprocessing(trial):
    settings = Settings(patch=2, per_step=3, fill="black")
    dark = Trial(
        trial.network, trial.contender, trial.inputs, trial.heatmaps, trial.targets, DOMAIN, settings, trial.masks
    )
    wanted = flip(
        trial.network, trial.inputs, trial.heatmaps, trial.targets, patch=2, per_step=3, fill=DOMAIN.low[:, None, None]
    )
    torch.testing.assert_close(METRICS["abpc"].family(dark)["abpc"], wanted.abpc)


def test_the_table_says_what_everyone_needs_to_know():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert all([metric.title, metric.measures, metric.unit, metric.source])
        assert metric.better in {"higher", "lower", None}
    assert {name for name, metric in METRICS.items() if metric.needs_masks} == {
        "pointing-game", "mass-accuracy", "rank-accuracy"
    }  # fmt: skip
    assert {name for name, metric in METRICS.items() if metric.engine_only} == {
        "amplification", "small-denominators", "conservation"
    }  # fmt: skip


def test_without_truth_or_engine_there_is_an_error(trial):
    (foreign,) = resolve_contenders("random", DOMAIN)
    bare = Trial(trial.network, foreign, trial.inputs, trial.heatmaps, trial.targets, DOMAIN, trial.settings)
    with pytest.raises(InputError, match="needs masks"):
        METRICS["mass-accuracy"].family(bare)
    with pytest.raises(InputError, match="random is no method of the engine"):
        METRICS["amplification"].family(bare)
    assert not METRICS["amplification"].applies_to(foreign)
    assert METRICS["abpc"].applies_to(foreign)
    assert math.isnan(METRICS["cost"].family(bare)["cost"][0])


def test_metrics_of_every_kind_are_understood(trial):
    def largest(_network, _inputs, heatmaps, targets):
        return heatmaps.amax((1, 2)) + targets

    own = Metric("own", "Own", "a test", "higher", "none", "here", lambda one: {"own": one.heatmaps.sum((1, 2))})
    chosen = resolve_metrics(["abpc", own, largest])
    assert [metric.name for metric in chosen] == ["abpc", "own", "largest"]
    found = chosen[2].family(trial)["largest"]
    torch.testing.assert_close(found, trial.heatmaps.amax((1, 2)) + trial.targets)
    assert [metric.name for metric in resolve_metrics("gini")] == ["gini"]
    assert [metric.name for metric in resolve_metrics(largest)] == ["largest"]


def gini_of_mine(_network, _inputs, heatmaps, _targets):
    return heatmaps.sum((1, 2))


gini_of_mine.__name__ = "gini"


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([], "metrics is empty"),
        ("abcp", "metric 'abcp' is not known. Did you mean 'abpc'"),
        (["gini", "gini"], "metrics has gini twice"),
        ([3], "a metric is a int"),
        (3, "metrics is a int"),
        ([gini_of_mine], "called 'gini', as one that is there"),
    ],
)
def test_what_is_no_metric_is_named(metrics, words):
    with pytest.raises(InputError, match=words):
        resolve_metrics(metrics)


def test_saved_values_are_not_those_of_another_function_under_the_same_words(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)).eval()

    def asked(factor):
        metric = Metric("mine", "Mine", "the sum", None, "1", "me", lambda t: {"mine": factor * t.heatmaps.sum((1, 2))})
        method = Contender("ours", "Ours", "the inputs", lambda _network, inputs, _targets: inputs.sum(1))
        inputs = torch.ones(2, 3, 8, 8)
        return compare(network, inputs, methods=[method], metrics=metric, path=tmp_path / "v.jsonl", progress=False)

    assert asked(1)["ours", "mine"].tolist() == asked(1)["ours", "mine"].tolist() == [192, 192]
    with pytest.raises(InputError, match="has values of the metric 'mine' as 'the sum"):
        asked(2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"better": "max"}, "better='max' is not known: choose 'higher' or 'lower'"),
        ({"better": True}, "better=True is not known"),
        ({"unit": None}, "unit is None; accepted is a text"),
        ({"source": None}, "source is None; accepted is a text"),
        ({"name": 3}, "name is 3; accepted is a text"),
        ({"family": "gini"}, "family is a str; accepted is a function"),
    ],
)
def test_a_metric_that_no_table_could_show_is_refused_when_it_is_made(wrong, words):
    with pytest.raises(InputError, match=words):
        Metric(**{**vars(METRICS["gini"]), **wrong})
