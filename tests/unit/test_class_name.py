"""Class names as people type them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models._meta import _IMAGENET_CATEGORIES as IMAGENET

from rlrp_nb.class_name import distinct_name, find_class, read_targets, shown_name
from rlrp_nb.errors import InputError

RANKING = [967, 968, 925, *(k for k in range(1000) if k not in {967, 968, 925})]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("281", 281),
        (" 0 ", 0),
        ("tabby", 281),
        ("TABBY", 281),
        ("Egyptian cat", 285),
        ("egyptian", 285),
        ("Egyptian-cat", 285),
        ("german_shepherd", 235),
        ("jack-o", 607),
        ("cardigan", 474),
        ("Cardigan", 264),
        ("ping-pong", 722),
        ("yorkshire", 187),
    ],
)
def test_a_class_is_found(text, index):
    assert find_class(text, IMAGENET) == index


def test_a_number_beyond_the_classes_is_a_name_where_one_is_called_so():
    assert find_class("3", ["7", "3", "5"]) == 1
    assert find_class("50", ["20", "30", "50"]) == 2
    with pytest.raises(InputError, match="there is no class 9"):
        find_class("9", ["7", "3", "5"])


@given(st.sampled_from([k for k, name in enumerate(IMAGENET) if IMAGENET.count(name) == 1]))
def test_every_class_answers_to_its_own_name(index):
    assert find_class(IMAGENET[index], IMAGENET) == index


@pytest.mark.parametrize("blank", ["", "  ", "\u2028\u2029", "\u202e\u200b", "\n\0\ufeff"])
def test_a_class_without_a_name_that_can_be_seen_is_called_by_its_number(blank):
    assert shown_name(["tabby", blank], 1) == "class 1"


def test_a_class_is_called_by_its_name_where_it_is_known():
    assert shown_name(["tabby", " \N{SNOWMAN} "], 1) == " \N{SNOWMAN} "
    assert shown_name(["tabby"], 7) == shown_name(None, 7) == shown_name((), 7) == "class 7"


def test_several_classes_are_listed_with_their_indices():
    with pytest.raises(InputError, match=r"'crane' fits 2 classes: 1 \(crane\), 2 \(crane\)"):
        find_class("crane", ["dog", "crane", "crane"])
    with pytest.raises(InputError, match=r"'terrier' fits 18 classes: 158 .* and 10 more\."):
        find_class("terrier", IMAGENET)


def test_a_class_without_a_name_is_found_by_what_it_is_called():
    assert find_class("class 1", ["cat", " ", "class 7"]) == 1
    assert find_class("class 7", [*"abcdefg", "", "class 7"]) == 8
    with pytest.raises(InputError, match="none of the 2 classes is called 'class 1'"):
        find_class("class 1", ["cat", "dog"])


@pytest.mark.parametrize("number", [281, None, b"tabby"])
def test_what_is_no_text_is_said(number):
    with pytest.raises(InputError, match=r"^text is .*; accepted is a text"):
        find_class(number, IMAGENET)


def test_a_beginning_does_not_go_before_names_that_have_the_word():
    with pytest.raises(InputError, match=r"'cat' fits 6 classes: 282 \(tiger cat\).*484 \(catamaran\)"):
        find_class("cat", IMAGENET)


def test_the_beginning_of_a_name_comes_before_its_middle():
    assert find_class("sea", ["chelsea", "sea lion", "undersea"]) == 1
    assert find_class("lion", ["chelsea", "sea lion", "undersea"]) == 1


def test_a_typing_error_is_answered_with_the_closest_names():
    with pytest.raises(InputError, match="none of the 1000 classes is called 'tabbi': did you mean 'tabby'"):
        find_class("tabbi", IMAGENET)
    with pytest.raises(InputError, match="called 'xqzw': give its index"):
        find_class("xqzw", IMAGENET)


@pytest.mark.parametrize("text", ["1000", "-1", "99999"])
def test_an_index_out_of_range_is_refused(text):
    with pytest.raises(InputError, match=rf"no class {text}.*0 to 999"):
        find_class(text, IMAGENET)


def test_an_empty_name_is_refused():
    with pytest.raises(InputError, match="empty"):
        find_class("  ", IMAGENET)


def test_digits_as_class_names_are_indices():
    assert find_class("7", [str(k) for k in range(10)]) == 7


def test_targets_are_read():
    texts = ["tabby", "tabby - tiger cat", "espresso \N{MINUS SIGN} cup", "281 - 285", "top2", "281"]
    assert read_targets(texts, IMAGENET, RANKING) == [281, (281, 282), (967, 968), (281, 285), 967, 968]


def test_a_class_may_be_called_top3():
    assert read_targets(["top3"], ["a", "top3"], [0, 1]) == [1]


def test_a_class_may_have_a_minus_sign_in_its_name():
    categories = ["day", "night", "day - night"]
    assert read_targets(["day - night", "night - day"], categories, [0, 1, 2]) == [2, (1, 0)]


def test_a_contrast_of_names_with_minus_signs_is_read_as_the_one_that_there_is():
    assert read_targets(["x - y - z"], ["x - y", "z"], [0, 1]) == [(0, 1)]
    assert read_targets(["x - y - z"], ["x", "y - z"], [0, 1]) == [(0, 1)]
    with pytest.raises(InputError, match=r"read as 'x' minus 'y - z' or 'x - y' minus 'z': give indices"):
        read_targets(["x - y - z"], ["x", "z", "x - y", "y - z"], range(4))
    with pytest.raises(InputError, match="none of the 2 classes is called 'q - z'"):
        read_targets(["x - q - z"], ["x", "y"], [0, 1])


def test_a_number_that_is_an_index_and_another_class_s_name_is_refused():
    categories = ["2", "0", "1"]
    with pytest.raises(InputError, match=r"'1' is an index, that of '0', and the name of class 2.*\+1 .*\+2 for"):
        find_class("1", categories)
    assert [find_class(text, categories) for text in ("+1", "+2")] == [1, 2]


@pytest.mark.parametrize("text", ["-", "_", " ' "])
def test_signs_alone_are_no_name(text):
    with pytest.raises(InputError, match="empty"):
        find_class(text, ["tabby"])


@pytest.mark.parametrize("text", ["top0", "top1001"])
def test_more_classes_than_there_are_cannot_be_the_top(text):
    with pytest.raises(InputError, match="top1 to top1000 exist"):
        read_targets([text], IMAGENET, RANKING)


def test_a_contrast_with_itself_is_refused():
    with pytest.raises(InputError, match=r"compares class 281 \(tabby\) with itself"):
        read_targets(["281 - tabby"], IMAGENET, RANKING)


@pytest.mark.parametrize("text", ["- 5", "5 -", " - 5", "5 - ", "\N{MINUS SIGN} 5", "-", " - "])
def test_a_contrast_of_which_one_side_is_missing_is_refused(text):
    with pytest.raises(InputError, match="name two classes"):
        read_targets([text], [str(k) for k in range(10)], range(10))


def test_a_class_that_is_listed_cannot_write_to_the_terminal():
    with pytest.raises(InputError) as caught:
        find_class("cat", ["cat \x1b[2J", "cat \u202e"])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_accent_may_be_a_part_of_its_letter_or_a_sign_behind_it(form):
    names = [unicodedata.normalize(form, name) for name in ("Mäuse", "Kühe - groß", "café")]
    for other in ("NFC", "NFD"):
        typed = [unicodedata.normalize(other, name) for name in ("mäuse", "Kühe - groß", "CAFÉ")]
        assert [find_class(name, names) for name in typed] == [0, 1, 2]
        assert read_targets([typed[1], f"{typed[0]} - {typed[2]}"], names, [0, 1, 2]) == [1, (0, 2)]


def test_namesakes_are_told_apart_by_their_numbers():
    names = ["crane", "tabby", "crane", ""]
    assert [distinct_name(names, k) for k in range(5)] == ["crane (0)", "tabby", "crane (2)", "class 3", "class 4"]
    assert distinct_name(None, 7) == "class 7"
    assert [find_class(name, names) for name in ("crane (0)", "Crane (2)", "tabby (1)")] == [0, 2, 1]
    assert find_class("crane (2)", ["crane", "crane (2)", "crane"]) == 1
    with pytest.raises(InputError, match=r"called 'crane \(1\)'"):
        find_class("crane (1)", names)


def test_half_a_sign_is_written_as_a_question_mark():
    assert shown_name(["cat \ud83d", "M\udce4use", "\ud83d"], 0) == "cat ?"
    assert [shown_name(["cat \ud83d", "M\udce4use", "\ud83d"], k) for k in (1, 2)] == ["M?use", "?"]
