"""This module is the line of the magic: its words, its options, and the values of `--map`."""

from __future__ import annotations

import builtins
import itertools
import keyword
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from compute_nb.notebook.line.manner import Manner
from compute_nb.notebook.refusal import CellRefused, kind_of, nearest

if TYPE_CHECKING:
    from compute_nb.notebook.body.cell import CellBody

_OPEN, _CLOSE = "([{", ")]}"
_OURS = frozenset({"In", "Out", "get_ipython", "exit", "quit", "_compute"})


@dataclass(frozen=True, slots=True)
class Options:
    """What stands on the line of `%%compute`.

    Attributes:
        maps: For each `--map`: its names and its expression.
        wait: None if neither `-w` nor `--no-wait` was said.
        retries: None if not said.
        command: "shell" or "mpi" if the body is a command, "" if it is Python.
        check: Whether an exit code that is not 0 is a failure.
        new: Whether it is submitted though the same still goes on.
        dry_run: Whether only the pre-flight report is wanted.
    """

    endpoint: str | None
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    maps: tuple[tuple[tuple[str, ...], str], ...]
    wait: bool | None
    retries: int | None
    label: str
    manner: Manner = field(default_factory=Manner)
    command: str = ""
    check: bool = False
    dry_run: bool = False
    new: bool = False


def words(line: str) -> list[str]:
    """Splits a line at blanks outside quotes and brackets; a comment ends it, outer quotes are taken off.

    Raises:
        CellRefused: A quote or bracket is not closed.
    """
    found: list[str] = []
    word, depth, quote, begun = "", 0, "", False
    for character in line:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and not depth and not word:
            break
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        if character.isspace() and not quote and depth <= 0:
            if begun:
                found.append(_unquoted(word))
            word, begun = "", False
        else:
            word, begun = word + character, True
    if quote or depth > 0:
        raise CellRefused(f"`{line.strip()}`: a {'quote' if quote else 'bracket'} is not closed")
    return _joined([*found, _unquoted(word)] if begun else found)


def _joined(found: list[str]) -> list[str]:
    """Joins `a,` and `b` to `a,b`, as people write lists."""
    joined: list[str] = []
    for word in found:
        if joined and joined[-1].endswith(","):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _unquoted(word: str) -> str:
    for quote in "'\"":
        if len(word) >= 2 and word[0] == quote == word[-1] and quote not in word[1:-1]:
            return word[1:-1]
    return word


