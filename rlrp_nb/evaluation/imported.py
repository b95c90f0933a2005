"""Which files of the user's a function reads by importing within itself: told without importing anything."""

from __future__ import annotations

import ast
import hashlib
import sys
from contextlib import suppress
from dis import get_instructions
from importlib.machinery import PathFinder
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

from rlrp_nb.engine.marks import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

_VERSIONED = sys.stdlib_module_names | {"rlrp_nb"}


def files_imported_within(code: CodeType, package: str | None) -> list[tuple[str, str]]:
    """Return the modules that code may import when it is run, and those that these import, with digests of their files.

    Whether they are loaded already makes no difference. Of a library's its version tells, so that they are left out.

    Parameters
    ----------
    code
        Of a function.
    package
        Of the module in which it is written.
    """
    found: dict[str, str] = {}
    ahead = [*_named_in(code, package)]
    while ahead:
        name = ahead.pop()
        spec = None if name in found else _spec_of(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        with suppress(OSError, SyntaxError, ValueError):
            source = Path(spec.origin).read_bytes()
            found[name] = hashlib.sha256(source).hexdigest()
            ahead += _named_by(ast.parse(source), spec.parent)
    return sorted(found.items())


def _named_in(code: CodeType, package: str | None) -> Iterator[str]:
    steps = [step for step in get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, parts, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            yield from _paths("." * level.argval + step.argval, parts.argval or (), package)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _named_in(part, package)


def _named_by(tree: ast.Module, package: str | None) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _paths(alias.name, (), package)
        elif isinstance(node, ast.ImportFrom):
            yield from _paths("." * node.level + (node.module or ""), [alias.name for alias in node.names], package)


def _paths(name: str, parts: Sequence[str], package: str | None) -> Iterator[str]:
    """Yield the modules that an import may load: the one it names, those around it, and what it takes from it."""
    with suppress(ImportError, ValueError):  # as a relative import outside of a package
        whole = resolve_name(name, package) if name.startswith(".") else name
        above = whole.split(".")
        yield from (".".join(above[: n + 1]) for n in range(len(above)))
        yield from (f"{whole}.{part}" for part in parts)


def _spec_of(name: str) -> ModuleSpec | None:
    """Find a module of the user's as Python would, by its file alone."""
    path, spec, above = None, None, name.split(".")
    if above[0] in _VERSIONED:
        return None
    for n in range(len(above)):
        spec = PathFinder.find_spec(".".join(above[: n + 1]), path)
        if spec is None or (spec.origin is not None and is_installed(Path(spec.origin))):
            return None
        path = spec.submodule_search_locations
    return spec
