"""Hardware profiles: every bundled figure says who published it; a bad file is one line that names file and key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from energy_cases import layer_c, networks
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim.energy import Options, Price, charge, load_profile, profile_names, sensitivity
from evsim.energy.charging import parsed
from evsim.errors import OptionError, ProfileError

GOOD = 'name = "mine"\n[e_ac_pj]\nvalue = 0.5\nsource = "me"\n[e_mac_pj]\nvalue = [1.0, 3.0]\nsource = "me"\n'


def sram(capacities, energies="[1, 2]"):
    """Return a table of memories, before the table of an accumulate."""
    return f"[sram]\ncapacity_bytes = {capacities}\nword_bits = 8\naccess_pj = {energies}\nsource = 'x'\n[e_ac_pj]"


@pytest.mark.parametrize("name", profile_names())
def test_bundled_figures_are_sourced(name):
    """Every figure of every bundled profile says its source, what it includes, and whether it was read first hand."""
    profile = load_profile(name)
    assert profile.path == name
    figures = [*profile.prices.values(), *([profile.sram] if profile.sram else [])]
    assert figures
    for figure in figures:
        assert figure.source
        assert figure.verified in ("first hand", "second hand")
        kinds = ("incremental", "average", "not stated", "static power", "power of")
        assert figure.includes.startswith(kinds), figure.includes


def test_unverified_figures_are_not_shipped():
    """No bundled profile has the 7 nm table or the upper DRAM figure, which nobody has read."""
    assert not any("7nm" in name for name in profile_names())
    for name in profile_names():
        prices = load_profile(name).prices
        assert "e_dram_bit_pj" not in prices or prices["e_dram_bit_pj"].high < 2600 / 64


def test_the_figures_of_45nm():
    """The default profile has the field's figures."""
    profile = load_profile()
    assert (profile.e_ac_pj, profile.e_mac_pj, profile.name) == (0.9, 4.6, "45 nm float32")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("value = 0.5", "value = -0.5", "e_ac_pj.value must be a number, not negative"),
        ("value = 0.5", 'value = "0.5"', "e_ac_pj.value must be a number, not negative, got '0.5'"),
        ("value = 0.5", "value = true", "e_ac_pj.value must be a number"),
        ("value = 0.5", "value = nan", "e_ac_pj.value must be a number"),
        ("value = 0.5", "value = 1e308", "e_ac_pj.value is beyond any price (1e+15), got 1e+308; check its unit"),
        ("value = 0.5", "", "e_ac_pj.value must be a number"),
        ("value = [1.0, 3.0]", "value = [3.0, 1.0]", "e_mac_pj.value must be a range from low to high"),
        ("value = [1.0, 3.0]", "value = [1.0]", "e_mac_pj.value must be a number or a range"),
        ("[e_ac_pj]", "[e_ac_nj]", "e_ac_nj has another unit than evsim takes, or none; give it as e_ac_pj"),
        ("[e_ac_pj]", "[e_ac]", "e_ac has another unit than evsim takes, or none; give it as e_ac_pj"),
        ("[e_ac_pj]", "[e_acc_pj]", "unknown key e_acc_pj; did you mean e_ac_pj"),
        ("[e_ac_pj]", "[zebra]", "unknown key zebra"),
        ('value = 0.5\nsource = "me"', "value = 0.5", "e_ac_pj.source is missing"),
        ('value = 0.5\nsource = "me"', 'value = 0.5\nsource = " "', "e_ac_pj.source is missing"),
        ('value = 0.5\nsource = "me"', "value = 0.5\nsource = 3", "e_ac_pj.source must be a text"),
        ("value = 0.5", "value = 0.5\nverified = 'maybe'", "e_ac_pj.verified must be first hand or second hand"),
        ("value = 0.5", "value = 0.5\nunit = 'pJ'", "unknown key e_ac_pj.unit"),
        ('name = "mine"', "name = 3", "name must be a text"),
        ('name = "mine"', "", "name must be a text and is missing"),
        ('name = "mine"', 'name = "mine"\ne_add_pj = 3', "e_add_pj must be a table"),
        ('name = "mine"', 'name = "mine"\nnumber = "complex"', "number must be float or int"),
        ('name = "mine"', 'name = "mine"\nweight_bits = 0', "weight_bits must be a number of bits"),
        ('name = "mine"', 'name = "mine"\nweight_bits = 7.5', "weight_bits must be a number of bits"),
        ("[e_ac_pj]", "[e_ac_pj", "no valid TOML"),
        ("[e_ac_pj]", "[sram]\ncapacity_bytes = [2, 1]\naccess_pj = [1, 2]\nsource = 'x'\n[e_ac_pj]", "must rise"),
        (
            "[e_ac_pj]",
            "[sram]\ncapacity_bytes = [1]\naccess_pj = [1, 2]\nsource = 'x'\n[e_ac_pj]",
            "has 2 numbers for 1",
        ),
        (
            "[e_ac_pj]",
            "[sram]\ncapacity_bytes = 8\naccess_pj = [1]\nsource = 'x'\n[e_ac_pj]",
            "sram.capacity_bytes must",
        ),
        (GOOD, 'name = "mine"\n', "not one price is given"),
        (
            "value = 0.5",
            "value = 1" + "0" * 399,
            "e_ac_pj.value must be a number, not negative, got an integer of 1326",
        ),
        ("value = 0.5", "value = [1, 1" + "0" * 399 + "]", "e_ac_pj.value must be a number, not negative"),
        ("value = 0.5", "value = 0x" + "f" * 9000, "e_ac_pj.value must be a number, not negative"),
        ("value = 0.5", "value = 1" + "0" * 4999, "line 3, value, is a number of too many digits"),
        ("value = 0.5", "value = " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ('name = "mine"', 'name = "mine"\nweight_bits = 1' + "0" * 399, "weight_bits must be a number of bits"),
        ('name = "mine"', 'name = "mine"\nnumber = 0x' + "f" * 9000, "number must be float or int"),
        ("[e_ac_pj]", sram("[1.5, 2.5]"), "sram.capacity_bytes must be whole numbers of bytes, got 1.5"),
        ("[e_ac_pj]", sram("[0.2, 0.4]"), "sram.capacity_bytes must be whole numbers of bytes, got 0.2"),
        ("[e_ac_pj]", sram("[true, 2]"), "sram.capacity_bytes must be whole numbers of bytes, got True"),
        ("[e_ac_pj]", sram("[0, 2]"), "sram.capacity_bytes must rise from above 0"),
        ("[e_ac_pj]", sram("[-4, 2]"), "sram.capacity_bytes must rise from above 0"),
        ("[e_ac_pj]", sram("[2, 2]"), "sram.capacity_bytes must rise from above 0"),
        ("[e_ac_pj]", sram("[2, 1" + "0" * 399 + "]"), "sram.capacity_bytes must be whole numbers of bytes"),
        ("[e_ac_pj]", sram("[1, 2]", "[1, [3, 2]]"), "sram.access_pj must be a range from low to high"),
        ("[e_ac_pj]", sram("[1, 2]", "[1, [2]]"), "sram.access_pj must be a number or a range"),
    ],
)
def test_invalid_profiles(old, new, says, tmp_path):
    """Each fault is one line with the file, the key and what is wanted."""
    path = tmp_path / "mine.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_ranges_give_ranges(tmp_path):
    """A price given as a range gives an energy as a range; the figure of a view is the middle."""
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("value = 0.5", "value = [0.4, 0.8]"))
    profile = load_profile(str(path))
    assert profile.e_ac_pj == pytest.approx(0.6)
    energy = charge(layer_c(), "exact", profile)
    assert energy.total == pytest.approx((36000 * 0.4, 36000 * 0.8))
    assert energy.pj == pytest.approx(36000 * 0.6)
    by = energy.by("layer")
    assert (by.low[0], by.high[0]) == pytest.approx((36000 * 0.4, 36000 * 0.8))


