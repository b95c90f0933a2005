"""The interactive figure: symmetric scale, neutral zero, values under the pointer."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.errors import InputError, MissingPackageError
from rlrp_nb.plots import colormap
from rlrp_nb.plots.figure import figure


def heatmaps(drawn):
    return [trace for trace in drawn.data if trace.type == "heatmap"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_zero_is_in_the_middle_of_every_scale(explanation, theme):
    drawn = figure(explanation, theme=theme)
    assert len(heatmaps(drawn)) == explanation.targets.shape[1]
    for target, trace in enumerate(heatmaps(drawn)):
        assert trace.zmin == -trace.zmax
        middle = [colour for position, colour in trace.colorscale if position == 0.5]
        assert middle == ["rgb({},{},{})".format(*colormap.table(theme)[128])]
        assert np.allclose(trace.z, explanation.heatmap(target).numpy())


def test_names_do_not_turn_the_numbers_beside_them(explanation):
    names = tuple(f"\u0642{k}" for k in range(len(explanation.categories)))
    drawn = figure(replace(explanation, categories=names, network="\u202enet"))
    assert drawn.layout.title.text.startswith("\u2068\u06422\u2069, ")
    assert drawn.layout.title.subtitle.text.startswith("\u2068\u202enet\u2069 · ")


def test_the_menu_shows_one_target_at_a_time_and_keeps_the_photograph(explanation):
    drawn = figure(explanation)
    assert [trace.visible for trace in heatmaps(drawn)] == [True, False, False]
    assert [trace.visible for trace in heatmaps(figure(explanation, 2))] == [False, False, True]
    assert figure(explanation, -1).layout.title.text.startswith("eel &amp; co, ")
    (menu,) = drawn.layout.updatemenus
    assert [button.args[0]["visible"] for button in menu.buttons] == [
        [True, True, False, False],
        [True, False, True, False],
        [True, False, False, True],
    ]
    assert "eel &amp; co" in menu.buttons[2].label
    assert drawn.layout.title.text.startswith("cat, ")
    assert "R-LRP" in drawn.layout.title.subtitle.text


def test_the_pointer_shows_value_and_position(explanation):
    template = heatmaps(figure(explanation))[0].hovertemplate
    assert all(part in template for part in ("%{x}", "%{y}", "%{z"))


def test_without_a_photograph_there_is_the_heatmap_alone(without_photo):
    drawn = figure(without_photo)
    assert {trace.type for trace in drawn.data} == {"heatmap"}


@pytest.mark.parametrize("target", [np.int64(1), torch.tensor(1), -1])
def test_a_position_may_be_any_whole_number(explanation, target):
    drawn = figure(explanation, target)
    count = explanation.targets.shape[1]
    assert drawn.layout.updatemenus[0].active == (1 if target != -1 else count - 1)


def test_impossible_options_are_refused(explanation):
    with pytest.raises(InputError, match="percentile"):
        figure(explanation, percentile=101)
    with pytest.raises(InputError, match="target 3 is not there"):
        figure(explanation, 3)
    with pytest.raises(InputError, match="sample 1 is not there"):
        figure(explanation, sample=1)
    with pytest.raises(InputError, match="theme"):
        figure(explanation, theme="jet")


def test_what_is_no_explanation_is_refused(explanation):
    with pytest.raises(InputError, match="an explanation is a list: accepted is one"):
        figure([explanation, explanation])


def test_more_targets_than_a_menu_can_hold_are_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 101)).eval()
    explanation = rn.explain(network, torch.ones(1, 1, 2, 2), range(101))
    with pytest.raises(InputError, match="has 101 targets, and the figure's menu at most 100"):
        explanation.plot()


def test_a_missing_plotly_is_named(explanation, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'rlrp-nb\[lab\]'"):
        figure(explanation)
