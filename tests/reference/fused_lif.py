"""A LIF for training on a CPU: one pass over memory forward and one backward, in Numba.

The same neuron as `parts.LIF`, with the derivative of an arctangent as surrogate (no exponential in the loop).
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor, nn

ALPHA = 2.0
"""Slope of the surrogate: ``ALPHA / 2 / (1 + (pi / 2 * ALPHA * (v - threshold))^2)``."""

CHUNK = 4096
"""Neurons whose state stays in the first-level cache while their timesteps run."""


@njit(parallel=True, error_model="numpy")
def _forward(x, spikes, before_reset, tau, threshold):
    """Fill spikes and membranes (before the reset) of x [T, neurons]."""
    steps, neurons = x.shape
    for chunk in prange((neurons + CHUNK - 1) // CHUNK):
        low, high = chunk * CHUNK, min(neurons, (chunk + 1) * CHUNK)
        v = np.zeros(high - low, x.dtype)
        for t in range(steps):
            for i in range(high - low):
                membrane = v[i] + (x[t, low + i] - v[i]) / tau
                fired = membrane >= threshold
                before_reset[t, low + i] = membrane
                spikes[t, low + i] = 1.0 if fired else 0.0
                v[i] = 0.0 if fired else membrane


@njit(parallel=True, error_model="numpy")
def _backward(grad, before_reset, grad_x, tau, threshold):
    """Fill the gradient of x [T, neurons], backwards in time; the reset is detached."""
    steps, neurons = grad.shape
    half, bend, inverse = grad.dtype.type(ALPHA / 2), grad.dtype.type(np.pi / 2 * ALPHA), 1 / tau
    for chunk in prange((neurons + CHUNK - 1) // CHUNK):
        low, high = chunk * CHUNK, min(neurons, (chunk + 1) * CHUNK)
        carried = np.zeros(high - low, grad.dtype)
        for back in range(steps):
            t = steps - 1 - back
            for i in range(high - low):
                over = before_reset[t, low + i] - threshold
                slope = half / (1 + (bend * over) * (bend * over))
                total = grad[t, low + i] * slope + (carried[i] if over < 0 else 0)
                grad_x[t, low + i] = total * inverse
                carried[i] = total * (1 - inverse)


def _rows(x: Tensor) -> np.ndarray:
    return x.detach().view(x.shape[0], -1).numpy()


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, tau: float, threshold: float) -> Tensor:
        x = x.contiguous()
        spikes, before_reset = torch.empty_like(x), torch.empty_like(x)
        constants = _rows(x).dtype.type(tau), _rows(x).dtype.type(threshold)
        _forward(_rows(x), _rows(spikes), _rows(before_reset), *constants)
        ctx.save_for_backward(before_reset)
        ctx.constants = constants
        return spikes

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (before_reset,) = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(grad)
        _backward(_rows(grad), _rows(before_reset), _rows(grad_x), *ctx.constants)
        return grad_x, None, None


class FusedLIF(nn.Module):
    """Drop-in for `parts.LIF`."""

    def __init__(self, tau: float = 2.0, v_threshold: float = 1.0):
        super().__init__()
        self.tau = tau
        self.v_threshold = v_threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of all timesteps, [T, ...] like `x`."""
        return _Fused.apply(x, self.tau, self.v_threshold)