def test_missing_prices_and_files(tmp_path):
    """A price that a model needs and the profile lacks, an unknown profile and an unreadable file are named."""
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    with pytest.raises(ProfileError, match=r"mine\.toml: the profile gives no e_byte_pj"):
        charge(layer_c(), "bytes", str(path))
    with pytest.raises(ProfileError, match="no profile is named nonsense; known are"):
        load_profile("nonsense")
    with pytest.raises(ProfileError, match="check the path"):
        load_profile(str(tmp_path / "missing.toml"))
    with pytest.raises(OptionError, match="no energy method is named nonsense"):
        charge(layer_c(), "nonsense")


def test_prices_of_ones_own():
    """Prices replace the profile's, a range too, and the name says so."""
    profile = load_profile().priced(e_ac_pj=0.3, e_mac_pj=[1.0, 1.4])
    assert (profile.e_ac_pj, profile.e_mac_pj) == (0.3, pytest.approx(1.2))
    assert profile.name == "45 nm float32, e_ac_pj 0.3, e_mac_pj 1-1.4"
    assert isinstance(profile.price("e_ac_pj"), Price)
    with pytest.raises(ProfileError, match="e_ac_pj must be a number, not negative"):
        load_profile().priced(e_ac_pj=-1.0)
    with pytest.raises(ProfileError, match="e_ac_pj is beyond any price"):
        load_profile().priced(e_ac_pj=1e300)
    with pytest.raises(ProfileError, match="e_ac_nj has another unit"):
        load_profile().priced(e_ac_nj=1.0)


