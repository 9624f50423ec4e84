"""Structures of arguments and results (pytrees) as JSON, and back.

    leaf = "*"      tuple = {"tuple": [...]}      dict        = {"dict": [[key, ...], ...]}
    None = null     list  = {"list": [...]}       OrderedDict = {"OrderedDict": [[key, ...], ...]}

Keys of dictionaries are strings, integers, floats or booleans.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import optree

from tgc.errors import ArtifactError, TraceError

LEAF = "*"


def to_json(structure: optree.PyTreeSpec, what: str) -> Any:
    """The structure of `what` as data for JSON.

    Raises:
        TraceError: it holds containers of other types, which a reader may not have.
    """
    return _encoded(optree.tree_unflatten(structure, [_Leaf] * structure.num_leaves), what)


def from_json(data: Any) -> optree.PyTreeSpec:
    """The structure that `to_json` wrote.

    Raises:
        ArtifactError: the data are none.
    """
    return optree.tree_structure(_decoded(data))


def result_names(structure: optree.PyTreeSpec) -> list[str]:
    """A name for each result: its place in what the function returns, or `result` if that is all."""
    return [".".join(map(str, path)) or "result" for path in optree.treespec_paths(structure)]


class _Leaf:
    """What stands for a leaf."""


def _encoded(tree: Any, what: str) -> Any:
    if tree is None or tree is _Leaf:
        return None if tree is None else LEAF
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_encoded(item, what) for item in tree]}
    if type(tree) in (dict, OrderedDict) and all(type(key) in (str, int, float, bool) for key in tree):
        return {type(tree).__name__: [[key, _encoded(item, what)] for key, item in tree.items()]}
    raise TraceError(
        f"{what} hold a {type(tree).__name__}: a file can hold tuples, lists and dictionaries with keys that are "
        "strings or numbers"
    )


def _decoded(data: Any) -> Any:
    match data:
        case None:
            return None
        case "*":
            return 0
        case {"tuple": list(items), **rest} if not rest:
            return tuple(map(_decoded, items))
        case {"list": list(items), **rest} if not rest:
            return list(map(_decoded, items))
        case {"dict": list(items), **rest} if not rest and _are_pairs(items):
            return {key: _decoded(item) for key, item in items}
        case {"OrderedDict": list(items), **rest} if not rest and _are_pairs(items):
            return OrderedDict((key, _decoded(item)) for key, item in items)
    raise ArtifactError(f"a structure of arguments or results is {data!r:.60}")


def _are_pairs(items: list[Any]) -> bool:
    return all(isinstance(i, list) and len(i) == 2 and isinstance(i[0], str | int | float) for i in items)
