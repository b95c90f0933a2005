"""The published comparison: runs in small, goes on where it stopped, and says where R-LRP loses."""

import sys

import numpy as np
import pytest
import torch

from benchmarks.comparison.__main__ import main
from benchmarks.comparison.page import page
from benchmarks.comparison.reasons import WHY, losses, wins
from benchmarks.comparison.subjects import all_methods, subjects
from rlrp_nb.evaluation.comparison import Comparison, Statistics
from rlrp_nb.evaluation.contender import Contender
from rlrp_nb.evaluation.metric import METRICS


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
