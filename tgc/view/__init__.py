"""The explorer: a compiled model as one self-contained web page, with all its stages, kernels, memory and profile.

    tgc.jit(f).lower(*args).view()                          # serves the page and opens it
    Path("f.html").write_text(page(Model.of(lowered)))      # the same as a file

The page asks nothing of the network. Its program, `explorer.js`, is built from `web/` (`npm run build` there) and
committed, so that installing tgc needs no Node.
"""

from tgc.view.model import Model
from tgc.view.page import page
from tgc.view.serve import serve

__all__ = ["Model", "page", "serve"]
