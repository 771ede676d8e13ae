"use strict";
/* The page: a digit comes in, all sections follow. */

/** Run a digit [64 greys]; `digit` is what is known of a picked one. */
function present(greys, digit = null) {
  document.querySelector("main").classList.remove("empty"); // first, as drawings measure their room
  const { events, frames } = Camera.record(greys, network.timesteps);
  Object.assign(state, { greys, digit, events, frames, outcome: Engine.run(network, frames) });
  state.outcome.counts = frames;
  if (!state.layer) state.layer = NEURONS[1];
  Object.assign(state, { index: firstSpike(), fresh: true });
  Pad.show();
  showAnswer();
  showFrames();
  showCosts();
  showMoment();
  Rate.show();
}

/** Nothing is on the pad: nothing is read, and the steps that follow a digit wait for one. */
function presentNothing() {
  play(false);
  Object.assign(state, { greys: null, digit: null, outcome: null });
  document.querySelector("main").classList.add("empty");
  $("answer").textContent = "–";
  $("answer-note").textContent = "Draw a digit, or pick one.";
  $("logits").replaceChildren();
  $("logits").setAttribute("aria-label", "No logits: the pad is empty");
  Pad.show();
  Rate.show();
}

/** A spike in the middle of the map, so that something is chosen from the start; -1 + 1 = neuron 0 if all are silent. */
function firstSpike() {
  const spikes = state.outcome.spikes[state.layer.name][state.t];
  return spikes.length ? spikes[spikes.length >> 1] : 0;
}

/** What depends on layer, timestep and spike. */
function showMoment() {
  $("time").value = state.t;
  $("time-is").textContent = state.t;
  [...$("frames").children].forEach((frame, t) => frame.setAttribute("aria-pressed", String(t === state.t)));
  showHeat();
  showMap();
  showSpike();
}

function choose(layer, t) {
  Object.assign(state, { layer, t, fresh: true });
  state.index = firstSpike();
  showMoment();
}

function goTo(t) {
  choose(state.layer, t);
}

function pickSpike(index) {
  if (index < 0) return;
  Object.assign(state, { index, fresh: true });
  showMap();
  showSpike();
}

let clock = null;
function play(on) {
  clearInterval(clock);
  clock = on ? setInterval(() => goTo((state.t + 1) % network.timesteps), 700) : null;
  $("play").setAttribute("aria-pressed", String(on));
  $("play").textContent = on ? "Pause" : "Play";
}

$("play").addEventListener("click", () => play(!clock));
$("time").addEventListener("input", () => {
  play(false);
  goTo(Number($("time").value));
});
$("more").addEventListener("click", () => {
  state.round = ((state.round || 0) + 1) % (DATA.digits.digits.length / 10);
  showPicks(state.round);
});
$("run-check").addEventListener("click", checkAll);

/** Colours and sizes follow the device. */
function redraw() {
  showPicksAgain();
  Pad.show();
  Rate.show();
  if (!state.outcome) return;
  showFrames();
  showMoment();
}

function showPicksAgain() {
  const chosen = [...document.querySelectorAll("#picks input")].findIndex((input) => input.checked);
  showPicks(state.round || 0);
  if (chosen >= 0) document.querySelectorAll("#picks input")[chosen].checked = true;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let wide = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== wide) {
    wide = innerWidth;
    redraw();
  }
});

$("sources").textContent =
  `evsim ${DATA.version}. The network is evsim's bundled model, a Spikingformer (arXiv 2304.11954) of 160,000 parameters, trained on recordings of handwritten digits; the digits are from scikit-learn's copy of the UCI handwritten digits (CC BY 4.0), none of them seen in training.`;
buildHeat();
showPicks(0);
const first = DATA.digits.digits[3];
document.querySelectorAll("#picks input")[3].checked = true;
present(greysOf(first.picture), first);
