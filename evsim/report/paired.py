"""Evaluations of several models on the same samples, as text."""

from __future__ import annotations

from evsim.evaluation.paired import FIGURES, LETTERS, Against, Paired
from evsim.evaluation.statistics import RESAMPLES
from evsim.report.evaluation import TITLES, percent
from evsim.report.text import aligned


def paired_report(outcome: Paired) -> str:
    """Return the figures of each model, and each held against the first."""
    letters = LETTERS[: len(outcome.models)].upper()
    lines = [
        f"{letter}: {model} ({file})"
        for letter, model, file in zip(letters, outcome.models, outcome.files, strict=True)
    ]
    left = f"; {outcome.left_out:,} did not run on all" if outcome.left_out else ""
    lines += [f"on {outcome.data}: {outcome.samples:,} samples, the same for all{left}", ""]
    rows: list[tuple[str, ...]] = [("", "", "top-1", "SOPs", "MACs", "exact mJ", "paper mJ")]
    for i, letter in enumerate(letters):
        sops, macs, exact, estimated = (outcome.means[name][i] for name in FIGURES)
        figures = f"{sops:,.0f}", f"{macs:,.0f}", f"{exact:.6f}", f"{estimated:.6f}"
        rows.append((letter, "", percent(outcome.top1[i]), *figures))
    lines += aligned(rows)
    for letter, against in zip(letters[1:], outcome.against, strict=True):
        lines += ["", *_against(letter, against)]
    lines += ["", f"(paired intervals of 95 %: bootstrap of {RESAMPLES:,} resamples, seed {outcome.seed})"]
    return "\n".join(lines)


def _against(letter: str, against: Against) -> list[str]:
    answers = against.answers
    rows: list[tuple[str, ...]] = [(f"{letter} - A", "mean", "95 % interval", f"{letter} / A", "95 % interval")]
    if answers.difference is not None and answers.interval is not None:
        low, high = answers.interval
        rows.append(("top-1", f"{answers.difference:+.2%}", f"{low:+.2%} .. {high:+.2%}", "", ""))
    for name, figure in against.figures.items():
        form = "+,.0f" if name in ("sops", "macs") else "+.6f"
        low, high = figure.interval
        ratio, ends = "-", "-"
        if figure.ratio is not None and figure.ratio_interval is not None:
            least, most = figure.ratio_interval
            ratio, ends = f"{figure.ratio:.4f}", f"{least:.4f} .. {most:.4f}"
        rows.append((TITLES[name], f"{figure.mean:{form}}", f"{low:{form}} .. {high:{form}}", ratio, ends))
    lines = aligned(rows, left=1)
    if answers.difference is not None:
        lines.append(
            f"right alone: A on {answers.first_alone:,} samples, {letter} on {answers.this_alone:,} "
            f"(McNemar's exact test: p = {answers.p_value:.3g})"
        )
    lines.append(f"one answer on {answers.agreement:.1%} of the samples")
    return lines
