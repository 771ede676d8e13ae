"""Commands about models: convert, synthesize, info."""

from typing import TYPE_CHECKING, Annotated, Any

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.shared import INPUT, MODEL, OUTPUT, argument, option
from evsim.cli.words import typed

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.cli.tracing import Program
    from evsim.converters import NirOptions

PANEL = "Models"
PUBLISHED = "published model, e.g. spikingformer-8-512-imagenet"


@command(
    "evsim convert checkpoint.pth.tar model.h5",
    "evsim convert state_dict.h5 model.h5 --preset spikingformer-8-512-imagenet",
    "evsim convert --from-torch module.py:factory --input-shape 3,224,224 model.h5",
    "evsim convert graph.nir model.h5 --timestep 1ms",
    panel=PANEL,
)
def convert(
    checkpoint: Annotated[
        str, argument("CHECKPOINT", "weights as .pth, .pt, .pth.tar, .ckpt, .safetensors, .pkl or .h5; .nir", INPUT)
    ],
    out: Annotated[str | None, argument("OUT", "model.h5 to write", OUTPUT)] = None,
    preset: Annotated[str | None, option(PUBLISHED, MODEL, metavar="NAME")] = None,
    family: Annotated[str | None, option("{families}, where the keys cannot tell", MODEL, metavar="NAME")] = None,
    variant: Annotated[
        str | None,
        option("standard, cml (max-pool before the neurons), plain or basic (blocks)", MODEL, metavar="NAME"),
    ] = None,
    tokenizer: Annotated[str | None, option("imagenet, cifar or dvs", MODEL, metavar="NAME")] = None,
    heads: Annotated[int | None, option("attention heads", MODEL)] = None,
    timesteps: Annotated[int | None, option("timesteps T of the training", MODEL)] = None,
    tau: Annotated[float | None, option("membrane time constant of every LIF", MODEL)] = None,
    image_size: Annotated[int | None, option("height and width of the input", MODEL)] = None,
    mean: Annotated[str | None, option("mean per channel, e.g. 0.485,0.456,0.406", MODEL, metavar="X,X,X")] = None,
    std: Annotated[str | None, option("standard deviation per channel", MODEL, metavar="X,X,X")] = None,
    labels: Annotated[str | None, option("text file, one class name per line", MODEL, metavar="FILE")] = None,
    orientation: Annotated[
        str | None,
        option("of DVS128 recordings: spikingjelly, jaer or raw", MODEL, metavar="NAME"),
    ] = None,
    frames: Annotated[str | None, option("how events become frames: number or time", MODEL, metavar="RULE")] = None,
    crop_pct: Annotated[float | None, option("share of a picture that the centre crop keeps", MODEL)] = None,
    interpolation: Annotated[
        str | None,
        option("how pictures are resized: {interpolations}", MODEL, metavar="NAME"),
    ] = None,
    weights: Annotated[
        str | None,
        option("which of several dicts of weights, e.g. state_dict_ema", MODEL, metavar="NAME"),
    ] = None,
    keys: Annotated[str | None, option("map of renamed keys (.toml)", MODEL, metavar="FILE")] = None,
    *,
    own: dict[str, Any],
    program: "Program",
    graph: "NirOptions",
) -> None:
    """Make a model.h5 of a PyTorch checkpoint or NIR graph.

    PyTorch is not needed. Facts are read from the file; an option gives one that it lacks.
    """
    from evsim.cli.graphs import chosen
    from evsim.converters import ConvertOptions
    from evsim.converters import convert as convert_checkpoint
    from evsim.files import check_outputs
    from evsim.modelfile import save
    from evsim.report.model import facts

    out = program.target(checkpoint, out)
    options = ConvertOptions(
        family, variant, tokenizer, heads, timesteps, tau, image_size, _numbers(mean, "--mean"),
        _numbers(std, "--std"), labels, orientation, frames, preset,
        crop_pct, interpolation, weights, keys, **own,
    )  # fmt: skip
    if program.source is not None:
        return program.convert(out, options)
    check_outputs({"OUT": out}, [checkpoint, labels, keys])
    converted = convert_checkpoint(checkpoint, chosen(checkpoint, options, graph))
    save(converted.network, out)
    for line in (*facts(converted.network), *(f"note: {note}" for note in converted.notes)):
        output.say(line, kept=True)
    size = f"{converted.network.name}, {len(converted.network.nodes)} nodes"
    return output.say(f"wrote {out}: {size}; now try: {typed('info', out)}", kept=True)


