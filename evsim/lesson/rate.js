"use strict";
/* Section 6: one layer at any firing rate, event-driven against dense, as measured. */

const Rate = (() => {
  const knob = $("knob"), least = 0.01;
  let own = null; // what this browser measured, in milliseconds as DATA.rates.points

  const rateOf = (value) => least * (1 / least) ** (value / 100); // 1 % to 100 %, by equal factors
  const quick = (point) => point.dense / point.event;

  /** Advantage at a rate, between measured points on logarithmic axes. */
  function between(points, rate) {
    const after = Math.max(1, points.findIndex((point) => point.rate >= rate - 1e-9)), [a, b] = [points[after - 1], points[after]];
    const share = Math.log(rate / a.rate) / Math.log(b.rate / a.rate);
    return Math.exp(Math.log(quick(a)) * (1 - share) + Math.log(quick(b)) * share);
  }

  /** The rate from which on the dense form wins; null if it never does. */
  function crossing(points) {
    for (let i = 0; i <= 1000; i++) {
      const rate = rateOf(i / 10);
      if (between(points, rate) < 1) return rate;
    }
    return null;
  }

  const shown = (rate) => `${(100 * rate).toFixed(rate < 0.0995 ? 1 : 0)} %`;
  const wins = (points) => {
    const rate = crossing(points);
    return rate === null ? "event-driven wins at every rate" : rate <= least ? "dense wins at every rate" : `dense wins from ${shown(rate)} on`;
  };

  function show() {
    const rate = rateOf(Number(knob.value)), { points, macs, machine, command, date, layer } = DATA.rates;
    $("knob-is").textContent = shown(rate);
    knob.setAttribute("aria-valuetext", shown(rate));
    const gain = between(points, rate), winner = gain >= 1 ? `event-driven is ${gain.toFixed(1)} × as fast` : `dense is ${(1 / gain).toFixed(1)} × as fast`;
    const energy = macs * PRICES.mac / (macs * rate * PRICES.ac);
    $("rate-says").replaceChildren(`At ${shown(rate)}: ${number(macs * rate / 1e6)} of ${number(macs / 1e6)} million operations; in evsim, `, element("b", {}, winner),
      `. By the prices of step 5 its arithmetic takes ${energy >= 1 ? `1/${energy.toFixed(0)}` : "all"} of the energy.`);
    $("rate-chart").replaceChildren(chart(rate));
    $("rate-note").textContent = `evsim: ${wins(points)}. Layer: ${layer}. Times of ${date} on ${machine}: ${command}. `
      + "Only times cross: a chip whose additions cost less than its MACs saves energy at every rate, as long as fetching weights one by one costs it no more than in order.";
  }

  function chart(rate) {
    const [width, height, left, bottom, top] = [720, 300, 58, 44, 12], series = [["evsim", DATA.rates.points, "accent"]];
    if (own) series.push(["this browser", own, "off"]);
    const gains = series.flatMap(([, points]) => points.map(quick)), most = Math.max(...gains, 2) * 1.15, low = Math.min(...gains, 0.5) / 1.15;
    const x = (at) => left + Math.log(at / least) / Math.log(1 / least) * (width - left - 14);
    const y = (gain) => top + Math.log(most / gain) / Math.log(most / low) * (height - bottom - top);
    const ticks = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].filter((each) => each > low && each < most);
    const parts = [
      drawing("rect", { x: left, y: y(1), width: width - left - 14, height: height - bottom - y(1), fill: colour("map") }),
      ...steps.map((each) => drawing("line", { x1: left, x2: width - 14, y1: y(each), y2: y(each), stroke: colour(each === 1 ? "ink" : "line"), "stroke-width": each === 1 ? 1.5 : 1 })),
      ...steps.map((each) => label(left - 8, y(each) + 4, `${each} ×`, "end")),
      ...ticks.map((each) => label(x(each), height - bottom + 18, `${100 * each} %`, "middle")),
      label((left + width) / 2, height - 6, "firing rate of the layer's input", "middle"),
      label(left + 8, y(1) - 7, "event-driven faster", "start"), label(left + 8, y(1) + 17, "dense faster", "start"),
      ...layerTicks(x, height - bottom),
      drawing("line", { x1: x(rate), x2: x(rate), y1: top, y2: height - bottom, stroke: colour("spike"), "stroke-width": 2 }),
    ];
    for (const [name, points, tone] of series) {
      const at = points.map((point) => [x(point.rate), y(quick(point))]), last = at[Math.floor(at.length * (name === "evsim" ? 0.28 : 0.14))];
      parts.push(drawing("path", { d: `M${at.map((each) => each.join(" ")).join("L")}`, fill: "none", stroke: colour(tone), "stroke-width": 2.5 }),
        ...at.map(([cx, cy]) => drawing("circle", { cx, cy, r: 3.5, fill: colour(tone) })), label(last[0] + 8, last[1] - 10, name, "start"));
    }
    parts.push(drawing("circle", { cx: x(rate), cy: y(between(DATA.rates.points, rate)), r: 7, fill: colour("spike"), stroke: colour("card"), "stroke-width": 2 }));
    const name = `Advantage of the event-driven form by firing rate. evsim: ${wins(DATA.rates.points)}.${own ? ` This browser: ${wins(own)}.` : ""}`;
    return drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name }, ...parts);
  }

  /** The rates of the layers of this digit, as marks under the axis. */
  function layerTicks(x, y) {
    if (!state.outcome) return [];
    return NEURONS.map((layer) => sum(state.outcome.spikes[layer.name].map((fired) => fired.length)) / sizeOf(layer) / network.timesteps)
      .filter((rate) => rate >= least)
      .map((rate) => drawing("path", { d: `M${x(rate)} ${y} l-4 -8 h8 z`, fill: colour("spike"), opacity: 0.7 }));
  }

  const inputs = 64, outputs = 256, tokens = 256;
  const weights = Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i));

  /** Milliseconds of the best of several runs, each long enough for a browser's clock. */
  function best(work) {
    let least_ = Infinity;
    for (let round = 0; round < 5; round++) {
      const begin = performance.now();
      let runs = 0;
      do { work(); runs += 1; } while (performance.now() - begin < 12);
      least_ = Math.min(least_, (performance.now() - begin) / runs);
    }
    return least_;
  }

  /** Time a layer of 64 -> 256 channels and 256 tokens in JavaScript, both ways. */
  async function measure() {
    $("measure").disabled = true;
    const points = [], sums = new Float32Array(tokens * outputs);
    for (const rate of [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1]) {
      $("measure-says").textContent = `measuring at ${shown(rate)} …`;
      await new Promise((next) => { setTimeout(next); });
      const x = Float32Array.from({ length: tokens * inputs }, (_, i) => ((Math.imul(i + 1, 0x9e3779b1) >>> 8) % 9973 < rate * 9973 ? 1 : 0));
      const spikes = Int32Array.from(Array.from(x.keys()).filter((i) => x[i]));
      points.push({ rate, event: best(() => add(spikes, sums)), dense: best(() => multiply(x, sums)) });
    }
    own = points;
    $("measure-says").textContent = `This browser, in JavaScript (${inputs} → ${outputs} channels, ${tokens} tokens): ${wins(own)}.`;
    $("measure").disabled = false;
    show();
  }

  function add(spikes, sums) {
    sums.fill(0);
    for (let i = 0; i < spikes.length; i++) {
      const token = (spikes[i] / inputs) | 0, from = (spikes[i] - token * inputs) * outputs, to = token * outputs;
      for (let o = 0; o < outputs; o++) sums[to + o] += weights[from + o];
    }
  }

  function multiply(x, sums) {
    sums.fill(0);
    for (let token = 0; token < tokens; token++) {
      const to = token * outputs;
      for (let c = 0; c < inputs; c++) {
        const value = x[token * inputs + c], from = c * outputs;
        for (let o = 0; o < outputs; o++) sums[to + o] += value * weights[from + o];
      }
    }
  }

  knob.addEventListener("input", show);
  $("measure").addEventListener("click", measure);
  return { show, measured: () => own };
})();
