import contextlib
import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import rlrp_nb as rn


@pytest.fixture
def explanation(residual, images):
    made = rn.explain(residual, images, [0, (1, 2)], "lrp-gamma", layers="all")
    made.images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    made.categories = ("Katze", "猫", "<img src=x>", '"', "", "cup\n")
    return made


def test_round_trip_is_exact(explanation, tmp_path):
    path = explanation.save(tmp_path / "x.safetensors")
    loaded = rn.Explanation.load(path)
    for name in ("relevance", "logits", "targets", "negatives", "images"):
        assert torch.equal(getattr(loaded, name), getattr(explanation, name)), name
    for name in ("method", "network", "categories", "versions"):
        assert getattr(loaded, name) == getattr(explanation, name), name
    assert list(loaded.layers) == list(explanation.layers)
    for name in explanation.layers:
        assert torch.equal(loaded.layers[name], explanation.layers[name])
        assert loaded.layers.names_of(name) == explanation.layers.names_of(name)
    assert loaded.layers.channels == explanation.layers.channels
    assert loaded.layers.channels["0.0"] == 0
    assert loaded.channels == explanation.channels == 0
    for target in (0, 1):
        assert loaded.ledger(target, 1) == explanation.ledger(target, 1)
    assert repr(loaded) == repr(explanation)


def test_an_explanation_of_one_number_a_sample_comes_back(residual, images, tmp_path):
    made = rn.explain(nn.Sequential(residual, nn.Linear(6, 1), nn.Flatten(0)), images)
    assert made.logits.shape == (2,)
    loaded = rn.Explanation.load(made.save(tmp_path / "x.safetensors"))
    assert torch.equal(loaded.relevance, made.relevance)
    assert torch.equal(loaded.logits, made.logits)
    assert loaded.ledger() == made.ledger()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_round_trip_keeps_dtypes(residual, images, dtype, tmp_path):
    explanation = rn.explain(residual.to(dtype), images.to(dtype))
    loaded = rn.Explanation.load(explanation.save(tmp_path / "x.safetensors"))
    assert (loaded.relevance.dtype, loaded.logits.dtype) == (explanation.relevance.dtype, dtype)
    assert torch.equal(loaded.relevance, explanation.relevance)


def test_the_ledger_is_saved_even_if_nobody_asked_for_it_yet(residual, images, tmp_path):
    explanation = rn.explain(residual, images)
    loaded = rn.Explanation.load(explanation.save(tmp_path / "x.safetensors"))
    assert loaded.ledger() == explanation.ledger()


def test_a_name_may_be_as_long_as_the_disk_takes(explanation, tmp_path):
    path = explanation.save(tmp_path / ("x" * 243 + ".safetensors"))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "n" * 10_001}, "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...' has 10,001 characters, and at most 10,000"),
        ({"categories": ("d" * 1001,) * 6}, "has 1,001 characters, and at most 1,000 are saved: give a shorter one"),
    ],
)
def test_names_that_could_not_be_read_again_are_not_saved(explanation, tmp_path, changes, message):
    path = explanation.save(tmp_path / "x.safetensors")
    content = path.read_bytes()
    with pytest.raises(rn.InputError, match=message):
        replace(explanation, **changes).save(path)
    assert path.read_bytes() == content