def names_of(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Returns the names in comma-separated options.

    Raises:
        CellRefused: One is no name that a notebook can bind.
    """
    names = [as_python(name) for text in given for name in text.split(",") if name.strip()]
    for name in names:
        check_name(name, option)
    return tuple(dict.fromkeys(names))


def as_python(name: str) -> str:
    """Returns a name as Python binds it: two spellings of one identifier are one name."""
    return unicodedata.normalize("NFKC", name.strip())


def check_name(name: str, option: str) -> None:
    """Returns if a notebook can bind `name`.

    Raises:
        CellRefused: It can't.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise CellRefused(f"`{option} {name}`: that is no name that Python can bind")
    if name in _OURS or (name.startswith("__") and name.endswith("__")):
        raise CellRefused(f"`{option} {name}`: that name is IPython's or ours: choose another one")


def split_map(text: str) -> tuple[tuple[str, ...], str]:
    """Returns names and expression of one `--map`.

    Raises:
        CellRefused: It is not NAME=EXPR.
    """
    left, found, expression = text.partition("=")
    if not found or not expression.strip():
        raise CellRefused(f"`--map {text}`: write NAME=EXPR, as in `--map seed=range(40)`")
    names = names_of([left], "--map")
    if len(names) != len([name for name in left.split(",") if name.strip()]):
        raise CellRefused(f"`--map {text}`: a name stands twice in it, each needs a value of its own")
    return names, _bare_expression(expression.strip())


def _bare_expression(text: str) -> str:
    """Takes quotes off that were meant for a shell: `n="[1, 2]"`; `'abc'` stays the text that it is."""
    inner = _unquoted(text)
    return inner if any(bracket in inner for bracket in _OPEN) else text


def check(options: Options, body: CellBody) -> None:
    """Returns if the names on the line fit each other and the body.

    Raises:
        CellRefused: They don't.
    """
    swept = [name for names, _ in options.maps for name in names]
    named = [options.name] if options.name else []
    everyone = [*named, *options.outputs, *swept]
    for name in everyone:
        if everyone.count(name) > 1:
            raise CellRefused(f"`{name}` stands twice among -n, -o and -m: each needs a name of its own")
    for name in options.outputs:
        if name not in body.binds and not body.open_ended:
            raise CellRefused(
                f"`-o {name}`: the cell never binds `{name}`"
                f"{nearest(name, body.binds) or f': write `{name} = ...` in it'}"
            )


def shadowed(name: str, namespace: Mapping[str, Any]) -> str:
    """Returns a note if binding `name` hides a module or a builtin, "" if not."""
    if isinstance(namespace.get(name), ModuleType):
        module = namespace[name].__name__
        return f"`-n {name}`: `{name}` was the module `{module}`; import it again to have it back"
    if name and name not in namespace and hasattr(builtins, name):
        return f"`-n {name}`: `{name}` hides Python's own `{name}` now; `del {name}` gives it back"
    return ""


def points(
    maps: Sequence[tuple[tuple[str, ...], str]], evaluate: Callable[[str], Any], max_tasks: int
) -> list[dict[str, Any]]:
    """Returns each task's own values: the product of all `--map`, the last name varying fastest.

    Raises:
        CellRefused: An expression fails, is no list of values, or gives too many tasks.
    """
    axes = [[dict(point) for point in _axis(names, text, evaluate, max_tasks)] for names, text in maps]
    total = 1
    for axis in axes:
        total *= len(axis)
    if total > max_tasks:
        raise CellRefused(
            f"`--map` gives {total:,} tasks, at most {max_tasks:,} are allowed: let one task do "
            "several values, or raise `%config ComputeMagics.max_tasks`"
        )
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes)]


def _axis(
    names: tuple[str, ...], text: str, evaluate: Callable[[str], Any], max_tasks: int
) -> Iterator[dict[str, Any]]:
    try:
        values = evaluate(text)
    except Exception as error:  # noqa: BLE001 - the user's expression may raise anything
        raise CellRefused(f"`--map {','.join(names)}={text}`: {type(error).__name__}: {error}") from None
    for count, value in enumerate(_elements(values, f"`--map {','.join(names)}={text}`")):
        if count >= max_tasks:
            raise CellRefused(
                f"`--map {text}` gives more than {max_tasks:,} tasks, the most that are allowed: take a "
                "part of it, or raise `%config ComputeMagics.max_tasks`"
            )
        yield _named(names, value, text)


def _elements(values: Any, told: str) -> Iterable[Any]:
    if isinstance(values, str | bytes):
        raise CellRefused(f"{told} is text: write a list, as in `['a', 'b']`")
    if isinstance(values, Mapping):
        raise CellRefused(f"{told} is a dict: write `list(d)`, `d.values()` or `a,b=d.items()`")
    if hasattr(values, "iterrows"):
        # A row of one dtype would make floats of the integers beside them.
        alike = len(set(values.dtypes)) <= 1
        return [row for _, row in (values if alike else values.astype(object)).iterrows()]
    try:
        return cast("Iterable[Any]", iter(values))
    except TypeError:
        raise CellRefused(f"{told} is {kind_of(values)}: write a list of values, one for each task") from None


def _named(names: tuple[str, ...], value: Any, text: str) -> dict[str, Any]:
    if len(names) == 1:
        return {names[0]: value}
    try:
        parts = list(value)
    except TypeError:
        parts = [value]
    if len(parts) != len(names):
        raise CellRefused(
            f"`--map {','.join(names)}={text}`: {value!r} can't be unpacked to {len(names)} names"
        )
    return dict(zip(names, parts, strict=True))
