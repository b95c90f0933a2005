"""Weights arrive whole or not at all: real downloads from a local server, real files of torchvision's layout."""

import hashlib
import re
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from rlrp_nb.errors import WeightsError
from rlrp_nb.models.weights import cached_path, check_hash, fetch_weights, load_state, read_state


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A file of the true layout: the state dict of a real torchvision network, saved by torch."""
    path = tmp_path_factory.mktemp("origin") / "file.pth"
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def name(content):
    return f"squeezenet1_1-{hashlib.sha256(content).hexdigest()[:8]}.pth"


class Server(ThreadingHTTPServer):
    """Serves one file in several states of health, and counts what it is asked for."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.requests = content, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content, kind = self.server.content, self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "unannounced":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "corrupted":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        elif kind in {"truncated", "unannounced"}:
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(content):
    with Server(content) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub, and no proxy between the test and its server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home" / "hub" / "checkpoints"


def test_download(server, cache, content, name, capsys):
    path = fetch_weights(f"{server.address}/good/{name}")
    assert path == cache / name
    assert path.read_bytes() == content
    assert list(cache.iterdir()) == [path]
    progress = capsys.readouterr().err
    assert name in progress
    assert "100%" in progress


def test_the_second_time_nothing_is_downloaded(server, name):
    url = f"{server.address}/good/{name}"
    assert fetch_weights(url) == fetch_weights(url)
    assert len(server.requests) == 1


def test_the_cache_is_the_one_of_torch_hub(server, cache, name):
    url = f"{server.address}/good/{name}"
    torch.hub.load_state_dict_from_url(url, check_hash=True, progress=False)
    assert fetch_weights(url) == cache / name
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"broke off after [\d,]+ of [\d,]+ bytes, and was discarded"),
        ("unannounced", "is damaged, and was discarded: its SHA-256 begins with"),
        ("corrupted", "is damaged, and was discarded: its SHA-256 begins with"),
        ("missing", r"failed \(Not Found\)"),
    ],
)
def test_a_failed_download_leaves_nothing_behind(server, cache, name, kind, message):
    url = f"{server.address}/{kind}/{name}"
    with pytest.raises(WeightsError, match=message) as caught:
        fetch_weights(url)
    assert list(cache.iterdir()) == []
    for part in (str(cache / name), url, "load_model('efficientnet_lite0')"):
        assert part in str(caught.value)
    assert fetch_weights(f"{server.address}/good/{name}").is_file()  # the next attempt is not hindered


def test_no_connection(cache, name):
    with Server(b"") as closed:
        address = closed.address
    with pytest.raises(WeightsError, match="Connection refused") as caught:
        fetch_weights(f"{address}/good/{name}")
    message = str(caught.value)
    assert f"looked for at:   {cache / name}" in message
    assert f"downloaded from: {address}/good/{name}" in message
    assert "copy the file there" in message
    assert "load_model('efficientnet_lite0')" in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["truncated", "corrupted", "missing"])
def test_the_error_names_what_needs_no_download(server, name, kind):
    with pytest.raises(WeightsError, match=r"no download: load_model\('one'\) or load_model\('two'\)\."):
        fetch_weights(f"{server.address}/{kind}/{name}", embedded=["one", "two"])


