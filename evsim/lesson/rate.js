"use strict";
/* Section 6: one layer at any firing rate, event-driven against dense, as measured. */

const Rate = (() => {
  const knob = $("knob"),
    least = 0.01;
  let own = null; // what this browser measured, in milliseconds as DATA.rates.points

  const plain = DATA.rates.points; // event: an addition per spike and output; dense, dense16: the opponents

  const rateOf = (value) => least * (1 / least) ** (value / 100); // 1 % to 100 %, by equal factors

  /** How long a form takes at a rate as a share of the dense form in float32, between points on logarithmic axes. */
  function share(points, form, rate) {
    const at = (point) => Math.log(point[form] / point.dense);
    const after = Math.max(
        1,
        points.findIndex((point) => point.rate >= rate - 1e-9),
      ),
      [a, b] = [points[after - 1], points[after]];
    const way = Math.log(rate / a.rate) / Math.log(b.rate / a.rate);
    return Math.exp(at(a) * (1 - way) + at(b) * way);
  }

  /** The rate from which on a dense form is faster than an event-driven one; null if it never is. */
  function crossing(points, form, opponent) {
    for (let i = 0; i <= 1000; i++) {
      const rate = rateOf(i / 10);
      if (share(points, opponent, rate) < share(points, form, rate)) return rate;
    }
    return null;
  }

  const shown = (rate) => `${(100 * rate).toFixed(rate < 0.0995 ? 1 : 0)} %`;
  const wins = (points, form, opponent) => {
    const rate = crossing(points, form, opponent);
    return rate === null ? "never wins" : `wins from ${shown(rate)} on`;
  };
  const times = (ratio) =>
    ratio >= 1 ? `${ratio.toFixed(1)} × as fast as` : `${(1 / ratio).toFixed(1)} × slower than`;

  function show() {
    const rate = rateOf(Number(knob.value)),
      { macs, machine, command, date, layer } = DATA.rates;
    $("knob-is").textContent = shown(rate);
    knob.setAttribute("aria-valuetext", shown(rate));
    const event = share(plain, "event", rate),
      ratios = ["dense", "dense16"].map((form) => share(plain, form, rate) / event);
    const energy = PRICES.mac / (rate * PRICES.ac);
    $("rate-says").replaceChildren(
      `At ${shown(rate)} a spike-driven layer makes ${number((macs * rate) / 1e6)} million additions instead of ${number(macs / 1e6)} million MACs. It is `,
      element("b", {}, `${times(ratios[0])} dense in 32 bits, ${times(ratios[1])} dense in 16 bits`),
      `. By the prices of step 5 its arithmetic takes 1/${energy.toFixed(0)} of the energy.`,
    );
    $("rate-chart").replaceChildren(chart(rate));
    const notes = [
      `Dense in 16 bits, by matrix units that only dense code can use, ${wins(plain, "event", "dense16")}; dense in 32 bits ${wins(plain, "event", "dense")}. Against evsim, which adds up once what four neighbours have in common, dense in 16 bits ${wins(plain, "shared", "dense16")}. Both event-driven forms compute in 32 bits.`,
      "Time and energy are two questions: an addition costs less than a MAC at every rate, but weights fetched one by one may cost more than weights read in order.",
      `Layer: ${layer}. Measured on ${date}, ${machine}, by ${command}. Marks on the axis: the layers of your digit.`,
    ];
    $("rate-note").replaceChildren(...notes.map((note) => element("p", { class: "hint" }, note)));
  }

  function chart(rate) {
    const wide = $("rate-chart").clientWidth > 520,
      [width, height, left, bottom, top, right] = wide ? [760, 340, 58, 46, 28, 26] : [400, 350, 46, 46, 28, 24];
    const series = [
      ["dense, 32 bits", plain, "dense", "ink"],
      ["dense, 16 bits", plain, "dense16", "off"],
      ["evsim, shared sums", plain, "shared", "soft"],
      ["an addition per spike", plain, "event", "accent"],
    ];
    if (own) series.push(["this browser", own, "event", "good"]);
    const values = series.flatMap(([, points, form]) => points.map((point) => point[form] / point.dense));
    const most = Math.max(...values) * 1.8,
      low = Math.max(0.005, Math.min(...values)) / 1.25;
    const x = (at) => left + (Math.log(at / least) / Math.log(1 / least)) * (width - left - right);
    const y = (value) => top + (Math.log(most / value) / Math.log(most / low)) * (height - bottom - top);
    const ticks = wide ? [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1] : [0.01, 0.1, 1],
      steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].filter((each) => each > low && each < most);
    const parts = [
      ...steps.map((each) =>
        drawing("line", { x1: left, x2: width - right, y1: y(each), y2: y(each), stroke: colour("line") }),
      ),
      ...steps.map((each) => label(left - 8, y(each) + 4, `${each} ×`, "end")),
      ...ticks.map((each) => label(x(each), height - bottom + 18, `${100 * each} %`, "middle")),
      label((left + width) / 2, height - 6, "firing rate of the layer's input", "middle"),
      label(0, 14, "time, as a share of dense in 32 bits", "start"),
      ...layerTicks(x, height - bottom),
      drawing("line", {
        x1: x(rate),
        x2: x(rate),
        y1: top,
        y2: height - bottom,
        stroke: colour("spike"),
        "stroke-width": 2,
      }),
    ];
    for (const [name, points, form, tone] of series) {
      const at = points.map((point) => [x(point.rate), y(point[form] / point.dense)]);
      parts.push(
        drawing("path", {
          d: `M${at.map((each) => each.join(" ")).join("L")}`,
          fill: "none",
          stroke: colour(tone),
          "stroke-width": form === "event" ? 3 : 2,
          "stroke-dasharray": points === own ? "7 4" : "none",
        }),
      );
      const [lx, ly, anchor] = {
        dense: [left + 8, -8, "start"],
        dense16: [left + 8, -8, "start"],
        shared: [left + 8, -12, "start"],
        event: points === own ? [width - right - 4, 34, "end"] : [x(0.05), 24, "start"],
      }[form];
      const near = form !== "event" ? at[0][1] : y(share(points, form, points === own ? 1 : 0.05));
      const text = label(lx, near + ly, name, anchor);
      text.setAttribute("style", `fill:${colour(tone)};font-weight:600`);
      parts.push(text);
    }
    parts.push(
      drawing("circle", {
        cx: x(rate),
        cy: y(share(plain, "event", rate)),
        r: 7,
        fill: colour("spike"),
        stroke: colour("card"),
        "stroke-width": 2,
      }),
    );
    const name = `Time by firing rate. Against an addition per spike dense in 32 bits ${wins(plain, "event", "dense")}, dense in 16 bits ${wins(plain, "event", "dense16")}.${own ? ` In this browser dense ${wins(own, "event", "dense")}.` : ""}`;
    return drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name }, ...parts);
  }

  /** The rates of the layers of this digit, as marks under the axis. */
  function layerTicks(x, y) {
    if (!state.outcome) return [];
    return NEURONS.map(
      (layer) => sum(state.outcome.spikes[layer.name].map((fired) => fired.length)) / sizeOf(layer) / network.timesteps,
    )
      .filter((rate) => rate >= least)
      .map((rate) => drawing("path", { d: `M${x(rate)} ${y} l-4 -8 h8 z`, fill: colour("spike"), opacity: 0.7 }));
  }

  const inputs = 64,
    outputs = 256,
    tokens = 256;
  const weights = Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i));

  /** Milliseconds of the best of many short rounds: long enough for a browser's clock, so short that some go undisturbed. */
  function best(work) {
    let runs = 1,
      shortest = Infinity;
    const round = () => {
      const begin = performance.now();
      for (let i = 0; i < runs; i++) work();
      return performance.now() - begin;
    };
    for (let i = 0; i < 5; i++) work(); // until it is compiled
    while (round() < 2) runs *= 2;
    for (let i = 0; i < 25; i++) shortest = Math.min(shortest, round() / runs);
    return shortest;
  }

  /** Time a layer of 64 -> 256 channels and 256 tokens in JavaScript, both ways. */
  async function measure() {
    $("measure").disabled = true;
    const points = [],
      sums = new Float32Array(tokens * outputs);
    for (const rate of [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1]) {
      $("measure-says").textContent = `measuring at ${shown(rate)} …`;
      await new Promise((next) => {
        setTimeout(next);
      });
      const x = Float32Array.from({ length: tokens * inputs }, (_, i) =>
        Math.imul(i + 1, 0x9e3779b1) >>> 0 < rate * 2 ** 32 ? 1 : 0,
      );
      const spikes = Int32Array.from(Array.from(x.keys()).filter((i) => x[i]));
      points.push({ rate, event: best(() => add(spikes, sums)), dense: best(() => multiply(x, sums)) });
    }
    const dense = Math.min(...points.map((point) => point.dense)); // the same work at each rate: what disturbed it is left out
    own = points.map((point) => ({ ...point, dense }));
    $("measure-says").textContent =
      `This browser, in JavaScript (${inputs} → ${outputs} channels, ${tokens} tokens): dense ${wins(own, "event", "dense")}.`;
    $("measure").disabled = false;
    show();
  }

  function add(spikes, sums) {
    sums.fill(0);
    for (let i = 0; i < spikes.length; i++) {
      const token = (spikes[i] / inputs) | 0,
        from = (spikes[i] - token * inputs) * outputs,
        to = token * outputs;
      for (let o = 0; o < outputs; o++) sums[to + o] += weights[from + o];
    }
  }

  function multiply(x, sums) {
    sums.fill(0);
    for (let token = 0; token < tokens; token++) {
      const to = token * outputs;
      for (let c = 0; c < inputs; c++) {
        const value = x[token * inputs + c],
          from = c * outputs;
        for (let o = 0; o < outputs; o++) sums[to + o] += value * weights[from + o];
      }
    }
  }

  knob.addEventListener("input", show);
  $("measure").addEventListener("click", measure);
  return { show, measured: () => own };
})();
