"""Write the small goldens of tests/data/golden: random-weight models, one input each, and all that they did.

Run as ``python tests/reference/make_goldens.py [NAME ...]``. Weights are random with fixed seeds; BatchNorm is
calibrated layer by layer on the input, so that every LIF fires at a chosen rate and every layer is exercised.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from models import SpikingTransformer, build, unused_keys
from oracle import Recording, exact_counts, paper_estimate, record
from parts import LIF, Config
from torch import Tensor, nn

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


@dataclass(frozen=True)
class Case:
    """One golden: its model, the seed of its weights, the rate of q, k and v, and which files it has.

    Attributes
    ----------
    unused
        The checkpoint holds the keys that no forward pass reads, as public ones do.
    hdf5, script_files
        Also write state_dict.h5; also write the authors' DVS script's form and a plain state_dict.pth. The forms do
        not depend on the family, and small checkpoints are mostly overhead: so not every golden has every form.
    """

    config: Config
    seed: int
    qkv_rate: float = 0.45
    unused: bool = False
    hdf5: bool = False
    script_files: bool = False


def sized(dim: int, depth: int, heads: int, timesteps: int, image_size: int, **others: str | int) -> Config:
    """Return a Config of these sizes; 10 classes if not told otherwise."""
    numbers = {"dim": dim, "depth": depth, "heads": heads, "timesteps": timesteps, "image_size": image_size}
    return Config(**({"classes": 10} | numbers | others))


CASES = {
    "spikingformer-imagenet": Case(sized(16, 2, 2, 4, 48), 11, unused=True, hdf5=True),
    "spikingformer-imagenet-cml": Case(sized(16, 1, 2, 3, 48, variant="cml"), 12),
    "spikingformer-cifar": Case(sized(24, 1, 6, 4, 32, tokenizer="cifar", classes=7), 13, qkv_rate=0.3, hdf5=True),
    "spikingformer-cifar-cml": Case(sized(16, 1, 4, 4, 32, tokenizer="cifar", variant="cml"), 14, qkv_rate=0.3),
    "spikingformer-dvs": Case(sized(16, 1, 2, 3, 48, tokenizer="dvs"), 15, qkv_rate=0.4, hdf5=True, script_files=True),
    "spikingformer-dvs-cml": Case(
        sized(16, 1, 2, 5, 32, tokenizer="dvs", variant="cml", classes=11), 16, qkv_rate=0.55
    ),
    "spikformer-imagenet": Case(sized(16, 2, 2, 4, 48, family="spikformer"), 17),
    "spikformer-cifar": Case(sized(24, 1, 3, 4, 32, family="spikformer", tokenizer="cifar"), 18, qkv_rate=0.25),
    "spikformer-dvs": Case(sized(16, 1, 4, 3, 32, family="spikformer", tokenizer="dvs"), 19, qkv_rate=0.5, unused=True),
}


def normalisation(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std that the checkpoint's args carry (timm writes ImageNet's for event models too)."""
    return CIFAR if config.tokenizer == "cifar" else IMAGENET


