"""bench.json as the tables of docs/performance.md: ``python tests/benchmarks/tables.py [bench.json] [--write]``.

Prints them; with ``--write`` each is put into the page between its two markers, ``<!-- bench:NAME -->`` and
``<!-- bench:end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
LABELS = {
    "evsim": "evsim",
    "evsim_int8": "evsim int8",
    "openvino": "OpenVINO",
    "openvino_int8": "OpenVINO int8",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime_int8": "ONNX Runtime int8",
    "eager": "PyTorch, eager",
    "original": "PyTorch, original",
    "compile": "PyTorch, compiled",
}
FLOATS = ("openvino", "onnxruntime", "eager", "original", "compile")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def against(run: dict, key: str, own: str = "evsim") -> str:
    """Return what a runtime takes, and how many times that is of what evsim takes."""
    theirs, ours = run.get(f"{key}_ms"), run.get(f"{own}_ms")
    if theirs is None:
        return "-"
    return f"{theirs:.0f} ms, {theirs / ours:.2f}x" if ours else f"{theirs:.0f} ms"


def machine(result: dict) -> str:
    """Say what was measured on, and with what."""
    facts = result["machine"]
    names = {"torch": "torch", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "numba": "numba"}
    versions = ", ".join(f"{name} {facts[key]}" for key, name in names.items() if facts.get(key))
    vectors = "AVX-512" if facts["avx512"] else "no AVX-512"
    rate = f"L1 add rate {result['roofline_gacc_s']:.1f} Gacc/s"
    chip = f"{facts['cpu']} (family/model {facts['family_model']})"
    return f"{chip}, {facts['cores']} cores, {vectors}; {versions}, Python {facts['python']}; {rate}."


def runs(result: dict, *, families: bool) -> str:
    """Return the table of whole networks in float32."""
    head = ["network", "threads", "evsim ms", *(LABELS[key] for key in FLOATS), "G SOP",
            "time / (SOPs / L1 rate)", "flips", "MB"]  # fmt: skip
    shown = FLOATS[:3] if families else FLOATS
    if families:
        head = [name for name in head if name not in {LABELS["original"], LABELS["compile"], "threads"}]
    rows = []
    for run in result["runs"]:
        if (" " in run["workload"]) != families:
            continue
        ideal = run["sops"] / result["roofline_gacc_s"] / 1e6 / run["threads"]
        rows.append([
            run["workload"], *([] if families else [str(run["threads"])]), f"{run['evsim_ms']:.1f}",
            *(against(run, key) for key in shown), f"{run['sops'] / 1e9:.2f}", f"{run['evsim_ms'] / ideal:.2f}",
            "-" if run["flips"] is None else str(run["flips"]), f"{run['peak_rss_mb']:.0f}",
        ])  # fmt: skip
    return markdown(head, rows) if rows else ""


def integers(result: dict) -> str:
    """Return the table of whole networks with int8 weights."""
    rows = []
    for run in result["runs"]:
        own, memory = run.get("evsim_int8_ms"), run.get("int8_peak_rss_mb")
        if any(run.get(f"{key}_ms") for key in ("evsim_int8", "openvino_int8", "onnxruntime_int8")):
            rows.append([run["workload"], str(run["threads"]), "-" if own is None else f"{own:.1f}",
                         *(against(run, key, "evsim_int8") for key in ("openvino_int8", "onnxruntime_int8")),
                         f"{run['evsim_ms']:.1f}", f"{memory:.0f}" if memory else "-"])  # fmt: skip
    head = ["network", "threads", "evsim int8 ms", "OpenVINO int8", "ONNX Runtime int8", "evsim float32 ms", "int8 MB"]
    return markdown(head, rows) if rows else ""


def images(result: dict) -> str:
    """Return the table of images per second on all cores."""
    if "images_per_s" not in result:
        return ""
    rates, ways = result["images_per_s"], result.get("images_per_s_ways", {})
    rows = []
    for key, label in LABELS.items():
        if rates.get(key):
            own = rates.get("evsim_int8" if key.endswith("int8") else "evsim")
            best = max(ways[key], key=ways[key].get) if key in ways else ""
            rows.append([label, f"{rates[key]:.2f}", best, f"{own / rates[key]:.2f}x" if own else "-"])
    return markdown(["runtime", "images/s", "by", "evsim gets"], rows)


def layers(result: dict) -> str:
    """Return the table of layers, equal ones of all blocks summed up."""
    rows = [
        [f"{row['workload']} {row['name']}", str(row["threads"]), f"{row['evsim_ms']:.2f}", f"{row['eager_ms']:.2f}",
         f"{row['eager_ms'] / row['evsim_ms']:.1f}", f"{row['gacc_s']:.1f}",
         f"{row['gacc_s'] / result['roofline_gacc_s'] / row['threads']:.2f}"]
        for row in grouped(result["layers"])
    ]  # fmt: skip
    head = ["layers", "threads", "evsim ms", "eager ms", "ratio", "Gacc/s", "share of L1 rate"]
    return markdown(head, rows) if rows else ""


def grouped(rows: list[dict]) -> list[dict]:
    """Sum the rows of equal layers over all blocks."""
    groups: dict[tuple, dict] = {}
    for row in rows:
        if row["eager_ms"] is None or not row["gacc_s"]:
            continue
        parts = ["*" if part.isdigit() else part for part in row["name"].split(".")]
        key = (row["workload"], row["threads"], ".".join(parts))
        group = groups.setdefault(key, {"workload": key[0], "threads": key[1], "name": key[2], "evsim_ms": 0.0,
                                        "eager_ms": 0.0, "gacc": 0.0})  # fmt: skip
        group["evsim_ms"] += row["evsim_ms"]
        group["eager_ms"] += row["eager_ms"]
        group["gacc"] += row["gacc_s"] * row["evsim_ms"]
    return [group | {"gacc_s": group["gacc"] / group["evsim_ms"]} for group in groups.values()]


def kinds(result: dict) -> str:
    """Return the table of the families' layers by what they read."""
    rows = [
        [row["workload"], row["kind"], f"{row['evsim_ms']:.2f}", f"{row['eager_ms']:.2f}",
         f"{row['eager_ms'] / row['evsim_ms']:.1f}" if row["evsim_ms"] else "-"]
        for row in result["kinds"]
    ]  # fmt: skip
    return markdown(["network", "layers", "evsim ms", "eager ms", "ratio"], rows) if rows else ""


