"use strict";
/* Section 3: which layer fires when, and the map of one layer at one timestep. */

const sizeOf = (layer) => layer.positions * layer.channels;

/** A row of eight cells for each layer of neurons; made once, coloured for each digit. */
function buildHeat() {
  const head = element(
    "tr",
    {},
    element("th", { scope: "col" }, element("span", { class: "unseen" }, "Layer")),
    ...Array.from({ length: network.timesteps }, (_, t) => element("th", { scope: "col" }, String(t))),
    element("th", { scope: "col" }, "fires"),
  );
  const rows = [];
  let place = "";
  NEURONS.forEach((layer, row) => {
    if (placeOf(layer.name) !== place) {
      place = placeOf(layer.name);
      rows.push(
        element("tr", { class: "group" }, element("th", { colspan: network.timesteps + 2, scope: "colgroup" }, place)),
      );
    }
    rows.push(
      element(
        "tr",
        {},
        element("th", { scope: "row" }, element("code", {}, shortOf(layer.name).replace(/_lif$/, ""))),
        ...Array.from({ length: network.timesteps }, (_, t) =>
          element(
            "td",
            {},
            element("button", {
              type: "button",
              tabindex: -1,
              "data-row": row,
              "data-t": t,
              onclick() {
                choose(layer, t);
              },
            }),
          ),
        ),
        element("td", { class: "rate", id: `rate-${row}` }),
      ),
    );
  });
  const widths = element(
    "colgroup",
    {},
    element("col", { class: "name" }),
    ...Array.from({ length: network.timesteps }, () => element("col")),
    element("col", { class: "fires" }),
  );
  $("heat").append(widths, element("thead", {}, head), element("tbody", {}, ...rows));
  $("heat").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] },
      move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const row = Math.min(NEURONS.length - 1, Math.max(0, NEURONS.indexOf(state.layer) + move[0]));
    choose(NEURONS[row], Math.min(network.timesteps - 1, Math.max(0, state.t + move[1])));
    cell(row, state.t).focus();
  });
}

const cell = (row, t) => document.querySelector(`#heat button[data-row="${row}"][data-t="${t}"]`);

function showHeat() {
  const [none, full] = [rgb("map"), rgb("spike")];
  NEURONS.forEach((layer, row) => {
    const spikes = state.outcome.spikes[layer.name];
    spikes.forEach((fired, t) => {
      const share = fired.length / sizeOf(layer),
        button = cell(row, t);
      button.style.background = css(mix(none, full, Math.min(1, Math.sqrt(share / 0.4))));
      const here = layer === state.layer && t === state.t;
      button.setAttribute("aria-pressed", String(here));
      button.tabIndex = here ? 0 : -1;
      button.setAttribute(
        "aria-label",
        `${fullOf(layer.name)}, timestep ${t}: ${counted(fired.length, "spike")}, ${percent(share)}`,
      );
      button.title = `${number(fired.length)} spikes, ${percent(share)}`;
    });
    const whole = sum(spikes.map((fired) => fired.length));
    $(`rate-${row}`).textContent = percent(whole / sizeOf(layer) / network.timesteps);
  });
}

/** Where the channels of a layer stand on the map: the arrangement that shows a pixel largest. */
function tiling(layer, room) {
  let best = null;
  for (let columns = 1; columns <= layer.channels; columns++) {
    if (layer.channels % columns) continue;
    const rows = layer.channels / columns,
      [w, h] = [layer.width, layer.height];
    const scale = Math.max(0, Math.min(Math.floor((room - columns + 1) / (columns * w)), Math.floor(640 / (rows * h))));
    if (!best || scale > best.scale || (scale === best.scale && Math.abs(columns * w - rows * h) < best.skew)) {
      best = { columns, rows, scale, skew: Math.abs(columns * w - rows * h) };
    }
  }
  const { columns, rows } = best,
    scale = Math.max(1, best.scale),
    gap = scale > 2 ? 3 : 2;
  return { columns, rows, scale, gap, step: [layer.width * scale + gap, layer.height * scale + gap] };
}

