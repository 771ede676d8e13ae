"""Options of energy methods: each is declared by its method, and no other takes it."""

from __future__ import annotations

from dataclasses import fields

import pytest
from commands import evsim, refused
from energy_cases import golden_run, layer_c, layer_f

from evsim import countsfile
from evsim.audit.accounts import account
from evsim.countsfile import Origin
from evsim.energy import METHODS, Options, charge, charge_baseline, sensitivity
from evsim.energy.charging import every_option, parsed, takers
from evsim.energy.options import choices
from evsim.errors import OptionError


@pytest.mark.parametrize("method", METHODS)
def test_a_method_refuses_every_option_that_it_does_not_declare(method):
    """Each option of each other method is refused with the name of the method, the option and who takes it."""
    for other in METHODS.values():
        for field in fields(other.options):
            if method in takers(field.name):
                continue
            words = choices(other.options, field.name)
            with pytest.raises(OptionError, match=f"method {method} does not take the option `{field.name}`") as caught:
                charge(layer_c(), method, options=Options(**{field.name: words[0] if words else 1.0}))
            assert other.name in str(caught.value)


def test_a_run_refuses_an_option_of_another_method():
    """A setting that would change nothing is refused, not ignored."""
    from energy_cases import FOLDERS

    run = golden_run(FOLDERS[0])
    with pytest.raises(OptionError, match="method paper does not take the option `sram`, method lemaire does"):
        run.energy("paper", options=Options(sram="fit"))
    with pytest.raises(OptionError, match="no energy method takes an option colour"):
        run.energy("paper", options=Options(colour="red"))
    with pytest.raises(OptionError, match="does not take the option `hops`"):
        charge_baseline(layer_c(), "ann", "exact", options=Options(hops=2))


def test_among_several_methods_one_taker_is_enough():
    """With several methods an option goes to those that declare it; with none that does it is refused."""
    options = Options(sram="fit")
    whole = account("c", layer_c(), ("exact", "lemaire"), options=options)
    assert [energy.pj for energy in whole.energies] == [
        charge(layer_c(), "exact").pj,
        charge(layer_c(), "lemaire", options=options).pj,
    ]
    with pytest.raises(OptionError, match="methods exact, bytes do not take the option `sram`"):
        account("c", layer_c(), ("exact", "bytes"), options=options)
    with pytest.raises(OptionError, match="methods exact, bytes do not take"):
        sensitivity(layer_c(), layer_f(), options, methods=["exact", "bytes"])


def test_none_of_all_methods_is_an_error_with_its_reasons():
    """Where all are asked and none can charge, the error says why for each."""
    counts = layer_f()
    left = account("f", counts, None)
    assert {"counted-memory", "affine"} <= left.silent.keys()
    assert {energy.method for energy in left.energies} == METHODS.keys() - left.silent.keys()


@pytest.mark.parametrize(
    ("method", "values", "says"),
    [
        ("lemaire", {"sram": "huge"}, "sram must be piecewise, fit, packed, spikingjelly; got huge"),
        ("paper", {"nonspike": 1.0}, "nonspike must be binary-only, integer-as-events"),
        ("chip", {"hops_x": -1.0}, "hops_x must be a number, not negative"),
        ("chip", {"hops_x": float("nan")}, "hops_x must be a number, not negative"),
        ("chip", {"hops_x": "far"}, "hops_x must be a number, not negative"),
        ("counted-memory", {"weight_bits": 0.5}, "weight_bits is a whole number of bits"),
        ("qnn", {"qnn_zeros": 1.5}, "qnn_zeros is a share between 0 and 1"),
    ],
)
def test_values_are_checked_by_their_method(method, values, says):
    """A value that an option cannot have is refused by the declaration of its method, whichever method is chosen."""
    for chosen in (method, "exact"):
        with pytest.raises(OptionError, match=says):
            charge(layer_c(), chosen, options=Options(**values))


def test_texts_become_options():
    """Every option can be given as a text; leave_out takes several kinds, and None takes an option back."""
    for key in every_option()[1:]:
        words = next((w for name in takers(key) if (w := choices(METHODS[name].options, key))), ())
        value = words[-1] if words else 3.0
        assert parsed([f"{key}={value}"]).values == {key: value}
    options = parsed(["leave_out=conv,lif", "hops=2"])
    assert options == Options(("conv", "lif"), hops=2.0)
    assert options.changed(hops=None) == Options(("conv", "lif"))
    assert Options("attention") == Options(("attention",)), "one kind needs no list"
    with pytest.raises(OptionError, match="`leave_out` takes conv, linear, attention, lif; got attn"):
        Options(leave_out="attn")


def test_the_command_line_names_options_as_it_takes_them(tmp_path, monkeypatch):
    """An option of a method is spelled as --set takes it, in errors and in notes."""
    monkeypatch.chdir(tmp_path)
    countsfile.save("c.h5", layer_c(), Origin("c", "c", (), {}))
    assert "the option --set sram=VALUE, method lemaire does" in refused("energy", "c.h5", "--set", "sram=fit")
    assert "do not take the option --time-ms" in refused("energy", "c.h5", "--time-ms", "3")
    text = evsim("energy", "c.h5", "--model", "chip").out
    assert "give the duration of an inference by --time-ms" in text
