import pytest

from rlrp_nb.engine.linear import Linear
from rlrp_nb.engine.rule_table import RuleTable
from rlrp_nb.engine.rules import BUILT_IN, RULES
from rlrp_nb.errors import InputError

WRONG = {
    "a class": ("aten.cumsum", Linear, r"is the class Linear; call it: Linear\(\.\.\.\)"),
    "a lambda": ("aten.cumsum", lambda z: z, "is a function; accepted is a Rule: Linear"),
    "a name": ("aten.cumsum", "linear", "is a str; accepted is a Rule"),
    "no namespace": ("cumsum", Linear(), "'cumsum'; accepted is one that is there, with its namespace"),
    "an overload": ("aten.hardshrink.default", Linear(), "accepted is one that is there, with its namespace"),
    "in place": ("aten.relu_", Linear(), "without its overload or the underscore of what is done in place"),
    "a function": ("torch.hardshrink", Linear(), "accepted is one that is there"),
    "a slip": ("aten.hardshrnk", Linear(), "'aten.hardshrnk'; accepted is one that is there"),
    "an op": (len, Linear(), "accepted is one that is there"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("way", ["item", "dict", "pairs", "default", "union"])
def test_what_is_no_rule_is_refused_where_it_is_put_in(name, way):
    op, rule, words = WRONG[name]
    table = RuleTable()
    put = {
        "item": lambda: table.__setitem__(op, rule),
        "dict": lambda: table.update({op: rule}),
        "pairs": lambda: table.update([(op, rule)]),
        "default": lambda: table.setdefault(op, rule),
        "union": lambda: table.__ior__({op: rule}),
    }
    with pytest.raises(InputError, match=words):
        put[way]()
    assert not table


def test_rules_are_taken():
    table, rule = RuleTable(), Linear()
    table["aten.cumsum"] = rule
    table.update({"aten.cumprod": rule})
    table |= {"aten.erf": rule}
    assert isinstance(table, RuleTable)
    assert table.setdefault("aten.erf", Linear(batched=True)) is table.setdefault("aten.erfc", rule) is rule
    assert table == dict.fromkeys(("aten.cumsum", "aten.cumprod", "aten.erf", "aten.erfc"), rule)


def test_the_table_begins_with_the_built_in_rules():
    assert isinstance(RULES, RuleTable)
    assert dict(BUILT_IN) == RULES
    assert len(RULES) > 100
