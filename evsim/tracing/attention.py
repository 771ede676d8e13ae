"""Products of matrices on their way to attention: queries by keys by values, per head, in either order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evsim.tracing.call import Call
from evsim.tracing.coordinates import Codes, common, encode, locals_of, times_of
from evsim.tracing.drafts import Draft
from evsim.tracing.operations import entered
from evsim.tracing.reading import Refusal, channels, single, tokens
from evsim.tracing.recorder import Recorder

Kind = Literal["tokens", "channels", "product", "turned"]
"""Rows of a matrix: the tokens of a head's channels, or the other way; a product of two such, or its transpose."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """One operand: for each timestep and head a matrix of one draft's values, [L, I, J]."""

    draft: Draft
    kind: Kind
    codes: Codes
    heads: int


def _matrix(rec: Recorder, codes: Codes) -> Matrix:
    """Return what an operand is, or a refusal that says what it is not."""
    draft, codes = single(rec, codes)
    flat = codes.reshape(-1, *codes.shape[-2:])
    times = common(times_of(flat), (1, 2))
    if times is None:
        raise Refusal("it multiplies matrices whose entries are of several timesteps")
    heads = len(flat) // len(np.unique(times))
    if _product_of(rec, draft) is not None:
        rows, columns = draft.size[1:]
        own = locals_of(flat) % (rows * columns)
        straight = np.arange(rows * columns).reshape(rows, columns)
        if flat.shape[1:] == (rows, columns) and (own == straight).all():
            return Matrix(draft, "product", flat, heads)
        if flat.shape[1:] == (columns, rows) and (own == straight.T).all():
            return Matrix(draft, "turned", flat, heads)
        raise Refusal(f"it reads {draft.name} in an order that is no matrix")
    channel, token = channels(draft, flat), tokens(draft, flat)
    for kind, c, p in (("tokens", channel, token), ("channels", channel.swapaxes(1, 2), token.swapaxes(1, 2))):
        width = c.shape[2]
        of_head = c[:, 0, :]
        if (
            (c == of_head[:, np.newaxis]).all()
            and (of_head == of_head[:, :1] + np.arange(width)).all()
            and p.shape[1] == draft.positions
            and (p == np.arange(draft.positions)[:, np.newaxis]).all()
            and heads * width == draft.size[0]
        ):
            return Matrix(draft, kind, flat, heads)  # type: ignore[arg-type]
    raise Refusal(f"it reads {draft.name} in an order that is neither tokens by channels of a head nor the reverse")


def _product_of(rec: Recorder, draft: Draft) -> Draft | None:
    """Return the product that a draft is, scaled or not."""
    while draft.kind == "affine":
        draft = rec.drafts[draft.sources[0]]
    return draft if draft.kind == "product" else None


@entered("matmul", "__matmul__", "bmm", "__rmatmul__", "mm")
def _matmul(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "other")
    left, right = given["input"], given["other"]
    if rec.codes(left) is None or rec.codes(right) is None:
        if rec.codes(left) is not None and right.ndim == 2:
            return _by_weights(rec, call, left, right)
        raise Refusal("a product with a constant matrix from the left is no primitive")
    result = call.run()
    shape = tuple(result.shape)
    batch = shape[:-2]
    operands = []
    for each in (left, right):
        codes = rec.array(each)
        operands.append(_matrix(rec, np.broadcast_to(codes, (*batch, *codes.shape[-2:]))))
    rec.follow(result, _multiplied(rec, *operands).reshape(shape))
    return result


def _by_weights(rec: Recorder, call: Call, left: Any, right: Any) -> Any:
    """Multiply by a constant matrix: a linear layer."""
    from evsim.tracing.operations import OPERATIONS

    linear = Call("linear", lambda x, w: x @ w.T, (left, right.T), {})
    linear.function = lambda *_: call.run()
    return OPERATIONS["linear"](rec, linear)


def _multiplied(rec: Recorder, a: Matrix, b: Matrix) -> Codes:
    kinds = (a.kind, b.kind)
    if kinds in (("tokens", "channels"), ("channels", "tokens")):
        if a.heads != b.heads:
            raise Refusal(f"it multiplies {a.draft.name} of {a.heads} heads by {b.draft.name} of {b.heads}")
        rows, columns = a.codes.shape[1], b.codes.shape[2]
        times = np.maximum(times_of(a.codes[:, 0, 0]), times_of(b.codes[:, 0, 0]))
        form = "qk" if a.kind == "tokens" else "kv"
        product = rec.enter(
            "product", [a.draft.number, b.draft.number], (a.heads, rows, columns), np.unique(times), suffix="product",
            key=form, facts={"form": form},
        )  # fmt: skip
        head = _heads(a)
        places = (head[:, np.newaxis, np.newaxis] * rows + np.arange(rows)[:, np.newaxis]) * columns + np.arange(
            columns
        )
        return encode(product.number, times[:, np.newaxis, np.newaxis], places)
    if a.kind in ("product", "turned") and b.kind in ("tokens", "channels"):
        return _attention(rec, a, b, from_left=True)
    if b.kind in ("product", "turned") and a.kind in ("tokens", "channels"):
        return _attention(rec, b, a, from_left=False)
    raise Refusal(f"a product of {a.draft.name} and {b.draft.name} is no part of attention on spikes")


def _heads(matrix: Matrix) -> Codes:
    """Return the head of each matrix of an operand."""
    draft = matrix.draft
    if matrix.kind in ("product", "turned"):
        return locals_of(matrix.codes[:, 0, 0]) // (draft.size[1] * draft.size[2])
    width = draft.size[0] // matrix.heads
    return channels(draft, matrix.codes[:, 0, 0]) // width


def _attention(rec: Recorder, product: Matrix, other: Matrix, *, from_left: bool) -> Codes:
    """Return the codes of attention: a product of two, times the third; what is transposed is told by the kinds."""
    inner = _product_of(rec, product.draft)
    assert inner is not None
    form = inner.facts["form"]
    first, second = inner.sources
    if product.kind == "turned":
        first, second = second, first
    # q k^T v, or v^T (q k^T)^T; q (k^T v), or (k^T v)^T q^T: which of the three is the third operand
    straight = from_left == (form == "qk")
    by_tokens = other.kind == "tokens"
    if by_tokens != straight:
        raise Refusal(f"a product of {product.draft.name} and {other.draft.name} contracts no axis that attention has")
    if not by_tokens:
        first, second = second, first
    third = other.draft.number
    q, k, v, order = (first, second, third, "(qk)v") if form == "qk" else (third, first, second, "q(kv)")
    if not (_heads(product) == _heads(other)).all():
        raise Refusal(f"it multiplies {product.draft.name} by {other.draft.name} of other heads")
    values = _unscaled(rec, rec.drafts[v])
    times = np.maximum(times_of(product.codes[:, 0, 0]), times_of(other.codes[:, 0, 0]))
    attention = rec.enter(
        "attention", [q, k, v, product.draft.number], values.size, np.unique(times), suffix="attention",
        key=(other.heads, order), facts={"heads": other.heads, "order": order},
    )  # fmt: skip
    width = values.size[0] // other.heads
    channel = _heads(other)[:, np.newaxis] * width + np.arange(width)
    places = channel[:, np.newaxis, :] * values.positions + np.arange(values.positions)[:, np.newaxis]
    if not by_tokens:
        places = places.swapaxes(1, 2)
    return encode(attention.number, times[:, np.newaxis, np.newaxis], places)


def _unscaled(rec: Recorder, draft: Draft) -> Draft:
    while draft.kind == "affine":
        draft = rec.drafts[draft.sources[0]]
    return draft
