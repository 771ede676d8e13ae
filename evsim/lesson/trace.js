"use strict";
/* The trace: what one spike causes, and what one neuron has received. */

const Trace = (() => {
  const split = (layer, index) => {
    const position = Math.floor(index / layer.channels);
    return {
      position,
      channel: index % layer.channels,
      y: Math.floor(position / layer.width),
      x: position % layer.width,
    };
  };

  /** Additions to a neuron's input at a timestep, in the engine's order, and the input itself. */
  function current(outcome, layer, t, position, channel) {
    const source = layer.sources[0];
    if (layer.type === "Add") {
      const [left, right] = layer.sources.map((each) => current(outcome, each, t, position, channel));
      return { input: left.input + right.input, additions: left.additions + right.additions };
    }
    if (layer.type === "SpikingSelfAttention") {
      return { input: outcome.attention[layer.name][t][position * layer.channels + channel], additions: null };
    }
    const counts = source.type === "Input" ? outcome.counts[t] : null,
      [rows, columns] = layer.kernel;
    const active = activeOf(outcome, source, t),
      y = Math.floor(position / layer.width),
      x = position % layer.width;
    let sum = 0,
      additions = 0;
    for (let ky = 0; ky < rows; ky++) {
      for (let kx = 0; kx < columns; kx++) {
        const sy = y - layer.padding[0] + ky,
          sx = x - layer.padding[1] + kx;
        if (sy < 0 || sx < 0 || sy >= source.height || sx >= source.width) continue;
        const from = (sy * source.width + sx) * source.channels;
        for (let c = 0; c < source.channels; c++) {
          if (!active.has(from + c)) continue;
          const weight = layer.weights[((ky * columns + kx) * source.channels + c) * layer.out + channel];
          sum += counts ? counts[from + c] * weight : weight;
          additions += 1;
        }
      }
    }
    return { input: sum + layer.shift[channel], additions };
  }

  const sets = new WeakMap(); // spikes of a layer and timestep as a set, made once
  function activeOf(outcome, source, t) {
    const spikes = outcome.spikes[source.name][t];
    if (!sets.has(spikes)) sets.set(spikes, new Set(spikes));
    return sets.get(spikes);
  }

  /** The life of a neuron: for each timestep what it received, its potential before and after, whether it fired. */
  function life(outcome, layer, index, timesteps) {
    const { position, channel } = split(layer, index),
      steps = [];
    let v = 0;
    for (let t = 0; t < timesteps; t++) {
      const { input, additions } = current(outcome, layer.sources[0], t, position, channel);
      const before = v;
      v += (input - v) / layer.tau;
      const reached = v,
        fires = v >= layer.threshold;
      if (fires) v = 0;
      steps.push({ t, input, additions, before, reached, after: v, fires });
    }
    return steps;
  }

  /**
   * What a spike causes in each layer that reads it.
   * @returns for each: {layer, kind, operations, targets [{position, tap, source}], channel, passed}
   */
  function causes(outcome, layer, t, index) {
    const { position, channel, y, x } = split(layer, index);
    return layer.readers.flatMap((reader) => {
      if (reader.type === "Conv2d") return [synapses(reader, channel, [[position, y, x]], 0)];
      if (reader.type === "MaxPool") {
        const places = Engine.pooled(reader, y, x).map((p) => [p, Math.floor(p / reader.width), p % reader.width]);
        return reader.readers
          .filter((each) => each.type === "Conv2d")
          .map((each) => synapses(each, channel, places, places.length));
      }
      if (reader.type === "SpikingSelfAttention") return [attention(outcome, reader, layer, t, position, channel)];
      return [];
    });
  }

  function synapses(reader, channel, places, passed) {
    const targets = [];
    for (const [, y, x] of places) Engine.reach(reader, y, x, (target, tap) => targets.push({ position: target, tap }));
    return { layer: reader, kind: "synapses", operations: targets.length * reader.out, targets, channel, passed };
  }

  /** The coincidences that a spike of q, k or v has a part in. */
  function attention(outcome, reader, layer, t, position, channel) {
    const role = "qkv"[reader.sources.indexOf(layer)],
      dim = reader.channels / reader.heads;
    const head = Math.floor(channel / dim),
      [q, k] = reader.sources.map((each) => activeOf(outcome, each, t));
    const channels = Array.from({ length: dim }, (_, d) => head * dim + d);
    let operations = 0;
    for (let token = 0; token < reader.positions; token++) {
      const at = token * reader.channels,
        own = position * reader.channels;
      if (role === "q" && k.has(at + channel)) operations += 1;
      if (role === "k" && q.has(at + channel)) operations += 1;
      if (role === "v" && channels.some((c) => q.has(at + c) && k.has(own + c))) operations += 1;
    }
    return { layer: reader, kind: "attention", role, head, operations, targets: [], channel, passed: 0 };
  }

  /** The neurons that a layer's sums drive: themselves, or past a residual addition. */
  function driven(layer) {
    for (const reader of layer.readers) {
      if (reader.type === "LIF") return reader;
      if (reader.type === "Add") {
        const found = driven(reader);
        if (found) return found;
      }
    }
    return null;
  }

  return { split, life, causes, driven };
})();
