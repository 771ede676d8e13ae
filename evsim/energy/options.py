"""Options of the energy models: what counts and prices leave open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from evsim.errors import OptionError

NonSpike = Literal["binary-only", "integer-as-events"]
SramReading = Literal["piecewise", "fit", "packed", "spikingjelly"]
WeightFetches = Literal["per-timestep", "per-sop", "once"]
Potentials = Literal["all", "touched"]
AttentionOrder = Literal["declared", "other", "least"]
CHOICES: dict[str, tuple[str, ...]] = {
    "nonspike": get_args(NonSpike),
    "sram": get_args(SramReading),
    "weights": get_args(WeightFetches),
    "potentials": get_args(Potentials),
    "order": get_args(AttentionOrder),
}
KINDS = ("conv", "linear", "attention", "lif")


@dataclass(frozen=True)
class Options:
    """What a model cannot read off the counts. Every model has defaults for its own; others are not looked at.

    Attributes
    ----------
    leave_out
        Kinds of layers that are not charged: conv, linear, attention, lif.
    nonspike
        `paper`: how integer inputs are charged.
    sram
        `lemaire`: the reading of the energy of a memory access.
    weights, potentials, order
        `counted-memory`: how often weights are fetched, which potentials are read, which product of attention comes
        first.
    weight_bits, potential_bits, activation_bits
        `counted-memory`: widths in place of the profile's.
    on_chip_kib
        `counted-memory`: memories up to this size are SRAM, greater ones DRAM; by default the greatest of the profile,
        whose price, with a note, is also that of a greater SRAM.
    weights_kib, potentials_kib, spikes_kib, attention_kib
        `counted-memory`: sizes of a layer's memories, by default as large as what they hold; what does not fit is in
        DRAM.
    time_ms, frequency_mhz
        Duration of one inference and clock, for static and idle power. Never taken from the simulation.
    packets_per_spike, hops_x, hops_y
        `chip`: a placement's packets and mean hops.
    hops
        `qnn`: mean hops from a source.
    qnn_zeros
        `qnn` as a baseline: share of zero activations in the bit-matched network; unknown gives a range.
    """

    leave_out: tuple[str, ...] = ()
    nonspike: NonSpike = "binary-only"
    sram: SramReading = "piecewise"
    weights: WeightFetches = "per-timestep"
    potentials: Potentials = "all"
    order: AttentionOrder = "declared"
    weight_bits: float | None = None
    potential_bits: float | None = None
    activation_bits: float | None = None
    on_chip_kib: float | None = None
    weights_kib: float | None = None
    potentials_kib: float | None = None
    spikes_kib: float | None = None
    attention_kib: float | None = None
    time_ms: float | None = None
    frequency_mhz: float | None = None
    packets_per_spike: float = 1.0
    hops_x: float = 0.0
    hops_y: float = 0.0
    hops: float = 1.0
    qnn_zeros: float | None = None

    def __post_init__(self) -> None:
        for key, values in CHOICES.items():
            if getattr(self, key) not in values:
                raise OptionError(f"{key} must be {', '.join(values)}; got {getattr(self, key)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise OptionError(f"{field.name} must be a number, not negative, got {value}")
        for key in ("weight_bits", "potential_bits", "activation_bits"):
            bits = getattr(self, key)
            if bits is not None and (bits < 1 or bits != int(bits)):
                raise OptionError(f"{key} is a whole number of bits, at least 1, got {bits:g}")
        if self.qnn_zeros is not None and self.qnn_zeros > 1:
            raise OptionError(f"qnn_zeros is a share between 0 and 1, got {self.qnn_zeros}")
        for kind in self.leave_out:
            if kind not in KINDS:
                raise OptionError(f"leave_out takes {', '.join(KINDS)}; got {kind}")


def parsed(texts: Iterable[str], start: Options | None = None) -> Options:
    """Return options from texts such as ``sram=fit``.

    Raises
    ------
    OptionError
        If one is no such text, names no option, or has no usable value.
    """
    options, names = start or Options(), [field.name for field in fields(Options)]
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in names:
            raise OptionError(f"--set takes NAME=VALUE, got {text}; names are {', '.join(names)}")
        options = replace(options, **{key: _value(key, value)})  # type: ignore[arg-type]
    return options


def _value(key: str, text: str) -> str | float | tuple[str, ...]:
    if key in CHOICES:
        return text
    if key == "leave_out":
        return tuple(part for part in text.split(",") if part)
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--set {key} takes a number, got {text}") from None
