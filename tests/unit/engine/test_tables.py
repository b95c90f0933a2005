"""A table by modules where a twin would not be found is refused; other tables, and registries of objects, are not."""

import functools
import gc
import sys
import types
import weakref
from typing import ClassVar

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.tables import check_tables


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1)) * self.factor()

    def factor(self):
        return 1.0


TABLE = weakref.WeakKeyDictionary()
MODELS = {}


class InItsClass(Plain):
    table: ClassVar = {}

    def factor(self):
        return self.table.get(self.conv, 1.0)


class ByItsClass(InItsClass):
    def factor(self):
        return type(self).table.get(self.conv, 1.0)


class ByGetattr(InItsClass):
    def factor(self):
        return getattr(self, "table").get(self.conv, 1.0)  # noqa: B009 - it is to be so


class ByPairs(Plain):
    pairs: ClassVar = {}

    def factor(self):
        return self.pairs.get((self.conv.forward, "factor"), 1.0)


class AsMember(Plain):
    members: ClassVar = set()

    def factor(self):
        return 3.0 if self.conv in self.members else 1.0


class InAProperty(Plain):
    @property
    def scale(self):
        return TABLE.get(self, 1.0)

    def factor(self):
        return self.scale


class InACachedProperty(Plain):
    @functools.cached_property
    def scale(self):
        return TABLE.get(self, 1.0)

    def factor(self):
        return self.scale


class InAStaticMethod(Plain):
    @staticmethod
    def scale(module):
        return TABLE.get(module, 1.0)

    def factor(self):
        return self.scale(self)


class InAClassMethod(Plain):
    @classmethod
    def scale(cls, module):
        return TABLE.get(module, 1.0)

    def factor(self):
        return self.scale(self)


class InWhatIsCalled(Plain):
    def __call__(self, x):
        return super().__call__(x) * TABLE.get(self, 1.0)


class Inherited(Plain):
    def factor(self):
        return TABLE.get(self, 1.0)


class InTheMethodOfABase(Inherited):
    def factor(self):
        return super().factor()


class Scale:
    """A descriptor with a value for each object."""

    def __init__(self):
        self.values = weakref.WeakKeyDictionary()

    def __get__(self, owner, kind):
        return self.values.get(owner, 1.0)

    def __set__(self, owner, value):
        self.values[owner] = value


class InADescriptor(Plain):
    scale = Scale()

    def factor(self):
        return self.scale


class Register:
    known: ClassVar = {}

    def of(self, module):
        return TABLE.get(module, 1.0)

    @classmethod
    def kept(cls, module):
        return cls.known.get(module, 1.0)


class InAnObject(Plain):
    register = Register()

    def factor(self):
        return self.register.of(self)


class InAnotherClass(Plain):
    def factor(self):
        return Register.kept(self)


class Meta(type):
    by_module: ClassVar = {}

    def scale(cls, module):
        return cls.by_module.get(module, 1.0)


class InItsMetaclass(Plain, metaclass=Meta):
    def factor(self):
        return type(self).scale(self)


settings = types.ModuleType("rlrp_nb_test_settings")
settings.scales = {}
sys.modules[settings.__name__] = settings


class InAPythonModule(Plain):
    def factor(self):
        return settings.scales.get(self, 1.0)


class KeptInACache(Plain):
    def __init__(self):
        super().__init__()
        self.found = functools.lru_cache(maxsize=4)(self.find)

    def find(self, module):
        return TABLE.get(module, 1.0)

    def factor(self):
        return self.found(self)


SHARED = {
    InItsClass: ("InItsClass.table", lambda n: InItsClass.table.update({n.conv: 3.0})),
    ByItsClass: ("InItsClass.table", lambda n: InItsClass.table.update({n.conv: 3.0})),
    ByGetattr: ("InItsClass.table", lambda n: InItsClass.table.update({n.conv: 3.0})),
    ByPairs: ("ByPairs.pairs", lambda n: ByPairs.pairs.update({(n.conv.forward, "factor"): 3.0})),
    AsMember: ("AsMember.members", lambda n: AsMember.members.add(n.conv)),
    InAProperty: (r"TABLE \(read by InAProperty.scale\)", None),
    InACachedProperty: (r"TABLE \(read by InACachedProperty.scale\)", None),
    InAStaticMethod: (r"TABLE \(read by InAStaticMethod.scale\)", None),
    InAClassMethod: (r"TABLE \(read by InAClassMethod.scale\)", None),
    InWhatIsCalled: (r"TABLE \(read by InWhatIsCalled.__call__\)", None),
    InTheMethodOfABase: (r"TABLE \(read by Inherited.factor\)", None),
    InADescriptor: ("InADescriptor.scale", lambda n: setattr(n, "scale", 3.0)),
    InAnObject: (r"TABLE \(read by Register.of\)", None),
    InAnotherClass: ("Register.known", lambda n: Register.known.update({n: 3.0})),
    InItsMetaclass: ("Meta.by_module", lambda n: Meta.by_module.update({n: 3.0})),
    InAPythonModule: ("rlrp_nb_test_settings.scales", lambda n: settings.scales.update({n: 3.0})),
    KeptInACache: (r"TABLE \(read by KeptInACache.find\)", None),
}


@pytest.mark.parametrize("kind", SHARED, ids=lambda kind: kind.__name__)
def test_a_table_that_the_twin_shares_is_refused_where_the_network_is_found_in_it(kind):
    place, enter = SHARED[kind]
    network, x = kind().eval(), torch.randn(2, 3, 6, 6)
    check_tables(network)
    if enter is None:
        TABLE[network] = 3.0
    else:
        enter(network)
    torch.testing.assert_close(network(x), 3 * network.fc(torch.relu(network.conv(x)).flatten(1)))
    with pytest.raises(rn.UnsupportedNetworkError, match=rf"{place} holds modules or weights.*in an attribute"):
        rn.explain(network, x)


class Registered(Plain):
    """A class that knows its objects, which its code reads in other ways than as keys, or not while it is run."""

    every: ClassVar = []
    alive: ClassVar = weakref.WeakSet()
    numbers: ClassVar = {}

    def __init__(self):
        super().__init__()
        self.every.append(self)
        self.alive.add(self)
        self.numbers[self] = len(self.numbers)

    def __repr__(self):
        return f"number {self.numbers[self]}"

    @classmethod
    def living(cls):
        return [*cls.alive]

    @property
    def named(self):
        return MODELS["one"]

    def factor(self):
        return len(self.every) * self.named.fc.bias[0]


def test_registries_that_are_not_asked_for_modules_are_no_hindrance():
    MODELS["one"] = network = Registered().eval()
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


def test_a_table_that_the_twin_has_anew_is_no_hindrance():
    gc.collect()  # networks of other tests are still in the table else
    network, x = Inherited().eval(), torch.randn(2, 3, 6, 6)
    plain = network(x)
    TABLE[network] = 3.0
    torch.testing.assert_close(rn.explain(network, x).logits, 3 * plain)
