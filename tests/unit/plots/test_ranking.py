"""The figure of a comparison: the numbers of its table, in places and colours that can be told apart."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from rlrp_nb.errors import InputError, MissingPackageError
from rlrp_nb.evaluation.comparison import Comparison, Statistics
from rlrp_nb.evaluation.contender import Contender
from rlrp_nb.evaluation.metric import METRICS
from rlrp_nb.plots.ranking import CONTROLS, OTHERS, REFERENCE, colour_of, figure


@pytest.fixture
def comparison():
    names = ("rlrp", "a<b", "random", "broken")
    contenders = tuple(Contender(name, name, "", lambda _network, inputs, _targets: inputs.sum(1)) for name in names)
    values = np.random.default_rng(0).normal(0.5, 0.1, (4, 4, 20))
    values[3] = np.nan
    metrics = tuple(METRICS[name] for name in ("abpc", "deletion", "gini", "cost"))
    return Comparison(contenders, metrics, values, (), Statistics("rlrp", 100, 0.95, 0), (), {})


def test_every_value_is_drawn_with_its_interval(comparison):
    drawn = figure(comparison)
    rows = [row for row in comparison.table() if row.images]
    marks = [(trace.x[0], trace.error_x.array, trace.error_x.arrayminus) for trace in drawn.data]
    assert len(marks) == len(rows) == 12
    by_metric = sorted(rows, key=lambda row: [m.name for m in comparison.metrics].index(row.metric))
    for (x, above, below), row in zip(marks, by_metric, strict=True):
        assert x == row.mean
        if row.metric == "cost":
            assert above is None
        else:
            assert (x + above[0], x - below[0]) == pytest.approx((row.high, row.low))


def test_reference_controls_and_others_are_told_apart_without_colour_too(comparison):
    drawn = figure(comparison)
    looks = {trace.y[0]: (trace.marker.color, trace.marker.symbol) for trace in drawn.data}
    assert looks == {
        "rlrp": (REFERENCE, "diamond"), "a&lt;b": (OTHERS, "circle"), "random": (CONTROLS, "circle-open")
    }  # fmt: skip
    assert colour_of(comparison, "random") == CONTROLS


@pytest.mark.parametrize("ground", [(255, 255, 255), (17, 17, 17)])
def test_marks_stand_out_from_both_grounds(ground):
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for mark in (REFERENCE, OTHERS, CONTROLS):
        levels = sorted([luminance([int(mark[i : i + 2], 16) for i in (1, 3, 5)]), luminance(ground)])
        assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 3  # WCAG 2.1 asks this of graphical objects


def test_names_that_look_like_numbers_or_hold_quotes_are_names(comparison):
    named = replace(comparison.contenders[1], title='"2"')
    drawn = figure(replace(comparison, contenders=(comparison.contenders[0], named, *comparison.contenders[2:])))
    assert drawn.layout.yaxis.categoryarray[2] == '"2"'  # plotly shows &quot; as it stands
    assert {axis.type for axis in drawn.select_yaxes()} == {"category"}


def test_methods_stand_in_their_order_from_the_top(comparison):
    drawn = figure(comparison)
    assert list(drawn.layout.yaxis.categoryarray) == ["broken", "random", "a&lt;b", "rlrp"]
    titles = [note.text for note in drawn.layout.annotations]
    assert titles[0].startswith("ABPC<br><sup>higher is better")
    assert titles[1].endswith("lower is better</sup>")
    assert titles[2].endswith("neither way is better</sup>")


def test_both_themes_and_no_other(comparison):
    light, dark = figure(comparison, "light"), figure(comparison, "dark")
    assert light.layout.template.layout.paper_bgcolor != dark.layout.template.layout.paper_bgcolor
    with pytest.raises(InputError, match="no colour theme 'neon'"):
        figure(comparison, "neon")


def test_without_plotly_the_way_out_is_named(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'rlrp-nb\[lab\]'"):
        figure(comparison)