def activity(result: dict) -> str:
    """Return the table of time by activity."""
    rows = result.get("activity", [])
    if not rows:
        return ""
    one = next(row for row in rows if row["scale"] == 1.0)
    return markdown(
        ["rates x", "G SOP", "ms", "time / proportional"],
        [[f"{row['scale']:g}", f"{row['sops'] / 1e9:.2f}", f"{row['ms']:.0f}",
          f"{row['ms'] / one['ms'] * one['sops'] / row['sops']:.2f}"] for row in rows],
    )  # fmt: skip


def startup(result: dict) -> str:
    """Say how long the command line takes to start, and what two processes bring."""
    parts = []
    if "startup" in result:
        took = result["startup"]
        parts.append(f"`evsim --help` {took['help_s']:.2f} s; `evsim run` on the demo {took['demo_s']:.1f} s in all, "
                     f"{took['first_run_s']:.1f} s the first time, with nothing compiled yet.")  # fmt: skip
    if "two_images_two_cores" in result:
        parts.append(
            f"Two processes on two cores run {result['two_images_two_cores']:.2f} times as many images as one."
        )
    return "\n".join(parts)


def all_tables(result: dict) -> dict[str, str]:
    """Return every table by its name."""
    return {
        "machine": machine(result),
        "runs": runs(result, families=False),
        "integers": integers(result),
        "images": images(result),
        "layers": layers(result),
        "families": runs(result, families=True),
        "kinds": kinds(result),
        "activity": activity(result),
        "startup": startup(result),
    }


def printed(result: dict) -> str:
    """Return all tables that have rows."""
    return "\n\n".join(text for text in all_tables(result).values() if text)


def put(page: str, name: str, text: str) -> str:
    """Return a page with a table between its markers."""
    pattern = rf"(<!-- bench:{name} -->\n).*?(<!-- bench:end -->)"
    if not re.search(pattern, page, re.DOTALL):
        raise SystemExit(f"{PAGE}: no markers <!-- bench:{name} --> and <!-- bench:end -->; put them where it belongs")
    return re.sub(pattern, lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page, count=1, flags=re.DOTALL)


def write(result: dict, page: Path = PAGE) -> None:
    """Put every table that has rows into the page; the others stay as they are."""
    text = page.read_text()
    for name, table in all_tables(result).items():
        if table:
            text = put(text, name, table)
    page.write_text(text)


def main() -> None:
    """Parse, print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "bench.json")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    result = json.loads(options.file.read_text())
    if options.write:
        write(result)
    else:
        print(printed(result))


if __name__ == "__main__":
    main()
