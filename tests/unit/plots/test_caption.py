"""The words on a picture."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlrp_nb.engine.explainer import explain
from rlrp_nb.errors import InputError
from rlrp_nb.plots.caption import headline, isolated, method_title, number, output, percent


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.0017, "0.2 %"),
        (0.94, "94.0 %"),
        (0.9963, "99.6 %"),
        (0.999, "99.9 %"),
        (0.9991, "> 99.9 %"),
        (0.99951, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percent(probability, words):
    assert percent(probability) == words


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_percentage_never_claims_certainty(probability):
    assert percent(probability) not in {"0.0 %", "100.0 %"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (1.5e-5, "+1.5e-05"),
        (-1.5e-5, "\N{MINUS SIGN}1.5e-05"),
        (-0.25, "\N{MINUS SIGN}0.25"),
        (123.4, "+123"),
        (999.4, "+999"),
        (2.5e30, "+2.5e+30"),
        (5e-324, "+4.9e-324"),
    ],
)
def test_number(value, words):
    assert number(value).replace("e\N{MINUS SIGN}", "e-") == words


def test_headline_of_a_class_and_of_a_contrast(explanation):
    probabilities = explanation.probabilities[0]
    assert headline(explanation) == f"cat, {percent(float(probabilities[2]))}"
    ant, eel = (percent(float(probabilities[k])) for k in (0, 4))
    assert headline(explanation, 1) == f"{explanation.label(1)}, {ant} and {eel}"
    assert "ant" in headline(explanation, 1)
    assert "eel & co" in headline(explanation, 1)


def test_headline_of_what_has_no_probability():
    one = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval()
    nn.init.zeros_(one[1].weight)
    nn.init.constant_(one[1].bias, -2)
    x = torch.rand(1, 3, 2, 2)
    assert headline(explain(one, x)) == "class 0, output \N{MINUS SIGN}2"
    nn.init.constant_(one[1].bias, 1987.4)
    assert headline(explain(one, x)) == "class 0, output 1987.4"
    network = nn.Conv2d(3, 4, 1).eval()
    assert (
        headline(explain(network, x, (2, 1, 1)))
        == f"output (2, 1, 1), {output(network(x).detach()[0, 2, 1, 1].item())}"
    )


@pytest.mark.parametrize(
    ("label", "alone"),
    [
        ("tabby \N{MINUS SIGN} tiger cat", "tabby \N{MINUS SIGN} tiger cat"),
        ("\u202eabc \N{MINUS SIGN} plain", "\u2068\u202eabc\u2069 \N{MINUS SIGN} plain"),
        ("\u0642\u0637", "\u2068\u0642\u0637\u2069"),
        ("\u2069\u202eabc\u2029d\u2067", "\u2068\u202eabc d\u2069"),
    ],
)
def test_a_name_keeps_its_direction_to_itself(label, alone):
    assert isolated(label) == alone


def test_headline_of_a_seed_that_is_no_class(classifier, photo):
    explanation = explain(classifier, photo, targets=torch.eye(5)[None, :1])
    assert headline(explanation) == explanation.label()


def test_methods_are_called_by_their_titles():
    assert method_title("rlrp") == "R-LRP"
    assert method_title("my own") == "my own"


def test_what_is_no_explanation_or_not_there_is_refused(explanation):
    for wrong in (None, [explanation, explanation], "tabby"):
        with pytest.raises(InputError, match=rf"an explanation is a {type(wrong).__name__}: accepted is one"):
            headline(wrong)
    for position in ({"target": 7}, {"sample": 7}):
        with pytest.raises(InputError, match=r"7 is not there"):
            headline(explanation, **position)
