"""The networks of the benchmarks, made once by `evsim synthesize` and kept in build/bench."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Workload:
    """A published model with synthetic weights; `preset` is the name for `evsim synthesize`."""

    name: str
    preset: str
    scale: float = 1.0

    @property
    def stem(self) -> Path:
        """Path of its files, without suffix."""
        name = self.name.replace(" ", "-")
        return FOLDER / (name if self.scale == 1.0 else f"{name}-x{self.scale:g}")

    @property
    def of_family(self) -> bool:
        """Whether it stands for a family, and its opponent is the eager form of its network alone."""
        return " " in self.name

    @property
    def model(self) -> Path:
        """Path of the model.h5."""
        return self.stem.with_name(self.stem.name + ".model.h5")

    @property
    def integers(self) -> Path:
        """Path of the same model with int8 weights, see quantized.py."""
        return self.stem.with_name(self.stem.name + ".int8.h5")

    @property
    def state(self) -> Path:
        """Path of the same weights as a PyTorch state_dict."""
        return self.stem.with_name(self.stem.name + ".state.h5")

    @property
    def sample(self) -> Path:
        """Path of its input."""
        return self.stem.with_name(self.stem.name + ".input.npy")


WORKLOADS = {
    "8-512": Workload("8-512", "spikingformer-8-512-imagenet"),
    "8-768": Workload("8-768", "spikingformer-8-768-imagenet"),
    "cifar-4-384": Workload("cifar-4-384", "spikingformer-4-384-cifar10"),
    "dvs-2-256": Workload("dvs-2-256", "spikingformer-2-256-cifar10dvs"),
} | {
    f"{family} {preset}": Workload(f"{family} {preset}", preset)
    for family, preset in (
        ("spikformer", "spikformer-8-512-imagenet"),
        ("qkformer", "qkformer-10-512-imagenet"),
        ("sdt-v1", "sdt-8-512"),
        ("sdt-v2", "sdt-v2-8-512-imagenet"),
        ("sdt-v3", "sdt-v3-s-imagenet"),
        ("spikingresformer", "spikingresformer-s-imagenet"),
        ("sew-resnet", "sew-resnet-34-imagenet"),
        ("spiking-resnet", "spiking-resnet-34-imagenet"),
        ("ms-resnet", "ms-resnet-34-imagenet"),
        ("spiking-vgg", "spiking-vgg-16-bn-imagenet"),
        ("csnn", "csnn-plif-cifar10"),
    )
}  # fmt: skip
"""By name: Spikingformer's own, and one of each other family, on ImageNet where it has a size for that."""


def prepare(workload: Workload) -> None:
    """Write the files of a workload unless they are there."""
    if workload.sample.exists():
        return
    from evsim import modelfile, synthesis

    FOLDER.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"synthesizing {workload.stem.name} ...\n")
    synthetic = synthesis.synthesize(workload.preset, scale_rates=workload.scale)
    modelfile.save(synthetic.network, workload.model)
    synthesis.save_state(synthetic.state, workload.state)
    synthesis.save_sample(synthetic.sample, workload.sample)  # last: its presence says that all are whole


def reference(workload: Workload):
    """Return the PyTorch reference's configuration and state_dict, and the input of batch 1."""
    import h5py
    import numpy as np
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    from parts import Config

    from evsim.converters.registry import PRESETS

    preset = PRESETS[workload.preset]
    config = Config(
        tokenizer=preset.tokenizer,
        dim=preset.dim,
        depth=preset.depth,
        heads=preset.heads,
        timesteps=preset.timesteps,
        classes=preset.classes,
        image_size=preset.image_size,
    )
    with h5py.File(workload.state) as file:
        state = {key: torch.from_numpy(np.asarray(file[key][()])) for key in file}
    array = np.load(workload.sample)
    return config, state, torch.from_numpy(array[None] if array.ndim == 3 else array[:, None])


if __name__ == "__main__":
    prepare(WORKLOADS[sys.argv[1]])
    print(f'"{sys.argv[1]}"')
