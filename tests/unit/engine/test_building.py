import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.tracing import trace
from rlrp_nb.errors import UnsupportedNetworkError


def test_every_op_without_a_rule_is_listed_with_its_layer(images):
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus()),
        nn.Conv2d(4, 4, 3),
        nn.LogSigmoid(),
        nn.Flatten(),
        nn.Linear(64, 2),
    )
    with pytest.raises(UnsupportedNetworkError) as caught:
        trace(network, images)
    message = str(caught.value)
    assert "aten.softplus at 0.1: there is no rule for this op" in message
    assert "aten.log_sigmoid_forward at 2" in message or "aten.log_sigmoid at 2" in message
    assert "RULES" in message


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda n, x: n.classify(n.conv(x)).softmax(1), "ends in softmax; explain its logits"),
        (lambda n, x: n.classify(n.conv(x)).sigmoid(), "ends in sigmoid; explain its logits"),
        (
            lambda n, x: nn.functional.linear(n.conv(x).relu(), torch.ones(8), torch.ones(())).flatten(1)[:, :5],
            r"whose weight has one axis, .*: write x @ weight \+ bias",
        ),
        (lambda n, x: n.classify(n.conv(x)).log_softmax(1), "where a network ends in it, explain its logits"),
        (lambda n, x: n.classify(torch.sigmoid(n.conv(x))), "does not map 0 to 0"),
        (lambda n, x: n.classify(n.conv(x) + torch.sigmoid(n.conv(x))), "joins a signal and a gate"),
        (lambda n, x: n.classify(n.conv(x) * n.conv(x)), "one must be a gate"),
        (lambda n, x: n.classify(torch.sigmoid(n.conv(x)) * torch.sigmoid(n.conv(x))), "(gate|does not map 0 to 0)"),
        (lambda n, x: n.classify(n.conv(x) / n.conv(x)), "denominator depends on the input"),
        (lambda n, x: n.classify(n.conv(x)) - n.classify(n.conv(x)).mean(), "mixes the samples"),
        (lambda n, x: n.classify(n.conv(x)).T, "axis 1 of the output"),
        (lambda n, x: torch.hstack([n.classify(n.conv(x)), n.classify(x[:, :1] ** 2 + n.conv(x))]), "aten.pow"),
        (lambda n, x: n.classify(nn.functional.dropout(n.conv(x), training=True)), "at random"),
        (lambda n, x: n.classify(nn.functional.group_norm(n.conv(x), 2)), "group normalisation"),
        (lambda n, x: n.classify(nn.functional.instance_norm(n.conv(x))), "statistics"),
        (lambda n, x: (n.classify(n.conv(x)), x), "returns 2 values"),
        (lambda n, x: {"logits": n.classify(n.conv(x))}, "container"),
        (lambda n, x: n.head.weight.sum().expand(x.shape[0], 2), "does not depend on its input"),
        (lambda n, x: n.classify(n.conv(x).detach()), "aten.detach"),
        (lambda n, x: n.classify(torch.ones_like(n.conv(x)).fill_(x.max())), "aten.fill"),
    ],
)
def test_refusals_say_why(written, images, function, reason):
    with pytest.raises(UnsupportedNetworkError, match=reason):
        trace(written(function), images)


def test_of_many_places_the_first_few_are_named(images):
    network = nn.Sequential(*[nn.Softplus() for _ in range(20)], nn.Flatten(), nn.Linear(192, 2))
    with pytest.raises(
        UnsupportedNetworkError, match=r"aten\.softplus at 0, 1, 2, 3, 4, 5 and 14 more: there is no rule"
    ):
        trace(network, images)


def test_attention_is_refused_kindly():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 3))
    with pytest.raises(UnsupportedNetworkError, match="transformers"):
        trace(network, torch.zeros(2, 4, 8))


def test_what_the_output_does_not_need_is_left_out(written, images):
    graph = trace(
        written(lambda n, x: (torch.softmax(n.head(n.conv(x).mean((2, 3))), 1), n.classify(n.conv(x)))[1]), images
    )
    assert [step.op for step in graph.steps] == ["aten.conv2d", "aten.mean", "aten.linear"]


def test_weights_that_are_computed_are_constants(images):
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.Linear(144, 2)
    ).eval()
    graph = trace(network, images)
    assert [step.op for step in graph.steps if step.sources] == ["aten.conv2d", "aten.view", "aten.linear"]
    assert graph.constants.steps


class PastSelf(nn.Module):
    """A network whose method reads it from a global, past ``self``."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 2)
        self.register_buffer("scale", torch.rand(2))
        self.alias = self.head.bias.data  # stays as it is when the bias is replaced

    def forward(self, x):
        network = NETWORKS[0]
        return network.head(x.flatten(1)) * network.scale + self.alias


class Past(PastSelf):
    def forward(self, x):
        return super().forward(x)


NETWORKS: list[nn.Module] = []


def test_weights_that_code_reads_from_a_global_are_the_networks_present_ones():
    network, x = Past().eval(), torch.randn(2, 3, 2, 2)
    NETWORKS[:] = [network]
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    network.head.bias.data = torch.randn(2)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    network.head.weight, network.scale = nn.Parameter(torch.randn(2, 12)), torch.rand(2)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    assert set(trace(network, x).constants.state.values()) == {"head.weight", "head.bias", "scale"}


def test_parts_stacked_along_the_batch_are_refused_for_any_number_of_samples(written, images):
    def siamese(network, x):
        one, two = network.conv(torch.cat([x[..., :4], x[..., 4:]], 0)).mean((2, 3)).chunk(2)
        return network.head(one - two)

    for samples in (images[:1], images):
        with pytest.raises(UnsupportedNetworkError, match="mixes"):
            rn.explain(written(siamese), samples)


def test_frames_that_are_taken_for_samples_are_refused_with_a_way_that_works():
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    class Video(nn.Module):
        def __init__(self, *, loops):
            super().__init__()
            self.conv, self.head, self.loops = conv, head, loops

        def part(self, x):
            return self.conv(x).relu().mean((2, 3))

        def forward(self, x):
            if self.loops:
                frames = torch.stack([self.part(x[:, t]) for t in range(x.shape[1])], 1)
            else:
                frames = self.part(x.flatten(0, 1)).view(*x.shape[:2], -1)
            return self.head(frames.mean(1))

    for samples in (1, 2):
        x = torch.randn(samples, 3, 3, 6, 6)
        with pytest.raises(UnsupportedNetworkError, match=r"run for each of them in a loop, such as torch.stack"):
            rn.explain(Video(loops=False).eval(), x, 1)
        torch.testing.assert_close(rn.explain(Video(loops=True).eval(), x, 1).logits, Video(loops=False)(x).detach())


def test_a_network_that_leaves_out_the_samples_is_told_to_keep_them():
    class Flat(nn.Sequential):
        def forward(self, x):
            return super().forward(x.flatten())[None]

    with pytest.raises(UnsupportedNetworkError, match=r"leaves out the axis of the samples.*\n.*flatten\(1\)"):
        rn.explain(Flat(nn.Linear(12, 3)).eval(), torch.randn(1, 3, 2, 2))
