"use strict";
/* Small parts that the sections share: elements, colours, numbers in words. */

const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const network = Engine.build(DATA.model);
const PRICES = DATA.prices; // picojoules

/** What the page shows now; sections redraw from it. */
const state = {
  greys: null,
  outcome: null,
  frames: null,
  events: 0,
  t: 3,
  layer: null,
  index: -1,
  tap: 0,
  output: 0,
  fresh: true,
  machine: "sparse",
};

const NEURONS = network.layers.filter((layer) => layer.type === "LIF");
const COUNTED = network.layers.filter((layer) => layer.dense);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** [red, green, blue] of a colour such as #1d2129 or #fff. */
function rgb(name) {
  const hex = colour(name).slice(1),
    wide = hex.length === 3 ? [...hex].map((h) => h + h).join("") : hex;
  return [0, 2, 4].map((i) => parseInt(wide.slice(i, i + 2), 16));
}

const mix = (from, to, share) => from.map((value, i) => Math.round(value + (to[i] - value) * share));
const css = (parts) => `rgb(${parts.join(",")})`;
const number = (value) => Math.round(value).toLocaleString("en-US");
const percent = (share) => (share === 0 ? "0 %" : `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)} %`);
const counted = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** Picojoules in the unit that reads best. */
function joules(picojoules) {
  const units = [
    ["mJ", 1e9],
    ["µJ", 1e6],
    ["nJ", 1e3],
    ["pJ", 1],
  ];
  const [unit, size] = units.find(([, each]) => picojoules >= each) || units[3];
  const value = picojoules / size;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(unit === "pJ" ? 1 : 2)} ${unit}`;
}

const priceOf = (layer) => (state.outcome.kinds[layer.name] === "SOP" ? PRICES.ac : PRICES.mac);
const placeOf = (name) => {
  const block = /^block\.(\d+)\./.exec(name);
  return block ? `Block ${block[1]}` : name.startsWith("patch_embed") ? "Tokenizer" : "Classifier";
};
const shortOf = (name) => name.replace(/^patch_embed\./, "").replace(/^block\.\d+\.(attn|mlp)\./, "");
const fullOf = (name) => `${placeOf(name)}, ${shortOf(name)}`;

/** A canvas of so many CSS pixels, sharp on every screen; returns its context. */
function sized(canvas, width, height) {
  const ratio = Math.max(1, Math.round(devicePixelRatio || 1));
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}
