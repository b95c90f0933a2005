"""The table of rules, which says at once what is no rule."""

from __future__ import annotations

from typing import Any, Self

import torch

from rlrp_nb.engine.rule import Rule
from rlrp_nb.errors import InputError


class RuleTable(dict[str, Rule]):
    """Rules by the names of ops; users add their own."""

    def __setitem__(self, op: str, rule: Rule) -> None:
        """Take a rule.

        Raises
        ------
        InputError
            The name is none of an op, or the rule is none.
        """
        if not isinstance(op, str) or not _is_op(op):
            raise InputError(
                f"the name of an op is {op!r}; accepted is one that is there, with its namespace and without its "
                "overload or the underscore of what is done in place, as explain() names it, such as 'aten.hardshrink'."
            )
        if isinstance(rule, type) and issubclass(rule, Rule):
            raise InputError(f"the rule for {op!r} is the class {rule.__name__}; call it: {rule.__name__}(...).")
        if not isinstance(rule, Rule):
            raise InputError(
                f"the rule for {op!r} is a {type(rule).__name__}; accepted is a Rule: Linear() for an op that is "
                "linear, or Activation(secant) with a function secant(z, **arguments) that returns phi(z) / z, given "
                "the op's own arguments by name."
            )
        super().__setitem__(op, rule)

    def update(self, *args: Any, **named: Rule) -> None:  # noqa: ANN401 - as dict.update takes them
        """Take several rules."""
        for op, rule in dict(*args, **named).items():
            self[op] = rule

    def setdefault(self, op: str, rule: Rule) -> Rule:
        """Take a rule, unless there is one."""
        if op not in self:
            self[op] = rule
        return self[op]

    def __ior__(self, others: Any) -> Self:  # type: ignore[override,misc]  # noqa: ANN401 - as dict takes them
        """Take several rules."""
        self.update(others)
        return self


def _is_op(name: str) -> bool:
    """Tell the name of an op of PyTorch's or of the user's own, or of one of Python's."""
    namespace, _, op = name.partition(".")
    known = namespace == "python" or (op.isidentifier() and hasattr(getattr(torch.ops, namespace, None), op))
    return known and not op.endswith("_")
