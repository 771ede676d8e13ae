"""Hardware profiles: every bundled figure says who published it; a bad file is one line that names file and key."""

from __future__ import annotations

import pytest
from energy_cases import layer_c

from evsim.energy import Price, charge, load_profile, profile_names
from evsim.errors import OptionError, ProfileError

GOOD = 'name = "mine"\n[e_ac_pj]\nvalue = 0.5\nsource = "me"\n[e_mac_pj]\nvalue = [1.0, 3.0]\nsource = "me"\n'


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
    with pytest.raises(OptionError, match="no energy model is named nonsense"):
        charge(layer_c(), "nonsense")


def test_prices_of_ones_own():
    """Prices replace the profile's, a range too, and the name says so."""
    profile = load_profile().priced(e_ac_pj=0.3, e_mac_pj=[1.0, 1.4])
    assert (profile.e_ac_pj, profile.e_mac_pj) == (0.3, pytest.approx(1.2))
    assert profile.name == "45 nm float32, e_ac_pj 0.3, e_mac_pj 1-1.4"
    assert isinstance(profile.price("e_ac_pj"), Price)
    with pytest.raises(ProfileError, match="e_ac_pj must be a number, not negative"):
        load_profile().priced(e_ac_pj=-1.0)
    with pytest.raises(ProfileError, match="e_ac_nj has another unit"):
        load_profile().priced(e_ac_nj=1.0)
