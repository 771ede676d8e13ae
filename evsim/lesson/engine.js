"use strict";
/* The engine: one timestep after the other, one layer after the other, spikes alone do work.

   All numbers are float64, as in `evsim run --precision float64`, and sums are made in evsim's order: for each output
   by row of the window, by column, by input channel. So not only counts agree with evsim's, potentials do, to the bit.
   Maps are [position][channel]; a spike is the number position * channels + channel. It knows what the bundled model
   needs: convolutions of stride 1, heads of up to 8 channels. */

const Engine = (() => {
  const POPCOUNT = Uint8Array.from({ length: 256 }, (_, i) => i.toString(2).replace(/0/g, "").length);

  /** A model as the page carries it becomes layers with shapes and float64 weights, BatchNorm folded in. */
  function build(model) {
    const bytes = Uint8Array.from(atob(model.blob), (letter) => letter.charCodeAt(0));
    const array = (name) => {
      const [type, offset, size] = model.weights[name] || [];
      if (!type) return null;
      return Float64Array.from(new (type === "float32" ? Float32Array : Float64Array)(bytes.buffer, offset, size));
    };
    const layers = new Map();
    for (const node of model.nodes) {
      const layer = { ...node, readers: [], out: node.out_channels, threshold: node.v_threshold };
      const from = node.inputs.map((name) => layers.get(name));
      from.forEach((source) => source.readers.push(layer));
      layer.sources = from;
      layer.positions = layer.height * layer.width;
      if (node.type === "Conv2d" || node.type === "Linear") fold(layer, array);
      layers.set(node.name, layer);
    }
    return { layers: [...layers.values()], byName: layers, timesteps: model.timesteps, labels: model.labels };
  }

  /** weights [tap][input][output] times the scale of BatchNorm; its shift and the bias are one. */
  function fold(layer, array) {
    const { name, out } = layer;
    const scale = array(`${name}.bn_scale`),
      bias = array(`${name}.bias`),
      shift = array(`${name}.bn_shift`);
    layer.weights = array(`${name}.weight`);
    layer.shift = new Float64Array(out);
    if (scale)
      layer.weights.forEach((w, i, all) => {
        all[i] = w * scale[i % out];
      });
    for (let o = 0; o < out; o++) {
      layer.shift[o] = (shift ? shift[o] : 0) + (bias ? bias[o] : 0) * (scale ? scale[o] : 1);
    }
  }

  /** Outputs that an input at row y, column x reaches: calls `each(output position, tap)`. */
  function reach(layer, y, x, each) {
    const [rows, columns] = layer.kernel,
      pad = layer.padding[0];
    for (let ky = 0; ky < rows; ky++) {
      const oy = y + pad - ky;
      if (oy < 0 || oy >= layer.height) continue;
      for (let kx = 0; kx < columns; kx++) {
        const ox = x + pad - kx;
        if (ox >= 0 && ox < layer.width) each(oy * layer.width + ox, ky * columns + kx);
      }
    }
  }

  /** Add, for each active input, its row of weights to every output that it reaches; returns how many additions. */
  function scatter(layer, active, values, sums) {
    const { weights, out } = layer,
      inputs = layer.sources[0].channels,
      width = layer.sources[0].width;
    let operations = 0;
    for (let i = 0; i < active.length; i++) {
      const position = (active[i] / inputs) | 0,
        channel = active[i] - position * inputs;
      const factor = values ? values[active[i]] : 1;
      const y = (position / width) | 0;
      reach(layer, y, position - y * width, (target, tap) => {
        let from = (tap * inputs + channel) * out,
          to = target * out;
        if (factor === 1) for (const end = from + out; from < end; from++, to++) sums[to] += weights[from];
        else for (const end = from + out; from < end; from++, to++) sums[to] += factor * weights[from];
        operations += out;
      });
    }
    return operations;
  }

  /** Leak towards the input, compare, reset; returns the spikes in order. */
  function fire(layer, current) {
    const { potential, tau, threshold, bits } = layer,
      fired = [];
    for (let i = 0; i < potential.length; i++) {
      let v = potential[i];
      v += (current[i] - v) / tau;
      const spike = v >= threshold;
      bits[i] = spike ? 1 : 0;
      potential[i] = spike ? 0 : v;
      if (spike) fired.push(i);
    }
    return Int32Array.from(fired);
  }

  /** The greatest of a window of spikes: one if any fired. */
  function pool(layer, active) {
    const source = layer.sources[0],
      { channels, height, width, bits } = layer;
    bits.fill(0);
    for (const spike of active) {
      const position = (spike / channels) | 0,
        y = (position / source.width) | 0,
        x = position - y * source.width;
      for (const target of pooled(layer, y, x)) bits[target * channels + (spike - position * channels)] = 1;
    }
    const fired = [];
    for (let i = 0; i < height * width * channels; i++) if (bits[i]) fired.push(i);
    return Int32Array.from(fired);
  }

  /** Windows of a pool that a position lies in. */
  function pooled(layer, y, x) {
    const span = (at, size) => {
      const first = Math.max(0, Math.ceil((at + layer.padding - layer.kernel + 1) / layer.stride));
      const last = Math.min(size - 1, Math.floor((at + layer.padding) / layer.stride));
      return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
    };
    const columns = span(x, layer.width);
    return span(y, layer.height).flatMap((row) => columns.map((column) => row * layer.width + column));
  }

  /** The spikes of a head at each token as the bits of a number; heads have up to 8 channels here. */
  function masks(spikes, channels, dim, head, tokens) {
    const words = new Uint8Array(tokens);
    for (const spike of spikes) {
      const token = (spike / channels) | 0,
        channel = spike - token * channels;
      if (((channel / dim) | 0) === head) words[token] |= 1 << (channel - head * dim);
    }
    return words;
  }

  /** Spiking self-attention, (q k^T) v: coincidences are counted, nothing is multiplied. */
  function attend(layer, spikes, sums) {
    const { channels, heads, scale, positions } = layer,
      dim = channels / heads;
    let operations = 0;
    for (let head = 0; head < heads; head++) {
      const [q, k, v] = spikes.map((each) => masks(each, channels, dim, head, positions));
      for (let n = 0; n < positions; n++) {
        if (!q[n]) continue;
        for (let m = 0; m < positions; m++) {
          const together = POPCOUNT[q[n] & k[m]];
          if (!together) continue;
          operations += together + POPCOUNT[v[m]];
          for (let d = 0; d < dim; d++) if ((v[m] >> d) & 1) sums[n * channels + head * dim + d] += together;
        }
      }
    }
    for (let i = 0; i < sums.length; i++) sums[i] *= scale;
    return operations;
  }

  /** Mean over positions, in order. */
  function meanOfTokens(values, channels, positions) {
    const mean = new Float64Array(channels);
    for (let p = 0; p < positions; p++) for (let c = 0; c < channels; c++) mean[c] += values[p * channels + c];
    return mean.map((sum) => sum / positions);
  }

  /**
   * Run frames through a network.
   * @param frames one Int32Array [row][column][channel] per timestep: events counted per pixel
   * @returns spikes by layer and timestep, operations by layer and timestep, logits, real values of attention
   */
  function run(network, frames) {
    const outcome = { spikes: {}, operations: {}, kinds: {}, attention: {}, logits: null };
    const total = new Map();
    for (const layer of network.layers) {
      const size = layer.positions * layer.channels;
      if (layer.type === "LIF") layer.potential = new Float64Array(size);
      if (layer.type === "LIF" || layer.type === "MaxPool") layer.bits = new Uint8Array(size);
      if (layer.type === "LIF" || layer.type === "MaxPool" || layer.type === "Input") outcome.spikes[layer.name] = [];
      if (layer.dense) outcome.operations[layer.name] = [];
    }
    for (let t = 0; t < network.timesteps; t++)
      for (const layer of network.layers) step(layer, t, frames, outcome, total);
    return outcome;
  }

  function step(layer, t, frames, outcome, total) {
    const from = layer.sources,
      size = layer.positions * layer.channels,
      last = t === frames.length - 1;
    const spikesOf = (source) => outcome.spikes[source.name][t];
    if (layer.type === "Input") {
      layer.value = frames[t];
      const active = [];
      layer.value.forEach((count, i) => {
        if (count) active.push(i);
      });
      outcome.spikes[layer.name].push(Int32Array.from(active));
    } else if (layer.type === "Conv2d") {
      const sums = new Float64Array(size),
        input = from[0].type === "Input";
      const operations = scatter(layer, spikesOf(from[0]), input ? from[0].value : null, sums);
      for (let i = 0; i < size; i++) sums[i] += layer.shift[i % layer.out];
      layer.value = sums;
      outcome.kinds[layer.name] = input ? "MAC" : "SOP";
      outcome.operations[layer.name].push(operations);
    } else if (layer.type === "LIF") {
      outcome.spikes[layer.name].push(fire(layer, from[0].value));
    } else if (layer.type === "MaxPool") {
      outcome.spikes[layer.name].push(pool(layer, spikesOf(from[0])));
    } else if (layer.type === "SpikingSelfAttention") {
      layer.value = new Float64Array(size);
      outcome.kinds[layer.name] = "SOP";
      outcome.operations[layer.name].push(attend(layer, from.map(spikesOf), layer.value));
      (outcome.attention[layer.name] ||= []).push(layer.value);
    } else if (layer.type === "Add") {
      layer.value = from[0].value.map((value, i) => value + from[1].value[i]);
    } else if (layer.type === "TokenMean") {
      layer.value = meanOfTokens(from[0].value, layer.channels, from[0].positions);
    } else if (layer.type === "TimeMean") {
      const before = total.get(layer.name);
      total.set(layer.name, before ? before.map((sum, i) => sum + from[0].value[i]) : from[0].value);
      if (last) layer.value = total.get(layer.name).map((sum) => sum / frames.length);
    } else if (layer.type === "Linear" && last) {
      classify(layer, from[0].value, outcome);
    }
  }

  /** The head reads real values, once: a multiply-accumulate per nonzero and class. */
  function classify(layer, values, outcome) {
    const logits = new Float64Array(layer.out);
    let operations = 0;
    for (let c = 0; c < values.length; c++) {
      operations += values[c] ? layer.out : 0;
      for (let o = 0; o < layer.out; o++) logits[o] += values[c] * layer.weights[c * layer.out + o];
    }
    outcome.logits = logits.map((sum, o) => sum + layer.shift[o]);
    outcome.kinds[layer.name] = "MAC";
    outcome.operations[layer.name].push(operations);
  }

  /** A number that tells whether the same neurons fired at the same timesteps, as evsim's page has it of each digit. */
  function print(layer, spikes) {
    const size = layer.positions * layer.channels;
    let sum = 0;
    spikes.forEach((fired, t) => {
      for (const spike of fired) {
        let x = Math.imul(t * size + spike + 1, 0x9e3779b1);
        x ^= x >>> 15;
        sum = (sum + Math.imul(x, 0x85ebca6b)) | 0;
      }
    });
    return sum >>> 0;
  }

  return { build, run, reach, pooled, print };
})();