function showMap() {
  const { layer, t } = state,
    canvas = $("map"),
    room = Math.max(240, canvas.parentElement.clientWidth);
  const plan = tiling(layer, room),
    { columns, rows, scale, step } = plan;
  const context = sized(canvas, columns * step[0] - plan.gap, rows * step[1] - plan.gap);
  context.fillStyle = colour("map");
  for (let c = 0; c < layer.channels; c++) {
    context.fillRect(
      (c % columns) * step[0],
      Math.floor(c / columns) * step[1],
      layer.width * scale,
      layer.height * scale,
    );
  }
  const corner = (index) => {
    const { channel, x, y } = Trace.split(layer, index);
    return [(channel % columns) * step[0] + x * scale, Math.floor(channel / columns) * step[1] + y * scale];
  };
  context.fillStyle = colour("spike");
  for (const spike of state.outcome.spikes[layer.name][t]) context.fillRect(...corner(spike), scale, scale);
  if (state.index >= 0) {
    const [x, y] = corner(state.index);
    context.strokeStyle = colour("accent");
    context.lineWidth = 3;
    context.strokeRect(x - 3.5, y - 3.5, scale + 7, scale + 7);
  }
  canvas.plan = plan;
  const fired = state.outcome.spikes[layer.name][t].length;
  $("map-title").replaceChildren(
    `${placeOf(layer.name)}, `,
    element("code", {}, shortOf(layer.name)),
    `, timestep ${t}`,
  );
  $("map-note").textContent = `${counted(fired, "spike")} of ${number(sizeOf(layer))} neurons`;
  canvas.setAttribute(
    "aria-label",
    `${fullOf(layer.name)}, timestep ${t}: ${layer.channels} channels of ${layer.height} x ${layer.width}, ${counted(fired, "spike")}`,
  );
}

/** The neuron that was meant: a spike close by, else the one under the finger. */
function touched(event) {
  const { layer } = state,
    canvas = $("map"),
    { columns, scale, step } = canvas.plan,
    box = canvas.getBoundingClientRect();
  const shown = parseFloat(canvas.style.width) / box.width;
  const px = (event.clientX - box.left) * shown,
    py = (event.clientY - box.top) * shown;
  const [column, row] = [Math.floor(px / step[0]), Math.floor(py / step[1])],
    channel = row * columns + column;
  if (column >= columns || channel >= layer.channels) return -1;
  const [x, y] = [(px - column * step[0]) / scale, (py - row * step[1]) / scale];
  let best = -1,
    near = 14 / scale;
  for (const spike of state.outcome.spikes[layer.name][state.t]) {
    const place = Trace.split(layer, spike);
    if (place.channel !== channel) continue;
    const away = Math.hypot(place.x + 0.5 - x, place.y + 0.5 - y);
    if (away < near) [best, near] = [spike, away];
  }
  if (best >= 0) return best;
  const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value)));
  return (inside(y, layer.height) * layer.width + inside(x, layer.width)) * layer.channels + channel;
}

/** The next or the last spike on the map; comes round at the ends. */
function nextSpike(by) {
  const spikes = state.outcome.spikes[state.layer.name][state.t];
  if (!spikes.length) return;
  const at = spikes.findIndex((spike) => spike >= state.index),
    here = at < 0 ? spikes.length : at;
  const step = by > 0 && spikes[here] !== state.index ? 0 : by;
  pickSpike(spikes[(here + step + spikes.length) % spikes.length]);
}

$("map").addEventListener("click", (event) => pickSpike(touched(event)));
$("map").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (by) {
    event.preventDefault();
    nextSpike(by);
  }
});
$("before").addEventListener("click", () => nextSpike(-1));
$("after").addEventListener("click", () => nextSpike(1));