def memory(access="[[8.0, 16.0], [80.0, 96.0]]", includes='includes = "incremental: one access"'):
    """Return a profile of every price that models of memory need."""
    prices = {"e_ac_pj": 1.0, "e_mac_pj": 4.0, "e_dram_bit_pj": 100.0, "e_add_pj": 0.1, "e_mul_pj": 3.1}
    told = 'source = "me"\nincludes = "incremental: one"\n'
    tables = "".join(f"[{key}]\nvalue = {value}\n{told}" for key, value in prices.items())
    sram = f"capacity_bytes = [1024, 1048576]\nword_bits = 8\naccess_pj = {access}\nsource = 'me'\n{includes}\n"
    return f'name = "mine"\n{tables}[sram]\n{sram}'


@pytest.mark.parametrize("model", ["counted-memory", "lemaire"])
def test_memories_as_ranges(model, tmp_path):
    """Energies of memory accesses may be ranges; their ends are what single figures at both ends give."""
    path, totals = tmp_path / "mine.toml", []
    for text in (memory(), memory("[8.0, 80.0]"), memory("[16.0, 96.0]")):
        path.write_text(text)
        totals.append(charge(layer_c(), model, str(path)).total)
    whole, low, high = totals
    assert low[0] == low[1] < high[0] == high[1]
    assert whole == pytest.approx((low[0], high[1]))


@settings(max_examples=25, deadline=None)
@given(network=networks(), shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_sensitivity_holds_every_price_of_a_memory(network, shares):
    """Whatever a memory costs within its range, the ratio lies between the ends that are given."""
    profile = load_profile("45nm")
    wide = replace(profile.sram, access_pj=((5.0, 15.0), (20.0, 20.0), (60.0, 140.0)))
    first, last = (5.0 + 10.0 * shares[0],) * 2, (60.0 + 80.0 * shares[1],) * 2
    inside = replace(profile, sram=replace(profile.sram, access_pj=(first, (20.0, 20.0), last)))
    b = layer_c()
    for ratio in sensitivity(network, b, profiles=[replace(profile, sram=wide)], methods=["counted-memory"]).ratios:
        options = parsed([ratio.variant])
        x, y = (charge(counts, "counted-memory", inside, options).pj for counts in (network, b))
        assert ratio.low - 1e-9 <= x / y <= ratio.high + 1e-9, ratio


@pytest.mark.parametrize(
    ("includes", "drawn"),
    [
        ("", True),
        ('includes = ""', True),
        ('includes = " Average at 20 Hz"', True),
        ('includes = "not stated"', True),
        ('includes = "incremental: one"', False),
    ],
)
def test_what_a_price_includes(includes, drawn, tmp_path):
    """A price that does not say what it includes draws the caveat of an average."""
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n[e_sop_pj]\nvalue = 0.5\nsource = "me"\n{includes}\n')
    notes = charge(layer_c(), "affine", str(path)).notes
    assert any("e_sop_pj of mine is, or may be, an average" in note for note in notes) is drawn
    path.write_text(memory(includes=includes))
    notes = charge(layer_c(), "counted-memory", str(path)).notes
    assert any("sram of mine is, or may be, an average" in note for note in notes) is drawn


def test_powers_and_prices_of_the_command_line_draw_no_caveat(tmp_path):
    """Static power is no average of an event, and who gives a price on the command line knows what is in it."""
    path = tmp_path / "mine.toml"
    price = 'includes = "incremental: one"\nvalue = 1.0\nsource = "me"\n'
    path.write_text(f'name = "mine"\n[e_sop_pj]\n{price}[p_static_uw]\nvalue = 1.0\nsource = "me"\n')
    assert not any("average" in note for note in charge(layer_c(), "affine", str(path), Options(time_ms=1.0)).notes)
    assert not charge(layer_c(), "exact", load_profile().priced(e_ac_pj=0.3)).notes
