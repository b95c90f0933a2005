import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.errors import UnsupportedNetworkError


class Stored:
    """Keeps what a module gives, as fastai's hooks do."""

    def __init__(self, module):
        self.value = None
        module.register_forward_hook(self.store)

    def store(self, _module, _inputs, output):
        self.value = output


class Skipping(nn.Module):
    """Has a skip connection, either by what a hook stored or by forward alone."""

    def __init__(self, by_hook):
        super().__init__()
        self.first, self.second, self.head = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(8, 5),
        )
        self.stored = Stored(self.first) if by_hook else None

    def forward(self, x):
        skipped = self.first(x)
        y = self.second(skipped.relu())
        return self.head(torch.cat([y, skipped if self.stored is None else self.stored.value], 1).relu().mean((2, 3)))


@pytest.fixture
def skipping():
    torch.manual_seed(0)
    return Skipping(by_hook=True).eval()


@pytest.mark.parametrize("samples", [1, 2])
def test_a_skip_connection_by_a_hook_is_refused_after_a_run_on_the_same_input(skipping, images, samples):
    skipping(images[:samples])
    before = skipping.stored.value
    with pytest.raises(UnsupportedNetworkError, match=r"store what its forward reads \(hooks are on: first\)"):
        rn.explain(skipping, images[:samples], 1)
    with pytest.raises(UnsupportedNetworkError, match="store what its forward reads"):
        rn.explain(skipping, images[:samples], 1, "gradient-x-input")
    assert before.shape[0] == samples


def test_a_skip_connection_by_a_hook_is_named_where_it_was_never_run(skipping, images):
    with pytest.raises(UnsupportedNetworkError, match="its forward reads what they store"):
        rn.explain(skipping, images, 1)


def test_a_network_that_fails_with_and_without_hooks_fails_by_its_input(residual, images):
    residual[0][0].register_forward_hook(lambda *_: None)
    with pytest.raises(rn.errors.InputError, match="Pass a batch of the shape"):
        rn.explain(residual, images[:, :2], 1)


def test_measures_refuse_it_too(skipping, images):
    skipping(images)
    with pytest.raises(UnsupportedNetworkError, match="store what its forward reads"):
        rn.RLRP(skipping).attribute(images, 1)


def test_what_a_looking_hook_saw_last_is_the_input(images):
    plain = Skipping(by_hook=False).eval()
    seen = []
    plain.first.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    rn.explain(plain, images, 1)
    assert len(seen) > 1
    torch.testing.assert_close(seen[-1], images)
    assert not any(torch.equal(each, images) for each in seen[:1])


def test_a_looking_hook_may_ask_for_the_range_of_its_input(images):
    network = Skipping(by_hook=False).eval()

    def look(_module, given):
        assert 0 <= given[0].min() <= given[0].max() <= 1

    network.register_forward_pre_hook(look)
    assert rn.explain(network, torch.rand_like(images), 1).relevance.abs().sum() > 0


def test_a_skip_connection_by_a_hook_is_seen_in_logits_that_are_large_all_of_them(skipping, images):
    with torch.no_grad():
        skipping.head.bias.fill_(1e4)
    skipping(images)
    with pytest.raises(UnsupportedNetworkError, match="store what its forward reads"):
        rn.explain(skipping.double(), images.double(), 1)
    skipping.stored.value = None


def test_an_op_without_a_rule_is_named_whatever_hooks_look_on(images):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 5)).eval()
    network[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedNetworkError, match="group normalisation has no R-LRP rule"):
        rn.explain(network, images, 1)


def test_a_forward_that_reads_nothing_but_what_a_hook_stored_is_named(images):
    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
            self.stored = Stored(self.body)

        def forward(self, x):
            self.body(x)
            return self.head(self.stored.value.mean((2, 3)))

    network = Features().eval()
    network(images)
    with pytest.raises(UnsupportedNetworkError, match="its forward reads what they store"):
        rn.explain(network, images, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_stored_skip_connection_is_seen_however_coarse_the_logits_are(images, dtype, in_place):
    network = Skipping(by_hook=True).eval().to(dtype)
    images = images.to(dtype)
    with torch.no_grad():
        network.head.bias.fill_(400.0)
        network.head.weight.mul_(1e-3)
    network(images)
    if in_place:
        kept = network.stored.value.detach().clone()
        network.stored.value = kept
        network.stored.store = lambda _module, _inputs, output: kept.copy_(output)
        network.first._forward_hooks.clear()
        network.first.register_forward_hook(network.stored.store)
    with pytest.raises(UnsupportedNetworkError, match="store what its forward reads"):
        rn.explain(network, images, 1)


def test_a_looking_hook_may_compare_a_batch_with_the_last(images):
    network, last = Skipping(by_hook=False).eval(), []

    def compare(_module, _inputs, output):
        if last:
            assert (output - last[-1]).shape == output.shape
        last.append(output)

    network.register_forward_hook(compare)
    many = torch.cat([images, images])
    network(many)
    assert rn.explain(network, many, 1).relevance.abs().sum() > 0


def test_a_hook_that_makes_the_output_of_another_dtype_changes_nothing_that_counts(images):
    network = Skipping(by_hook=False).eval()
    network.register_forward_hook(lambda _module, _inputs, output: output.double())
    assert rn.explain(network, images, 1).relevance.abs().sum() > 0


def test_a_constant_that_is_no_number_may_stay_one(images):
    network = Skipping(by_hook=False).eval()
    network.register_forward_hook(lambda *_: None)
    network.mask = torch.tensor([torch.nan, 1.0])
    network.forward = lambda x, own=network.forward: own(x) * network.mask[1]
    assert rn.explain(network, images, 1).relevance.abs().sum() > 0
