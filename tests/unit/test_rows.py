"""Rows of a table: equal to direct explanations, errors in their own rows, the heatmap's storage to the last bit."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.data.digits import load_digits
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.faithfulness import flip
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.rows import ExplainPictures, ReadPictures, heatmap_of

COLUMNS = ["path", "error", "target", "label", "probability", "heatmap", "height", "width", "scale"]


@pytest.fixture(scope="module")
def model():
    return rn.load_model("simple_cnn")


@pytest.fixture
def paths(tmp_path):
    """Three digits, with a broken and a missing file among them."""
    images, _ = load_digits()
    found = []
    for name, image in zip(("a", "b", "c"), images[[0, 1700, 4200]], strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        found.append(str(tmp_path / f"{name}.png"))
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    return [found[0], str(tmp_path / "broken.png"), found[1], str(tmp_path / "missing.png"), found[2]]


def read(model, paths):
    return ReadPictures(model.preprocess)({"path": np.array(paths, dtype=object)})


def test_pictures_are_those_that_the_network_sees(model, paths):
    columns = read(model, paths)
    assert list(columns) == ["path", "picture", "error"]
    assert columns["picture"].dtype == np.uint8
    assert columns["picture"].shape == (5, 28, 28, 3)
    for i in (0, 2, 4):
        np.testing.assert_array_equal(columns["picture"][i], np.asarray(model.preprocess.view(paths[i])))
        assert not columns["error"][i]
    assert not columns["picture"][[1, 3]].any()
    assert "broken.png' is damaged" in columns["error"][1]
    assert "there is no file" in columns["error"][3]


@pytest.mark.parametrize(("target", "method"), [(None, "rlrp"), (np.int64(3), "rlrp"), (None, "lrp-epsilon")])
def test_rows_equal_direct_explanations(model, paths, target, method):
    table = ExplainPictures(model, target=target, method=method)(read(model, paths))
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == paths
    for i in (0, 2, 4):
        alone = rn.explain(model, paths[i], target, method)
        row, heatmap = rows[i], alone.heatmap().double().numpy()
        assert row["error"] is None
        assert row["target"] == int(alone.targets[0, 0])
        assert row["label"] == alone.label()
        assert row["probability"] == pytest.approx(float(alone.probabilities[0, row["target"]]), rel=1e-5)
        assert (row["height"], row["width"]) == heatmap.shape == (28, 28)
        largest = np.abs(heatmap).max()
        assert row["scale"] == pytest.approx(largest, rel=1e-4)
        np.testing.assert_allclose(heatmap_of(row), heatmap, rtol=2**-11 + 1e-4, atol=(2**-25 + 1e-5) * largest)
    for i in (1, 3):
        assert rows[i]["error"]
        assert all(value is None for name, value in rows[i].items() if name not in {"path", "error"})
        with pytest.raises(InputError, match=r"has no heatmap: .*(is damaged|there is no file)"):
            heatmap_of(rows[i])


def test_the_heatmap_is_stored_as_promised():
    heatmap = np.array([[1.0, -0.5, 0.25], [0.0, 0.125, -1.0]])
    row = {
        "path": "x", "error": None, "height": 2, "width": 3, "scale": 8.0, "heatmap": heatmap.astype("<f2").tobytes()
    }  # fmt: skip
    assert len(row["heatmap"]) == 12
    assert row["heatmap"][:2] == b"\x00\x3c"  # 1 as little-endian float16
    read_back = heatmap_of(row)
    assert read_back.dtype == np.float64
    np.testing.assert_array_equal(read_back, 8 * heatmap)
    # as pandas reads it beside a picture that was broken
    np.testing.assert_array_equal(heatmap_of({**row, "height": 2.0, "width": 3.0}), 8 * heatmap)
    with pytest.raises(InputError, match="'x' has no heatmap: broken"):
        heatmap_of({**row, "heatmap": math.nan, "error": "broken"})


def test_relevance_that_is_zero_everywhere_has_a_scale_of_one(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    nn.init.zeros_(network[1].weight)
    dark = rn.Classifier("dark", network, ("cat", "dog"), Preprocess(size=4), "zeros")
    Image.new("RGB", (4, 4), "white").save(tmp_path / "x.png")
    (row,) = ExplainPictures(dark)(read(dark, [tmp_path / "x.png"])).to_pylist()
    assert row["scale"] == 1
    np.testing.assert_array_equal(heatmap_of(row), np.zeros((4, 4)))


def test_relevance_far_below_the_scale_is_stored_whatever_numpy_is_told_to_raise(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    nn.init.zeros_(network[1].weight)
    with torch.no_grad():
        network[1].weight[0] = torch.logspace(0, -30, 16).repeat(3)
    weak = rn.Classifier("weak", network, ("cat", "dog"), Preprocess(size=4), "ever smaller")
    Image.new("RGB", (4, 4), "white").save(tmp_path / "x.png")
    with np.errstate(all="raise"):
        (row,) = ExplainPictures(weak)(read(weak, [tmp_path / "x.png"])).to_pylist()
    assert row["error"] is None
    heatmap = heatmap_of(row).ravel()
    assert heatmap[0] > heatmap[1] > 0 == heatmap[-1]


def test_measures_become_columns_and_see_what_was_explained(model, paths):
    seen = []

    def mass(network, inputs, heatmaps, targets):
        seen.append((network, inputs, heatmaps, targets))
        return heatmaps.abs().sum((1, 2))

    explainer = ExplainPictures(model, measures={"mass": mass, "brightness": lambda _n, x, _h, _t: x.mean((1, 2, 3))})
    table = explainer(read(model, paths))
    assert table.column_names == [*COLUMNS, "mass", "brightness"]
    assert table.schema.types[-2:] == [pa.float64(), pa.float64()]
    ((network, inputs, heatmaps, targets),) = seen
    assert network is model.network
    readable = [paths[i] for i in (0, 2, 4)]
    torch.testing.assert_close(inputs, torch.stack([model.preprocess(path) for path in readable]))
    torch.testing.assert_close(
        heatmaps, torch.stack([rn.explain(model, path).heatmap() for path in readable]), rtol=1e-4, atol=1e-5
    )
    rows = table.to_pylist()
    for position, i in enumerate((0, 2, 4)):
        assert int(targets[position]) == rows[i]["target"]
        assert rows[i]["mass"] == pytest.approx(float(heatmaps[position].abs().sum()))
        assert rows[i]["brightness"] == pytest.approx(float(inputs[position].mean()))
    assert rows[1]["mass"] is None


def test_a_picture_that_is_refused_does_not_take_the_others_with_it(model, paths):
    def picky(_network, inputs, _heatmaps, targets):
        if any(torch.equal(x, model.preprocess(paths[2])) for x in inputs):
            raise InputError("this one cannot be scored.")
        return targets.double()

    rows = ExplainPictures(model, measures={"picky": picky})(read(model, paths)).to_pylist()
    assert [row["error"] is None for row in rows] == [True, False, False, False, True]
    assert rows[2]["error"] == "this one cannot be scored."
    assert rows[4]["picky"] == rows[4]["target"]


def test_a_mistake_in_a_measure_stops_the_job(model, paths):
    with pytest.raises(ZeroDivisionError):
        ExplainPictures(model, measures={"wrong": lambda *_: 1 / 0})(read(model, paths))


def test_a_mistake_that_is_refused_in_words_stops_the_job_too(model, paths):
    def mistaken(network, inputs, heatmaps, targets):
        return flip(network, inputs, heatmaps, targets, score="probabilty").aopc

    with pytest.raises(InputError, match="'probabilty' is not known"):
        ExplainPictures(model, measures={"aopc": mistaken})(read(model, paths))


def test_a_network_without_a_rule_stops_the_job(paths):
    class Sums(nn.Module):
        def forward(self, x):
            return x.flatten(1).cumsum(1)[:, -2:]

    model = rn.Classifier("sums", Sums().eval(), ("a", "b"), Preprocess(size=8), "without weights")
    with pytest.raises(UnsupportedNetworkError, match=r"aten\.cumsum"):
        ExplainPictures(model)(read(model, paths))


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (torch.zeros(6), r"\(6,\)"),
        (torch.zeros(2), r"\(2,\)"),
        (torch.zeros(3, 1), r"\(3, 1\)"),
        (torch.tensor(1.0), r"\(\)"),
        ([1.0, 2.0, 3.0], "list"),
        (None, "NoneType"),
    ],
)
def test_a_measure_of_the_wrong_shape_stops_the_job(model, paths, answer, given):
    explainer = ExplainPictures(model, measures={"wrong": lambda *_: answer})
    with pytest.raises(TypeError, match=rf"the measure 'wrong' returned {given}; it has to be a tensor \(3,\)"):
        explainer(read(model, paths))


def test_a_measure_cannot_write_into_the_row(model, paths):
    def greedy(_network, inputs, heatmaps, targets):
        return inputs.zero_().sum((1, 2, 3)) + heatmaps.zero_().sum((1, 2)) + targets.zero_()

    def after(_network, _inputs, heatmaps, targets):
        return heatmaps.abs().sum((1, 2)) + targets

    expected = ExplainPictures(model, measures={"after": after})(read(model, paths)).to_pylist()
    found = ExplainPictures(model, measures={"greedy": greedy, "after": after})(read(model, paths)).to_pylist()
    assert [row.pop("greedy") for row in found] == [0, None, 0, None, 0]
    assert found == expected


def test_columns_that_are_not_those_of_read_pictures_are_refused(model, paths):
    columns, explained = read(model, paths), ExplainPictures(model)
    for name in ("path", "picture", "error"):
        with pytest.raises(InputError, match=f"there is no column '{name}', only"):
            explained({key: value for key, value in columns.items() if key != name})
    for wrong in (columns["picture"] / 255, columns["picture"][:, ::2, ::2]):
        with pytest.raises(InputError, match=r"the column 'picture' is .*; accepted is uint8 \(N, 28, 28, 3\)"):
            explained(columns | {"picture": wrong})


def test_a_batch_of_errors_or_of_nothing_has_the_same_columns(model, paths):
    explainer = ExplainPictures(model)
    schema = explainer(read(model, paths)).schema
    broken = explainer(read(model, [paths[1], paths[3]]))
    assert broken.schema == schema
    assert broken.num_rows == 2
    none = explainer(read(model, []))
    assert none.schema == schema
    assert none.num_rows == 0


def test_both_steps_survive_the_way_to_another_process(model, paths):
    before = copy.deepcopy(model.network.state_dict())
    steps = pickle.dumps((ReadPictures(model.preprocess), ExplainPictures(model)))
    reader, explainer = pickle.loads(steps)  # noqa: S301 - made in the line above
    there = explainer(reader({"path": np.array(paths, dtype=object)}))
    assert there.equals(ExplainPictures(model)(read(model, paths)))
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_another_device_gets_a_copy_of_the_network(model):
    explainer = ExplainPictures(model, device="meta")
    assert next(model.network.parameters()).device.type == "cpu"
    assert next(explainer._model.network.parameters()).device.type == "meta"


@pytest.mark.parametrize("target", [10, -1, True, "top5", [1, 2], 1.0])
def test_a_target_that_is_no_class_is_refused_before_the_job(model, target):
    with pytest.raises(InputError, match=r"is no class: accepted is None, or an integer from 0 to 9"):
        ExplainPictures(model, target=target)


def test_a_name_that_is_not_utf_8_stops_no_job(model, tmp_path):
    columns = ReadPictures(model.preprocess)({"path": np.array([f"{tmp_path}/\udcff.png"], object)})
    (row,) = ExplainPictures(model)(columns).to_pylist()
    assert row["path"] == f"{tmp_path}/\\udcff.png"
    assert "there is no file" in row["error"]


def test_what_else_cannot_be_done_is_refused_before_the_job(model):
    with pytest.raises(InputError, match="accepted is a classifier"):
        ExplainPictures(model.network)
    for device in ("nope", "cuda:99", 1.5):
        with pytest.raises(InputError, match=f"device={device!r} is not there"):
            ExplainPictures(model, device=device)
    with pytest.raises(InputError, match=r"'scale' is the name of another column"):
        ExplainPictures(model, measures={"scale": lambda *_: None})
    with pytest.raises(InputError, match=r"measures is a list: give a dict"):
        ExplainPictures(model, measures=[len])
    for name, measure in ((5, len), ("five", 5)):
        with pytest.raises(InputError, match=rf"the measure {name!r} has to be a callable, and its name a text"):
            ExplainPictures(model, measures={name: measure})
    with pytest.raises(InputError, match="rlrpp"):
        ExplainPictures(model, method="rlrpp")


def test_without_pyarrow_it_is_said_what_to_install():
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import rlrp_nb as rn; from rlrp_nb.rows import ExplainPictures\n"
        "try: ExplainPictures(rn.load_model('simple_cnn'))\n"
        "except rn.MissingPackageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "rows are made with pyarrow, which is not installed: pip install 'rlrp-nb[scale]'."


def test_what_reads_no_pictures_is_refused(model, paths):
    with pytest.raises(InputError, match=r"is a Classifier; accepted is that of a classifier, model\.preprocess"):
        ReadPictures(model)
    with pytest.raises(InputError, match="no column 'path', only 'file'"):
        ReadPictures(model.preprocess)({"file": np.array(paths, dtype=object)})
