"""A model in the user's own file: ``module.py:factory``, run only because the user asks for it."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from evsim import converters
from evsim.converters import ConvertOptions
from evsim.errors import OptionError
from evsim.files import check_input
from evsim.network import Network

FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What code raises that has a fault."""

NESTS = ("state_dict", "model", "net", "model_state_dict", "state_dict_ema")
"""Where training scripts put the weights within a checkpoint."""

MOST_VALUES = 1 << 28
"""Values of an example: 2 GiB of them in float64."""


APPLY = ("timesteps", "mean", "std", "labels", "orientation", "frames", "crop_pct", "interpolation")
"""Options of a conversion that a traced model takes; all others say what the code itself tells."""


def from_program(
    program: str,
    checkpoint: str | None = None,
    input_shape: str | None = None,
    axes: str | None = None,
    options: ConvertOptions | None = None,
) -> Network:
    """Run a user's file, and trace the model that its function makes.

    Parameters
    ----------
    program
        ``module.py:factory``: the file, and the function in it that takes nothing and returns the model, or the model
        and an example; or the name of a model itself. The file is executed as Python executes any program.
    checkpoint
        Weights for the model, of its own keys, as torch.save wrote them; loaded without running code from it.
    input_shape
        Of a random example: "3,224,224" for an image, "16,2,128,128" for frames of events with their T first, "784" or
        "100,700" without space. Needed where the file gives no example.
    axes
        Order of the example's axes, such as "BTCHW"; see `names` of `evsim.from_torch`.
    options
        What `APPLY` names; `mean` and `std` of an image are 0 and 1 by default.

    Raises
    ------
    OptionError
        If there is no such file or function, it fails, or gives no model; and as `evsim.from_torch`.
    TracingError, ProofError
        As `evsim.from_torch`.
    """
    from evsim.tracing import check_torch, from_torch

    check_torch()
    options = options or ConvertOptions()
    needless = [f.name for f in fields(options) if f.name not in APPLY and getattr(options, f.name) is not None]
    if needless:
        raise OptionError(f"`{needless[0]}` means nothing for a traced model, whose code tells it; leave it out")
    model, example = _run(program)
    if checkpoint is not None:
        _fill(model, checkpoint)
    if input_shape is not None or example is None:
        example, axes = _example(input_shape, axes)
    network = from_torch(model, example, options.timesteps, axes)
    own = {"mean", "std", "orientation", "frames", "crop_pct", "interpolation"}
    facts = {name: getattr(options, name) for name in own if getattr(options, name) is not None}
    images = [name for name in ("mean", "std", "crop_pct") if name in facts]
    if images and network.spec.kind != "image":
        raise OptionError(f"`{images[0]}` is for images, but the model takes {network.spec.kind}; leave it out")
    labels = converters._labels(options.labels, network.classes) if options.labels else ()  # noqa: SLF001 - as `convert` reads them
    origin = {"source": f"{program}{f' with {checkpoint}' if checkpoint else ''}"}
    return replace(
        network, spec=replace(network.spec, **facts), labels=labels, provenance={**origin, **network.provenance}
    )


def file_of(program: str) -> str:
    """Return the file in ``module.py:factory``; OptionError if it is none, or not there."""
    path, _, name = program.rpartition(":")
    if not path or not name.isidentifier():
        raise OptionError(f"`from_torch={program}` is no module.py:factory; give a file and a function's name in it")
    check_input(path, OptionError, "a Python file", "give module.py:factory to `from_torch`")
    return path


def _run(program: str) -> tuple[Any, Any]:
    """Return the model that a file makes, and its example if it gives one."""
    import torch

    path, name = file_of(program), program.rpartition(":")[2]
    spec = importlib.util.spec_from_file_location(f"evsim_traced_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} is no Python file (.py); give module.py:factory to `from_torch`")
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name, None)
        if not isinstance(made, torch.nn.Module) and callable(made):
            made = made()
    except FAILURES as error:
        raise OptionError(f"{program} fails: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    if made is None:
        raise OptionError(f"{path} has no {name} that returns a model; give the name of a function that does")
    model, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, torch.nn.Module):
        raise OptionError(f"{program} gives a {type(model).__name__}, no torch.nn.Module")
    return model, example


def _fill(model: Any, checkpoint: str) -> None:
    """Load weights into a model; all of them, and no others."""
    import torch

    check_input(checkpoint, OptionError, "a checkpoint", "give one to `checkpoint`")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise OptionError(f"{checkpoint} cannot be read ({_line(error)}); save the model's state_dict alone") from error
    for nest in NESTS:
        if isinstance(state, Mapping) and isinstance(state.get(nest), Mapping):
            state = state[nest]
    if not isinstance(state, Mapping):
        raise OptionError(f"{checkpoint} holds a {type(state).__name__}, no weights; save the model's state_dict")
    plain = {str(key).removeprefix("module."): value for key, value in state.items()}
    try:
        model.load_state_dict(plain)
    except (RuntimeError, AttributeError) as error:
        raise OptionError(f"{checkpoint} does not fit the model: {' '.join(str(error).split())}") from error


def _example(shape: str | None, axes: str | None) -> tuple[Any, str]:
    """Return a random example of a shape, always the same, and its axes."""
    import torch

    if shape is None:
        raise OptionError(
            "tracing needs an example: give `input_shape`, such as 3,224,224, or let the function return one"
        )
    try:
        sizes = [int(part) for part in shape.split(",")]
    except ValueError:
        sizes = []
    total = 1
    for size in sizes:
        total *= size
    if not 1 <= len(sizes) <= 4 or min(sizes) < 1 or total > MOST_VALUES:
        raise OptionError(
            f"`input_shape={shape}` is no shape: give C, T,C, C,H,W or T,C,H,W, numbers with commas between"
        )
    dice = torch.Generator().manual_seed(0)
    if len(sizes) in (1, 3):
        usual = "BC" if len(sizes) == 1 else "BCHW"
        values = torch.rand((1, *sizes), generator=dice)
    else:
        usual = "TBC" if len(sizes) == 2 else "TBCHW"
        values = (torch.rand((sizes[0], 1, *sizes[1:]), generator=dice) < 0.1).float()
    return (values, usual) if axes is None else (_laid(values, usual, axes.upper()), axes)


def _laid(values: Any, usual: str, axes: str) -> Any:
    """Return an example whose axes are others: those that it lacks are of one."""
    kept = [letter for letter in axes if letter in usual]
    if set(axes) - set(usual) or any(values.shape[i] > 1 for i, letter in enumerate(usual) if letter not in axes):
        raise OptionError(f"`axes={axes}` does not fit an example of axes {usual}; give those, in the model's order")
    squeezed = values.squeeze([i for i, letter in enumerate(usual) if letter not in axes])
    rest = [letter for letter in usual if letter in axes]
    return squeezed.permute([rest.index(letter) for letter in kept]).contiguous()


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
