import collections
import types
import weakref
from functools import lru_cache

import pytest
import torch
from torch import nn

from rlrp_nb.engine.reach import Reach, base_of


def test_what_leads_back_to_the_network_is_told_from_what_does_not():
    network = nn.Sequential(nn.Linear(3, 2))
    leading, other = types.SimpleNamespace(held=[network[0].weight]), types.SimpleNamespace(held=[torch.zeros(3)])
    network.both = {"leading": leading, "other": other}
    reach = Reach(network)
    assert all(map(reach.leads_back, (network, network[0], network[0].weight, leading, leading.held, network.both)))
    assert not any(map(reach.leads_back, (other, other.held, torch.zeros(1), None)))


def test_tensors_that_are_no_weights_are_found_with_the_attribute_that_leads_there():
    network = nn.Sequential(nn.Linear(3, 2))
    listed, closed_over, original = torch.zeros(1), torch.ones(1), torch.rand(1)
    network.kept = [listed, network[0].weight]
    network[0].function = lambda x: x + closed_over
    network[0].weight.original = original
    found = {id(tensor): name for name, tensor in Reach(network).tensors}
    assert found == {id(listed): "kept", id(closed_over): "0.function", id(original): "0.weight.original"}


def test_what_holds_itself_comes_to_an_end():
    network = nn.Linear(3, 2)
    network.loop = []
    network.loop.append(network.loop)
    deep = []
    for _ in range(5000):
        deep = [deep]
    network.deep = deep
    assert not Reach(network).leads_back(network.loop)


def test_a_reference_to_what_is_gone_leads_nowhere():
    network, gone = nn.Linear(3, 2), nn.Identity()
    references = [weakref.ref(gone), weakref.proxy(gone), weakref.ref(network), weakref.proxy(network)]
    network.references = references
    del gone
    reach = Reach(network)
    assert [*map(reach.leads_back, references)] == [False, False, True, True]


@pytest.mark.parametrize("kind", [object, set, collections.deque, collections.defaultdict])
def test_the_class_of_python_that_a_class_is_laid_out_like(kind):
    assert base_of(type("Own", (kind,), {})) is base_of(kind) is kind


def test_what_a_cache_of_functions_has_kept_cannot_be_had_anew():
    assert base_of(type(lru_cache(len))) is None
