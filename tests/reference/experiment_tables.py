"""The tables of docs/experiments.md, made of tests/reference/experiments.json; imports nothing of evsim or PyTorch."""

from __future__ import annotations

import re
from pathlib import Path

FIGURES = Path(__file__).with_name("experiments.json")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
ABSENT = "No figures are kept yet; `make experiments WRITE=--write` trains these models and fills in the tables."
COLUMNS = (
    "model", "weights", "right, by seed", "accuracy", "SOPs, thousands", "energy, exact (uJ)", "energy, paper (uJ)",
    "layers that read other than spikes; their share of the exact energy",
)  # fmt: skip
PLACE = re.compile(r"(<!-- (digits|nmnist) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where a data set's tables stand in the document."""


def written(text: str, figures: dict) -> str:
    """Return a document with its tables made anew."""

    def fill(place: re.Match[str]) -> str:
        lines = tables(figures[place[2]]) if place[2] in figures else ["", ABSENT, ""]
        return place[1] + "\n".join(lines) + f"\n{place[3]}"

    return PLACE.sub(fill, text)


def tables(data: dict) -> list[str]:
    """Return the lines of a data set's two tables."""
    number, seeds = data["samples"], data["seeds"]
    which = f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    lines = [
        "",
        f"{number} held-out samples, T = {data['timesteps']}; {which}, in brackets 95 % over the samples (bootstrap).",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---|---|---|---|---|---|",
    ]
    for name, row in data["models"].items():
        means = row["means"]
        right = ", ".join(map(str, row["right"]))
        layers = f"{len(row['offending'])}; {row['offending_share']:.1%}" if row["offending"] else "none"
        energies = f"{scaled(means['energy_mj'], 1e3, 3)} | {scaled(means['paper_energy_mj'], 1e3, 3)}"
        counts = f"{share(means['correct'])} | {scaled(means['sops'], 1e-3, 0)}"
        lines.append(f"| {name} | {row['parameters']:,} | {right} | {counts} | {energies} | {layers} |")
    lines += [
        "",
        "| what is asked | difference | accuracy, points | SOPs, thousands | energy, exact (uJ) |",
        "|---|---|---|---|---|",
    ]
    for pair in data["pairs"]:
        gap = pair["difference"]
        lines.append(
            f"| {pair['asked']} | {pair['first']} - {pair['second']} | {scaled(gap['correct'], 100, 2, '+')} "
            f"| {scaled(gap['sops'], 1e-3, 0, '+')} | {scaled(gap['energy_mj'], 1e3, 3, '+')} |"
        )
    lines += ["", "Right after each timestep (mean of the seeds):", ""]
    steps = range(1, data["timesteps"] + 1)
    lines += [f"| model | {' | '.join(map(str, steps))} |", f"|---|{'---:|' * len(steps)}"]
    for name, row in data["models"].items():
        lines.append(f"| {name} | {' | '.join(f'{count / number:.1%}' for count in row['anytime'])} |")
    return [*lines, ""]


def share(values: list[float]) -> str:
    """Return a share with its interval."""
    mean, low, high = values
    return f"{mean:.2%} [{low:.2%}, {high:.2%}]"


def scaled(values: list[float], factor: float, digits: int, sign: str = "") -> str:
    """Return a figure with its interval, times a factor."""
    mean, low, high = (f"{value * factor:{sign},.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"