def test_a_path_may_begin_with_the_home_folder(explanation, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert explanation.save("~/x.safetensors") == tmp_path / "x.safetensors"
    assert torch.equal(rn.Explanation.load("~/x.safetensors").relevance, explanation.relevance)
    for use in (explanation.save, rn.Explanation.load):
        with pytest.raises(rn.InputError, match="a user who has none"):
            use("~nobody-of-this-name/x.safetensors")


def test_an_old_file_is_replaced_whole(explanation, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("old")
    explanation.save(path)
    assert rn.Explanation.load(path).method == "lrp-gamma"
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_folder_that_is_not_there_is_refused(explanation, tmp_path):
    with pytest.raises(rn.InputError, match=r"cannot write .*x\.safetensors"):
        explanation.save(tmp_path / "nowhere" / "x.safetensors")


def test_files_that_are_no_explanation_are_refused(tmp_path):
    with pytest.raises(rn.InputError, match="is not a file"):
        rn.Explanation.load(tmp_path / "missing.safetensors")
    with pytest.raises(rn.InputError, match="is not a file"):
        rn.Explanation.load(tmp_path)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(rn.FileFormatError, match="not an explanation"):
        rn.Explanation.load(foreign)
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff" * 64):
        foreign.write_bytes(content)
        with pytest.raises(rn.FileFormatError, match="damaged or not a safetensors file"):
            rn.Explanation.load(foreign)


def header_of(path):
    size = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["rlrp_nb"])


def without_classes(header, tensors, *shape):
    """Logits that hold no class, in a file where nothing else speaks of one."""
    header.update(categories=None)
    none = torch.full_like(tensors["targets"], -1)
    tensors.update(logits=torch.zeros(shape), targets=none, negatives=none.clone())


@pytest.mark.parametrize(
    "change",
    [
        lambda h, _: h.update(format=99),
        lambda h, _: h.pop("method"),
        lambda h, _: h.update(method=3),
        lambda h, _: h.update(layers=[["a"], ["b"]]),
        lambda h, _: h.update(layers=3),
        lambda h, _: h["layers"][1].append(h["layers"][0][0]),
        lambda h, _: h["layers"].__setitem__(1, h["layers"][0]),
        lambda h, _: h["layers"].__setitem__(1, []),
        lambda h, _: h["ledger"].pop(),
        lambda h, _: h.update(categories=[1, 2]),
        lambda h, _: h.update(categories=["one", "two"]),
        lambda h, _: h.update(categories=["d" * 1001] * 6),
        lambda h, _: h.update(network="n" * 10_001),
        lambda h, _: h["layers"][0].append("l" * 10_001),
        lambda h, _: h.update(categories="abcdef"),
        lambda h, _: h.update(channels={"0.0": 3}),
        lambda h, _: h.update(channels={"0.0": True}),
        lambda h, _: h.update(channels={"no layer": 0}),
        lambda h, _: h.update(channels=[0]),
        lambda h, _: h.update(channels_of_input=True),
        lambda h, _: h.update(channels_of_input=3),
        lambda h, _: h.update(channels_of_input=[0]),
        lambda h, _: h.update(channels_of_input=None),  # with pictures, which have channels
        lambda _, t: t.pop("relevance"),
        lambda _, t: t.update(relevance=torch.zeros(3)),
        lambda _, t: t.update(targets=torch.zeros(2, 2)),
        lambda _, t: t.update(targets=torch.full((2, 2), 6)),
        lambda _, t: t.update(logits=torch.zeros(1, 6)),
        lambda h, t: without_classes(h, t, 2, 0),
        lambda h, t: without_classes(h, t, 2, 5, 0),
        lambda _, t: t.update(images=torch.zeros(2, 8, 8)),
        lambda _, t: t.update(ledger=torch.zeros(1)),
    ],
)
def test_incomplete_explanations_are_refused(explanation, tmp_path, change):
    path = explanation.save(tmp_path / "x.safetensors")
    header, tensors = header_of(path), load_file(path)
    change(header, tensors)
    save_file(tensors, path, metadata={"rlrp_nb": json.dumps(header)})
    with pytest.raises(rn.FileFormatError, match="not a complete explanation"):
        rn.Explanation.load(path)


ODD_NUMBERS = {
    "infinite negatives": lambda t: t.update(negatives=torch.full((2, 3), float("inf"))),
    "negatives of another dtype": lambda t: t.update(negatives=t["negatives"].float()),
    "targets below -1": lambda t: t.update(targets=torch.full_like(t["targets"], -7)),
    "negatives below -1": lambda t: t.update(negatives=torch.full_like(t["targets"], -2)),
    "relevance of whole numbers": lambda t: t.update(relevance=t["relevance"].to(torch.int32)),
    "relevance of nothing": lambda t: t.update(relevance=t["relevance"][:, :, :0].clone()),
    "logits of whole numbers": lambda t: t.update(logits=t["logits"].to(torch.int32)),
    "logits of fewer samples": lambda t: t.update(logits=t["logits"][:1].clone()),
    "logits of none": lambda t: t.update(logits=t["logits"][:, :0].clone()),
    "pictures of nothing": lambda t: t.update(images=torch.zeros(2, 0, 8, 3, dtype=torch.uint8)),
    "pictures of one sample": lambda t: t.update(images=torch.zeros(1, 8, 8, 3, dtype=torch.uint8)),
    "pictures of two channels": lambda t: t.update(images=torch.zeros(2, 8, 8, 2, dtype=torch.uint8)),
    "pictures of floats": lambda t: t.update(images=torch.zeros(2, 8, 8, 3)),
    "a tensor too many": lambda t: t.update(other=torch.zeros(1)),
    "a target too large": lambda t: t.update(targets=torch.full_like(t["targets"], 6)),
    "a layer of nothing": lambda t: t.update({"layer.0": t["layer.0"][:, :, :0].clone()}),
    "a layer of fewer samples": lambda t: t.update({"layer.0": t["layer.0"][:1].clone()}),
    "a layer of whole numbers": lambda t: t.update({"layer.0": t["layer.0"].to(torch.int32)}),
    "a ledger of eight bits": lambda t: t.update(ledger=t["ledger"].to(torch.float8_e4m3fn)),
}


@pytest.mark.parametrize("name", ODD_NUMBERS)
def test_numbers_that_make_no_sense_are_refused(explanation, tmp_path, name):
    path = explanation.save(tmp_path / "x.safetensors")
    header, tensors = header_of(path), load_file(path)
    ODD_NUMBERS[name](tensors)
    save_file(tensors, path, metadata={"rlrp_nb": json.dumps(header)})
    with pytest.raises(rn.FileFormatError, match="not a complete explanation"):
        rn.Explanation.load(path)


def test_what_is_no_ordinary_file_is_not_replaced(explanation, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(rn.InputError, match="is there already and is not a file"):
            explanation.save(place)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_one_bit_that_has_turned_is_found(explanation, tmp_path):
    path = explanation.save(tmp_path / "x.safetensors")
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    offsets = [o for n, t in json.loads(content[8:start]).items() if n != "__metadata__" for o in t["data_offsets"]]
    bits = [start + offset for offset in offsets if start + offset < len(content)]
    for at in (*bits, len(content) - 1, content.index(b"lrp-gamma")):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(rn.FileFormatError, match="is damaged: it does not hold what was saved in it"):
            rn.Explanation.load(path)


def test_images_of_another_size_than_the_relevance_are_refused(explanation, tmp_path):
    path = explanation.save(tmp_path / "x.safetensors")
    held = {**load_file(path), "images": torch.zeros(2, 8, 9, 3, dtype=torch.uint8)}
    save_file(held, path, metadata={"rlrp_nb": json.dumps(header_of(path))})
    with pytest.raises(rn.FileFormatError, match="images do not fit the relevance"):
        rn.Explanation.load(path)


def test_a_file_from_before_there_was_a_checksum_is_read(explanation, tmp_path):
    path = explanation.save(tmp_path / "x.safetensors")
    save_file(load_file(path), path, metadata={"rlrp_nb": json.dumps(header_of(path))})
    assert torch.equal(rn.Explanation.load(path).relevance, explanation.relevance)


def test_what_a_terminal_would_obey_in_the_name_of_a_file_is_escaped(tmp_path):
    (tmp_path / "\x1b[31m.safetensors").write_bytes(b"junk")
    with pytest.raises(rn.FileFormatError, match=r"\\x1b\[31m\.safetensors is damaged"):
        rn.Explanation.load(tmp_path / "\x1b[31m.safetensors")


@pytest.mark.parametrize("name", ["", "a\0b", "a" * 300, "\udcff.safetensors"])
def test_names_that_no_file_can_have_are_refused(explanation, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rn.InputError):
        explanation.save(name)
    with pytest.raises(rn.InputError):
        rn.Explanation.load(name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small file that is as it should be."""
    path = tmp_path_factory.mktemp("storage") / "x.safetensors"
    return rn.explain(torch.nn.Linear(3, 2), torch.ones(1, 3), layers="all").save(path)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_get_an_error_or_load(data, sound):
    path, content = sound.with_suffix(".damaged"), bytearray(sound.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(rn.FileFormatError):  # any other error fails the test
        assert rn.Explanation.load(path).relevance.dim() > 1


def test_seeds_come_back_and_have_to_fit(residual, images, tmp_path):
    path, seeds = tmp_path / "seeds.safetensors", torch.rand(2, 3, 6)
    made = rn.explain(residual, images, seeds)
    assert torch.equal(made.seeds, seeds)
    made.save(path)
    assert torch.equal(rn.Explanation.load(path).seeds, seeds)
    held = {**load_file(path), "seeds": seeds[:, :2].contiguous()}
    save_file(held, path, metadata={"rlrp_nb": json.dumps(header_of(path))})
    with pytest.raises(rn.FileFormatError, match="seeds do not fit"):
        rn.Explanation.load(path)


def test_an_explanation_stays_as_it_was_loaded_when_its_file_is_written_into(explanation, tmp_path):
    path = tmp_path / "explanation.safetensors"
    explanation.save(path)
    loaded = rn.Explanation.load(path)
    with path.open("r+b") as file:  # in place, as cp does
        file.seek(-path.stat().st_size // 2, os.SEEK_END)
        file.write(bytes(path.stat().st_size // 2))
        file.truncate(path.stat().st_size // 2)
    assert torch.equal(loaded.relevance, explanation.relevance)
    assert torch.equal(loaded.logits, explanation.logits)


def test_a_file_that_is_replaced_keeps_who_may_read_it(explanation, tmp_path):
    path, other = explanation.save(tmp_path / "x.safetensors"), tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode
    for mode in (0o600, 0o640, 0o664):
        path.chmod(mode)
        explanation.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert torch.equal(rn.Explanation.load(path).relevance, explanation.relevance)


@pytest.mark.parametrize(
    "changed",
    [
        {"categories": ("a",) * 7},
        {"categories": np.array(["a"] * 6)},
        {"images": torch.rand(2, 8, 8, 3)},
        {"images": torch.zeros(2, 9, 9, 3, dtype=torch.uint8)},
        {"relevance": torch.zeros(2, 1, 3, 8, 8, dtype=torch.int64)},
        {"versions": {"torch": 2}},
    ],
)
def test_what_could_not_be_read_again_is_not_written(residual, images, tmp_path, changed):
    explanation = replace(rn.explain(residual, images, 1), **changed)
    with pytest.raises(rn.InputError, match=r"cannot be saved, since it could not be read again \(.*has to fit"):
        explanation.save(tmp_path / "x.safetensors")
    assert not [*tmp_path.iterdir()]
