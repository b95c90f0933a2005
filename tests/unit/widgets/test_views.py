"""The widgets that stand alone: what they send, and that their choices can be linked."""

import copy
import inspect
from dataclasses import replace

import numpy as np
import pytest
import traitlets
from traitlets import TraitError

from rlrp_nb import widgets
from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.explainer import explain
from rlrp_nb.errors import InputError
from rlrp_nb.models.zoo import load_model
from rlrp_nb.widgets.buffers import unpack

NAMES = ["ClassSelector", "ComparisonGrid", "LayerSlider", "Overlay"]


@pytest.fixture(scope="module")
def explanations():
    classifier = load_model("efficientnet_lite0")
    picture = sample_image("camera")
    return [explain(classifier, picture, "top5", method, ["_blocks.8"]) for method in ("rlrp", "gradient-x-input")]


@pytest.fixture(params=NAMES)
def widget(request, explanations):
    widget = getattr(widgets, request.param)(explanations)
    yield widget
    widget.close()


def test_every_widget_starts_with_the_most_probable_class(widget):
    assert widget.target == widget.scene["images"][0]["targets"][0]["key"]
    assert widget.method == "rlrp"
    assert widget.layer == "input"


def test_every_widget_sends_bytes_and_no_numbers_in_text(widget, explanations):
    state = widget.get_state()
    piece = state["scene"]["images"][0]["results"][1]["targets"][widget.target]["pieces"][0]
    assert isinstance(piece["data"], bytes)
    heatmap = explanations[1].heatmap().numpy()
    assert np.abs(unpack(piece) - heatmap).max() <= np.abs(heatmap).max() / 127


def test_every_widget_is_the_same_whatever_numpy_is_told_to_raise(widget, explanations):
    with np.errstate(all="raise"):
        other = type(widget)(explanations)
    assert other.scene == widget.scene
    other.close()


def test_every_widget_has_a_picture_and_a_stable_repr(widget):
    data, _ = widget._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    expected = "(efficientnet_lite0: tripod, binoculars, microphone; rlrp, gradient-x-input)"
    assert data["text/plain"] == repr(widget) == type(widget).__name__ + expected


def test_no_name_in_a_repr_tells_the_terminal_what_to_do(explanations):
    names = ("\x1b]0;owned\x07\u202e",) * 1000
    widget = widgets.Overlay(replace(explanations[0], categories=names, network="net\x1b[2J"))
    labels = ", ".join(rf"\x1b]0;owned\x07\u202e ({index})" for index in explanations[0].targets[0, :3].tolist())
    assert repr(widget) == rf"Overlay(net\x1b[2J: {labels}; rlrp)"
    widget.close()


@pytest.mark.parametrize("scene", [{}, {"images": []}, {"images": 3, "title": 5, "methods": 1}, [], None])
def test_a_browser_cannot_set_the_scene(widget, scene):
    before, shown = copy.deepcopy(widget.scene), repr(widget)
    with pytest.raises(TraitError, match=r"^scene is what was computed here; a browser cannot set it"):
        widget.set_state({"target": "1", "scene": scene})
    update = {"method": "update", "state": {"scene": scene}, "buffer_paths": []}
    widget._handle_msg({"content": {"data": update}, "buffers": []})  # as it comes: the refusal ends nothing
    assert (widget.scene, repr(widget)) == (before, shown)
    key = widget.scene["images"][0]["targets"][1]["key"]
    widget.set_state({"target": key})
    assert widget.target == key


def test_the_script_of_every_widget_is_a_module_that_renders(widget):
    assert "render" in widget._esm
    assert widget._css.startswith(".rl{")


def test_choices_are_linked_by_traits(explanations):
    selector, overlay = widgets.ClassSelector(explanations[0]), widgets.Overlay(explanations[0])
    traitlets.link((selector, "target"), (overlay, "target"))
    selector.target = selector.scene["images"][0]["targets"][2]["key"]
    assert overlay.target == selector.target
    assert selector.indices == int(explanations[0].targets[0, 2])
    selector.target = "504-968"
    assert selector.indices == (504, 968)
    assert selector.categories[504] == "coffee mug"
    for target in ("seed-0", "-504", "mug"):
        selector.target = target
        with pytest.raises(InputError, match=f"The target '{target}' is neither a class"):
            _ = selector.indices


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("opacity", 1.5),
        ("opacity", float("nan")),
        ("opacity", float("inf")),
        ("clip", 20),
        ("clip", float("nan")),
        ("sign", "neither"),
        ("view", "inside out"),
    ],
)
def test_choices_that_do_not_exist_are_refused(explanations, trait, value):
    overlay = widgets.Overlay(explanations[0])
    with pytest.raises(TraitError, match=trait):
        setattr(overlay, trait, value)