def test_an_interrupted_download_leaves_nothing_behind(server, cache, name, monkeypatch):
    class Interrupted:
        def update(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr("rlrp_nb.models.weights.hashlib.sha256", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_weights(f"{server.address}/good/{name}")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(server, cache, name):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="downloading them failed"):
        fetch_weights(f"{server.address}/good/{name}")


def test_a_damaged_file_in_the_cache(server, cache, content, name):
    cache.mkdir(parents=True)
    (cache / name).write_bytes(content[:-100])
    with pytest.raises(WeightsError, match=r"squeezenet1_1-.* is damaged.*Delete it \(rm '") as caught:
        fetch_weights(f"{server.address}/good/{name}")
    assert str(cache / name) in str(caught.value)
    assert server.requests == []
    assert (cache / name).exists()  # a person's file is not deleted for them


@pytest.mark.parametrize(
    ("file", "checked"),
    [
        ("resnet18-f37072fd.pth", True),
        ("alexnet-owt-7be5be79.pth", True),
        ("mnasnet0.5_top1_67.823-3ffadce67e.pth", True),
        ("my-network.pth", False),
        ("network.safetensors", False),
    ],
)
def test_the_hash_is_in_the_name(tmp_path, file, checked):
    path = tmp_path / file
    path.write_bytes(b"anything")
    if checked:
        with pytest.raises(WeightsError, match=r"is damaged.* Copy it again"):
            check_hash(path, "Copy it again")
    else:
        check_hash(path, "Copy it again")


def test_every_official_file_is_checked(tmp_path):
    for model in models.list_models(module=models):
        for entry in models.get_model_weights(model):
            path = tmp_path / cached_path(entry.url).name
            path.write_bytes(b"")
            with pytest.raises(WeightsError):
                check_hash(path, "")
            path.unlink()


# reading


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def fresh():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def write(state, path, kind):
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_round_trip(tmp_path, network, kind):
    path = tmp_path / f"file.{'safetensors' if kind == 'safetensors' else 'pth'}"
    write(network.state_dict(), path, kind)
    loaded = fresh()
    load_state(loaded, read_state(path), "the file")
    assert_same(loaded.state_dict(), network.state_dict())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_the_weights_are_in_memory_once(tmp_path, network, kind):
    path = tmp_path / f"file.{'safetensors' if kind == 'safetensors' else 'pth'}"
    write(network.state_dict(), path, kind)
    state = read_state(path)
    loaded = fresh()
    load_state(loaded, state, "the file")
    for key, tensor in loaded.state_dict().items():
        assert tensor.data_ptr() == state[key].data_ptr()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_writing_to_the_file_does_not_write_to_the_network(tmp_path, network, kind):
    path = tmp_path / f"file.{'safetensors' if kind == 'safetensors' else 'pth'}"
    write(network.state_dict(), path, kind)
    loaded = fresh()
    load_state(loaded, read_state(path), "the file")
    assert str(path) not in Path("/proc/self/maps").read_text()  # else what is written below could end the process
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_same(loaded.state_dict(), network.state_dict())
    write(loaded.state_dict(), path, kind)
    assert_same(read_state(path), network.state_dict())


def test_writing_to_the_network_does_not_write_to_the_file(tmp_path, network):
    path = tmp_path / "file.pth"
    torch.save(network.state_dict(), path)
    before = path.read_bytes()
    loaded = fresh()
    load_state(loaded, read_state(path), "the file")
    with torch.no_grad():
        loaded[0].weight.fill_(7)
    assert path.read_bytes() == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_float32(network, dtype):
    loaded = fresh()
    load_state(loaded, network.to(dtype).state_dict(), "the file")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded[0].weight, network[0].weight.float())


def test_counters_of_training_steps_may_be_missing(network):
    state = OrderedDict(network.state_dict())
    del state["1.num_batches_tracked"]
    loaded = fresh()
    load_state(loaded, state, "the file")
    assert loaded[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("3.bias"), r"the file does not fit Sequential \(1 missing: 3.bias\)"),
        (lambda s: s.update({"4.bias": torch.zeros(1)}), "1 not in the network: 4.bias"),
        (lambda s: s.update({"3.bias": torch.zeros(5)}), r"3.bias \(5,\) float instead of \(2,\) float"),
        (lambda s: s.update({"3.bias": torch.zeros(2, dtype=torch.int8)}), r"3.bias \(2,\) torch.int8 instead of"),
        (lambda s: s["3.bias"].fill_(torch.nan), "NaN or infinite values in 3.bias"),
        (lambda s: s["1.running_var"].fill_(torch.inf), "NaN or infinite values in 1.running_var"),
    ],
)
def test_what_does_not_fit_is_refused(network, change, message):
    state = OrderedDict(network.state_dict())
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_state(fresh(), state, "the file")


def test_weights_beyond_the_range_of_float32_are_refused(network):
    state = OrderedDict((key, t.double() if t.is_floating_point() else t) for key, t in network.state_dict().items())
    state["3.bias"][0] = 1e39
    with pytest.raises(WeightsError, match=r"NaN or infinite values in 3\.bias, or some beyond the range of float32"):
        load_state(fresh(), state, "the file")


