"""What a layer with weights could leave out: sums that neighbours share, and weights that are 0; counted on request."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class SharedSums:
    """Counts of a convolution or linear layer that `evsim.sharing` gathers; int64 [T], None where it did not.

    Weights added and kept sums added on are what an adder does. What both definitions are: `evsim.kernels.sharing`.

    Attributes
    ----------
    shared_weights, shared_sums, shared_kept
        Spike input: weights added, kept sums added on, and kept sums, where quads of neighbours share.
    product_weights, product_sums, product_kept
        The same by product sparsity.
    nonzero_weight_operations
        Those of `sops`, or of `macs`, whose weight is not 0.
    """

    shared_weights: Ints | None = None
    shared_sums: Ints | None = None
    shared_kept: Ints | None = None
    product_weights: Ints | None = None
    product_sums: Ints | None = None
    product_kept: Ints | None = None
    nonzero_weight_operations: Ints | None = None

    @property
    def shared_additions(self) -> Ints | None:
        """Additions where quads share, [T]: of weights and of kept sums."""
        return _sum(self.shared_weights, self.shared_sums)

    @property
    def product_additions(self) -> Ints | None:
        """Additions by product sparsity, [T]: of weights and of kept sums."""
        return _sum(self.product_weights, self.product_sums)


ON_REQUEST = tuple(f.name for f in fields(SharedSums))
"""Names of all of them."""

SHARED_SUMS = ON_REQUEST[:-1]
"""Those of shared sums, which spikes alone have."""


def _sum(weights: Ints | None, sums: Ints | None) -> Ints | None:
    return None if weights is None or sums is None else weights + sums