@pytest.mark.parametrize(
    ("trait", "value", "accepted"),
    [
        ("layer", "nope", "'input', '_blocks.8._project_conv'"),
        ("method", "magic", "'rlrp', 'gradient-x-input'"),
        ("image", 1, "0"),
    ],
)
def test_what_the_scene_does_not_have_is_refused_by_name(widget, trait, value, accepted):
    before = getattr(widget, trait)
    with pytest.raises(TraitError, match=f"^{trait} is {value!r}; accepted is one of {accepted}"):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == before
    widget.layer, widget.method = "_blocks.8._project_conv", "gradient-x-input"
    assert (widget.layer, widget.method) == ("_blocks.8._project_conv", "gradient-x-input")


def test_a_layer_is_set_by_every_name_that_it_can_be_asked_for_by(widget, explanations):
    shown, *others = explanations[0].layers.names_of("_blocks.8")
    assert "_blocks.8" in others
    for name in others:
        widget.layer = "input"
        widget.layer = name
        assert widget.layer == shown
    widget.layer = "input"
    widget.set_state({"layer": "_blocks.8"})  # as a browser asks
    assert widget.layer == shown


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("ClassSelector", "explanations, title"),
        ("ComparisonGrid", "explanations, model, title"),
        ("LayerSlider", "explanations, title"),
        ("Overlay", "explanations, title"),
        ("Explorer", "model, image, targets, method, layers"),
    ],
)
def test_unknown_arguments_are_refused_with_what_is_accepted(explanations, name, accepted):
    kind = getattr(widgets, name)
    assert ", ".join(inspect.signature(kind).parameters) == accepted
    with pytest.raises(InputError, match=f"^{name} takes no 'colour', 'sparkle'; accepted are {accepted}\\.$"):
        kind(explanations[0], colour="red", title="Why?", sparkle=1) if name != "Explorer" else kind(
            colour=1, sparkle=1
        )


@pytest.mark.parametrize("name", ["Overlay", "LayerSlider", "ClassSelector", "ComparisonGrid", "Explorer"])
def test_too_many_or_few_arguments_are_refused_by_the_name_of_the_widget(explanations, name):
    kind = getattr(widgets, name)
    for given in ((), (explanations[0],) * 9):
        with pytest.raises(InputError, match=rf"^{name}: (missing a|too many) .*; accepted are (explanations|model), "):
            kind(*given)
    if name in {"Overlay", "LayerSlider", "ClassSelector"}:
        with pytest.raises(InputError, match=r"Give what rlrp_nb\.explain\(model, image\) returned\.$"):
            kind("a model", "an image")


def test_what_is_set_on_a_widget_is_no_argument_and_the_message_says_where_it_goes(explanations):
    with pytest.raises(InputError, match=r"^Overlay takes no 'opacity'; .* Set it .*: widget\.opacity = "):
        widgets.Overlay(explanations[0], opacity=0.3)


def test_a_subclass_may_take_any_argument(explanations):
    class Opaque(widgets.Overlay):
        def __init__(self, *args, **looks):
            super().__init__(*args)
            self.set_trait("opacity", looks["opacity"])

    assert Opaque(explanations[0], opacity=0.3).opacity == 0.3


def test_a_choice_that_is_set_is_told_also_where_it_is_none_for_python(explanations):
    overlay, sent = widgets.Overlay(explanations[0]), []
    overlay.send = lambda content, _buffers=None: sent.append(content)
    overlay.opacity = 0.85
    overlay.smooth = True
    overlay.target = overlay.target
    keys = [("opacity", 0.85), ("smooth", True), ("target", overlay.target)]
    assert sent == [{"kind": "set", "key": key, "value": value} for key, value in keys]
    overlay.opacity = 0.5  # as any change of a trait
    with pytest.raises(TraitError):
        overlay.opacity = 7
    overlay.set_state({"opacity": 0.5})  # what the browser itself says
    assert len(sent) == 3


def test_the_package_names_its_widgets():
    assert set(dir(widgets)) >= {*NAMES, "Explorer"}
    with pytest.raises(AttributeError, match="no attribute 'Slider'; it offers: ClassSelector"):
        widgets.Slider  # noqa: B018 - the look-up is the test
