"""Attention and its gradient without the matrix of scores: blocks of it are computed, used and forgotten.

A block is `keys` sources by `queries` rows, held transposed (sources are its rows) in a buffer on the stack: softmax
runs down the columns, each of which is a lane of a vector register, and the products that read it take the rows of v, k
and q as they are. Only queries, and cotangents of the results, are transposed, for the products that make a block. All
that register tiles read has been copied to the stack: rows of one head are far apart in memory, and share few sets of
the cache.

    forward, for a block of queries:    s = k qT,  m' = max(m, s),  p = exp(s - m'),  l = l exp(m - m') + sum(p),
                                        y = y exp(m - m') + p v          in the end  y / l  and  lse = m + log(l)
    backward, for each lead, blocks of  p = exp(k qT - lse),  d = p (v gT - delta),
    sources times blocks of queries:    dv += p g,  dk += d q,  dq += dT k

Sources that no row of a block of queries sees are passed over, and within a block tiles that nobody sees. That is right
as long as each row sees something: else its weights are even, over all sources. So a forward block in which a row has
seen nothing is computed again, with nothing left out; `lse` tells the gradient of such rows.
"""

from __future__ import annotations

import math

from tgc.backends.loops.attention_frame import ONE, Frame, loop
from tgc.backends.loops.attention_grad import Backward
from tgc.backends.loops.axes import ZERO, ceil_div, unflatten
from tgc.backends.loops.ir import Const, Expr, If, Kernel, Let, Stmt, Store, Var
from tgc.backends.loops.pull import SCALAR, Pull
from tgc.ops.attention import attention
from tgc.passes.tiles import Shaped
from tgc.types import I64


def lower_attention(pull: Pull, name: str, target: Shaped) -> list[Kernel]:
    """The kernel of a region that is one attention or one gradient of it."""
    made = Forward if any(n.op is attention for n in pull.body.nodes) else Backward
    return [made(pull, name, target).kernel()]


