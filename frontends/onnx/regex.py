"""Regular expressions in RE2's syntax, which ONNX prescribes, matched in time linear in the text.

A pattern becomes the instructions of a nondeterministic automaton, and the sets of instructions at which it can be
become the states of a deterministic one as texts ask for them. Nothing backtracks: a pattern of a file that is not
trusted takes no longer than any other. What only backtracking can match (references to groups, assertions about what
follows) RE2 has not, and is refused.

The syntax: https://github.com/google/re2/wiki/Syntax. Thompson, "Regular expression search algorithm" (1968).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

MOST_REPEATS = 1000  # as RE2 has it
MOST_STEPS = 20_000  # instructions of a pattern
MOST_DEPTH = 100  # groups in groups
MOST_MOVES = 50_000  # of the deterministic automaton that are remembered

_PERL = {
    "d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r ", "D": r"\x00-/:-\U0010ffff",
    "W": r"\x00-/:-@\[-\^`{-\U0010ffff", "S": r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff",
}  # fmt: skip
_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t-\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REPEAT = re.compile(r"\{(\d{1,9})(?:(,)(\d{1,9})?)?\}", re.ASCII)
_GROUP = re.compile(r"\?(?:P?<([A-Za-z_]\w*)>|([imsU]*)(?:-([imsU]+))?([:)]))", re.ASCII)
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")

_WORD = re.compile(r"\w", re.ASCII)


class RegexError(ValueError):
    """A pattern is none, or asks for what RE2 refuses."""


Around: TypeAlias = tuple[str | None, str | None]  # the characters before and after a place; None at an end of the text


class _Step(NamedTuple):
    """An instruction: go on at any of `next`, if what is around, or for `takes` the character that follows, fits."""

    next: tuple[int, ...] = ()
    takes: Callable[[str], object] | None = None
    fits: Callable[[Around], bool] | None = None


def _is_word(c: str | None) -> bool:
    return c is not None and _WORD.match(c) is not None


def _bounded(around: Around) -> bool:
    return _is_word(around[0]) != _is_word(around[1])


_ANCHORS: dict[str, Callable[[Around], bool]] = {
    r"\A": lambda around: around[0] is None,
    r"\z": lambda around: around[1] is None,
    "^": lambda around: around[0] in (None, "\n"),
    "$": lambda around: around[1] in (None, "\n"),
    r"\b": _bounded,
    r"\B": lambda around: not _bounded(around),
}


class _Parser:
    """Recursive descent. A part is a list of instructions whose numbers count from its first; `len` is its end."""

    def __init__(self, pattern: str) -> None:
        self.text, self.at, self.depth = pattern, 0, 0

    def fail(self, reason: str) -> RegexError:
        return RegexError(f"the pattern {self.text!r:.200} {reason}, at character {self.at}")

    def more(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def branches(self, flags: frozenset[str]) -> list[_Step]:
        """Alternatives up to the end, or to a parenthesis."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self.fail(f"nests groups more than {MOST_DEPTH} deep")
        found: list[list[_Step]] = []
        size = 0
        while not found or self.more() == "|":
            self.at += bool(found)
            part, flags = self.sequence(flags)
            found.append(part)
            size += len(part) + 1
            self.check(size)
        made = found[0]
        if len(found) > 1:  # first where each begins, behind each where all end
            begins = list(itertools.accumulate((len(part) + 1 for part in found), initial=1))
            made = [_Step(tuple(begins[:-1]))]
            for part, begin in zip(found, begins, strict=False):
                made += [*_moved(part, begin), _Step((begins[-1],))]
        self.depth -= 1
        return made

    def sequence(self, flags: frozenset[str]) -> tuple[list[_Step], frozenset[str]]:
        """Parts one after the other, and the flags behind them."""
        made: list[_Step] = []
        while self.more() not in ("", "|", ")"):
            part: list[_Step] | None
            if self.text.startswith(r"\Q", self.at):
                end = self.text.find(r"\E", self.at)
                quoted = self.text[self.at + 2 : end if end >= 0 else None]
                self.at = end + 2 if end >= 0 else len(self.text)
                self.check(len(made) + len(quoted))
                for c in quoted[:-1]:
                    made += _moved(_taking(re.escape(c), flags), len(made))
                if not quoted:
                    continue
                part = _taking(re.escape(quoted[-1]), flags)  # alone repeated by what follows
            elif self.more() == "(":
                part, flags = self.group(flags)
            else:
                part = self.atom(flags)
            if part is not None:
                part = self.repeated(part)
                self.check(len(made) + len(part))
                made += _moved(part, len(made))
        return made, flags

    def check(self, size: int) -> None:
        if size > MOST_STEPS:
            raise self.fail(f"has more than {MOST_STEPS} steps")

    def group(self, flags: frozenset[str]) -> tuple[list[_Step] | None, frozenset[str]]:
        """A group; or nothing, and other flags for what follows."""
        self.at += 1
        inner = flags
        if self.more() == "?":
            found = _GROUP.match(self.text, self.at)
            if found is None:
                raise self.fail("looks ahead or behind, or has a group that RE2 does not know")
            name, on, off, end = found.groups()
            self.at = found.end()
            if name is None:
                inner = (flags | set(on or "")) - set(off or "")
            if end == ")":
                return None, inner
        made = self.branches(inner)
        if self.more() != ")":
            raise self.fail("lacks a parenthesis")
        self.at += 1
        return made, flags

    def repeated(self, part: list[_Step]) -> list[_Step]:
        """A part as often as what follows it says."""
        mark = self.more()
        found = _REPEAT.match(self.text, self.at)
        if found is None and (not mark or mark not in "*+?"):
            return part
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(mark, (0, 0))
        if found is not None:
            least = int(found[1])
            most = (int(found[3]) if found[3] else None) if found[2] else least
            if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
                raise self.fail(f"repeats from {least} to {most} times; at most {MOST_REPEATS} are allowed")
        self.at += len(found[0]) if found is not None else 1
        if self.more() == "?":  # the fewest first: the same texts match as a whole
            self.at += 1
        if (self.more() and self.more() in "*+?") or _REPEAT.match(self.text, self.at):
            raise self.fail("repeats what is repeated")
        made: list[_Step] = []
        self.check((len(part) + 1) * max(least, most or 0, 1))
        for _ in range(least):
            made += _moved(part, len(made))
        if most is None:
            begin = len(made)
            made += [_Step((begin + 1, begin + len(part) + 2)), *_moved(part, begin + 1), _Step((begin,))]
        else:
            end = len(made) + (most - least) * (len(part) + 1)
            for _ in range(most - least):
                made += [_Step((len(made) + 1, end)), *_moved(part, len(made) + 1)]
        return made

    def atom(self, flags: frozenset[str]) -> list[_Step]:
        """What takes one character, or none."""
        c = self.more()
        if c in ("*", "+", "?"):
            raise self.fail("repeats nothing")
        if c in ("^", "$"):
            self.at += 1
            return [_Step((1,), fits=_ANCHORS[c if "m" in flags else {"^": r"\A", "$": r"\z"}[c]])]
        if c == ".":
            self.at += 1
            return _taking(r"[\x00-\U0010ffff]" if "s" in flags else r"[^\n]", frozenset())
        if (anchor := self.text[self.at : self.at + 2]) in _ANCHORS:
            self.at += 2
            return [_Step((1,), fits=_ANCHORS[anchor])]
        if c == "[":
            return _taking(self.characters(), flags)
        if c == "\\":
            found = self.escape()
            return _taking(f"[{found}]", flags)
        self.at += 1
        return _taking(re.escape(c), flags)

    def characters(self) -> str:
        """A class in brackets, as Python writes it."""
        self.at += 1
        made = ["["]
        if self.more() == "^":
            self.at += 1
            made.append("^")
        first = alone = True  # whether a hyphen here is one, and no range
        while first or self.more() != "]":
            c = self.more()
            if not c:
                raise self.fail("lacks a bracket")
            if self.text.startswith("[:", self.at) and (end := self.text.find(":]", self.at)) > 0:
                name = self.text[self.at + 2 : end]
                if name not in _POSIX:
                    raise self.fail(f"names the class {name!r:.40}, which is not known")
                made.append(_POSIX[name])
                self.at, alone = end + 2, True
            elif c == "\\":
                made.append(self.escape())
                alone = made[-1] in _PERL.values()
            else:
                alone = alone or self.text[self.at + 1 : self.at + 2] == "]"
                made.append("-" if c == "-" and not alone else re.escape(c))
                self.at, alone = self.at + 1, False
            first = False
        self.at += 1
        return "".join([*made, "]"])

    def escape(self) -> str:
        """What an escape stands for, as it is written in a class of Python's."""
        self.at += 1
        c = self.more()
        if c in _PERL:
            self.at += 1
            return _PERL[c]
        if c == "x" and (found := _HEX.match(self.text, self.at)):
            code = int(found[1] or found[2], 16)
            if code > 0x10FFFF:
                raise self.fail("names a character that there is not")
            self.at = found.end()
            return re.escape(chr(code))
        if c in _CONTROLS:
            self.at += 1
            return re.escape(_CONTROLS[c])
        if c and not c.isalnum() and c.isascii():
            self.at += 1
            return re.escape(c)
        raise self.fail("refers to a group" if c.isdigit() else f"escapes {c!r}, which has no meaning here")


