"use strict";
/* Section 4: the additions of one spike, and the life of one neuron that it reaches. */

function showSpike() {
  const { layer, t, index } = state,
    place = Trace.split(layer, index);
  const fired = state.outcome.spikes[layer.name][t].includes(index);
  const causes = Trace.causes(state.outcome, layer, t, index);
  const where = [
    element("code", {}, shortOf(layer.name)),
    ` (${placeOf(layer.name).toLowerCase()}), channel ${place.channel}, row ${place.y}, column ${place.x}`,
  ];
  const says = $("spike-says");
  if (!fired) {
    says.replaceChildren(
      element(
        "p",
        { class: "big" },
        "The neuron of ",
        ...where,
        ` is silent at timestep ${t}. `,
        element("b", {}, "It causes 0 additions and costs 0 pJ."),
        " A dense machine would multiply all its weights by 0.",
      ),
    );
  } else {
    const operations = sum(causes.map((cause) => cause.operations));
    says.replaceChildren(
      element(
        "p",
        { class: "big" },
        "At timestep ",
        String(t),
        " the neuron of ",
        ...where,
        " fires. ",
        element("b", {}, `${counted(operations, "addition")} × ${PRICES.ac} pJ = ${joules(operations * PRICES.ac)}.`),
      ),
      element("ul", {}, ...causes.map((cause) => element("li", {}, ...sentence(cause)))),
    );
  }
  const synaptic = causes.filter((cause) => cause.kind === "synapses" && cause.targets.length);
  state.cause = synaptic[0] || null;
  if (state.fresh) chooseTarget();
  showWeights(fired);
  showLife(fired);
}

/** What a layer makes of the spike, in a sentence. */
function sentence({ layer, kind, operations, targets, passed, role, head }) {
  const name = element("code", {}, shortOf(layer.name));
  if (kind === "attention") {
    const partner = {
      q: "k spikes of the same channel, one in each token",
      k: "q spikes of the same channel, one in each token",
      v: "tokens whose q meets this token's k",
    }[role];
    return [
      name,
      `: as a spike of ${role} in head ${head} it meets ${number(operations)} ${partner}: `,
      counted(operations, "addition"),
      ". Coincidences are counted; nothing is multiplied.",
    ];
  }
  const pool = passed ? `max-pooling passes it on at ${counted(passed, "position")}; ` : "";
  return [
    name,
    `: ${pool}${number(targets.length)} × ${layer.out} channels = ${counted(operations, "addition")}`,
    passed ? " (shared with its neighbours: a window passes on one spike, however many fall into it)." : ".",
  ];
}

