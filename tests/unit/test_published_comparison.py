"""The published comparison: runs in small, goes on where it stopped, and says where R-LRP loses."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import rlrp_nb as rn
from benchmarks.comparison.__main__ import main
from benchmarks.comparison.causes import ANOTHER_CLASS, coarse, weighted
from benchmarks.comparison.page import page, revised
from benchmarks.comparison.reasons import WHY, losses, wins
from benchmarks.comparison.subjects import all_methods, subjects
from rlrp_nb.data.digits import split_digits
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.comparing import compare
from rlrp_nb.evaluation.comparison import Comparison, Statistics
from rlrp_nb.evaluation.contender import Contender
from rlrp_nb.evaluation.metric import METRICS

PUBLISHED = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["python -m benchmarks.comparison", *map(str, arguments)])
    main()


def test_a_quick_run_writes_page_and_figure_and_goes_on(monkeypatch, tmp_path, capsys):
    arguments = ("--quick", "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--only", "simple_cnn")
    run(monkeypatch, *arguments)
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    figure = tmp_path / "out" / "images" / "comparison-simple_cnn.svg"
    drawn, saved = figure.read_bytes(), (tmp_path / "cache" / "simple_cnn.jsonl").read_bytes()
    assert "## Simple CNN, digits" in text
    assert "(images/comparison-simple_cnn.svg)" in text
    assert "Images: 4 of 4 used, 1 x 28 x 28" in text
    assert "failed" not in text
    for title in ("R-LRP", "Grad-CAM", "zennit ε-γ-box", "Random", "Edges"):  # noqa: RUF001 - Greek is meant
        assert f"| {title} |" in text
        assert title.encode() in drawn
    assert "16 steps by Gauss-Legendre" in text
    assert "Date" not in figure.read_text(encoding="utf-8")
    run(monkeypatch, *arguments)
    assert (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8") == text
    assert figure.read_bytes() == drawn
    assert (tmp_path / "cache" / "simple_cnn.jsonl").read_bytes() == saved
    assert "written to" in capsys.readouterr().out


def test_a_quick_run_does_not_touch_what_is_published(monkeypatch, tmp_path, capsys):
    for arguments in (("--out", tmp_path), ("--cache", tmp_path)):
        with pytest.raises(SystemExit):
            run(monkeypatch, "--quick", *arguments)
        assert "give another --out and --cache" in capsys.readouterr().err


def test_a_page_without_the_comparison_is_refused_before_it_is_measured(monkeypatch, tmp_path, capsys):
    (tmp_path / "comparison.md").write_text("# A page of mine\n", encoding="utf-8")
    monkeypatch.setattr("benchmarks.comparison.__main__.measured", lambda *_, **__: pytest.fail("it was measured"))
    with pytest.raises(SystemExit):
        run(monkeypatch, "--out", tmp_path, "--cache", tmp_path / "cache", "--only", "simple_cnn")
    assert "has no comparison simple_cnn to be replaced: leave out --only" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["comparison.md"]


def test_every_subject_is_complete():
    names = [subject.name for subject in subjects()]
    assert len(set(names)) == len(names)
    assert {"simple_cnn", "vgg16_digits", "vgg19_digits", "resnet50_digits", "shapes", "efficientnet_lite0"} < set(
        names
    )
    for subject in subjects():
        assert subject.count >= 200
        assert set(subject.metrics) <= set(METRICS)
        assert {"rlrp", "lrp-0", "grad-cam", "random"} < set(subject.methods)
    assert len(all_methods()) == 15


def made(rlrp, others, metrics):
    names = ("rlrp", *others)
    contenders = tuple(
        Contender(name, name.upper(), "", lambda _network, inputs, _targets: inputs.sum(1)) for name in names
    )
    noise = np.random.default_rng(0).normal(0, 0.3, 30)
    values = np.stack([np.stack([noise + mean] * len(metrics)) for mean in (rlrp, *others.values())])
    values += np.random.default_rng(1).normal(0, 0.01, values.shape)
    chosen = tuple(METRICS[name] for name in metrics)
    return Comparison(contenders, chosen, values, (), Statistics("rlrp", 200, 0.95, 0), ("Setting.",), {})


def test_losses_and_wins_follow_the_intervals_and_the_better_way():
    found = made(0.5, {"above": 0.7, "far": 0.9, "same": 0.5, "below": 0.1}, ("abpc", "deletion", "gini"))
    assert [title for title, _ in losses(found, "abpc")] == ["FAR", "ABOVE"]
    assert [title for title, _ in wins(found, "abpc")] == ["BELOW"]
    assert [title for title, _ in losses(found, "deletion")] == ["BELOW"]
    assert [title for title, _ in wins(found, "deletion")] == ["FAR", "ABOVE"]
    assert losses(found, "gini") == wins(found, "gini") == []


def test_the_page_says_where_it_loses_and_why_only_where_it_does():
    subject = subjects()[0]
    lost = page([(subject, made(0.5, {"other": 0.7}, ("abpc",)))], ["A machine."], "make compare")
    assert "- **ABPC**: behind OTHER by 0.2" in lost
    assert WHY["abpc"] in lost
    assert "| Simple CNN, digits | ABPC | 0 | 1 | 0 |" in lost
    won = page([(subject, made(0.5, {"other": 0.3}, ("abpc",)))], ["A machine."], "make compare")
    assert "R-LRP loses under none of these metrics." in won
    assert WHY["abpc"] not in won
    assert "- A machine." in won
    assert "- Setting." in won


def test_what_is_measured_again_replaces_its_part_of_the_page_alone():
    first, second, third = subjects()[:3]
    old, new = made(0.5, {"other": 0.7}, ("abpc", "aopc")), made(0.5, {"other": 0.3}, ("abpc",))
    before = page([(first, old), (second, old), (third, old)], ["A machine."], "make compare")
    after = page([(first, old), (second, new), (third, old)], ["A machine."], "make compare")
    assert revised(before, [(second, new)]) == after != before
    with pytest.raises(ValueError, match="no comparison"):
        revised(page([(first, old)], ["A machine."], "make compare"), [(second, new)])


def test_the_published_page_gives_the_reasons_that_are_given_now():
    names = {metric.title: name for name, metric in METRICS.items()}
    behind = re.findall(r"^- \*\*(.+?)\*\*: behind (.+)$", PUBLISHED, re.MULTILINE)
    assert len(behind) > 20
    for title, words in behind:
        assert words.endswith(WHY[names[title]])


def test_every_published_network_has_something_to_explain():
    """A network that gives every image the same class makes a table of rounding errors."""
    classes = [int(many) for many in re.findall(r"targets of (\d+) classes", PUBLISHED)]
    assert len(classes) == len(re.findall(r"^## .*, ", PUBLISHED, re.MULTILINE))
    assert min(classes) > 1
    flipped = [line for line in PUBLISHED.splitlines() if line.startswith("| Random |") and line.count("|") > 7]
    assert len(flipped) >= 6
    for line in flipped:  # the AOPC of a random order: taking patches away changes the score
        assert float(line.split("|")[2].split()[0].strip("*")) > 0.1


def test_numbers_of_the_page_come_out_of_its_protocol_by_hand():
    """Nothing but what the page says, patch by patch and step by step."""
    generated = page([(subjects()[0], made(0.5, {"other": 0.7}, ("abpc",)))], ["A machine."], "make compare")
    assert generated.split("## How it was measured")[1].split("- A machine.")[0] in PUBLISHED
    columns = ("AOPC", "ABPC", "Insertion", "Deletion")
    header, row = (
        re.search(rf"^\| {name} \|.*$", PUBLISHED, re.MULTILINE)[0].split("|") for name in ("Method", "R-LRP")
    )
    model = rn.load_model("simple_cnn")
    inputs = torch.stack([model.preprocess(digit) for digit in split_digits().held_out_images[:200]])
    explanation = rn.explain(model.network, inputs)
    found = {name: [] for name in columns}
    for k, image in enumerate(inputs):
        means = explanation.heatmap(sample=k).double().reshape(14, 2, 14, 2).mean((1, 3)).flatten()
        curves = []
        for descending in (True, False):
            order = means.argsort(descending=True, stable=True)
            states = [image]
            for step in (order if descending else order.flip(0)).split(13):
                states.append(states[-1].clone())
                for row_of_patch, column in ((int(patch) // 14, int(patch) % 14) for patch in step):
                    states[-1][:, 2 * row_of_patch : 2 * row_of_patch + 2, 2 * column : 2 * column + 2] = 0
            with torch.no_grad():
                curves.append(model.network(torch.stack(states)).softmax(1)[:, explanation.targets[k, 0]])
        shares = (torch.arange(17) * 13 / 196).clamp(max=1)
        areas = [torch.trapezoid(curve, shares) for curve in curves]
        values = (curves[0][0] - curves[0]).mean(), (curves[1] - curves[0]).mean(), areas[1], areas[0]
        for name, value in zip(columns, values, strict=True):
            found[name].append(float(value))
    for name in columns:
        place = next(i for i, title in enumerate(header) if title.split() and title.split()[0] == name)
        assert np.mean(found[name]) == pytest.approx(float(row[place].split()[0].strip("*")), abs=0.001)


@pytest.fixture(scope="module")
def digits():
    model = rn.load_model("simple_cnn")
    return model.network, torch.stack([model.preprocess(digit) for digit in split_digits().held_out_images[:3]])


def test_the_weight_to_the_power_of_one_is_the_rule_and_of_zero_the_gradient(digits):
    network, inputs = digits
    targets = network(inputs).argmax(1)
    for exponent, method in ((1, "rlrp"), (0, "gradient-x-input")):
        found = weighted(exponent).attribute(network, inputs, targets)
        expected = engine_attribute(method)(network, inputs, targets)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    between = weighted(0.5).attribute(network, inputs, targets)
    assert not torch.allclose(between, found)


def test_a_coarse_map_has_one_value_in_each_square_and_keeps_the_sum(digits):
    network, inputs = digits
    targets = network(inputs).argmax(1)
    found, fine = coarse().attribute(network, inputs, targets), engine_attribute("rlrp")(network, inputs, targets)
    assert torch.equal(found, found[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    torch.testing.assert_close(found.sum((1, 2)), fine.sum((1, 2)))


def test_maps_of_two_classes_are_alike_where_the_class_is_not_asked_for(digits):
    network, inputs = digits

    def blind(_network, inputs, targets):
        return inputs.sum(1) * (1 - 2 * (targets % 2))[:, None, None]

    found = compare(network, inputs, methods={"blind": blind, "rlrp": "rlrp"}, metrics=ANOTHER_CLASS, progress=False)
    np.testing.assert_allclose(found["blind", "another-class"], 1)
    logits = network(inputs)
    two = logits.topk(2).indices.T
    first, second = (engine_attribute("rlrp")(network, inputs, targets).double().flatten(1) for targets in two)
    alike = functional.cosine_similarity(first, second).abs()
    np.testing.assert_allclose(found["rlrp", "another-class"], alike.numpy(), rtol=1e-5)
