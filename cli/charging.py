"""What ``evsim energy`` does, apart from parsing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from evsim.audit.accounts import DEFAULT, Account, Pricing, account
from evsim.cli import output
from evsim.cli.counted import counts_of, stored_of
from evsim.cli.looks import Look
from evsim.cli.pages import check_page, command_line, write_page
from evsim.counters import Counts
from evsim.energy import Options, load_profile, profile_names
from evsim.energy.charging import parsed
from evsim.energy.result import KEYS
from evsim.energy.sensitivity import sensitivity
from evsim.errors import OptionError
from evsim.files import check_outputs, write_whole
from evsim.report.breakdown import SCHEMA, energy_csv, energy_document, energy_report
from evsim.report.sensitivity import sensitivity_document, sensitivity_report
from evsim.report.tables import together


@dataclass(frozen=True)
class Request:
    """The options of ``evsim energy``."""

    files: tuple[str, ...]
    method: str | None
    profile: str | None
    by: str | None
    against: str | None
    sensitivity: bool
    traffic: bool
    e_ac: str | None
    e_mac: str | None
    time_ms: float | None
    frequency_mhz: float | None
    settings: tuple[str, ...]
    json_file: str | None
    csv_file: str | None
    html_file: str | None
    layers: bool
    look: Look


def charge_and_print(request: Request) -> None:
    """Load counts, charge them, print and write what was asked for."""
    options = parsed(request.settings)
    times = {"time_ms": request.time_ms, "frequency_mhz": request.frequency_mhz}
    options = options.changed(**{key: value for key, value in times.items() if value is not None})
    if request.by not in (None, *KEYS):
        raise OptionError(f"`by` takes {', '.join(KEYS)}; got {request.by}")
    if request.by and request.layers:
        raise OptionError("`layers=True` is `by=layer`; give one of them")
    check_page(request.html_file)
    targets = {"--json": request.json_file, "--csv": request.csv_file, "--html": request.html_file}
    check_outputs(targets, request.files)
    if request.sensitivity:
        _compare(request, options)
        return
    pricing = _pricing(request)
    methods, note = pricing.methods() if request.method is None else (_named(request.method), "")
    stored = [stored_of(path) for path in request.files]
    accounts = [
        _account(path, each.counts, request, methods, pricing, options)
        for path, each in zip(request.files, stored, strict=True)
    ]
    output.notes([note] if note else [])
    document = {"schema": SCHEMA, "counts": [energy_document(each) for each in accounts]}
    if request.html_file:
        from evsim.report.pages import energy_page

        write_page(request.html_file, energy_page(stored, accounts, command_line()))
    if "-" in (request.json_file, request.csv_file) or request.look.format == "json":
        output.raw(energy_csv(accounts).rstrip("\n") if request.csv_file == "-" else json.dumps(document, indent=1))
    else:
        key = request.by or ("layer" if request.layers else "stage")
        reports = [energy_report(each, key) for each in accounts]
        output.tell(together(reports), request.look)
    if request.json_file not in (None, "-"):
        write_whole(str(request.json_file), json.dumps(document, indent=1).encode())
    if request.csv_file not in (None, "-"):
        write_whole(str(request.csv_file), energy_csv(accounts).encode())


def _compare(request: Request, options: Options) -> None:
    if len(request.files) != 2:
        raise OptionError(f"`sensitivity` compares two counts files, got {len(request.files)}")
    unheeded = {
        "by": request.by, "against": request.against, "traffic": request.traffic, "csv": request.csv_file,
        "html": request.html_file,
    }  # fmt: skip
    if idle := [f"`{option}`" for option, value in unheeded.items() if value]:
        raise OptionError(f"`sensitivity` goes with `method`, `profile` and `json`, not with {', '.join(idle)}")
    methods = None if request.method is None else _named(request.method)
    a, b = (counts_of(path) for path in request.files)
    profiles = [load_profile(name) for name in profile_names()]
    own = _pricing(request).of(DEFAULT)
    if not own.bundled:
        profiles.append(own)
    names = (request.files[0], request.files[1])
    outcome = sensitivity(a, b, options, profiles, methods)
    report, document = sensitivity_report(outcome, names), sensitivity_document(outcome, names)
    output.show(report, document, request.json_file, request.look)


def _named(method: str) -> Sequence[str] | None:
    """Return the methods that a text names; None for all."""
    return None if method == "all" else method.split(",")


def _account(
    path: str, counts: Counts, request: Request, methods: Sequence[str] | None, pricing: Pricing, options: Options
) -> Account:
    whole = account(path, counts, methods, pricing, options, request.against, request.traffic)
    output.notes(f"{method} cannot answer: {reason}" for method, reason in whole.silent.items())
    return whole


def _pricing(request: Request) -> Pricing:
    """Return the profile asked for, with prices of the command line in place of its own."""
    prices = {"e_ac_pj": ("e_ac", request.e_ac), "e_mac_pj": ("e_mac", request.e_mac)}
    return Pricing(
        request.profile, {key: _numbers(option, text) for key, (option, text) in prices.items() if text is not None}
    )


def _numbers(option: str, text: str) -> float | Sequence[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"`{option}` takes picojoules or a range such as 0.7,1.1; got {text}") from None
    return numbers[0] if len(numbers) == 1 else numbers
