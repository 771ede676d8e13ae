"use strict";
// Runs digits through the page's engine in Node: `node lesson_check.js ROOM MODEL DIGITS` prints what differs, as JSON.
const fs = require("fs"), vm = require("vm"), path = require("path");
const [room, modelFile, digitsFile] = process.argv.slice(2);
const source = ["engine.js", "camera.js", "check.js"].map((name) => fs.readFileSync(path.join(room, name), "utf8")).join("\n");
vm.runInThisContext(source + "\nthis.Engine = Engine; this.Camera = Camera; this.compare = compare; this.greysOf = greysOf;");
const network = Engine.build(JSON.parse(fs.readFileSync(modelFile, "utf8")));
const known = JSON.parse(fs.readFileSync(digitsFile, "utf8"));
const different = [];
known.digits.forEach((digit, i) => {
  const { events, frames } = Camera.record(greysOf(digit.picture), network.timesteps);
  const outcome = Engine.run(network, frames);
  const faults = compare(network, outcome, events, digit, known);
  if (digit.logits.some((logit, k) => logit !== outcome.logits[k])) faults.push("logits");
  if (faults.length) different.push([i, faults]);
});
process.stdout.write(JSON.stringify({ digits: known.digits.length, different }));
