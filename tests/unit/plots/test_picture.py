"""The still pictures: every pixel of a heatmap where it belongs, zero in the middle of the bar, and clear refusals."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from rlrp_nb.engine.explainer import explain
from rlrp_nb.engine.methods import lrp_epsilon
from rlrp_nb.errors import InputError
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.plots import colormap
from rlrp_nb.plots import picture as module
from rlrp_nb.plots.picture import (
    _fitting,
    _Look,
    _overlay,
    _printable,
    _smoothed,
    comparison,
    comparison_size,
    picture,
    picture_size,
    stack,
)

THEMES = ("dark", "light")


def pixels_of(values, scale, limit=None, theme="dark"):
    return colormap.paint(values, limit, theme).repeat(scale, 0).repeat(scale, 1)


def find(sheet, patch):
    """Return where a patch stands in a picture, as (top, left) of every place."""
    sheet, patch = np.asarray(sheet), np.asarray(patch)
    height, width = patch.shape[:2]
    corner = (sheet == patch[0, 0]).all(2)[: len(sheet) - height + 1, : sheet.shape[1] - width + 1]
    return [
        (top, left)
        for top, left in np.argwhere(corner)
        if (sheet[top : top + height, left : left + width] == patch).all()
    ]


def scaled(explanation, factor):
    return replace(explanation, relevance=explanation.relevance.double() * factor)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("target", [0, 1])
def test_the_heatmap_is_exact_and_once_there(explanation, theme, target):
    values = explanation.heatmap(target).double().numpy()
    sheet = picture(explanation, target, percentile=100, theme=theme)
    assert sheet.mode == "RGB"
    assert len(find(sheet, pixels_of(values, 14, theme=theme))) == 1


def test_the_photograph_is_exact_and_left_of_overlay_and_heatmap(explanation, photo):
    sheet = picture(explanation, percentile=100)
    ((top, left),) = find(sheet, photo.repeat(14, 0).repeat(14, 1))
    ((heat_top, heat_left),) = find(sheet, pixels_of(explanation.heatmap().double().numpy(), 14))
    assert heat_top == top
    assert heat_left > left + 2 * 14 * photo.shape[1]


@pytest.mark.parametrize("theme", THEMES)
def test_the_colour_bar_has_zero_exactly_in_the_middle(explanation, theme):
    table = colormap.table(theme)
    height = 14 * explanation.heatmap().shape[0]
    rows = np.asarray(picture(explanation, theme=theme))
    middle = [
        column[start : start + height]
        for column in rows.transpose(1, 0, 2)
        for start in np.flatnonzero((column == table[255]).all(1))[:1]
        if len(column) >= start + height and (column[start + height - 1] == table[1]).all()
    ]
    bars = [bar for bar in middle if (bar[height // 2] == table[128]).all()]
    assert len(bars) >= 18
    order = {tuple(colour): k for k, colour in reversed(list(enumerate(table.tolist())))}
    entries = np.array([order[tuple(colour)] for colour in bars[0].tolist()])
    assert (np.diff(entries) <= 0).all()


def test_without_opacity_the_overlay_is_the_photograph_in_paler_colours(explanation, photo):
    heatmap = explanation.heatmap().double().numpy()
    plain = np.asarray(_overlay(heatmap, photo, 14, _Look(0.0, 100, "dark")))
    nothing = np.asarray(_overlay(heatmap * 0, photo, 14, _Look(1.0, 100, "dark")))
    assert (plain == nothing).all()
    assert plain.mean() < photo.mean()
    assert np.ptp(plain.astype(int), axis=2).max() < np.ptp(photo.astype(int), axis=2).max()


def test_the_overlay_is_orange_where_relevance_is_positive_and_blue_where_it_is_negative():
    heatmap, grey = np.zeros((40, 40)), np.full((40, 40, 3), 128, np.uint8)
    heatmap[5:15, 5:15], heatmap[25:35, 25:35] = 1.0, -1.0
    for theme in THEMES:
        drawn = np.asarray(_overlay(heatmap, grey, 1, _Look(0.95, 100, theme)), np.int64)
        assert drawn[10, 10, 0] - drawn[10, 10, 2] > 60
        assert drawn[30, 30, 2] - drawn[30, 30, 0] > 60
        assert np.ptp(drawn[20, 20]) == 0


@pytest.mark.parametrize("factor", [1e-40, 1e-300, 1e300])
def test_the_scale_of_relevance_does_not_change_the_colours(explanation, photo, factor):
    heatmap = explanation.heatmap().double().numpy()
    look = _Look(0.9, 99.5, "dark")
    one, other = (np.asarray(_overlay(values, photo, 2, look), np.int64) for values in (heatmap, heatmap * factor))
    assert np.abs(one - other).max() <= 1
    assert find(picture(scaled(explanation, factor), percentile=100), pixels_of(heatmap, 14))


def test_weak_relevance_is_drawn_whatever_numpy_is_told_to_raise(explanation):
    weaker = torch.logspace(0, -45, explanation.relevance.numel(), dtype=torch.float64)
    wide = scaled(explanation, weaker.reshape(explanation.relevance.shape))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()
    tiny = explain(Classifier("tiny", network, ("cat", "dog"), Preprocess(size=4), ""), Image.new("RGB", (4, 4)), 0)
    for each in (wide, scaled(wide, 1e-300), scaled(wide, 1e300), tiny):
        quietly = picture(each), comparison([each, each])
        with np.errstate(all="raise"):
            assert (picture(each), comparison([each, each])) == quietly


def test_smoothing_keeps_a_constant_and_the_sum():
    assert np.allclose(_smoothed(np.full((9, 7), 3.0), 1.2), 3.0)
    spike = np.zeros((21, 21))
    spike[10, 10] = 1.0
    smooth = _smoothed(spike, 1.0)
    assert np.isclose(smooth.sum(), 1.0)
    assert np.isclose(smooth[10, 11] / smooth[10, 10], np.exp(-0.5))
    assert np.allclose(smooth, smooth.T)


def test_a_heatmap_of_zeros_is_drawn_in_the_colour_of_zero(explanation):
    sheet = picture(scaled(explanation, 0.0))
    assert len(find(sheet, pixels_of(np.zeros((24, 32)), 14))) >= 1


def test_without_a_photograph_there_is_the_heatmap_alone(explanation, without_photo):
    sheet = picture(without_photo, percentile=100)
    assert sheet.width < picture(explanation).width / 2
    assert find(sheet, pixels_of(without_photo.heatmap().double().numpy(), 14))
    assert comparison([without_photo, without_photo]).height < comparison([explanation, explanation]).height


def test_the_heading_says_which_class_it_is(explanation):
    first, other = (np.asarray(picture(explanation, target)) for target in (0, 2))
    assert (first[:90] != other[:90]).any()


def test_pictures_are_the_same_every_time(explanation):
    assert picture(explanation).tobytes() == picture(explanation).tobytes()


def test_a_comparison_shows_each_method_on_its_own_scale(explanation, by_gradient):
    sheet = comparison([explanation, by_gradient], percentile=100)
    scale = round(min(448, 1700 // 3) / 32)
    places = [find(sheet, pixels_of(each.heatmap().double().numpy(), scale))[0] for each in (explanation, by_gradient)]
    assert places[0][0] == places[1][0]
    assert places[0][1] + scale * 32 < places[1][1]
    alone = comparison([scaled(explanation, 1e6), by_gradient], percentile=100)
    assert find(alone, pixels_of(explanation.heatmap().double().numpy(), scale))


@pytest.mark.parametrize("methods", [1, 2, 6])
def test_sizes_are_known_before_anything_is_drawn(explanation, without_photo, methods):
    for each, has_photo in ((explanation, True), (without_photo, False)):
        shape = each.heatmap().shape
        assert picture(each).size == picture_size(shape, has_photo=has_photo)
        assert comparison([each] * methods).size == comparison_size(shape, methods, has_photo=has_photo)


def test_a_comparison_of_many_methods_stays_within_a_screen(explanation):
    assert comparison([explanation] * 7).width < 2100


@pytest.mark.parametrize("call", [picture, lambda e, **options: comparison([e, e], **options)])
def test_impossible_options_are_refused(explanation, call):
    with pytest.raises(InputError, match=r"opacity is 1\.5"):
        call(explanation, opacity=1.5)
    with pytest.raises(InputError, match="opacity is 'half'"):
        call(explanation, opacity="half")
    with pytest.raises(InputError, match="percentile is '99'"):
        call(explanation, percentile="99")
    with pytest.raises(InputError, match="percentile is 0"):
        call(explanation, percentile=0)
    with pytest.raises(InputError, match="no colour theme 'jet'"):
        call(explanation, theme="jet")
    with pytest.raises(InputError):
        call(explanation, target=7)
    with pytest.raises(InputError):
        call(explanation, sample=3)


def test_what_is_no_explanation_or_picture_is_named(explanation):
    with pytest.raises(InputError, match="an explanation is a list: accepted is one that"):
        picture([explanation])
    with pytest.raises(InputError, match="explanations is a Explanation: give a list"):
        comparison(explanation)
    with pytest.raises(InputError, match="an explanation is a int"):
        comparison([1])
    for images in (explanation, [explanation], np.zeros((2, 2)), "x"):
        with pytest.raises(InputError, match="give a list of PIL images"):
            stack(images)
    with pytest.raises(InputError, match="no colour theme"):
        picture(explanation, theme=[])


def test_relevance_that_is_not_finite_is_refused(explanation):
    with pytest.raises(InputError, match="NaN or infinite"):
        picture(scaled(explanation, float("nan")))


def test_a_comparison_needs_the_same_image_and_class(classifier, explanation, photo):
    with pytest.raises(InputError, match="empty"):
        comparison([])
    with pytest.raises(InputError, match="different images"):
        comparison([explanation, explain(classifier, 255 - photo, targets=2)])
    with pytest.raises(InputError, match=r"different classes \(cat and dog\)"):
        comparison([explanation, explain(classifier, photo, targets=3)])
    renamed = replace(classifier, categories=("bee", "ant", "cat", "dog", "eel"))
    with pytest.raises(InputError, match="by different names"):
        comparison([explanation, explain(renamed, photo, targets=2)])
    namesakes = replace(classifier, categories=("ant", "bee", "cat", "cat", "eel"))
    with pytest.raises(InputError, match=r"different classes \(cat \(2\) and cat \(3\)\)"):
        comparison([explain(namesakes, photo, targets=target) for target in (2, 3)])
    one, two = torch.rand(2, 1, 1, 5)
    assert comparison([explain(classifier, photo, one, method) for method in ("rlrp", "lrp-0")]).height > 100
    with pytest.raises(InputError, match=r"different classes \(seed 0 and another seed 0\)"):
        comparison([explain(classifier, photo, one), explain(classifier, photo, two, "lrp-0")])


def test_a_comparison_is_of_one_network_and_one_input(explanation, without_photo, classifier, photo):
    with pytest.raises(InputError, match="of two networks, 'tiny' and 'other'"):
        comparison([explanation, replace(explanation, network="other")])
    trained = copy.deepcopy(classifier.network)
    with torch.no_grad():
        trained[-1].bias += 0.5
    after = explain(Classifier("tiny", trained, classifier.categories, classifier.preprocess, "trained"), photo, 2)
    other_input = explain(classifier.network, torch.rand(1, 3, 24, 32), targets=2)
    for one, two in ((explanation, after), (without_photo, other_input)):
        with pytest.raises(InputError, match=r"of different inputs, or networks called '.*' that say something else"):
            comparison([one, two])


def test_a_heatmap_that_is_not_flat_is_refused():
    with pytest.raises(InputError, match=r"shape \(height, width\)"):
        picture(explain(torch.nn.Linear(12, 2).eval(), torch.rand(1, 12), targets=0))


@pytest.mark.parametrize("shape", [(8, 10), (8, 10, 3)])
def test_pictures_without_channels_or_with_channels_last_are_drawn_whole(shape):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), 2)).eval()
    made = explain(network, torch.rand(1, *shape), targets=0)
    assert picture(made).size == picture_size((8, 10), has_photo=False)


def test_stacking(explanation):
    one, two = picture(explanation), comparison([explanation] * 4)
    both = stack([one, two])
    assert both.size == (max(one.width, two.width), one.height + two.height)
    assert (np.asarray(both)[one.height :, : two.width] == np.asarray(two)).all()
    assert (np.asarray(both)[: one.height, : one.width] == np.asarray(one)).all()
    with pytest.raises(InputError, match="empty"):
        stack([])


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("café \N{MINUS SIGN} crème", "cafe - creme"),
        ("LRP-\N{GREEK SMALL LETTER GAMMA} \N{MULTIPLICATION SIGN}", "LRP-gamma x"),
        ("猫", "?"),
        ("Æsop\N{RIGHT SINGLE QUOTATION MARK}s Straße, Łódź", "AEsop's Strasse, Lodz"),
        ("a · b ± 1…", "a · b ± 1…"),
        ("cat\r\nand\tdog\N{NO-BREAK SPACE}or\N{LINE SEPARATOR}cow\n", "cat and dog or cow"),
    ],
)
def test_what_the_font_lacks_is_replaced(text, drawn):
    assert _printable(text) == drawn


@pytest.mark.parametrize("shape", [(16, 240), (64, 256), (60, 60), (28, 28), (256, 64), (300, 40)])
def test_no_words_lie_over_others_or_beyond_the_edge(shape, monkeypatch):
    height, width = shape
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(2, 2),
    ).eval()
    model = Classifier("small", network, ("cat", "dog"), Preprocess(size=shape), "")
    image = Image.effect_noise((width, height), 90)
    explanations = [explain(model, image, 0, method) for method in ("rlrp", "lrp-0", "lrp-gamma", "epsilon-plus-flat")]
    boxes, right = [], ImageDraw.ImageDraw.text

    def noting(draw, xy, text, fill=None, font=None, anchor=None):
        boxes.append((draw.textbbox(xy, text, font, anchor), text))
        right(draw, xy, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    for draw in (lambda: picture(explanations[0]), lambda: comparison(explanations)):
        boxes.clear()
        sheet = draw()
        assert len(boxes) > 5
        for n, (box, text) in enumerate(boxes):
            assert 0 <= box[0] < box[2] <= sheet.width, text
            assert 0 <= box[1] < box[3] <= sheet.height, text
            for other, words in boxes[:n]:
                apart = box[0] >= other[2] or other[0] >= box[2] or box[1] >= other[3] or other[1] >= box[3]
                assert apart, f"{text!r} over {words!r}"
        assert not any("…" in text for _, text in boxes[2:]), boxes


def test_a_class_whose_name_the_font_lacks_is_called_by_its_number():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    preprocess = Preprocess(size=4)
    model = Classifier("small", network, ("кошка", "собака", "dog"), preprocess, "")
    targets = [0, (1, 0), (2, 1), 2]
    explanation = explain(model, Image.new("RGB", (4, 4)), targets)
    numbered = replace(explanation, categories=("class 0", "class 1", "dog"))
    assert explanation.label(1) != numbered.label(1)
    for target in range(len(targets)):
        for draw in (picture, lambda e, target: comparison([e], target)):
            assert np.array_equal(draw(explanation, target), draw(numbered, target))
    named = replace(explanation, categories=("cat", "mouse", "dog"))
    assert not np.array_equal(picture(named, 0), picture(numbered, 0))


def test_names_and_methods_that_would_be_drawn_alike_are_told_apart(monkeypatch):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4)).eval()
    model = Classifier("small", network, ("ma", "má", "mà", "Müller"), Preprocess(size=4), "")
    explanation = explain(model, Image.new("RGB", (4, 4)), [0, 1, 2, 3, (1, 2)])
    texts, right = [], ImageDraw.ImageDraw.text

    def noting(draw, xy, text, *rest, **more):
        texts.append(text)
        right(draw, xy, text, *rest, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    for target, name in enumerate(["ma (0),", "ma (1),", "ma (2),", "Muller,", "ma (1) - ma (2),"]):
        texts.clear()
        picture(explanation, target)
        assert texts[0].startswith(name)
    texts.clear()
    picture(explain(model, Image.new("RGB", (4, 4)), torch.ones(1, 1, 4)))
    assert texts[0] == "seed 0"
    texts.clear()
    comparison([replace(explanation, method="метод"), replace(explanation, method="способ"), explanation])
    assert {"method 1", "method 2", "R-LRP"} <= set(texts)


def test_names_with_ends_of_lines_stay_on_theirs(monkeypatch):
    """As of ``open("labels.txt").readlines()``, whose last line may lack its end."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4)).eval()
    model = Classifier("net\nwork", network, ("cat\n", "sea\r\nlion\n", "dog\n", "dog"), Preprocess(size=4), "")
    method = replace(lrp_epsilon(0.5), name="my\nmethod")
    explanation = explain(model, Image.new("RGB", (4, 4)), [0, (1, 0), 2, 3], method)
    texts, right = [], ImageDraw.ImageDraw.text

    def noting(draw, xy, text, *rest, **more):
        texts.append(text)
        right(draw, xy, text, *rest, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    for target, name in enumerate(["cat,", "sea lion - cat,", "dog (2),", "dog (3),"]):
        texts.clear()
        picture(explanation, target)
        assert texts[0].startswith(name)
        assert texts[1] == "net work · my method"
        comparison([explanation, explanation], target)
        assert "my method" in texts
        assert not any("\n" in text for text in texts)


def test_the_font_has_every_sign_that_is_left():
    font = ImageFont.load_default(40)
    empty = bytes(font.getmask("\N{MULTIPLICATION SIGN}"))
    for sign in "·…±°":
        assert bytes(font.getmask(sign)) != empty, sign


def test_a_long_name_is_cut_where_its_room_ends():
    font = ImageFont.load_default(20)
    long = "a very long name of a class that nobody can pronounce"
    assert font.getlength(_fitting(long, 200, 20)) <= 200
    assert _fitting(long, 200, 20).endswith("…")
    assert _fitting("short", 200, 20) == "short"


def test_an_endless_name_is_cut_after_few_measurements(monkeypatch):
    font, measured = ImageFont.load_default(20), []

    class Counting:
        def getlength(self, text):
            measured.append(len(text))
            return font.getlength(text)

    monkeypatch.setattr("rlrp_nb.plots.picture._font", lambda _size: Counting())
    cut = _fitting("a" * 10**6, 500, 20)
    assert font.getlength(cut) <= 500 < font.getlength(f"{cut[:-1]}a…")
    assert sum(measured) < 10_000


@pytest.mark.parametrize("images", [torch.rand(1, 4, 5, 3), torch.zeros(1, 9, 9, 3, dtype=torch.uint8)])
def test_images_that_are_no_photographs_of_the_heatmap_are_refused(explanation, images):
    with pytest.raises(InputError, match=r"images are .* accepted is uint8, \(H, W, 3\), of the heatmap's"):
        picture(replace(explanation, images=images))


def test_numbers_of_numpy_are_numbers(explanation):
    given = picture(explanation, opacity=np.float32(0.5), percentile=np.int64(95))
    assert given == picture(explanation, opacity=0.5, percentile=95)


def test_the_note_says_that_something_is_clipped_only_where_it_is(explanation, monkeypatch):
    notes = []
    monkeypatch.setattr(module, "_fitting", lambda text, *_: (notes.append(text), text)[1])
    lit = torch.zeros_like(explanation.relevance)
    lit[..., 0, 0] = 1.0
    picture(explanation, percentile=80)
    picture(replace(explanation, relevance=lit), percentile=80)
    assert [note for note in notes if note.startswith("Colours end")] == [
        "Colours end at the 80th percentile of the absolute relevance; what lies beyond is clipped.",
        "Colours end at the largest absolute relevance.",
    ]
