"""Regular expressions of ONNX models: RE2's syntax, and never more than linear time."""

from __future__ import annotations

import random
import re
import time

import numpy as np
import pytest

pytest.importorskip("onnx")

from tgc.frontends.onnx.errors import OnnxError
from tgc.frontends.onnx.ops.text import regex_full_match
from tgc.frontends.onnx.regex import MOST_DEPTH, Regex, RegexError

MATCHES: dict[str, tuple[str, str]] = {  # pattern -> texts that match and that do not, separated by spaces
    r"a|bc|": ("a bc", "ab b abc"),
    r"www\.[\w.-]+\.\bcom\b": ("www.google.com www.a-b.c.com", "www.google.comx www..co"),
    r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)": (
        "account@gmail.com @yahoo.com-",
        "account@hotmail.com",
    ),
    r"(?P<year>\d{4})-(?<month>\d\d)": ("2024-07", "2024-7 ٢٠٢٤-07"),
    r"[^a-c\d]+": ("xyz - é", "xa 1 ax"),
    r"[[:upper:][:digit:]_-]*": ("A_1-B", "a A+"),
    r"[]a]+": ("]a a]", "[ b"),
    r"[a\]-]+": ("a-] -", "b \\"),
    r"[\w-a]+": ("a-b -", "` ,"),
    r"[+--]+": ("+,- ,", ". *"),
    r"x{2}y{1,}z{0,2}?": ("xxy xxyyzz", "xy xxz xxyzzz"),
    r"a{,2}": ("a{,2}", "a aa"),
    r"(?i)straße|ÄB": ("STRAßE äb", "strasse a"),
    r"(?i:a)b(?-i:c)": ("Abc abc", "ABC abC"),
    r"a(?i)b|c": ("aB C c", "Ab d"),
    r"\Q.*\E+": (".* .**", "ab .."),
    r"(a*)*|(b|)+": ("aaa bb", "ab c"),
    r"\Aa\b\z": ("a", "ab"),
    r"\x41\x{e9}\.": ("Aé.", "Aéx"),
    r"a.c": ("abc aéc", "ac abbc"),
    r"(ab|c(?:d|e))?f": ("f abf cef", "abcf cf"),
    r"(?:(?:(?:a{9}){9}){9})": ("a" * 729, "a" * 728),
}


@pytest.mark.parametrize("pattern", MATCHES)
def test_what_matches(pattern: str) -> None:
    regex = Regex(pattern)
    yes, no = (texts.split(" ") for texts in MATCHES[pattern])
    assert [t for t in yes if not regex.matches(t)] == []
    assert [t for t in no if regex.matches(t)] == []


def test_lines() -> None:
    """`$` is the end of the text, and `.` no newline, unless flags say so."""
    found = {p: [Regex(p).matches(t) for t in ("a", "a\n", "a\nb")] for p in ("a$", "(?s)a.*", "a.*", "(?m)a$\n^b")}
    assert found == {
        "a$": [True, False, False],
        "(?s)a.*": [True, True, True],
        "a.*": [True, False, False],
        "(?m)a$\n^b": [False, False, True],
    }


REFUSED = {
    r"(a)\1": "refers to a group",
    r"a(?=b)": "looks ahead",
    r"(?<!a)b": "looks ahead or behind",
    r"(?>a)": "RE2 does not know",
    r"a++": "repeats what is repeated",
    r"a**": "repeats what is repeated",
    r"a{2}{3}": "repeats what is repeated",
    r"*a": "repeats nothing",
    r"(a": "lacks a parenthesis",
    r"a)": "a parenthesis too much",
    r"[a": "lacks a bracket",
    r"[b-a]": "is none",
    r"[[:wrong:]]": "not known",
    r"\y": "no meaning",
    "\\": "no meaning",
    r"a{1001}": "1000",
    r"a{3,2}": "repeats from",
    r"\x{110000}": "a character that there is not",
    r"((a{1000}){1000}){1000}": "steps",
    "(" * 5000 + ")" * 5000: f"more than {MOST_DEPTH} deep",
    "|".join(["abcdefgh"] * 10_000): "steps",
    "|" * 1_000_000: "steps",
    r"\Q" + "a" * 1_000_000: "steps",
}


@pytest.mark.parametrize("pattern", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(RegexError, match=REFUSED[pattern]):
        Regex(pattern)
    with pytest.raises(OnnxError, match="RegexFullMatch"):
        regex_full_match(np.array(["a"], object), pattern=pattern)


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a|aa)+b", r"(a*)*b", r"(.*)*x", r"(a?){30}a{30}b", r"([a-z]+)*\."])
def test_hostile_patterns_end(pattern: str) -> None:
    """Those for which backtracking takes time exponential in the text."""
    begin = time.process_time()
    regex = Regex(pattern)
    assert not regex.matches("a" * 2000)
    assert time.process_time() - begin < 60  # a billion years otherwise


def test_random_patterns_match_as_python_says() -> None:
    rng = random.Random(0)

    def drawn(depth: int) -> str:
        kind = rng.randrange(9 if depth else 4)
        if kind < 4:
            return rng.choice(["a", "b", ".", "[ab]", "[^a]", r"\b", r"\w", "^", r"\."])
        inner = drawn(depth - 1)
        if kind < 6:
            return inner + drawn(depth - 1)
        if kind == 6:
            return f"(?:{inner}|{drawn(depth - 1)})"
        return f"(?:{inner}){rng.choice(['*', '+', '?', '{2}', '{1,3}', '*?', '{0,}'])}"

    texts = ["".join(rng.choice("ab.") for _ in range(rng.randrange(7))) for _ in range(40)]
    for _ in range(300):
        pattern = drawn(4)
        regex, python = Regex(pattern), re.compile(pattern, re.ASCII)
        assert [regex.matches(t) for t in texts] == [python.fullmatch(t) is not None for t in texts], pattern
