"""The page: data, program and style in one HTML file."""

from __future__ import annotations

import html
import json
from importlib import resources

from tgc.view.model import Model

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; worker-src blob:; img-src data:"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title} · tgc</title>
</head>
<body>
<noscript>The explorer is a program: it needs JavaScript.</noscript>
<script id="model" type="application/json">{data}</script>
<script>{program}</script>
</body>
</html>
"""


def page(model: Model) -> str:
    """The explorer of a model, as HTML that needs nothing else.

    The page may ask nothing of any server, and texts of the model are only ever text in it.
    """
    program = resources.files("tgc.view").joinpath("explorer.js").read_text(encoding="utf-8")
    return _PAGE.format(policy=_POLICY, title=html.escape(model.name), data=_inert(model.data()), program=program)


def _inert(data: object) -> str:
    """JSON in which nothing ends a script or begins a tag or comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