/** The weights of the spike's channel: a row for each tap of the window, a column for each output channel. */
function showWeights(fired) {
  const canvas = $("weights"),
    cause = state.cause;
  canvas.hidden = $("weights-key").hidden = !cause;
  $("weights-title").textContent = cause ? "The weights that it adds" : "No weights here";
  if (!cause) {
    $("weights-note").textContent =
      "Attention has no weights of its own: it counts which spikes of q, k and v meet. Beside: how this neuron came to fire.";
    return;
  }
  const { layer, channel } = cause,
    [rows, columns] = layer.kernel,
    taps = rows * columns,
    inputs = layer.sources[0].channels;
  // one tap makes a grid of its own, or it would be a single thin line
  const across = taps > 1 ? layer.out : Math.min(layer.out, 16),
    down = (taps * layer.out) / across;
  const room = canvas.parentElement.clientWidth,
    side = Math.max(3, Math.min(28, Math.floor(room / across)));
  const height = Math.max(side, Math.min(26, 240 / down)),
    context = sized(canvas, across * side, Math.round(down * height));
  const weight = (tap, out) => layer.weights[(tap * inputs + channel) * layer.out + out];
  let most = 0;
  for (let tap = 0; tap < taps; tap++)
    for (let o = 0; o < layer.out; o++) most = Math.max(most, Math.abs(weight(tap, o)));
  const [none, low, high] = [rgb("map"), rgb("off"), rgb("spike")];
  state.tap = Math.min(state.tap, taps - 1);
  state.output = Math.min(state.output, layer.out - 1);
  if (!cause.targets.some((target) => target.tap === state.tap)) state.tap = cause.targets[0].tap;
  const place = (tap, o) => {
    const n = tap * layer.out + o;
    return [(n % across) * side, Math.floor(n / across) * height];
  };
  for (let tap = 0; tap < taps; tap++) {
    for (let o = 0; o < layer.out; o++) {
      const value = weight(tap, o);
      context.fillStyle = css(mix(none, value < 0 ? low : high, Math.sqrt(Math.abs(value) / most)));
      context.fillRect(...place(tap, o), side - (side > 5 ? 1 : 0), height - 1);
    }
  }
  const [x, y] = place(state.tap, state.output);
  context.strokeStyle = colour("ink");
  context.lineWidth = 2;
  context.strokeRect(x, y, side - 1, height - 1);
  Object.assign(canvas, { grid: { across, side, height, taps, out: layer.out } });
  const rowsAre =
    taps > 1
      ? `a row for each of the ${taps} places of its ${rows} × ${columns} window, a column for each output channel`
      : `one for each of its ${layer.out} output channels`;
  $("weights-note").textContent =
    `${number(taps * layer.out)} weights of input channel ${channel}: ${rowsAre}. ${fired ? "The spike adds" : "A spike would add"} each to one neuron's input. Touch one.`;
  $("weights-key").replaceChildren(
    `${(-most).toFixed(2)}`,
    element("i"),
    `+${most.toFixed(2)}`,
    ` chosen: ${weight(state.tap, state.output) < 0 ? "−" : "+"}${Math.abs(weight(state.tap, state.output)).toFixed(4)}`,
  );
  canvas.setAttribute(
    "aria-label",
    `Weights from channel ${channel}; chosen: place ${state.tap + 1}, output channel ${state.output}, weight ${weight(state.tap, state.output).toFixed(4)}`,
  );
}

/** Of a new spike, show a neuron that fires at once if it reaches one, else the one that it moves most. */
function chooseTarget() {
  const { cause, t } = state,
    reached = cause && Trace.driven(cause.layer);
  state.fresh = false;
  if (!reached) return;
  const { layer, channel, targets } = cause,
    active = new Set(state.outcome.spikes[reached.name][t]);
  let best = -Infinity;
  for (const { position, tap } of targets) {
    for (let o = 0; o < layer.out; o++) {
      const weight = layer.weights[(tap * layer.sources[0].channels + channel) * layer.out + o];
      const merit = weight + (active.has(position * layer.out + o) ? 1e6 : 0);
      if (merit > best) [best, state.tap, state.output] = [merit, tap, o];
    }
  }
}

/** The chosen target: the neuron past the chosen weight; of attention the neuron itself. */
function target() {
  const { cause, layer, index } = state,
    reached = cause && Trace.driven(cause.layer);
  if (!reached) return [layer, index];
  const position = cause.targets.find((each) => each.tap === state.tap).position;
  return [reached, position * reached.channels + state.output];
}

function showLife() {
  const [layer, index] = target(),
    place = Trace.split(layer, index);
  const steps = Trace.life(state.outcome, layer, index, network.timesteps);
  $("life-title").replaceChildren(
    layer === state.layer ? "This neuron: " : "A neuron that it reaches: ",
    element("code", {}, shortOf(layer.name)),
    ` channel ${place.channel}, row ${place.y}, column ${place.x}`,
  );
  const rows = steps.map((step) =>
    element(
      "tr",
      step.t === state.t ? { "aria-current": "true" } : {},
      element("td", {}, `${step.t}${step.t === state.t ? " ◂" : ""}`),
      element("td", {}, step.additions == null ? "–" : number(step.additions)),
      element("td", {}, step.input.toFixed(3)),
      element("td", {}, step.reached.toFixed(3)),
      element("td", { class: step.fires ? "fires" : "" }, step.fires ? "fires" : "–"),
    ),
  );
  $("life").replaceChildren(
    chartOf(steps, layer),
    element(
      "p",
      { class: "hint" },
      `Each timestep the potential v leaks toward the input: v ← v + (input − v) / ${layer.tau}. At ${layer.threshold} the neuron fires, and v returns to 0. The input is the sum of additions, plus bias and BatchNorm shift${layer.sources[0].type === "Add" ? ", of both branches of the residual connection" : ""}.`,
    ),
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        { class: "plain" },
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            ...["t", "additions", "input", "v reaches", "neuron"].map((name) => element("th", { scope: "col" }, name)),
          ),
        ),
        element("tbody", {}, ...rows),
      ),
    ),
  );
}

