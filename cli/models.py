"""Commands about models: convert, synthesize, info, run, demo."""

from __future__ import annotations

from typing import Annotated

import typer

from evsim.cli import reading
from evsim.cli.words import spell


def convert(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="state_dict as .h5, .pth or .pth.tar")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="model.h5 to write")],
    family: Annotated[str | None, typer.Option(help="spikingformer or spikformer, where the keys cannot tell")] = None,
    variant: Annotated[str | None, typer.Option(help="standard or cml (max-pool before the neurons)")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="imagenet, cifar or dvs")] = None,
    heads: Annotated[int | None, typer.Option(help="attention heads")] = None,
    timesteps: Annotated[int | None, typer.Option(help="timesteps T of the training")] = None,
    tau: Annotated[float | None, typer.Option(help="membrane time constant of every LIF")] = None,
    image_size: Annotated[int | None, typer.Option(help="height and width of the input")] = None,
    mean: Annotated[str | None, typer.Option(help="mean per channel, e.g. 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="standard deviation per channel")] = None,
    labels: Annotated[str | None, typer.Option(help="text file, one class name per line")] = None,
    orientation: Annotated[str | None, typer.Option(help="of DVS128 recordings: spikingjelly, jaer or raw")] = None,
    frames: Annotated[str | None, typer.Option(help="how events become frames: number or time")] = None,
    preset: Annotated[str | None, typer.Option(help="published model, e.g. spikingformer-8-512-imagenet")] = None,
    crop_pct: Annotated[float | None, typer.Option(help="share of a picture that the centre crop keeps")] = None,
    interpolation: Annotated[str | None, typer.Option(help="how pictures are resized, e.g. bilinear")] = None,
    weights: Annotated[str | None, typer.Option(help="which of several dicts, e.g. state_dict_ema")] = None,
    keys: Annotated[str | None, typer.Option(help="map of renamed keys (.toml)")] = None,
) -> None:
    """Convert a PyTorch checkpoint into a model.h5, without PyTorch."""
    from evsim.converters import ConvertOptions
    from evsim.converters import convert as convert_checkpoint
    from evsim.errors import spelled
    from evsim.files import check_outputs
    from evsim.modelfile import save
    from evsim.report.table import facts

    options = ConvertOptions(
        family, variant, tokenizer, heads, timesteps, tau, image_size, _numbers(mean, "--mean"),
        _numbers(std, "--std"), labels, orientation, frames, preset,
        crop_pct, interpolation, weights, keys,
    )  # fmt: skip
    check_outputs({"OUT": out}, [checkpoint, *([keys] if keys else [])])
    done = convert_checkpoint(checkpoint, options)
    save(done.network, out)
    typer.echo("\n".join(facts(done.network)))
    for note in done.notes:
        typer.echo(f"note: {spelled(note, spell)}")
    typer.echo(f"wrote {out}: {done.network.name}, {len(done.network.nodes)} nodes; now try: evsim info {out}")


def synthesize(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="published model, e.g. spikingformer-8-512-imagenet")],
    out: Annotated[str, typer.Option("--out", "-o", help="model.h5 to write")],
    rates: Annotated[str, typer.Option(help="published, or one rate for every LIF")] = "published",
    scale_rates: Annotated[float, typer.Option(help="factor on all rates; none goes beyond 0.9")] = 1.0,
    seed: Annotated[int, typer.Option(help="seed of weights and input")] = 0,
    state_dict: Annotated[str | None, typer.Option(help="also write the weights as a PyTorch state_dict (.h5)")] = None,
    sample: Annotated[str | None, typer.Option(help="also write the input of the calibration (.npy)")] = None,
) -> None:
    """Make a model of random weights that fires at published rates.

    It is for benchmarks, sweeps and tests, and predicts nothing.
    """
    from evsim.converters import synthetic
    from evsim.files import check_outputs
    from evsim.modelfile import save
    from evsim.report.table import rates_report, rates_warning

    check_outputs({"--out": out, "--state-dict": state_dict, "--sample": sample})
    made = synthetic.synthesize(preset, rates, scale_rates, seed)
    save(made.network, out)
    if state_dict:
        synthetic.save_state(made.state, state_dict)
    if sample:
        synthetic.save_sample(made.sample, sample)
    typer.echo(rates_report(made.rates, made.rates_float32))
    if made.missed:
        typer.echo(f"warning: {rates_warning(made.missed)}", err=True)
    typer.echo("\n" + "\n".join(f"{fact}: {source}" for fact, source in made.network.provenance.items()))
    typer.echo(f"wrote {out}: {made.network.name}, {len(made.network.nodes)} nodes")


def info(model: Annotated[str, typer.Argument(metavar="MODEL", help="model.h5")]) -> None:
    """List a model's layers, and where its facts came from."""
    from evsim.converters import load_model
    from evsim.report.table import network_report

    typer.echo(network_report(load_model(model).network))


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="model.h5, or a checkpoint")],
    source: Annotated[str, typer.Option("--input", help="recording of any format, picture, or .npy")],
    precision: Annotated[str, typer.Option(help="float32 or float64")] = "float32",
    timesteps: Annotated[int | None, typer.Option(help="timesteps T, if not the model's own")] = None,
    schedule: Annotated[str, typer.Option(help="order of events: layer or time")] = "layer",
    threads: Annotated[int, typer.Option(help="threads that share each layer's work")] = 1,
    json_file: Annotated[str | None, typer.Option("--json", help="write the run as JSON; - for stdout alone")] = None,
    record_spikes: Annotated[str | None, typer.Option(help="write the spikes of every LIF (.h5)")] = None,
    save_frames: Annotated[str | None, typer.Option(help="write what the network was fed (.npz)")] = None,
    profile: Annotated[str, typer.Option(help="prices: a bundled profile, or a .toml file")] = "45nm",
    split: reading.Split = None,
    duration: reading.Duration = None,
    fit: reading.Fit = None,
    orientation: reading.Orientation = None,
    layout: reading.Layout = None,
    sensor: reading.Sensor = None,
    start: reading.Start = None,
    stop: reading.Stop = None,
    trial: reading.Trial = None,
    trials: reading.Trials = None,
    allow_truncated: reading.AllowTruncated = False,
    honour_validity: reading.HonourValidity = False,
    counts: Annotated[str | None, typer.Option(help="write every counter (.h5), for evsim energy")] = None,
    nonspike: Annotated[
        str, typer.Option(help="how the paper's estimate charges integers: binary-only or integer-as-events")
    ] = "binary-only",
) -> None:
    """Run an input through a model: prediction, counts, energy."""
    from evsim.cli.running import Request, run_and_print

    options = reading.read_options(
        split=split, duration=duration, fit=fit, orientation=orientation, layout=layout, sensor=sensor, start=start,
        stop=stop, trial=trial, trials=trials, allow_truncated=allow_truncated, honour_validity=honour_validity,
    )  # fmt: skip
    run_and_print(
        Request(
            model, source, precision, timesteps, schedule, threads, json_file, record_spikes, save_frames, profile,
            options,
            counts,
            nonspike,  # type: ignore[arg-type]
        )
    )  # fmt: skip


def demo(
    save: Annotated[str | None, typer.Option(help="write model.h5 and dvs_sample.aedat into this folder")] = None,
) -> None:
    """Run the bundled model on bundled recordings of digits."""
    from evsim.cli.running import demonstrate

    demonstrate(save)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        from evsim.errors import OptionError

        raise OptionError(f"{option} takes numbers with commas between, got {text}") from None