def _taking(text: str, flags: frozenset[str]) -> list[_Step]:
    """What takes a character of a class, which is a pattern of Python's."""
    try:
        return [_Step((1,), takes=re.compile(text, re.IGNORECASE if "i" in flags else 0).match)]
    except re.error as error:
        raise RegexError(f"the class {text!r:.200} is none: {error}") from error


def _moved(steps: list[_Step], by: int) -> list[_Step]:
    return [s._replace(next=tuple(n + by for n in s.next)) for s in steps]


class Regex:
    """A pattern, ready to match.

    Raises:
        RegexError: it is no pattern, or too large.
    """

    def __init__(self, pattern: str) -> None:
        parser = _Parser(pattern)
        self._steps = parser.branches(frozenset())
        if parser.more():
            raise parser.fail("has a parenthesis too much")
        self._moves: dict[tuple[frozenset[int], object, str | None], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Whether the whole of a text matches."""
        places, before = frozenset({0}), None
        for c in text:
            places = self._move(places, before, c)
            if not places:
                return False
            before = c
        return len(self._steps) in self._move(places, before, None)

    def _move(self, places: frozenset[int], before: str | None, c: str | None) -> frozenset[int]:
        """Where the automaton is behind a character; at the end of the text, where it can be there."""
        key = places, before if before is None or before == "\n" else _is_word(before), c
        found = self._moves.get(key)
        if found is None:
            if len(self._moves) >= MOST_MOVES:
                self._moves.clear()
            reached = self._reached(places, (before, c))
            steps = [(n, self._steps[n]) for n in reached if n < len(self._steps)]
            taken = (s.next for _, s in steps if c is not None and s.takes is not None and s.takes(c))
            found = frozenset(reached) if c is None else frozenset(n for next in taken for n in next)
            self._moves[key] = found
        return found

    def _reached(self, places: frozenset[int], around: Around) -> set[int]:
        """The instructions that take characters, and the end, to which it can go without one."""
        seen: set[int] = set()
        waiting = list(places)
        while waiting:
            n = waiting.pop()
            if n in seen:
                continue
            seen.add(n)
            step = self._steps[n] if n < len(self._steps) else _Step()
            if step.takes is None and (step.fits is None or step.fits(around)):
                waiting.extend(step.next)
        return seen
