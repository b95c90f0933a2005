"""Prepare every method on a network, count what it costs, then time all of them in rounds."""

from __future__ import annotations

import copy
import gc
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.cases import TARGETS, Case, build
from benchmarks.contenders import BASELINE, CONTENDERS, Contender, Run
from benchmarks.flops import count_flops
from benchmarks.memory import kept_bytes, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

MOST_ROUNDS = 25


@dataclass
class Cost:
    """What a method takes for a number of targets on one case.

    Attributes
    ----------
    flops
        Of the call.
    peak
        Bytes beyond network and input at the highest point, with what is kept between calls.
    kept
        Bytes that stay between calls.
    seconds
        One figure for each round.
    """

    flops: int
    peak: int
    kept: int
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """All about one case.

    Attributes
    ----------
    case
        Network and pictures.
    costs
        By method and number of targets per call. A method that would hold gigabytes is left out.
    refusals
        What a method said that did not take the network.
    building
        Seconds that the first explanation of the network takes longer than the second: the graph is built then.
    """

    case: Case
    costs: dict[tuple[Contender, int], Cost]
    refusals: dict[Contender, str]
    building: float = 0.0

    def over(self, other: Contender) -> list[float]:
        """Return the time of R-LRP for one target over that of another method in the same round."""
        theirs = self.costs[other, 1].seconds
        return [s / unit for s, unit in zip(self.costs[CONTENDERS[0], 1].seconds, theirs, strict=True)]

    def limits(self) -> list[float]:
        """Return the time of R-LRP for all targets over that of one forward and as many backward passes to the input.

        These are gradient x input for as many targets, which keeps its graph until the last, in the same round.
        """
        many = len(TARGETS)
        passes = self.costs[BASELINE, many].seconds
        return [s / unit for s, unit in zip(self.costs[CONTENDERS[0], many].seconds, passes, strict=True)]

    def ratios(self, contender: Contender, count: int) -> list[float]:
        """Return the time of each round over that of gradient x input with one target in the same round."""
        units = self.costs[BASELINE, 1].seconds
        return [s / unit for s, unit in zip(self.costs[contender, count].seconds, units, strict=True)]


@dataclass(frozen=True)
class _Prepared:
    """All methods, prepared on one network: their calls, the bytes they keep, and what those said that refused it."""

    runs: dict[Contender, Run]
    kept: dict[Contender, int]
    refusals: dict[Contender, str]
    building: float


def measure(cases: Sequence[Case], rounds: int, seconds: float, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure every case, all methods of it in turn.

    Parameters
    ----------
    cases
        Networks and pictures.
    rounds
        The least number of rounds for one case.
    seconds
        How long more rounds follow, up to 25.
    say
        Told what is being done.
    """
    for name in dict.fromkeys(case.network for case in cases):
        own = [case for case in cases if case.network == name]
        say(f"{name}: preparing")
        prepared = _prepare(build(name), own[0].inputs()[:1])
        for case in own:
            say(f"{name}, batch {case.batch}, {case.pixels} pixels: counting FLOPs and memory")
            result = _count(prepared, case)
            say(f"{name}, batch {case.batch}, {case.pixels} pixels: timing")
            _time(prepared, result, rounds, seconds)
            yield result
        del prepared  # or the next network's copies stand beside these


def _prepare(network: nn.Module, inputs: Tensor) -> _Prepared:
    """Prepare every method on a copy of the network, so that what one keeps does not look free for the next."""
    prepared = _Prepared({}, {}, {}, _building(copy.deepcopy(network), inputs))
    for contender in CONTENDERS:
        outcome = _attempt(contender, copy.deepcopy(network), inputs)
        if isinstance(outcome, str):
            prepared.refusals[contender] = outcome
        else:
            prepared.runs[contender], prepared.kept[contender] = outcome
    return prepared


def _building(network: nn.Module, inputs: Tensor) -> float:
    """Return how many seconds the first explanation takes longer than the second."""
    run, seconds = CONTENDERS[0].prepare(network), []
    for _ in range(2):
        began = time.perf_counter()
        run(inputs, TARGETS[:1])
        seconds.append(time.perf_counter() - began)
    return seconds[0] - seconds[1]


def _attempt(contender: Contender, network: nn.Module, inputs: Tensor) -> tuple[Run, int] | str:
    """Return a method ready for calls with the bytes it keeps, or what a peer said that refused the network."""

    def first_call() -> Run:
        run = contender.prepare(network)
        run(inputs, TARGETS[:1])
        return run

    try:
        return kept_bytes(first_call)
    except Exception as error:
        if not contender.peer:
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _count(prepared: _Prepared, case: Case) -> Result:
    """Count every method's FLOPs and bytes; it has then run on this case, so that timing finds it warm."""
    result = Result(case, {}, prepared.refusals, prepared.building)
    inputs = case.inputs()
    for contender, run in prepared.runs.items():
        kept = prepared.kept[contender]
        run(inputs[:1], TARGETS[:1])  # what is built for pictures of this size is not counted
        for count in _counts(contender, case):
            flops = count_flops(partial(run, inputs[:1], TARGETS[:count])) * case.batch
            peak = kept + peak_bytes(partial(run, inputs, TARGETS[:count]))
            result.costs[contender, count] = Cost(flops, peak, kept)
    return result


def _counts(contender: Contender, case: Case) -> tuple[int, ...]:
    """Return the numbers of targets per call: five at once only where one call takes five, and not gigabytes."""
    five = contender.many and (contender.lean or case.batch == 1)
    return (1, len(TARGETS)) if five else (1,)


def _time(prepared: _Prepared, result: Result, rounds: int, seconds: float) -> None:
    """Run all methods in rounds, each starting with another one, so that drift of the machine hits all alike.

    A method is called twice in its turn and the second call is timed: the first finds the caches as the others left
    them, who work on copies of the network, and takes up to a tenth longer.
    """
    inputs = result.case.inputs()
    keys = list(result.costs)
    start = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= rounds and time.perf_counter() - start > seconds:
            break
        turn = number * 2 % len(keys)
        for contender, count in keys[turn:] + keys[:turn]:
            run = partial(prepared.runs[contender], inputs, TARGETS[:count])
            gc.collect()
            run()
            began = time.perf_counter()
            run()
            result.costs[contender, count].seconds.append(time.perf_counter() - began)
