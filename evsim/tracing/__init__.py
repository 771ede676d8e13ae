"""Networks from inside PyTorch: the user's own module runs once, and what it does becomes a network.

Chosen of three ways, on real models (docs/tracing.md has what each gave): `torch.fx` cannot follow loops over time, nor
states that modules keep; `torch.export` breaks neurons up into arithmetic. So the real forward runs on the example,
every operation of PyTorch is seen on its way (`TorchFunctionMode`), neurons as a whole, and each value's origin moves
along with it.

PyTorch is imported here alone, and here when something is traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evsim.errors import OptionError
from evsim.network import Network

__all__ = ["from_torch"]


def from_torch(
    model: Any, example_input: Any, timesteps: int | None = None, names: Sequence[str] | str | None = None
) -> Network:
    """Make a network of a PyTorch module, and prove it on the example.

    Parameters
    ----------
    model
        A ``torch.nn.Module`` with neurons of SpikingJelly, snnTorch, Norse or sinabs. It is copied, and runs in
        evaluation mode and float64; it stays as it is.
    example_input
        A tensor as the model takes it, of any batch: image [B, C, H, W] or features [B, C], the same at every timestep;
        or frames [T, B, C, H, W] or [T, B, C], which a model of one timestep is given one by one. A tuple, where the
        model takes more arguments than that.
    timesteps
        T, where neither the example nor the model tells it.
    names
        The example's axes, if they are others: words or letters, such as ``("batch", "time", "channel")`` or "BTCHW".

    Returns
    -------
    Network
        Its `provenance` says what was proven. An output for each timestep becomes its mean over time.

    Raises
    ------
    TracingError
        If operations cannot be mapped: all of them, each with the module's path, the line of the user's source, and
        the reason.
    ProofError
        If a spike differs from PyTorch's on the example: the first layer that differs, and three of its neurons.
    OptionError
        If `timesteps` or `names` are missing or do not fit, or PyTorch is not installed.
    """
    check_torch()
    from evsim.tracing.trace import traced

    return traced(model, example_input, timesteps, names)


def check_torch() -> None:
    """Raise an OptionError if PyTorch is not installed."""
    try:
        import torch  # noqa: F401 - whether it is there
    except ImportError as error:
        raise OptionError("tracing needs PyTorch, which is not installed: pip install torch") from error
