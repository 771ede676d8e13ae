"""Which methods can use which profile: plain `evsim energy COUNTS --profile NAME` charges, or names what then works."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from commands import evsim, refused
from energy_cases import golden_run, layer_c

from evsim import countsfile, modelfile
from evsim.countsfile import Origin
from evsim.energy import METHODS, Options, Price, Profile, charge, load_profile, profile_names
from evsim.energy.fit import able, choose
from evsim.energy.profile import PRICES
from evsim.errors import EvsimError, ProfileError

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden" / "spikingformer-imagenet"
DOCUMENT = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
USUAL = ("paper", "exact")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a model, its input, and counts with traffic of a run."""
    place = tmp_path_factory.mktemp("fit")
    modelfile.save(golden_run(GOLDEN).network, place / "model.h5")
    words = ("run", place / "model.h5", "--input", GOLDEN / "input.npy", "--counts", place / "counts.h5")
    assert evsim(*words).code == 0
    return place


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_charged_or_says_what_works(name, folder):
    """A profile alone is charged by the first method that can use it, or one line names options that then work."""
    counts = folder / "counts.h5"
    outcome = evsim("energy", counts, "--profile", name)
    if outcome.code:
        assert re.search(r"method \w+", outcome.err)
        options = re.findall(r"--time-ms|--frequency-mhz|--set \S+=\w+", outcome.err)
        assert options, outcome.err
        words = [word for option in options for word in (option if " " in option else f"{option} 2").split()]
        outcome = evsim("energy", counts, "--profile", name, *words)
    assert outcome.code == 0, outcome.err
    first = able(load_profile(name))[0]
    assert (f"charged by --method {first}" in outcome.err) == (first not in USUAL)
    if first in USUAL:
        assert outcome.err == ""


@pytest.mark.parametrize("name", profile_names())
def test_a_method_that_cannot_use_a_profile_names_one_that_can(name, folder):
    """Each pair of method and profile charges, or the error names a method, which then works with that profile."""
    counts, profile = countsfile.load(folder / "counts.h5").counts, load_profile(name)
    for method in set(METHODS) - set(able(profile)):
        with pytest.raises(
            ProfileError, match=f"{name}: the profile gives no .*, which method {method} needs"
        ) as caught:
            charge(counts, method, profile)
        other = re.search(r"take `method=([\w-]+)`, which can use it", str(caught.value))
        takes = [field for field in METHODS[other[1]].options.__dataclass_fields__ if field.endswith(("_ms", "_mhz"))]
        left_out = ["attention"] if other[1] == "spikesim" else []
        assert charge(counts, other[1], profile, Options(left_out, **dict.fromkeys(takes, 1.0))).energy_mj > 0


@pytest.mark.parametrize("number", ["float", "int"])
@pytest.mark.parametrize("method", METHODS)
def test_declared_prices_are_enough_and_each_is_asked_for(method, number):
    """A profile of the prices that a method declares can be charged; without any one of them the method is not able."""
    counts = golden_counts() if method == "counted-memory" else layer_c()
    declared = METHODS[method].integer_prices if number == "int" else ()
    for group in declared or METHODS[method].prices:
        assert set(group) <= {*PRICES, "sram"}
        profile = only(group, number)
        assert method in able(profile)
        assert charge(counts, method, profile).energy_mj > 0
        for key in group:
            lesser = only([other for other in group if other != key], number)
            assert key in METHODS[method].lacks(lesser)


