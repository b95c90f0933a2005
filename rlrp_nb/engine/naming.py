"""Names for the steps of a graph, taken from the modules in whose call they were run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.graph import Step


def name_steps(steps: Sequence[Step], output: int) -> list[Step]:
    """Give every step a unique name and the layers whose output it is.

    A module's output is that of the one op inside its call which is read outside, so a container such as ``layer3.2``
    has a name too; a module that returns several values gives its name to none of them.
    The second call of a module is called ``relu:2``. An op that was written as a function is named after the module
    around it and itself: ``layer1.0.add``.

    Parameters
    ----------
    steps
        In order.
    output
        Value index of the logits.
    """
    outputs = _outputs(steps, output)
    taken, named = {path for step in steps for path in step.stack}, []
    for position, step in enumerate(steps):
        ends = [path for path in reversed(step.stack) if outputs.get(path) == [position]]
        if ends:
            # of the names for one tensor, show the deepest that does not count calls: layer3.2 rather than
            # layer3.2.relu:3
            first = next((path for path in ends if ":" not in path), ends[0])
            layers = (first, *(path for path in ends if path != first))
        else:
            around = f"{step.stack[-1]}." if step.stack else ""
            first = around + step.op.rpartition(".")[2].strip("_")
            count = 1
            while (name := first if count == 1 else f"{first}:{count}") in taken:
                count += 1
            taken.add(name)
            shows = step.rule is not None and step.rule.kind in {"affine", "activation", "pooling"}
            first, layers = name, (name,) if shows and step.sources else ()
        named.append(replace(step, name=first, layers=layers))
    return named


def _outputs(steps: Sequence[Step], output: int) -> dict[str, list[int]]:
    """Return the positions of the steps in each module's call that are read outside of it."""
    readers: dict[int, list[tuple[str, ...]]] = {output: [()]}
    for step in steps:
        for index in step.reads():
            readers.setdefault(index, []).append(step.stack)
    outputs: dict[str, list[int]] = {}
    for position, step in enumerate(steps):
        around = readers.get(step.index, []) if step.sources else []
        for path in step.stack:
            if any(path not in stack for stack in around):
                outputs.setdefault(path, []).append(position)
    return outputs
