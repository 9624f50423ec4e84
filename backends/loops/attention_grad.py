"""The kernel of attention's gradient; see `attention.py`."""

from __future__ import annotations

import math

from tgc.backends.loops.attention_frame import ONE, Frame, loop
from tgc.backends.loops.axes import ZERO, ceil_div, unflatten
from tgc.backends.loops.ir import Const, Expr, If, Kernel, Let, Load, Stmt, Store, Var
from tgc.backends.loops.pull import SCALAR
from tgc.types import I64


class Backward(Frame):
    """A tile of work is all of one lead: its sources in blocks, times blocks of queries."""

    def kernel(self) -> Kernel:
        b = self.blocks
        size = b.keys * b.queries
        self.q, self.q_columns = self.local_queries("q", 0)  # times the scale, both of them
        self.g, self.g_columns = self.local_queries("g", 2)
        self.k, self.v = (self.local(n, b.keys * self.width(k)) for n, k in (("k", 1), ("v", 2)))
        self.weights, self.slopes = self.local("weights", size), self.local("slopes", size)
        self.dk, self.dv = (self.local(n, b.keys * self.width(k)) for n, k in (("dk", 1), ("dv", 2)))
        self.dq = self.local("dq", b.rows * self.width(1))
        self.lse, self.fill, self.delta = (self.local(n, b.queries) for n in ("lse", "fill", "delta"))
        body: list[Stmt] = [Let(v, x) for v, x in unflatten(self.lead, Var("tile"))]
        body += self._zero_dq()
        body.append(loop("block", ceil_div(self.source, b.keys), *self._block()))
        return self.finish(body, math.prod(a.size for a in self.lead), 2)

    def _zero_dq(self) -> list[Stmt]:
        dq = self.results[0]
        if dq is None:
            return []
        put = Store(dq, self.index(len(self.node.operands), Var("i"), Var("d")), self.number(0.0))
        return [loop("i", self.time, loop("d", self.dim, put))]

    def _block(self) -> list[Stmt]:
        """A block of sources."""
        b = self.blocks
        blank = [
            loop("d", b.keys * self.width(k), Store(x, (Var("d"),), self.number(0.0)))
            for k, x in ((1, self.dk), (2, self.dv))
        ]
        return [
            Let("key", Var("block") * b.keys),
            Let("keys", SCALAR.minimum(Const(b.keys, I64), self.source - Var("key"))),
            self.copied(1, "key", "keys", self.k),
            self.copied(2, "key", "keys", self.v),
            *blank,
            loop("turn", ceil_div(self.time, b.queries), *self._pair()),
            *self._results(),
        ]

    def _pair(self) -> list[Stmt]:
        """A block of sources and a block of queries."""
        made = [*self.block_of_queries(Var("turn")), *self._rows()]
        sees: list[Expr] = []
        if self.after is not None:
            sees.append(SCALAR.ge(Var("first") + Var("queries") - 1 + self.after, Var("key")))
        if self.before is not None:
            sees.append(SCALAR.ge(Var("key") + Var("keys") - 1, Var("first") - self.before))
        if not sees:
            return [*made, *self._products()]
        some = sees[0] if len(sees) == 1 else SCALAR.bit_and(*sees)
        return [*made, If(SCALAR.bit_or(SCALAR.ge(Var("open"), ONE), some), tuple(self._products()))]

    def _rows(self) -> list[Stmt]:
        """lse, delta and the score of what is not seen, by which a row that sees nothing has even weights."""
        r, zero = Var("r"), self.number(0.0)
        lse = self.element(3, Var("first") + r)
        blind = SCALAR.bit_and(SCALAR.lt(lse, self.half_low), SCALAR.is_finite(lse))
        even = SCALAR.neg(SCALAR.log(SCALAR.cast(self.source, self.dtype)))
        inside: list[Stmt] = [
            Store(self.lse, (r,), SCALAR.select(blind, zero, lse)),
            Store(self.fill, (r,), SCALAR.select(blind, Var("even", self.dtype), self.low)),
            Store(self.delta, (r,), self.element(5, Var("first") + r)),
            Let("open", SCALAR.maximum(Var("open"), SCALAR.select(blind, ONE, ZERO))),
        ]
        beyond = [Store(x, (r,), zero) for x in (self.lse, self.fill, self.delta)]
        return [
            Let("open", ZERO),
            Let("even", even),
            loop("r", Var("queries"), *inside),
            loop("r", self.blocks.queries, *beyond, lo=Var("queries")),
        ]

    def _products(self) -> list[Stmt]:
        b, r = self.blocks, Var("r")
        at = Var("j") * b.queries + r
        weight, slope = self.load(self.weights, at), self.load(self.slopes, at)
        lse, delta = self.load(self.lse, r), self.load(self.delta, r)
        each = self.each_query(
            Store(self.weights, (at,), SCALAR.exp(SCALAR.sub(weight, lse))),
            Store(self.slopes, (at,), SCALAR.mul(weight, SCALAR.sub(slope, delta))),
        )
        return [
            *self.transposed(0, self.q, self.q_columns, self.scale),
            *self.transposed(4, self.g, self.g_columns),
            self.key_tiles(
                self.scored(self.k, 1, self.q_columns, self.weights),
                self.scored(self.v, 2, self.g_columns, self.slopes),
                self.each_key(
                    *self.hidden(self.weights, lambda r: self.load(self.fill, r)),
                    *self.outside(self.weights, self.slopes),
                    *each,
                    *self.hidden(self.slopes, lambda _: self.number(0.0)),
                ),
            ),
            loop(
                "t", ceil_div(Var("keys"), b.rows),
                Let("at", Var("t") * b.rows),
                *self.weighted(self.weights, self.g, 2, self.dv, by_query=False, first=Var("at")),
                *self.weighted(self.slopes, self.q, 1, self.dk, by_query=False, first=Var("at")),
            ),
            *self._add_to_dq(),
        ]  # fmt: skip

    def _add_to_dq(self) -> list[Stmt]:
        dq, b = self.results[0], self.blocks
        if dq is None:
            return []
        r, d = Var("r"), Var("d")
        place = self.index(len(self.node.operands), Var("first") + Var("at") + r, d)
        more = SCALAR.mul(self.load(self.dq, r * self.width(1) + d), self.scale)
        add = Store(dq, place, SCALAR.add(Load(dq, place, dq.dtype), more))
        rows = SCALAR.minimum(Const(b.rows, I64), Var("queries") - Var("at"))
        return [
            loop(
                "t", ceil_div(Var("queries"), b.rows),
                Let("at", Var("t") * b.rows),
                *self.weighted(self.slopes, self.k, 1, self.dq, by_query=True, first=ZERO, accumulate=False),
                loop("r", rows, loop("d", self.dim, add)),
            )
        ]  # fmt: skip

    def _results(self) -> list[Stmt]:
        j, d, n = Var("j"), Var("d"), len(self.node.operands)
        made: list[Stmt] = []
        for k, x, width in ((1, self.dk, self.dim), (2, self.dv, self.out)):
            to = self.results[k]
            if to is not None:
                put = Store(to, self.index(n + k, Var("key") + j, d), self.load(x, j * self.width(k) + d))
                made.append(loop("j", Var("keys"), loop("d", width, put)))
        return made
