from collections import OrderedDict

from torch import nn, rand

from rlrp_nb.engine.tracing import trace


def test_reached_leaves_gates_out_unless_asked(written, images):
    def squeeze(n, x):
        z = n.conv(x)
        return n.classify(z * z.mean((2, 3), keepdim=True).sigmoid())

    graph = trace(written(squeeze), images)
    mean = next(step for step in graph.steps if step.op == "aten.mean")
    assert mean.index not in graph.reached()
    assert mean.index in graph.reached(gates=True)
    assert graph.input in graph.reached()


def test_layers_run_from_input_to_logits_and_name_every_module(residual, images):
    graph = trace(residual, images)
    names = {name for step in graph.layers().values() for name in step.layers}
    assert set(dict(residual.named_modules())) - {""} - names == {"1.0.relu", "1.1.relu"} - names
    assert next(iter(graph.layers())) == "0.0"
    assert list(graph.layers())[-1] == "4"


def test_repr_says_which_op_each_layer_is(residual, images):
    lines = repr(trace(residual, images)).splitlines()
    assert lines[0].split() == ["0.0", "aten.conv2d"]
    assert lines[-1].split() == ["4", "aten.linear"]


def test_no_name_in_a_repr_tells_the_terminal_what_to_do():
    network = nn.Sequential(OrderedDict({"a\x1b[2J\u202e": nn.Linear(3, 2)})).eval()
    assert repr(trace(network, rand(1, 3))).split() == [r"a\x1b[2J\u202e", "aten.linear"]


def test_a_graph_holds_no_weights(residual, images):
    graph = trace(residual, images)
    assert "4.weight" in graph.constants.state.values()
    assert graph.constants.tensors == {}