/** v(t) against the threshold. */
function chartOf(steps, layer) {
  const [width, height, left, bottom, right] = [480, 200, 44, 26, 72],
    values = steps.flatMap((step) => [step.reached, step.after]);
  const most = Math.max(layer.threshold * 1.25, ...values),
    least = Math.min(0, ...values);
  const x = (t) => left + ((t + 0.5) * (width - left - right)) / steps.length,
    y = (v) => 10 + ((most - v) / (most - least)) * (height - bottom - 20);
  const line = steps
    .map((step) => `${step.t ? "L" : "M"}${x(step.t)} ${y(step.reached)}${step.fires ? ` L${x(step.t)} ${y(0)}` : ""}`)
    .join(" ");
  const name = `Membrane potential: ${steps.map((step) => `timestep ${step.t} ${step.reached.toFixed(2)}${step.fires ? ", fires" : ""}`).join("; ")}. Threshold ${layer.threshold}.`;
  const threshold = y(layer.threshold);
  return drawing(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name, width: "100%" },
    drawing("rect", { x: x(state.t) - 12, y: 6, width: 24, height: height - bottom - 6, fill: colour("map") }),
    drawing("line", { x1: left, x2: width - right, y1: y(0), y2: y(0), stroke: colour("rule") }),
    drawing("line", {
      x1: left,
      x2: width - right,
      y1: threshold,
      y2: threshold,
      stroke: colour("spike"),
      "stroke-dasharray": "6 5",
    }),
    drawing("path", {
      d: line,
      fill: "none",
      stroke: colour("accent"),
      "stroke-width": 2.5,
      "stroke-linejoin": "round",
    }),
    ...steps.map((step) =>
      drawing("circle", {
        cx: x(step.t),
        cy: y(step.reached),
        r: step.fires ? 6 : 3.5,
        fill: colour(step.fires ? "spike" : "accent"),
      }),
    ),
    ...steps.map((step) => label(x(step.t), height - 8, String(step.t), "middle")),
    label(left - 6, threshold + 4, String(layer.threshold), "end"),
    label(left - 6, y(0) + 4, "0", "end"),
    label(width - right + 6, threshold + 4, "threshold", "start"),
    label(4, 16, "v", "start"),
  );
}

const label = (x, y, text, anchor) => drawing("text", { x, y, "text-anchor": anchor }, text);

function pickWeight(n) {
  const { taps, out } = $("weights").grid,
    all = taps * out,
    at = (n + all) % all;
  [state.tap, state.output] = [Math.floor(at / out), at % out];
  showWeights(state.outcome.spikes[state.layer.name][state.t].includes(state.index));
  showLife();
}

$("weights").addEventListener("click", (event) => {
  const { across, side, height } = $("weights").grid,
    box = $("weights").getBoundingClientRect();
  const shown = parseFloat($("weights").style.width) / box.width;
  const column = Math.min(across - 1, Math.floor(((event.clientX - box.left) * shown) / side));
  pickWeight(Math.floor(((event.clientY - box.top) * shown) / height) * across + column);
});
$("weights").addEventListener("keydown", (event) => {
  const { across, out } = $("weights").grid;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
  if (by) {
    event.preventDefault();
    pickWeight(state.tap * out + state.output + by);
  }
});