class Forward(Frame):
    """A tile of work is a block of queries."""

    def kernel(self) -> Kernel:
        b = self.blocks
        self.wide = self.width(2)
        self.q, self.q_columns = self.local_queries("q", 0)
        self.k, self.v = (self.local(n, b.keys * self.width(k)) for n, k in (("k", 1), ("v", 2)))
        self.scores = self.local("scores", b.keys * b.queries)
        self.sums = self.local("sums", b.queries * self.wide)
        self.top, self.fresh, self.shift, self.decay, self.total = (
            self.local(name, b.queries) for name in ("top", "fresh", "shift", "decay", "total")
        )
        blocks = -(-self.shapes[0][-2] // b.queries)
        count = self.pull.integer("blocks", blocks)
        tile = Var("tile")
        body: list[Stmt] = [Let(v, x) for v, x in unflatten(self.lead, tile // count)]
        body += self.block_of_queries(tile % count)
        body += self.transposed(0, self.q, self.q_columns, self.scale)
        body.append(Let("open", ZERO))
        if self.trims:
            body.append(Let("again", ONE))
            again = [*self._sweep(), *self._blind()]
            body.append(loop("turn", 2, If(SCALAR.ge(Var("again"), ONE), tuple(again))))
        else:
            body += self._sweep()
        body += self._results()
        return self.finish(body, math.prod(a.size for a in self.lead) * blocks, 1)

    def _sweep(self) -> list[Stmt]:
        """Over all blocks of sources that the queries see, or, if `open`, over all."""
        b, r = self.blocks, Var("r")
        lo: Expr = ZERO
        hi: Expr = self.source
        if self.before is not None:
            lo = self.opened(SCALAR.maximum(Var("first") - self.before, ZERO), ZERO)
        if self.after is not None:
            end = Var("first") + Var("queries") + self.after
            hi = self.opened(SCALAR.minimum(end, self.source), self.source)
        none = self.number(0.0)
        begin = (Store(self.top, (r,), self.number(-math.inf)), Store(self.total, (r,), none))
        return [
            loop("r", b.queries, *begin),
            loop("r", b.queries * self.wide, Store(self.sums, (r,), none)),
            Let("begin", lo),
            Let("end", hi),
            loop("block", ceil_div(SCALAR.maximum(Var("end") - Var("begin"), ZERO), b.keys), *self._block()),
        ]

    def _block(self) -> list[Stmt]:
        b, r = self.blocks, Var("r")
        at = Var("j") * b.queries + r
        score, fresh, shift = (self.load(x, i) for x, i in ((self.scores, at), (self.fresh, r), (self.shift, r)))
        top, total, decay = (self.load(x, r) for x in (self.top, self.total, self.decay))
        nothing = SCALAR.eq(fresh, self.number(-math.inf))  # yet: a shift by it would leave NaN
        weight = Store(self.scores, (at,), SCALAR.exp(SCALAR.sub(score, shift)))
        wide = self.wide
        place = Var("r") * wide + Var("d")
        return [
            Let("key", Var("begin") + Var("block") * b.keys),
            Let("keys", SCALAR.minimum(Const(b.keys, I64), Var("end") - Var("key"))),
            self.copied(1, "key", "keys", self.k),
            loop("r", b.queries, Store(self.fresh, (r,), top)),
            self.key_tiles(
                self.scored(self.k, 1, self.q_columns, self.scores),
                self.each_key(
                    *self.hidden(self.scores, lambda _: self.low),
                    *self.each_query(Store(self.fresh, (r,), SCALAR.maximum(fresh, score))),
                ),
            ),
            loop(
                "r", b.queries,
                Store(self.shift, (r,), SCALAR.select(nothing, self.number(0.0), fresh)),
                Store(self.decay, (r,), SCALAR.exp(SCALAR.sub(top, shift))),
                Store(self.total, (r,), SCALAR.mul(total, decay)),
                Store(self.top, (r,), fresh),
            ),
            self.key_tiles(
                self.each_key(
                    *self.outside(self.scores),
                    *self.each_query(weight, Store(self.total, (r,), SCALAR.add(total, score))),
                ),
            ),
            loop(
                "r", Var("queries"),
                loop("d", wide, Store(self.sums, (place,), SCALAR.mul(self.load(self.sums, place), decay))),
            ),
            self.copied(2, "key", "keys", self.v),
            loop(
                "t", ceil_div(Var("queries"), b.rows),
                Let("at", Var("t") * b.rows),
                *self.weighted(self.scores, self.v, 2, self.sums, by_query=True, first=Var("at")),
            ),
        ]  # fmt: skip

    def _blind(self) -> list[Stmt]:
        """Whether some row has seen nothing; then it is all done again."""
        low = SCALAR.lt(self.load(self.top, Var("r")), self.half_low)
        return [
            Let("blind", ZERO),
            loop("r", Var("queries"), Let("blind", SCALAR.maximum(Var("blind"), SCALAR.select(low, ONE, ZERO)))),
            Let("again", Var("blind") * (ONE - Var("open"))),
            Let("open", ONE),
        ]

    def _results(self) -> list[Stmt]:
        y, lse = self.results
        n, r, d = len(self.node.operands), Var("r"), Var("d")
        query, total = Var("first") + r, self.load(self.total, r)
        made: list[Stmt] = []
        if y is not None:
            share = SCALAR.mul(self.load(self.sums, r * self.wide + d), Var("share", self.dtype))
            row = loop("d", self.out, Store(y, self.index(n, query, d), share))
            made.append(loop("r", Var("queries"), Let("share", SCALAR.div(self.number(1.0), total)), row))
        if lse is not None:
            put = Store(lse, self.index(n + 1, query), SCALAR.add(SCALAR.log(total), self.load(self.shift, r)))
            made.append(loop("r", Var("queries"), put))
        return made
