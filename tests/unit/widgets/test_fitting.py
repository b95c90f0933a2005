"""Scenes that become smaller: the sum of relevance stays, the first result stays whole, the page says what happened."""

import numpy as np
import pytest
import torch

from rlrp_nb import export
from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.complexity import gini
from rlrp_nb.widgets.buffers import pack, unpack
from rlrp_nb.widgets.fitting import smaller


def scene(side=112, methods=("rlrp", "lrp-0", "lrp-gamma", "gradient-x-input")):
    generator = np.random.default_rng(0)
    shapes = [(224, 224), (side, side), (30, 17), (7, 7)]
    units = {"indices": [0], "labels": None, "values": dict(pack([1.0])), "size": 1, "positive": 1.0, "negative": 0.0}
    layers = [{"name": str(i), "op": "", "shape": [1, *shape], "kind": "map"} for i, shape in enumerate(shapes)]

    def result(method):
        pieces = [dict(pack(generator.normal(size=shape))) for shape in shapes]
        return {"method": method, "layers": layers, "targets": {"0": {"pieces": [*pieces, units], "ledger": {}}}}

    target = {"key": "0", "index": 0, "negative": -1, "label": "zero", "probability": 1.0}
    image = {"name": "Image 1", "width": 224, "height": 224, "photo": None, "classes": [], "targets": [target]}
    images = [{**image, "results": [result(method) for method in methods]}]
    return {
        "format": 1,
        "title": "t",
        "network": "n",
        "versions": {},
        "methods": list(methods),
        "images": images,
    }


def pieces(tree, rank):
    return tree["images"][0]["results"][rank]["targets"]["0"]["pieces"]


def test_the_first_is_the_scene_itself_and_it_is_never_changed():
    whole = scene()
    before = repr(whole)
    stages = list(smaller(whole))
    assert stages[0] == (whole, "")
    assert repr(whole) == before
    sizes = [sum(len(p["data"]) for rank in range(4) for p in pieces(tree, rank)[:-1]) for tree, _ in stages]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[1] < sizes[0]


def test_maps_at_the_input_and_neurons_stay_and_sums_are_kept():
    whole = scene()
    for tree, _ in smaller(whole):
        for rank in range(4):
            old, new = pieces(whole, rank), pieces(tree, rank)
            assert new[0] == old[0]
            assert new[-1] == old[-1]
            for before, after in zip(old[1:-1], new[1:-1], strict=True):
                values = unpack(after)
                # one byte a value: each is off by half a step at most
                slack = values.size * after["peak"] / 254 + 0.05
                assert values.sum(dtype=np.float64) == pytest.approx(unpack(before).sum(dtype=np.float64), abs=slack)


def test_the_first_result_is_coarsened_last():
    stages = list(smaller(scene()))
    for tree, note in stages[1:-2]:
        assert pieces(tree, 0) == pieces(stages[0][0], 0)
        assert "by rlrp keep all their cells" in note
    assert [max(p["shape"]) for p in pieces(stages[-1][0], 0)[1:-1]] == [7, 6, 7]
    assert "7 x 7 cells" in stages[-1][1]


def test_a_block_is_the_sum_of_its_cells():
    whole = scene()
    before, after = (unpack(pieces(tree, 1)[1]) for tree, _ in list(smaller(whole))[:4:3])
    expected = before.reshape(56, 2, 56, 2).sum((1, 3))
    assert after.shape == (56, 56)
    assert np.abs(after - expected).max() <= np.abs(expected).max() / 200


def test_a_page_that_is_too_large_is_made_smaller_and_says_so(monkeypatch):
    whole = scene()
    full = export.render(whole)
    assert "To keep this page small" not in full
    monkeypatch.setattr(export, "_MAX_BYTES", len(full.encode()) - 20_000)
    page = export.render(whole)
    assert len(page.encode()) <= len(full.encode()) - 20_000
    assert "To keep this page small, the layers of the other methods have one byte a value" in page
    monkeypatch.setattr(export, "_MAX_BYTES", 100_000)
    with pytest.raises(InputError, match="even with coarse layers"):
        export.render(whole)


def test_figures_are_those_of_the_whole_map():
    whole = scene()
    for tree, _ in [*smaller(whole)][1:]:
        for rank in range(4):
            for before, after in zip(pieces(whole, rank)[1:-1], pieces(tree, rank)[1:-1], strict=True):
                values = unpack(before).astype(np.float64)
                if after == before:
                    continue
                assert after["whole"]["positive"] == pytest.approx(values[values > 0].sum())
                assert after["whole"]["negative"] == pytest.approx(-values[values < 0].sum())
                assert after["whole"]["sparseness"] == pytest.approx(float(gini(torch.from_numpy(values)[None])[0]))
