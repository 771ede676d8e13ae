"""What ``evsim energy`` does, apart from parsing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import typer

from evsim import countsfile
from evsim.cli import output
from evsim.counters import Counts
from evsim.energy import MODELS, Energy, Options, Profile, charge, charge_baseline, load_profile, profile_names
from evsim.energy.counted_memory import bounds
from evsim.energy.models import known
from evsim.energy.options import NonSpike, parsed
from evsim.energy.result import KEYS
from evsim.energy.sensitivity import sensitivity
from evsim.errors import EvsimError, OptionError
from evsim.files import check_outputs, write_whole
from evsim.report.breakdown import (
    SCHEMA,
    Account,
    energy_csv,
    energy_document,
    energy_report,
    sensitivity_document,
    sensitivity_report,
)
from evsim.report.traffic import traffic_document, traffic_report


@dataclass(frozen=True)
class Request:
    """The options of ``evsim energy``."""

    files: tuple[str, ...]
    model: str | None
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


def charge_and_print(request: Request) -> None:
    """Load counts, charge them, print and write what was asked for."""
    options = parsed(request.settings)
    if request.time_ms is not None:
        options = replace(options, time_ms=request.time_ms)
    if request.frequency_mhz is not None:
        options = replace(options, frequency_mhz=request.frequency_mhz)
    if request.by not in (None, *KEYS):
        raise OptionError(f"--by takes {', '.join(KEYS)}; got {request.by}")
    check_outputs({"--json": request.json_file, "--csv": request.csv_file}, request.files)
    if request.sensitivity:
        _compare(request, options)
        return
    accounts = [_account(path, request, options) for path in request.files]
    document = {"schema": SCHEMA, "counts": [energy_document(account) for account in accounts]}
    if "-" in (request.json_file, request.csv_file):
        typer.echo(energy_csv(accounts) if request.csv_file == "-" else json.dumps(document, indent=1), nl=False)
    else:
        bars, key = sys.stdout.isatty(), request.by or "layer"
        output.say("\n\n".join(energy_report(account, key, bars) for account in accounts))
    if request.json_file not in (None, "-"):
        write_whole(str(request.json_file), json.dumps(document, indent=1).encode())
    if request.csv_file not in (None, "-"):
        write_whole(str(request.csv_file), energy_csv(accounts).encode())


def _compare(request: Request, options: Options) -> None:
    if len(request.files) != 2:
        raise OptionError(f"--sensitivity compares two counts files, got {len(request.files)}")
    unheeded = {"--by": request.by, "--against": request.against, "--traffic": request.traffic}
    if given := [option for option, value in (*unheeded.items(), ("--csv", request.csv_file)) if value]:
        raise OptionError(f"--sensitivity goes with --method, --profile and --json, not with {', '.join(given)}")
    models = None if request.model in (None, "all") else str(request.model).split(",")
    a, b = (countsfile.load(path).counts for path in request.files)
    profiles = [load_profile(name) for name in profile_names()]
    own = _profile(request, "45nm")
    if not own.bundled:
        profiles.append(own)
    names = (request.files[0], request.files[1])
    found = sensitivity(a, b, options, profiles, models)
    if request.json_file:
        text = json.dumps(sensitivity_document(found, names), indent=1)
        if request.json_file == "-":
            typer.echo(text)
            return
        write_whole(request.json_file, text.encode())
    output.say(sensitivity_report(found, names))


def _account(path: str, request: Request, options: Options) -> Account:
    counts = countsfile.load(path).counts
    everything = request.model == "all"
    energies: list[Energy] = []
    for name in MODELS if everything else dict.fromkeys((request.model or "paper,exact").split(",")):
        try:
            profile = _profile(request, known(name).profile)
            energies.append(_with_other_setting(charge(counts, name, profile, options), counts, profile, options))
        except EvsimError as error:
            if not everything:
                raise
            output.notes([f"{name} cannot answer: {error}"])
    if not energies:
        raise OptionError(f"no model can charge {path}; the notes above say why")
    models = [energy.model for energy in energies]
    baselines = {}
    if request.against:
        baselines = {name: _baseline(counts, name, request, options) for name in models}
        if all(isinstance(found, str) for found in baselines.values()):
            raise OptionError(str(next(iter(baselines.values()))))
    choices = {}
    if "counted-memory" in models:
        choices = dict(bounds(counts, _profile(request, known("counted-memory").profile), options))
    samples = "" if counts.samples == 1 else f", mean of {counts.samples} samples"
    account = Account(f"{path}{samples}", energies, baselines, choices)
    if not request.traffic:
        return account
    priced = _profile(request, known("counted-memory").profile)
    table, moved = traffic_report(counts, priced), traffic_document(counts, priced)
    return replace(account, traffic_table=table, traffic=moved)


def _with_other_setting(energy: Energy, counts: Counts, profile: Profile, options: Options) -> Energy:
    """Say beside the paper's estimate what it is in the other setting, where integers make the two differ."""
    if energy.model != "paper":
        return energy
    other: NonSpike = "integer-as-events" if options.nonspike == "binary-only" else "binary-only"
    total = charge(counts, "paper", profile, replace(options, nonspike=other)).energy_mj
    if total == energy.energy_mj:
        return energy
    note = f"integers are charged by {options.nonspike}; by {other} (--set nonspike={other}) it is {total:.6f} mJ"
    return replace(energy, notes=(*energy.notes, note))


def _baseline(counts: Counts, model: str, request: Request, options: Options) -> Energy | str:
    """Return the energy of what the network is held against, or why this model has none."""
    try:
        return charge_baseline(counts, str(request.against), model, _profile(request, known(model).profile), options)
    except EvsimError as error:
        return str(error)


def _profile(request: Request, default: str) -> Profile:
    """Return the profile asked for, with prices of the command line in place of its own."""
    profile = load_profile(request.profile or default)
    own = {
        key: _numbers(option, text)
        for key, option, text in (("e_ac_pj", "--e-ac", request.e_ac), ("e_mac_pj", "--e-mac", request.e_mac))
        if text is not None
    }
    return profile.priced(**own) if own else profile


def _numbers(option: str, text: str) -> float | Sequence[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} takes picojoules or a range such as 0.7,1.1; got {text}") from None
    return numbers[0] if len(numbers) == 1 else numbers