@command("evsim synthesize spikingformer-8-512-imagenet --out model.h5", panel=PANEL)
def synthesize(
    preset: Annotated[str, argument("PRESET", PUBLISHED, INPUT)],
    out: Annotated[str, option("model.h5 to write", OUTPUT, "--out", "-o", metavar="FILE")],
    rates: Annotated[str, option("published, or one rate for every LIF", MODEL, metavar="RATE")] = "published",
    scale_rates: Annotated[float, option("factor on all rates; none goes beyond 0.9", MODEL)] = 1.0,
    seed: Annotated[int, option("seed of weights and input", MODEL)] = 0,
    state_dict: Annotated[
        str | None,
        option("also write the weights as a PyTorch state_dict (.h5)", OUTPUT, metavar="FILE"),
    ] = None,
    sample: Annotated[
        str | None,
        option("also write the input of the calibration (.npy)", OUTPUT, metavar="FILE"),
    ] = None,
    timesteps: Annotated[int | None, option("timesteps T, if not the published model's", MODEL)] = None,
    *,
    look: "Look",
    own: dict[str, Any],
) -> None:
    """Make a model of random weights that fires at published rates.

    It is for benchmarks, sweeps and tests, and predicts nothing.
    """
    from evsim import synthesis
    from evsim.cli.progress import Progress
    from evsim.files import check_outputs
    from evsim.modelfile import save
    from evsim.report.model import rates_report, rates_warning

    check_outputs({"--out": out, "--state-dict": state_dict, "--sample": sample})
    with Progress(unit="node") as progress:
        told = {"timesteps": timesteps, **own}
        model = synthesis.synthesize(preset, rates, scale_rates, seed, told, progress=progress)
    save(model.network, out)
    if state_dict:
        synthesis.save_state(model.state, state_dict)
    if sample:
        synthesis.save_sample(model.sample, sample)
    output.tell(rates_report(model.rates, model.rates_float32), look, kept=True)
    if model.missed:
        output.warning(rates_warning(model.missed))
    facts = "\n".join(f"{fact}: {source}" for fact, source in model.network.provenance.items())
    output.say(f"\n{facts}", kept=True)
    output.say(f"wrote {out}: {model.network.name}, {len(model.network.nodes)} nodes", kept=True)


@command("evsim info model.h5", panel=PANEL)
def info(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    *,
    layers: bool,
    look: "Look",
) -> None:
    """List a model's layers, and where its facts come from."""
    from evsim.converters import load_model
    from evsim.report.model import network_report

    output.tell(network_report(load_model(model).network, layers=layers), look)


@command("evsim export model.h5 graph.nir", panel=PANEL)
def export(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    graph: Annotated[str, argument("GRAPH", "graph.nir to write", OUTPUT)],
    timestep: Annotated[
        str | None, option("length of a timestep [default: the model's, else 1ms]", MODEL, metavar="TIME")
    ] = None,
) -> None:
    """Write a model as a NIR graph.

    The package nir writes it. What NIR cannot say is refused by the node's name.
    """
    from evsim.cli.graphs import seconds
    from evsim.converters import load_model
    from evsim.converters.nir.export import export as export_graph
    from evsim.files import check_outputs

    check_outputs({"GRAPH": graph}, [model])
    loaded = load_model(model)
    output.notes(loaded.notes)
    written = export_graph(loaded.network, graph, None if timestep is None else seconds(timestep))
    output.notes(written.notes)
    options = [part for name, value in written.habits.items() for part in (f"--{name.replace('_', '-')}", value)]
    again = typed("convert", graph, "model.h5", "--timestep", f"{written.timestep * 1e6:.12g}us", *options)
    output.say(f"wrote {graph}: {written.nodes} nodes; the same network again by: {again}", kept=True)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        from evsim.errors import OptionError

        raise OptionError(f"{option} takes numbers with commas between, got {text}") from None