def golden_counts():
    """Return counts with traffic of integers, real values, attention and neurons."""
    from energy_cases import networks
    from hypothesis import HealthCheck, given, settings

    candidates = []

    @settings(max_examples=20, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(networks())
    def draw(counts):
        candidates.append(counts)

    draw()
    return max(candidates, key=lambda counts: len(counts.layers))


def only(keys, number):
    """Return a profile that gives these prices alone."""
    price = Price(1.0, 1.0, "me", "incremental: one")
    sram = load_profile("45nm").sram if "sram" in keys else None
    prices = {key: price for key in keys if key != "sram"}
    return Profile("mine", "mine.toml", prices, sram, number=number)


def test_the_usual_methods_are_charged_where_they_can_be():
    """No note and both views where the profile has their prices; else the first method, and who else can."""
    assert choose(load_profile("45nm"), USUAL) == (USUAL, "")
    names, note = choose(load_profile("loihi"), USUAL)
    assert names == ("chip",)
    assert note == (
        "loihi has no prices for paper and exact; charged by `method=chip`, which can use it, as can affine"
    )


def test_a_profile_that_no_method_can_use_says_what_to_add(folder, tmp_path):
    """Half a profile: the line names the nearest method, what it lacks, and how to add it."""
    path = tmp_path / "half.toml"
    path.write_text('name = "half"\n[e_ac_pj]\nvalue = 1\nsource = "me"\n')
    line = refused("energy", folder / "counts.h5", "--profile", path)
    assert "no energy method can use the profile as it is; nearest is method paper" in line
    assert "no e_mac_pj (one multiply-accumulate); add [e_mac_pj] to it, or give --e-mac" in line
    assert evsim("energy", folder / "counts.h5", "--profile", path, "--e-mac", "2").code == 0
    assert "none" in evsim("profiles", "--profile", path).out


def test_an_integer_profile_says_all_that_it_lacks(folder, tmp_path):
    """counted-memory tells at once that integers need e_mul_pj, memories and DRAM."""
    path = tmp_path / "integers.toml"
    prices = "".join(f'[{key}]\nvalue = 1\nsource = "me"\n' for key in ("e_ac_pj", "e_mac_pj"))
    path.write_text(f'name = "integers"\nnumber = "int"\n{prices}')
    line = refused("energy", folder / "counts.h5", "--profile", path, "--method", "counted-memory")
    assert "add [e_mul_pj], [sram], [e_dram_bit_pj] to it" in line


@pytest.mark.parametrize("command", ["run", "check", "compare", "sweep"])
def test_commands_that_run_say_how_to_charge_by_another_profile(command, folder, monkeypatch):
    """A profile without E_AC and E_MAC is refused before anything runs; the command that is named works."""
    monkeypatch.chdir(folder)
    words = {
        "run": ("model.h5", "--input", GOLDEN / "input.npy"),
        "check": ("model.h5",),
        "compare": ("model.h5", "model.h5", "--input", GOLDEN / "input.npy"),
        "sweep": ("--depth", "1", "--dim", "32"),
    }[command]
    line = refused(command, *words, "--profile", "seneca")
    assert "gives no e_ac_pj (one accumulate) and no e_mac_pj" in line
    hint = re.search(r"evsim (energy counts\.h5 .*)$", line.strip())
    assert evsim(*shlex.split(hint[1])).code == 0


def blocks():
    """Return the TOML blocks of docs/profiles.md."""
    return re.findall(r"```toml[^\n]*\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_documented_profile_is_charged_by_every_plain_command(folder, tmp_path, monkeypatch):
    """The first block of docs/profiles.md is whole: plain energy, counted-memory and run take it as it stands."""
    monkeypatch.chdir(folder)
    path = tmp_path / "mine.toml"
    path.write_text(blocks()[0])
    outcome = evsim("energy", "counts.h5", "--profile", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "(counted operations times prices; my chip)" in outcome.out
    assert evsim("energy", "counts.h5", "--profile", path, "--method", "counted-memory", "--against", "ann").code == 0
    assert evsim("run", "model.h5", "--input", GOLDEN / "input.npy", "--profile", path).code == 0
    path.write_bytes(b"\xef\xbb\xbf" + blocks()[0].encode())
    assert evsim("energy", "counts.h5", "--profile", path).out == outcome.out
    profile = load_profile(str(path))
    assert (profile.number, profile.device, profile.operand_bits) == ("int", "spiking", 8)
    assert {"paper", "exact", "counted-memory"} <= set(able(profile))


def test_the_document_names_every_price_and_who_needs_it(monkeypatch):
    """docs/profiles.md lists every price; evsim profiles has every profile with the methods that can use it."""
    assert [key for key in PRICES if f"`{key}`" not in DOCUMENT] == []
    monkeypatch.setenv("COLUMNS", "80")
    lines = {line.split()[0]: line for line in evsim("profiles").out.splitlines() if line}
    for name in profile_names():
        assert f"  {able(load_profile(name))[0]}" in lines[name]
        assert (
            f"methods that can use it: {', '.join(able(load_profile(name)))}"
            in evsim("profiles", "--profile", name, "--wide").out
        )
    assert max(map(len, evsim("profiles").out.splitlines())) <= 80
    rows = [
        re.findall(r"`([^`]+)`", row)
        for row in DOCUMENT.split("| method | prices it needs |")[1].split("\n\n")[0].splitlines()
    ]
    assert {name for row in rows for name in row if name in METHODS} == set(METHODS)
    for row in rows:
        keys = {key.strip("[]") for key in row}
        for method in (METHODS[name] for name in row if name in METHODS and name != "spikesim"):
            assert {key for group in method.prices + method.integer_prices for key in group} <= keys, method.name


def test_python_names_the_method_and_shows_no_dashes():
    """In Python the same error spells options as Python does."""
    with pytest.raises(ProfileError, match="take `method=chip`, which can use it, as can affine") as caught:
        golden_run(GOLDEN).energy("exact", "loihi")
    assert "--" not in str(caught.value)
    with pytest.raises(EvsimError, match=r"needs `time_ms` and `frequency_mhz`"):
        golden_run(GOLDEN).energy("affine", "odin")


def test_a_chip_with_a_table_and_half_its_events_is_charged_by_the_table():
    """Prices of some events do not spoil a table that is whole."""
    table = only(["e_synop_pj", "e_neuron_pj"], "float")
    half = replace(table, prices={**table.prices, **only(["e_sop_pj", "e_neuron_active_pj"], "float").prices})
    assert charge(layer_c(), "chip", half).pj == charge(layer_c(), "chip", table).pj


def test_counts_of_spikes_alone_ask_no_price_of_a_product(tmp_path):
    """What a network does not need is not asked for where the method is named."""
    countsfile.save(tmp_path / "c.h5", layer_c(), Origin("c", "c", (), {}))
    path = tmp_path / "mine.toml"
    path.write_text("".join(f"[{key}]\nvalue = 1\nsource = 'me'\n" for key in ("e_ac_pj", "e_byte_pj")))
    path.write_text('name = "mine"\n' + path.read_text())
    assert evsim("energy", tmp_path / "c.h5", "--profile", path, "--method", "bytes").code == 0
