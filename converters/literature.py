"""What is published of each family: paper, code, residual, and the figures of its models with where they stand.

A figure is of ImageNet at 224 x 224 unless the preset's name says otherwise. Nobody of us has the weights: accuracies
and energies are the authors', or of those that cite them, and are held against nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Figures:
    """What is published of one model; None where we know of nothing.

    Attributes
    ----------
    accuracy
        Top-1, percent.
    energy_mj
        Energy of an inference, millijoules, by the rule of those who published it.
    sops_g
        Synaptic operations of an inference, in units of 10^9, where they were counted and not estimated from rates.
    source
        Where the figures stand.
    unread
        Names of the figures that were taken from memory or from others, and not read at their source.
    """

    accuracy: float | None = None
    energy_mj: float | None = None
    sops_g: float | None = None
    source: str = ""
    unread: tuple[str, ...] = ()

    def told(self) -> tuple[str, ...]:
        """Return the names of the figures that there are."""
        return tuple(f.name for f in fields(self)[:3] if getattr(self, f.name) is not None)


@dataclass(frozen=True)
class Literature:
    """Where a family is published, and what.

    Attributes
    ----------
    paper, code
        Where it is described, and where its authors' code lies.
    residual
        What its residual adds to what, which decides what the layers behind it read.
    rule
        The energy method that its paper charges by (`evsim.energy.METHODS`); "" if it gives none.
    leaves_out
        What that rule leaves out, beside memory and communication, which all of them do.
    figures
        Preset to what is published of it.
    """

    paper: str = ""
    code: str = ""
    residual: str = ""
    rule: str = ""
    leaves_out: str = ""
    figures: Mapping[str, Figures] = field(default_factory=dict)


SPIKES_ADDED = "spikes are added to spikes: the layers behind read integers"
MEMBRANE = "membrane shortcut: real sums before the neurons, every layer behind them reads spikes"
SPIKINGFORMER_TABLE = "table of Spikingformer's paper (arXiv 2304.11954)"
MEMORY = "from memory, unread"
ENERGY = ("energy_mj",)
ACCURACY = ("accuracy",)
BOTH = ("accuracy", "energy_mj")

SPIKINGFORMER = Literature(
    "arXiv 2304.11954",
    "github.com/zhouchenlin2096/Spikingformer, Spikingformer-CML",
    "spike-driven: neurons before each branch, real sums on the stream, every layer behind reads spikes",
    "paper",
    "neurons, pooling, residual additions",
    {
        "spikingformer-8-384-imagenet": Figures(72.45, 4.69, source="README of the code, and the paper's table"),
        "spikingformer-8-512-imagenet": Figures(74.79, 7.46, source="README of the code, and the paper's table"),
        "spikingformer-8-768-imagenet": Figures(75.85, 13.68, source="README of the code, and the paper's table"),
        "spikingformer-8-384-imagenet-cml": Figures(energy_mj=5.61, source=SPIKINGFORMER_TABLE),
        "spikingformer-8-512-imagenet-cml": Figures(energy_mj=8.68, source=SPIKINGFORMER_TABLE),
        "spikingformer-8-768-imagenet-cml": Figures(
            77.64, 16.30, source=f"accuracy: README of Spikingformer-CML; energy: {SPIKINGFORMER_TABLE}"
        ),
    },
)

SPIKFORMER = Literature(
    "arXiv 2209.15425",
    "github.com/ZK-Zhou/spikformer",
    SPIKES_ADDED,
    "paper",
    "neurons, pooling, residual additions",
    {
        "spikformer-8-384-imagenet": Figures(energy_mj=12.43, source=SPIKINGFORMER_TABLE),
        "spikformer-8-512-imagenet": Figures(energy_mj=18.82, source=SPIKINGFORMER_TABLE),
        "spikformer-8-768-imagenet": Figures(
            74.81, 32.07, source=f"accuracy: README of QKFormer; energy: {SPIKINGFORMER_TABLE}"
        ),
    },
)

_QK = f"accuracy: README of the code; energy: {MEMORY} (the paper)"
_QK_LOG = "the authors' log"

QKFORMER = Literature(
    "arXiv 2403.16552",
    "github.com/zhouchenlin2096/QKFormer",
    SPIKES_ADDED,
    "paper",
    "neurons, pooling, residual additions; says not how integers are charged",
    {
        "qkformer-10-384-imagenet": Figures(78.80, 15.12, source=_QK, unread=ENERGY),
        "qkformer-10-512-imagenet": Figures(82.04, 21.99, source=_QK, unread=ENERGY),
        "qkformer-10-768-imagenet": Figures(84.22, 38.91, source=_QK, unread=ENERGY),
        "qkformer-4-384-cifar10": Figures(96.21, source=_QK_LOG),
        "qkformer-4-384-cifar100": Figures(81.22, source=_QK_LOG),
        "qkformer-2-256-cifar10dvs": Figures(84.1, source=_QK_LOG),
        "qkformer-2-256-dvs128": Figures(98.6, source=MEMORY, unread=ACCURACY),
    },
)

_SDT = "README of the code"

SDT_V1 = Literature(
    "arXiv 2307.01694",
    "github.com/BICLab/Spike-Driven-Transformer",
    MEMBRANE,
    "sdt",
    "neurons, pooling, residual additions, masks and their sums beyond one operation per spike",
    {
        "sdt-8-384": Figures(72.28, 3.90, source=_SDT),
        "sdt-6-512": Figures(74.11, 3.56, source=_SDT),
        "sdt-8-512": Figures(74.57, 4.50, source=_SDT),
        "sdt-10-512": Figures(74.66, 5.53, source=_SDT),
        "sdt-8-768": Figures(77.07, 6.09, source=_SDT),
        "sdt-2-512-cifar10": Figures(95.6, source=MEMORY, unread=ACCURACY),
        "sdt-2-512-cifar100": Figures(78.4, source=MEMORY, unread=ACCURACY),
        "sdt-2-256-cifar10dvs": Figures(80.0, source=MEMORY, unread=ACCURACY),
        "sdt-2-256-dvs128": Figures(99.3, source=MEMORY, unread=ACCURACY),
    },
)

SDT_V2 = Literature(
    "arXiv 2404.03663",
    "github.com/BICLab/Spike-Driven-Transformer-V2",
    MEMBRANE + "; spike-driven only where stacked convolutions are folded into one",
    "sdt",
    "neurons, residual additions; seems to charge convolutions of real values as accumulates",
    {
        "sdt-v2-8-384-imagenet": Figures(77.2, 32.8, source=f"{MEMORY} (the paper)", unread=BOTH),
        "sdt-v2-8-512-imagenet": Figures(
            80.0, 52.4, source=f"accuracy (distilled): README of the code; energy: {MEMORY} (the paper)", unread=ENERGY
        ),
    },
)

_V3 = "abstract of the paper"

SDT_V3 = Literature(
    "arXiv 2411.16061",
    "github.com/BICLab/Spike-Driven-Transformer-V3",
    MEMBRANE + "; neurons emit integers, which stand for as many spikes",
    "sdt",
    "neurons, residual additions",
    {
        "sdt-v3-m-imagenet": Figures(78.5, source=_V3),
        "sdt-v3-l-imagenet": Figures(79.8, source=_V3),
        "sdt-v3-12-768-imagenet": Figures(86.2, source=_V3 + " (of 173 M parameters)"),
    },
)

_RES = "the paper's text, as others quote it"

SPIKINGRESFORMER = Literature(
    "arXiv 2403.14302",
    "github.com/xyshi2000/SpikingResformer",
    MEMBRANE,
    "resformer",
    "the first convolution, the classifier, neurons, residual additions",
    {
        "spikingresformer-ti-imagenet": Figures(74.34, 2.46, 2.73, _RES, (*BOTH, "sops_g")),
        "spikingresformer-s-imagenet": Figures(75.95, 3.37, source=f"{MEMORY} (the paper)", unread=BOTH),
        "spikingresformer-m-imagenet": Figures(77.24, 5.46, 6.07, _RES, (*BOTH, "sops_g")),
        "spikingresformer-l-imagenet": Figures(78.77, 8.76, source=f"{MEMORY} (the paper)", unread=BOTH),
    },
)

_SEW = f"accuracy: {MEMORY} (the paper); energy: {SPIKINGFORMER_TABLE}"

SEW_RESNET = Literature(
    "arXiv 2102.04159",
    "github.com/fangwei123456/Spike-Element-Wise-ResNet; SpikingJelly",
    "spikes meet spikes: ADD gives integers, AND and IAND give spikes",
    "sew",
    "neurons, pooling, residual operations; others' rule, the paper has none",
    {
        "sew-resnet-18-imagenet": Figures(63.18, source=f"{MEMORY} (the paper)", unread=ACCURACY),
        "sew-resnet-34-imagenet": Figures(67.04, 4.04, source=_SEW, unread=ACCURACY),
        "sew-resnet-50-imagenet": Figures(67.78, 4.89, source=_SEW, unread=ACCURACY),
        "sew-resnet-101-imagenet": Figures(68.76, 8.91, source=_SEW, unread=ACCURACY),
        "sew-resnet-152-imagenet": Figures(
            69.26, 12.89, source=f"accuracy: README of QKFormer; energy: {SPIKINGFORMER_TABLE}"
        ),
        "sew-resnet-dvs128": Figures(97.92, source=f"{MEMORY} (the paper)", unread=ACCURACY),
        "sew-resnet-cifar10dvs": Figures(74.4, source=f"{MEMORY} (the paper)", unread=ACCURACY),
    },
)

SPIKING_RESNET = Literature(
    "arXiv 2102.04159 (its baseline)",
    "github.com/fangwei123456/Spike-Element-Wise-ResNet; SpikingJelly",
    "real sums before the last neurons of each block, as a ResNet has them before its ReLU",
)

_MS = f"{MEMORY} (accuracy: the paper; energy: as others cite it)"

MS_RESNET = Literature(
    "arXiv 2112.08954",
    "github.com/Ariande1/MS-ResNet",
    MEMBRANE + "; where sizes change, a convolution of the real stream",
    "",
    "others' figures, whose rule is not published with them",
    {
        "ms-resnet-18-imagenet": Figures(63.10, 4.29, source=_MS, unread=BOTH),
        "ms-resnet-34-imagenet": Figures(69.42, 5.11, source=_MS, unread=BOTH),
        "ms-resnet-104-imagenet": Figures(74.21, 10.19, source=_MS, unread=BOTH),
    },
)

SPIKING_VGG = Literature(
    "torchvision's VGG with neurons for its ReLUs", "SpikingJelly (spiking_vgg.py)", "none: a chain of layers"
)

CSNN = Literature(
    "arXiv 2007.05785",
    "SpikingJelly (parametric_lif_net.py); github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron",
    "none: a chain of layers",
    figures={"csnn-dvs128": Figures(93.6, source=MEMORY, unread=ACCURACY)},
)