def make_input(config: Config, rng: np.random.Generator) -> np.ndarray:
    """Return a normalised image [3, H, W] or frames of event counts [T, 2, H, W], float32."""
    size = config.image_size
    if config.tokenizer == "dvs":
        y, x = np.mgrid[:size, :size] / size
        centres = np.linspace(0.25, 0.75, config.timesteps)
        blobs = [np.exp(-20 * ((x - centre) ** 2 + (y - 0.5) ** 2)) for centre in centres]
        rates = np.stack([np.stack([blob, np.roll(blob, size // 8, axis=0)]) for blob in blobs])
        return rng.poisson(0.7 * rates).astype(np.float32)
    mean, std = (np.array(value)[:, None, None] for value in normalisation(config))
    coarse = rng.random((3, size // 8, size // 8))
    image = np.clip(np.kron(coarse, np.ones((8, 8))) + 0.1 * rng.standard_normal((3, size, size)), 0, 1)
    return ((np.round(image * 255) / 255 - mean) / std).astype(np.float32)


def as_batch(array: np.ndarray) -> Tensor:
    """Return the model's input of batch 1 from an image [C, H, W] or frames [T, C, H, W]."""
    return torch.from_numpy(array[None] if array.ndim == 3 else array[:, None])


def shift_for(lif: LIF, x: Tensor, rate: float) -> float:
    """Return what must be added to a LIF's input so that it fires at `rate`, by bisection.

    Coarse on purpose: a finer search would end where some membrane just hits its threshold.
    """
    low, high = -20.0, 20.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if lif.forward(x + middle).mean().item() > rate else (middle, high)
    return (low + high) / 2


@torch.no_grad()
def calibrate(model: SpikingTransformer, x: Tensor, case: Case) -> None:
    """Draw the weights, set BatchNorm to the statistics it meets, and shift it until the LIF behind it fires."""
    generator = torch.Generator().manual_seed(case.seed)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / max(fan_in, 2)) ** 0.5 * 0.7)
    last: list[nn.Module] = []

    def at_norm(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        uniform = torch.rand((3, norm.num_features), generator=generator, dtype=torch.float64)
        deviation = inputs[0].std(axes).clamp(min=0.1)
        norm.running_mean.copy_(inputs[0].mean(axes) + 0.3 * (uniform[0] - 0.5))
        norm.running_var.copy_(deviation**2 * (0.7 + 0.6 * uniform[1]))
        norm.weight.copy_(0.7 + 0.6 * uniform[2])
        norm.bias.mul_(0.3)
        norm.num_batches_tracked.fill_(1 + case.seed)
        last[:] = [norm]

    def at_lif(name: str):
        def hook(lif: LIF, inputs: tuple[Tensor]) -> None:
            if name.endswith("attn_lif"):
                return
            rate = 0.12 + 0.4 * torch.rand((), generator=generator).item()
            if name.endswith(("q_lif", "k_lif", "v_lif")):
                rate = case.qkv_rate * (0.9 + 0.2 * torch.rand((), generator=generator).item())
            shift = shift_for(lif, inputs[0], rate)
            last[0].bias.add_(shift)
            inputs[0].add_(shift)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_pre_hook(at_norm)
        elif isinstance(module, LIF):
            module.register_forward_pre_hook(at_lif(name))
    model(x.double())


def make_state(case: Case, array: np.ndarray) -> dict[str, Tensor]:
    """Return the float32 state_dict of a calibrated model, with the keys that nobody reads where the case says so."""
    model = build(case.config, dtype=torch.float64)
    calibrate(model, as_batch(array), case)
    state = {name: value.float() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    if case.unused:
        state |= {name: torch.ones(shape) for name, shape in unused_keys(case.config).items()}
    return state


def timm_args(config: Config) -> argparse.Namespace:
    """Return `args` as timm's training script of the public code saves them."""
    mean, std = normalisation(config)
    return argparse.Namespace(
        model=config.family,
        time_step=config.timesteps,
        T=config.timesteps,
        dim=config.dim,
        layer=config.depth,
        num_heads=config.heads,
        num_classes=config.classes,
        img_size=config.image_size,
        patch_size=config.patch_size,
        in_channels=config.in_channels,
        mlp_ratio=config.mlp_ratio,
        mean=list(mean),
        std=list(std),
    )


def write_checkpoints(folder: Path, case: Case, state: dict[str, Tensor]) -> None:
    """Write the file forms that users have."""
    config = case.config
    checkpoint = {
        "epoch": 3,
        "arch": config.family,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
        "version": 2,
        "args": timm_args(config),
        "metric": 12.5,
    }
    torch.save(checkpoint, folder / "checkpoint.pth.tar")
    if case.hdf5:
        with h5py.File(folder / "state_dict.h5", "w", libver="latest") as file:
            for name, value in state.items():
                file[name] = value.numpy()
    if case.script_files:
        script_args = argparse.Namespace(
            model="SEWResNet", dataset="cifar10dvs", num_classes=config.classes, T=config.timesteps, T_train=None
        )
        parallel = {f"module.{name}": value for name, value in state.items()}
        saved = {"model": parallel, "optimizer": {}, "lr_scheduler": {}, "epoch": 3, "args": script_args}
        torch.save(saved, folder / "dvs_script_checkpoint.pth")
        torch.save(state, folder / "state_dict.pth")


def write_golden(path: Path, config: Config, double: Recording, single: Recording) -> None:
    """Write logits and the packed spikes of every LIF."""
    with h5py.File(path, "w", libver="latest") as file:
        file["logits_float64"] = double.logits.numpy()
        file["logits_float32"] = single.logits.numpy()
        for name, spikes in double.spikes.items():
            dataset = file.create_dataset(f"spikes_float64/{name}", data=np.packbits(spikes.numpy()))
            dataset.attrs["shape"] = spikes.shape
            dataset.attrs["tau"] = config.lif_tau
            dataset.attrs["v_threshold"] = 0.5 if name.endswith("attn_lif") else 1.0
            dataset.attrs["count_per_timestep"] = spikes.flatten(1).sum(1).numpy()
            dataset.attrs["flips_float32"] = int((spikes != single.spikes[name]).sum())
            dataset.attrs["min_threshold_margin"] = double.margins[name]


def write_counts(folder: Path, model: SpikingTransformer, kept: Recording) -> None:
    """Write exact_counts.json, paper_tool.json and config.json."""
    config = model.config
    paper = paper_estimate(model, kept)
    sizes = {"depth": config.depth, "Nheads": config.heads, "embSize": config.dim, "Tsteps": config.timesteps}
    paper["ssa_info"] = sizes | {"patchSize": config.image_size // config.patch_size}
    if config.family == "spikformer":
        graded = paper_estimate(model, kept, integers_as_events=True)
        paper["integer_as_events"] = {key: graded[key] for key in ("per_layer", "gmacs", "gacs", "energy_mJ")}
    constants = {"tau": config.lif_tau, "scale": config.attention_scale, "order": config.attention_order}
    texts = {
        "exact_counts.json": exact_counts(model, kept),
        "paper_tool.json": paper,
        "config.json": asdict(config) | constants,
    }
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")


def make(name: str, case: Case) -> None:
    """Make one golden and check that it exercises every layer."""
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    array = make_input(case.config, np.random.default_rng(case.seed))
    np.save(folder / "input.npy", array)
    state = make_state(case, array)
    write_checkpoints(folder, case, state)
    model = build(case.config, state, dtype=torch.float64)
    double = record(model, as_batch(array).double())
    write_counts(folder, model, double)
    single = record(build(case.config, state), as_batch(array))
    write_golden(folder / "golden.h5", case.config, double, single)
    report(name, double, single)


def report(name: str, double: Recording, single: Recording) -> None:
    """Print rates and margins; refuse a golden that is silent somewhere or hangs on rounding."""
    rates = {lif: spikes.double().mean().item() for lif, spikes in double.spikes.items()}
    margins = {lif: value for lif, value in double.margins.items() if not lif.endswith("attn_lif")}
    flips = sum(int((spikes != single.spikes[lif]).sum()) for lif, spikes in double.spikes.items())
    size = sum(file.stat().st_size for file in (GOLDEN / name).iterdir())
    low, high = min(rates, key=rates.get), max(rates, key=rates.get)
    print(
        f"{name}: {size / 1e3:.0f} kB, rates {rates[low]:.2f} ({low}) to {rates[high]:.2f} ({high}), "
        f"margin {min(margins.values()):.1e}, float32 flips {flips}, "
        f"class {double.logits.argmax().item()} / {single.logits.argmax().item()}"
    )
    if rates[low] < 0.1 or rates[high] > 0.6 or min(margins.values()) < 1e-7:
        raise SystemExit(f"{name}: a layer fires outside 10-60 % or hangs on rounding; choose another seed or rate")


def main() -> None:
    """Make all goldens, or those named on the command line."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])


if __name__ == "__main__":
    main()