def test_only_the_first_few_keys_are_named(network):
    state = OrderedDict((f"module.{key}", tensor) for key, tensor in network.state_dict().items())
    with pytest.raises(
        WeightsError, match=r"8 missing: 0.weight, 0.bias, 1.weight, ...; 9 not in the network: module.0"
    ) as e:
        load_state(fresh(), state, "the file")
    assert len(str(e.value)) < 400


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_the_names_of_a_wrapped_network_are_told_from_another_network_s(network, prefix):
    state = OrderedDict((prefix + key, tensor) for key, tensor in network.state_dict().items())
    with pytest.raises(WeightsError, match=rf"does not fit.* Take '{prefix}' from its names") as caught:
        load_state(fresh(), state, "the file")
    (advice,) = re.findall(r"\{name.*\}", str(caught.value))
    load_state(loaded := fresh(), OrderedDict(eval(advice, {"state": state})), "the file")  # noqa: S307 - our own words
    assert torch.equal(loaded[3].weight, network[3].weight)


def test_the_state_dict_within_a_checkpoint_can_be_taken_out(tmp_path, network):
    path, new_path = tmp_path / "whole.pth", tmp_path / "state.pth"
    torch.save({"epoch": 3, "model_state": network.state_dict()}, path)
    with pytest.raises(WeightsError, match="but a dict of epoch, model_state") as caught:
        read_state(path)
    (advice,) = re.findall(r"torch\.save\(.*\)", str(caught.value))
    exec(advice, {"torch": torch, "path": path, "new_path": new_path})  # noqa: S102 - our own words
    assert read_state(new_path).keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("file", "make", "message"),
    [
        ("none.pth", lambda _: None, "there is no weights file"),
        (f"{'long' * 64}.pth", lambda _: None, "cannot be looked for: File name too long"),
        ("empty.pth", lambda path: path.write_bytes(b""), "is damaged, .*: it is empty"),
        ("page.pth", lambda path: path.write_text("<html>not found</html>"), "it begins with b.<html>not fo., as none"),
        ("text.pth", lambda path: path.write_text("hello"), r"not a file of tensors: it begins with b'hello', as none"),
        ("text.safetensors", lambda path: path.write_text("<html>not found</html>"), "safetensors"),
        ("empty.safetensors", lambda path: path.write_bytes(b""), "safetensors"),
        ("network.pth", lambda path: torch.save(nn.Linear(1, 1), path), r"torch.save\(network.state_dict\(\), path\)"),
        ("list.pth", lambda path: torch.save([1, 2], path), "does not hold a state dict .*but list"),
        ("nested.pth", lambda path: torch.save({"epoch": 3, "model": {}}, path), "but a dict of epoch, model"),
    ],
)
def test_files_that_are_no_weights(tmp_path, file, make, message):
    make(tmp_path / file)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state(tmp_path / file)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files(tmp_path, network, kind, kept):
    path = tmp_path / f"file.{'safetensors' if kind == 'safetensors' else 'pth'}"
    write(network.state_dict(), path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match="is damaged"):
        read_state(path)


def test_no_code_in_a_file_is_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"weight": Harm()}, tmp_path / "file.pth")
    with pytest.raises(
        WeightsError, match=r"holds something else \(a \S+\), which could be code, and is not loaded"
    ) as caught:
        read_state(tmp_path / "file.pth")
    assert "weights_only" not in str(caught.value)  # nobody is advised to load it all the same
    assert not (tmp_path / "harm").exists()


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
def test_tensors_without_plain_values_are_refused(tmp_path, network):
    state = network.state_dict()
    torch.save({**state, "0.weight": state["0.weight"].to("meta")}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"holds 0\.weight, which is no dense tensor"):
        read_state(tmp_path / "file.pth")
    torch.save({**state, "0.weight": state["0.weight"].to_sparse()}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"holds something else \(a torch\._utils\._rebuild_sparse_tensor\)"):
        read_state(tmp_path / "file.pth")


