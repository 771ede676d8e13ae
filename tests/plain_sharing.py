"""Shared sums by their definitions, as sets and matrices of bits in plain NumPy; what `evsim.sharing` counts."""

from __future__ import annotations

import itertools

import numpy as np

TILE, QUAD = 128, 4
ROWS, COLUMNS = 256, 16


def reached(quad, out, stride, padding, dilation, dx):
    """Return for each column of a quad whether an output of its row reads it by a tap."""
    columns = [divmod(column + padding - dx * dilation, stride) for column in quad]
    return [left == 0 and 0 <= ox < out for ox, left in columns]


def by_quads(x, out, kernel, stride, padding, dilation, groups):
    """Return weights, sums and kept [3, T] of spikes [T, H, W, C], for one output channel of each group."""
    steps, height, width, channels = x.shape
    if (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0)):
        x, out = x.reshape(steps, 1, height * width, channels), (1, height * width)
        height, width = 1, height * width
    counts = np.zeros((3, steps), int)
    size = channels // groups
    tiles = [range(b + k, min(b + k + TILE, b + size)) for b in range(0, channels, size) for k in range(0, size, TILE)]
    lines = [range(m, width, stride[1]) for m in range(stride[1])]
    quads = [line[j : j + QUAD] for line in lines for j in range(0, len(line), QUAD)]
    for dy, dx, oy in itertools.product(range(kernel[0]), range(kernel[1]), range(out[0])):
        y = oy * stride[0] - padding[0] + dy * dilation[0]
        if not 0 <= y < height:
            continue
        for t, tile, quad in itertools.product(range(steps), tiles, quads):
            fires = [{c for c in tile if x[t, y, column, c]} for column in quad]
            wanted = reached(quad, out[1], stride[1], padding[1], dilation[1], dx)
            beyond = QUAD - len(quad)  # a row may end within a quad
            counts[:, t] += of_quad(fires + [set()] * beyond, wanted + [False] * beyond)
    return counts


def of_quad(fires, wanted):
    """Return weights added, kept sums added on, and kept sums, of four sets of channels for the outputs wanted."""
    if not any(wanted):
        return np.zeros(3, int)
    every = set.intersection(*fires)
    weights, begun, ends, kept = len(every), int(bool(every)), 0, int(bool(every))
    for pair in (0, 2):
        if not any(wanted[pair : pair + 2]):
            continue
        both = (fires[pair] & fires[pair + 1]) - every
        weights += len(both)
        kept += bool(both)
        begun += bool(both) and not every  # it continues what all share, if there is that
        for place in (pair, pair + 1):
            if wanted[place]:
                weights += len(fires[place] - both - every)
                ends += bool(both or every)
    return np.array([weights, ends - begun, kept])


def windows(x, out, kernel, stride, padding, dilation):
    """Return the matrix [positions * T, C * taps] of a layer, as the tool of Prosperity makes it."""
    steps, height, width, channels = x.shape
    matrix = np.zeros((out[0] * out[1], steps, channels, kernel[0] * kernel[1]), bool)
    for oy, ox, dy, dx in itertools.product(*map(range, (*out, *kernel))):
        y, column = oy * stride[0] - padding[0] + dy * dilation[0], ox * stride[1] - padding[1] + dx * dilation[1]
        if 0 <= y < height and 0 <= column < width:
            matrix[oy * out[1] + ox, :, :, dy * kernel[1] + dx] = x[:, y, column]
    return matrix.reshape(out[0] * out[1] * steps, -1)


def by_products(x, out, kernel, stride, padding, dilation, groups):
    """Return weights, sums and kept [3, T], as `by_quads`, with every row compared with every other of its tile."""
    steps, size = len(x), x.shape[3] // groups
    counts = np.zeros((3, steps), int)
    for group in range(groups):
        own = x[..., group * size : (group + 1) * size]
        matrix = windows(own, out, kernel, stride, padding, dilation)
        for row, column in itertools.product(range(0, len(matrix), ROWS), range(0, matrix.shape[1], COLUMNS)):
            tile = matrix[row : row + ROWS, column : column + COLUMNS]
            bits, prefixes = tile.sum(axis=1), set()
            for i, each in enumerate(tile):
                t = (row + i) % steps
                counts[0, t] += bits[i]
                if bits[i] < 2:
                    continue
                inside = ~(tile & ~each).any(axis=1) & (bits > 0)
                inside &= (bits < bits[i]) | (np.arange(len(tile)) < i)  # of equal rows those before
                if inside.any():
                    prefix = int(np.argmax(np.where(inside, bits, 0)))
                    counts[0, t] -= bits[prefix]
                    counts[1, t] += 1
                    prefixes.add(prefix)
            for i in prefixes:
                counts[2, (row + i) % steps] += 1
    return counts


def nonzero_operations(x, weight, out, kernel, stride, padding, dilation, groups):
    """Return operations of inputs that are not 0 with weights that are not 0 [T]; weight [rows, columns, C / g, N]."""
    steps, size, outputs = len(x), x.shape[3] // groups, weight.shape[3] // groups
    total = np.zeros(steps, int)
    for group in range(groups):
        matrix = windows(x[..., group * size : (group + 1) * size] != 0, out, kernel, stride, padding, dilation)
        own = weight[..., group * outputs : (group + 1) * outputs].reshape(-1, size, outputs).transpose(1, 0, 2)
        reached = (matrix.astype(int) @ (own.reshape(-1, outputs) != 0)).sum(axis=1)
        total += reached.reshape(-1, steps).sum(axis=0)
    return total
