"use strict";
/* Section 5: the same network on a dense machine and on an event-driven one. */

const timesOf = (layer) => state.outcome.operations[layer.name].length; // the head runs once
const sparseOf = (layer) => sum(state.outcome.operations[layer.name]);
const denseOf = (layer) => layer.dense * timesOf(layer);

function showCosts() {
  const dense = state.machine === "dense";
  const rows = COUNTED.map((layer) => {
    const all = denseOf(layer),
      few = sparseOf(layer);
    return { layer, all, few, operations: dense ? all : few, energy: dense ? all * PRICES.mac : few * priceOf(layer) };
  });
  const total = (key) => sum(rows.map((row) => row[key])),
    most = Math.max(...rows.map((row) => row.all));
  const energies = [sum(rows.map((row) => row.all * PRICES.mac)), sum(rows.map((row) => row.few * priceOf(row.layer)))];
  $("total-operations").textContent = number(total("operations"));
  $("total-energy").textContent = joules(total("energy"));
  $("total-name").textContent = dense ? "Energy against sparse" : "Energy against dense";
  const times = energies[0] / energies[1];
  $("total-ratio").textContent = dense ? `${times.toFixed(0)} ×` : `1/${times.toFixed(0)}`;
  const body = rows.map(({ layer, operations, energy }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, shortOf(layer.name))),
      element(
        "td",
        { class: `bar${dense ? " dense" : ""}` },
        element("i", { style: `width:${((100 * operations) / most).toFixed(2)}%` }),
      ),
      element("td", {}, number(operations)),
      element("td", {}, dense || state.outcome.kinds[layer.name] === "MAC" ? "MAC" : "add"),
      element("td", {}, joules(energy)),
    ),
  );
  const groups = [];
  body.forEach((row, i) => {
    const place = placeOf(rows[i].layer.name);
    if (!i || place !== placeOf(rows[i - 1].layer.name))
      groups.push(element("tr", { class: "group" }, element("th", { colspan: 5, scope: "colgroup" }, element("b", {}, place))));
    groups.push(row);
  });
  const heads = ["Layer", "", "Operations", "Kind", "Energy"];
  $("bars").replaceChildren(
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ...heads.map((name, i) =>
          element(name ? "th" : "td", { scope: name ? "col" : null, class: i > 1 ? "number" : "" }, name),
        ),
      ),
    ),
    element("tbody", {}, ...groups),
  );
  $("costs-note").textContent =
    `An addition costs ${PRICES.ac} pJ, a multiply-accumulate (MAC) ${PRICES.mac} pJ: arithmetic of 32-bit floats at 45 nm (M. Horowitz, ISSCC 2014). The first layer reads event counts and the head real values: both multiply on either machine, the sparse one only where the input is not 0. Memory, communication and control are left out, and so are neuron updates, which both machines make alike. ssa is the attention, which has no weights.`;
}

document.querySelectorAll('[name="machine"]').forEach((input) =>
  input.addEventListener("change", () => {
    state.machine = input.value;
    showCosts();
  }),
);
