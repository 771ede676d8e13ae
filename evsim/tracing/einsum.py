"""Einstein sums: a product of two matrices per batch, or one by weights, said by letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from evsim.tracing.call import Call
from evsim.tracing.operations import entered
from evsim.tracing.reading import Refusal
from evsim.tracing.recorder import Recorder

REST = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters that stand for the axes of an ellipsis, the last of them for the last axis."""


@entered("einsum")
def _einsum(rec: Recorder, call: Call) -> Any:
    """Follow a sum as what it amounts to: axes in another order, and a product of matrices."""
    equation, operands = call.args[0], call.args[1:]
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) > 2:
        raise Refusal("einsum of more than two operands, or of lists of axes, is not followed; say it by matmul")
    names, out = _letters(equation, operands)
    result = call.run()
    with rec:  # what it amounts to is recorded like any other code
        amounts = _turned(operands[0], names[0], out) if len(operands) == 1 else _product(rec, operands, names, out)
    rec.follow(result, rec.known(amounts))
    return result


def _letters(equation: str, operands: Sequence[torch.Tensor]) -> tuple[list[str], str]:
    """Return the letters of each operand's axes, and of the result's."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    names = []
    rest = ""
    for text, operand in zip(left.split(","), operands, strict=True):
        more = operand.ndim - len(text.replace("...", ""))
        own = REST[len(REST) - more :] if more else ""
        rest = max(rest, own, key=len)
        names.append(text.replace("...", own))
    every = "".join(names)
    if not arrow:
        out = "..." + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in rest))
    return names, out.replace("...", rest)


def _turned(value: torch.Tensor, name: str, out: str) -> torch.Tensor:
    """Return a tensor with its axes in another order."""
    if sorted(name) != sorted(out):
        raise Refusal(f"einsum {name}->{out} sums over axes of one operand; say it by sum or mean")
    return value.permute([name.index(c) for c in out])


def _product(rec: Recorder, operands: Sequence[Any], names: Sequence[str], out: str) -> torch.Tensor:
    """Return the product of two tensors, by weights where one is a constant."""
    (a, b), (first, second) = operands, names
    if rec.codes(a) is None:
        a, b, first, second = b, a, second, first
    batch = [c for c in out if c in first and c in second]
    left = [c for c in out if c in first and c not in second]
    right = [c for c in out if c in second and c not in first]
    inner = [c for c in first if c in second and c not in out]
    constant = rec.codes(b) is None
    whole = sorted(batch + left + inner) == sorted(first) and sorted(batch + right + inner) == sorted(second)
    fits = not batch and inner if constant else len(left) == len(right) == len(inner) == 1
    if not whole or not fits:
        raise Refusal(f"einsum {first},{second}->{out} is neither a product of matrices nor one by weights")
    if constant:
        sizes = [b.shape[second.index(c)] for c in right]
        flat = _ordered(a, first, left + inner).flatten(len(left))
        weights = _ordered(b, second, right + inner).reshape(-1, flat.shape[-1])
        given = torch.nn.functional.linear(flat, weights).reshape(*flat.shape[:-1], *sizes)
    else:
        given = torch.matmul(_ordered(a, first, batch + left + inner), _ordered(b, second, batch + inner + right))
    return _turned(given, "".join(batch + left + right), out)


def _ordered(value: torch.Tensor, name: str, letters: Sequence[str]) -> torch.Tensor:
    return value.permute([name.index(c) for c in letters])
