"""The energy rules of other families' papers: SDT's, SEW's as others cite it, SpikingResformer's monitor."""

from __future__ import annotations

import numpy as np
import pytest
from energy_cases import layer, layer_c, layer_f

from evsim.counters import Counts
from evsim.energy import Options, charge, sensitivity
from evsim.errors import OptionError
from evsim.workload import Geometry

T = 3
EACH = np.ones(T, np.int64)
CONV = Geometry("Conv2d", 2, 4, 6, 6, 6, 6, (3, 3), (1, 1), (1, 1), bias=True)
DENSE = 36 * 4 * 2 * 9
"""Dense operations of `CONV` at one timestep, bias left out."""


def row(name, kind="spikes", geometry=CONV, **changes):
    """Return a conv of 72 inputs, 20 of them no 0, which sum up to 50, at each timestep."""
    own = {"input_size": 72 * EACH, "input_nonzeros": 20 * EACH, "input_sum": 50 * EACH} | changes
    return layer(name, "conv" if geometry is CONV else "linear", geometry, T, input_kind=kind, **own)


def image():
    """Return a first conv on a static image."""
    return row("first", "real", reads_input=True, macs=600 * EACH, input_sum=0 * EACH)


def attention(kind, **changes):
    """Return attention of 2 heads of 3 channels on 4 tokens: 5 spikes of q, 7 of k, 11 of v at each timestep."""
    size = Geometry("Attention", 6, 6, 2, 2, 2, 2, heads=2, head_dim=3, attention=kind, order=None if kind else "q(kv)")
    operands = np.array([[5], [7], [11]]) * EACH
    return layer(
        "attn", "attention", size, T, input_size=72 * EACH, operand_nonzeros=operands,
        sops_per_head=np.full((T, 2), 9), **changes,
    )  # fmt: skip


def counts(*layers):
    """Return counts of these rows."""
    return Counts(T, layers)


@pytest.mark.parametrize("method", ["sdt", "sew"])
def test_rates_times_dense_operations(method):
    """Layers C and F fire as in their worked examples: dense operations, no bias, times rate, at 0.9 pJ."""
    assert charge(layer_c(), method).pj == pytest.approx(0.9 * 294912 * 500 / 4096)
    assert charge(layer_f(), method).pj == pytest.approx(0.9 * 4 * 256 * 64 * 100 / 1024)


@pytest.mark.parametrize("method", ["sdt", "sew"])
def test_the_first_convolution_is_charged_once_or_at_every_step(method):
    """Of an image as it is printed, once; a note tells what the other reading adds; frames are each charged."""
    once = charge(counts(image()), method)
    assert once.pj == pytest.approx(4.6 * DENSE)
    assert charge(counts(image()), method, options=Options(first="every-step")).pj == pytest.approx(T * 4.6 * DENSE)
    assert f"{2 * 4.6e-9 * DENSE:.6f} mJ more" in once.notes[0]
    frames = row("first", "integers", reads_input=True, acs_unrolled=9 * EACH)
    assert charge(counts(frames), method).pj == pytest.approx(T * 4.6 * DENSE)
    with pytest.raises(OptionError, match="first must be once, every-step"):
        charge(counts(image()), method, options=Options(first="twice"))


@pytest.mark.parametrize("method", ["sdt", "sew"])
def test_real_values_inside_are_dense_macs_with_a_note(method):
    """No rule has a term for them."""
    energy = charge(counts(row("shortcut", "real", input_sum=0 * EACH)), method)
    assert energy.pj == pytest.approx(T * 4.6 * DENSE)
    assert any("no part of the rule" in note for note in energy.notes)


def test_integers_fire_so_many_times_or_once():
    """SDT's successors unroll an integer; what others do with SEW's is a setting, told in a note."""
    graded = counts(row("conv", "integers", acs_unrolled=9 * EACH))
    values, nonzeros = (T * 0.9 * DENSE * fired / 72 for fired in (50, 20))
    assert charge(graded, "sdt").pj == pytest.approx(values)
    assert charge(graded, "sew").pj == pytest.approx(values)
    assert "fired=nonzeros" in charge(graded, "sew").notes[0]
    assert charge(graded, "sew", options=Options(fired="nonzeros")).pj == pytest.approx(nonzeros)


def test_attention_by_sdts_rule():
    """Masks and sums: one operation per spike of q, k and v; what multiplies: dense operations times the mean rate."""
    assert charge(counts(attention("sdsa")), "sdt").pj == pytest.approx(T * 0.9 * 23)
    multiplied = charge(counts(attention("", sops_other_order_per_head=None)), "sdt")
    assert multiplied.pj == pytest.approx(T * 0.9 * (2 * 2 * 4 * 3 * 3) * 23 / 72)
    assert "attention that multiplies is no part of the rule" in multiplied.notes[0]


def test_sews_rule_has_no_term_for_attention():
    """It is refused by name, and can be left out; two such networks still compare under all other methods."""
    both = counts(row("conv", sops=300 * EACH), attention("sdsa"))
    with pytest.raises(OptionError, match="method sew cannot charge attn"):
        charge(both, "sew")
    assert charge(both, "sew", options=Options(leave_out=("attention",))).pj == pytest.approx(T * 0.9 * DENSE * 50 / 72)
    outcome = sensitivity(both, both)
    assert {"sdt", "exact"} <= {turn.method for turn in outcome.turns}
    assert "sew" not in {turn.method for turn in outcome.turns}
    assert "sew" in {method for method, *_ in outcome.refused}


def test_spikingresformers_monitor():
    """Counted operations, integers by value, heads apart; first conv and classifier are charged nothing, and told."""
    classifier = row("fc", "real", Geometry("Linear", 2, 4, 1, 1, 1, 1), macs=8 * EACH)
    inside = (row("a", sops=300 * EACH), row("b", "integers", macs=100 * EACH, acs_unrolled=250 * EACH))
    energy = charge(counts(image(), *inside, attention("dssa"), classifier), "resformer")
    assert energy.pj == pytest.approx(T * 0.9 * (300 + 250 + 18))
    assert energy.by("layer")["first"] == energy.by("layer")["fc"] == 0
    assert energy.by("head")["attn head 1"] * 1e9 == pytest.approx(T * 0.9 * 9)
    assert f"first is charged nothing, as by the monitor; counted, it is {T * 600 * 4.6e-9:.6f} mJ" in energy.notes
    assert any(note.startswith("fc is charged nothing") for note in energy.notes)
    last_conv = charge(counts(image(), *inside), "resformer")
    assert last_conv.pj == pytest.approx(T * 0.9 * 550)


def test_the_monitor_refuses_real_values_inside():
    """It would add them up as if they were spikes."""
    with pytest.raises(OptionError, match="method resformer cannot charge shortcut: it reads real values"):
        charge(counts(image(), row("shortcut", "real"), row("a", sops=EACH)), "resformer")


def test_the_mean_over_samples_is_charged():
    """Of two samples summed, half."""
    two = {"input_size": 144 * EACH, "samples": 2}
    for method in ("sdt", "sew"):
        first = row("first", "real", reads_input=True, macs=600 * EACH, **two)
        assert charge(Counts(T, (first,), samples=2), method).pj == pytest.approx(4.6 * DENSE)
        conv = row("conv", **two)
        assert charge(Counts(T, (conv,), samples=2), method).pj == pytest.approx(T * 0.9 * DENSE * 50 / 144)