def test_a_number_that_stands_for_very_many_is_refused(tmp_path):
    torch.save({"few": torch.ones(1).expand(1000, 1000)}, tmp_path / "file.pth")
    assert read_state(tmp_path / "file.pth")["few"].shape == (1000, 1000)
    torch.save({"many": torch.ones(1).expand(1000, 1001)}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match="holds many, which is no dense tensor with values"):
        read_state(tmp_path / "file.pth")


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_nested_tensors_are_refused(tmp_path):
    """From 2.15 on PyTorch itself does not load them as weights alone."""
    torch.save({"rows": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"holds (rows, which is no dense tensor|something else)"):
        read_state(tmp_path / "file.pth")


def test_names_that_are_no_texts_are_refused(tmp_path):
    torch.save({1: torch.zeros(2)}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match="holds 1, which is no dense tensor"):
        read_state(tmp_path / "file.pth")


def test_attributes_that_a_file_gives_to_tensors_and_dicts_are_left_out(tmp_path, network):
    state = network.state_dict()
    state["0.weight"] = nn.Parameter(state["0.weight"])
    state["0.weight"].is_floating_point = state["0.weight"].detach_ = 3
    state.values = state.keys = 3
    torch.save(state, tmp_path / "file.pth")
    found = read_state(tmp_path / "file.pth")
    assert not vars(found["0.weight"])
    assert list(vars(found)) == ["_metadata"]
    load_state(fresh(), found, "the file")


def test_the_ending_of_a_file_may_be_in_any_case(tmp_path, network):
    save_file(network.state_dict(), tmp_path / "FILE.SAFETENSORS")
    assert sorted(read_state(tmp_path / "FILE.SAFETENSORS")) == sorted(network.state_dict())


def test_keys_are_named_shortly(tmp_path):
    for key in (("long",) * 1000, "long" * 1000):
        torch.save({key: torch.zeros(2).to("meta")}, tmp_path / "file.pth")
        with pytest.raises(WeightsError, match=r"longlong|'long', 'long'") as caught:
            read_state(tmp_path / "file.pth")
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_whole_checkpoint_is_told_from_a_file_of_too_many_values(tmp_path, kind):
    network = models.squeezenet1_1(weights=None)
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    whole = {
        "epoch": 3,
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loss": [0.5] * 9999,
    }
    write(whole, tmp_path / "file.pth", kind)
    with pytest.raises(WeightsError, match="but a dict of epoch, state_dict, optimizer"):
        read_state(tmp_path / "file.pth")


def test_weights_of_eight_bits_are_read(tmp_path, network):
    state = {k: v.to(torch.float8_e4m3fn) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save(state, tmp_path / "file.pth")
    load_state(network, read_state(tmp_path / "file.pth"), "file.pth")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name


HOSTILE = "\x1b]0;owned\x07\u202ekey"


@pytest.mark.parametrize("kind", ["unknown", "broken", "no dict", "no tensor", "not read"])
def test_no_name_in_a_file_or_of_one_reaches_a_terminal(tmp_path, network, kind):
    path = tmp_path / f"{HOSTILE}.pth"
    state = OrderedDict(network.state_dict())
    state[HOSTILE] = {
        "broken": torch.tensor(torch.nan), "no dict": 5, "no tensor": torch.zeros(2).to("meta"),
    }.get(kind, torch.zeros(1))  # fmt: skip
    if kind == "no dict":
        state.move_to_end(HOSTILE, last=False)
    torch.save(state, path)
    if kind == "not read":
        path.write_bytes(b"junk")
    into = nn.Module() if kind == "broken" else network
    if kind == "broken":
        for name, tensor in state.items():
            into.__dict__["_buffers"][name] = tensor
    with pytest.raises(WeightsError) as caught:
        load_state(into, read_state(path), f"{kind}:")
    assert all(sign.isprintable() for sign in str(caught.value))
    assert "\\x1b]0;owned\\x07\\u202ekey" in str(caught.value)


@pytest.mark.parametrize("notes", [5, [1], "text", {"": 5}, {"": {"version": "new"}}])
def test_notes_on_versions_that_are_none_are_refused(tmp_path, notes):
    network, path = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), tmp_path / "w.pth"
    state = network.state_dict()
    state._metadata = notes
    torch.save(state, path)
    with pytest.raises(WeightsError, match="_metadata"):
        load_state(network, read_state(path), "the file")
    torch.save(network.state_dict(), path)
    load_state(network, read_state(path), "the file")
