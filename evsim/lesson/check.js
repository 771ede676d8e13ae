"use strict";
/* The check: 100 digits through this page's engine, held against what evsim counted on them. */

const greysOf = (picture) => Array.from(picture, (letter) => parseInt(letter, 17));
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Names of what differs between this page's outcome and evsim's counts of a digit; none if all is equal. */
function compare(network, outcome, events, digit, known) {
  const faults = [],
    expect = (name, own, theirs) => {
      if (own !== theirs) faults.push(name);
    };
  expect("events", events, digit.events);
  expect("prediction", outcome.logits.indexOf(Math.max(...outcome.logits)), digit.prediction);
  known.neurons.forEach((name, i) => {
    const spikes = outcome.spikes[name];
    expect(`spikes of ${name}`, sum(spikes.map((fired) => fired.length)), digit.spikes[i]);
    expect(`neurons of ${name}`, Engine.print(network.byName.get(name), spikes), digit.prints[i]);
  });
  known.layers.forEach((name, i) =>
    expect(`operations of ${name}`, sum(outcome.operations[name]), digit.operations[i]),
  );
  return faults;
}

/** Run all digits, some at a time so that the page stays alive, and say what came out. */
async function checkAll() {
  const known = DATA.digits,
    different = [],
    right = [],
    totals = known.layers.map(() => [0, 0]);
  const spikes = known.neurons.map(() => [0, 0]),
    bar = $("check-bar");
  $("run-check").disabled = true;
  bar.hidden = false;
  for (let i = 0; i < known.digits.length; i++) {
    const digit = known.digits[i],
      { events, frames } = Camera.record(greysOf(digit.picture), network.timesteps);
    const outcome = Engine.run(network, frames),
      faults = compare(network, outcome, events, digit, known);
    if (faults.length) different.push(`digit ${i}: ${faults.join(", ")}`);
    if (digit.prediction === digit.label) right.push(i);
    known.layers.forEach((name, k) => {
      totals[k][0] += sum(outcome.operations[name]);
      totals[k][1] += digit.operations[k];
    });
    known.neurons.forEach((name, k) => {
      spikes[k][0] += sum(outcome.spikes[name].map((fired) => fired.length));
      spikes[k][1] += digit.spikes[k];
    });
    bar.value = i + 1;
    $("check-says").textContent = `${i + 1} of ${known.digits.length} digits …`;
    await new Promise((next) => {
      setTimeout(next);
    });
  }
  const equal = known.digits.length - different.length,
    says = $("check-says");
  says.replaceChildren(
    element("span", { class: different.length ? "bad" : "good" }, `${equal} of ${known.digits.length} digits equal.`),
    different.length
      ? ` ${different.slice(0, 3).join("; ")}`
      : ` The same neurons fired at the same timesteps in all ${known.neurons.length} layers, and every operation count of ${known.layers.length} layers is the same as evsim ${DATA.version}'s, in float64. The network reads ${right.length} of them rightly.`,
  );
  const row = (name, [own, theirs]) =>
    element(
      "tr",
      {},
      element("td", {}, element("code", {}, fullOf(name))),
      element("td", {}, number(own)),
      element("td", {}, number(theirs)),
      element("td", { class: own === theirs ? "good" : "bad" }, own === theirs ? "equal" : "differs"),
    );
  $("check-table").replaceChildren(
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ...["Layer", "this page", "evsim", "verdict"].map((name) => element("th", { scope: "col" }, name)),
      ),
    ),
    element(
      "tbody",
      {},
      element("tr", {}, element("td", { colspan: 4 }, element("b", {}, "Spikes, all 100 digits"))),
      ...known.neurons.map((name, k) => row(name, spikes[k])),
      element("tr", {}, element("td", { colspan: 4 }, element("b", {}, "Operations, all 100 digits"))),
      ...known.layers.map((name, k) => row(name, totals[k])),
    ),
  );
  $("check-table").hidden = false;
  $("run-check").disabled = false;
  state.checked = { equal, different };
}
