"""A family outside the package, in one file: convolutions with neurons behind them, on primitives that evsim knows."""

from evsim.converters import Family
from evsim.converters.inputs import input_spec
from evsim.converters.presets import Preset
from evsim.converters.table import Form, Row
from evsim.network import Input, Network, TimeMean, TokenMean

ROWS = (
    Row("stem.conv", ("width", "channels", 3, 3), norm="bn"),
    Row("blocks.0.conv", ("width", "width", 1, 1), norm="norm.bn", bias=True),
    Row("blocks.{depth}.conv", ("width", "width", 3, 3), norm="norm.bn", bias=True),
    Row("classifier", ("classes", "width")),
)


def graph(builder, facts):
    """Build the network."""
    sizes = builder.sizes
    facts.agree("depth", sizes["depth"])
    spec = input_spec(facts, "cifar", sizes["channels"])
    x = builder.add(Input("input", (), sizes["channels"], spec.height, spec.width, "real"))
    x = builder.lif("stem.lif", builder.layer("stem.conv", x, stride=2, padding=1), 2.0)
    for block in range(sizes["depth"]):
        x = builder.layer(f"blocks.{block}.conv", x, padding=int(block > 0))
        x = builder.lif(f"blocks.{block}.lif", x, 2.0)
    x = builder.add(TimeMean("time_mean", (builder.add(TokenMean("token_mean", (x,))),)))
    builder.layer("classifier", x)
    weights = builder.finish(FAMILY.unused)
    return Network(f"stripnet-{sizes['depth']}", "stripnet", "standard", spec, tuple(builder.nodes), weights)


def sizes_of(preset):
    """Return the form and the sizes of a preset."""
    return "plain", {"channels": 3, "width": preset.dim, "depth": preset.depth, "classes": preset.classes}


FAMILY = Family(
    name="stripnet",
    title="StripNet",
    forms=(Form("plain", ROWS),),
    graph=graph,
    sizes=sizes_of,
    presets={"stripnet-3-16": Preset("", 16, 3, 1, 4, 5, 12, "stripnet", mean=(0.5,) * 3, std=(0.25,) * 3)},
    unused=("blocks.{depth}.scale",),
)
