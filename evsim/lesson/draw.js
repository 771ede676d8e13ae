"use strict";
/* Section 1 and 2: a digit is drawn or picked, and played before the camera. */

const Pad = (() => {
  const SIDE = 32,
    pad = $("pad");
  let strokes = [],
    pen = null,
    cursor = [16, 16],
    down = false;

  /** Black or white on 32 x 32, the drawing enlarged to the full height as in the data set. */
  function bitmap(fit) {
    const cells = new Uint8Array(SIDE * SIDE),
      points = strokes.flat();
    if (!points.length) return cells;
    const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const factor = fit ? (SIDE - 4) / Math.max(bottom - top, right - left, 1) : 1;
    const [cx, cy] = fit ? [(left + right) / 2, (top + bottom) / 2] : [SIDE / 2, SIDE / 2];
    const place = ([x, y]) => [(x - cx) * factor + SIDE / 2, (y - cy) * factor + SIDE / 2];
    for (const stroke of strokes) {
      stroke.forEach((point, i) => line(cells, place(stroke[Math.max(0, i - 1)]), place(point)));
    }
    return cells;
  }

  function line(cells, [x0, y0], [x1, y1]) {
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(x1 - x0, y1 - y0)));
    for (let i = 0; i <= steps; i++) dot(cells, x0 + ((x1 - x0) * i) / steps, y0 + ((y1 - y0) * i) / steps);
  }

  function dot(cells, x, y) {
    for (let row = Math.max(0, Math.floor(y - 2)); row <= Math.min(SIDE - 1, y + 2); row++) {
      for (let column = Math.max(0, Math.floor(x - 2)); column <= Math.min(SIDE - 1, x + 2); column++) {
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= 2.1) cells[row * SIDE + column] = 1;
      }
    }
  }

  /** How many of each 4 x 4 cells are set: 0 to 16, as the UCI digits were made. */
  function greys() {
    const cells = bitmap(true),
      blocks = new Array(64).fill(0);
    cells.forEach((cell, i) => {
      blocks[((i / SIDE / 4) | 0) * 8 + (((i % SIDE) / 4) | 0)] += cell;
    });
    return blocks;
  }

  /** Show the strokes; a picked digit is shown as its greys. */
  function show() {
    const context = pad.getContext("2d"),
      size = pad.width / SIDE;
    context.clearRect(0, 0, pad.width, pad.height);
    context.fillStyle = colour("ink");
    if (strokes.length) {
      bitmap(false).forEach((cell, i) => {
        if (cell) context.fillRect((i % SIDE) * size, Math.floor(i / SIDE) * size, size, size);
      });
    } else if (state.greys) {
      paintGreys(context, state.greys, pad.width);
    }
    if (document.activeElement === pad) {
      context.strokeStyle = colour(down ? "spike" : "accent");
      context.lineWidth = 3;
      context.strokeRect(cursor[0] * size - 10, cursor[1] * size - 10, 20, 20);
    }
    pad.setAttribute(
      "aria-label",
      strokes.length
        ? `Your drawing, ${counted(strokes.length, "stroke")}`
        : `Drawing pad${state.greys ? " with the picked digit" : ", empty"}`,
    );
  }

  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };

  function finish() {
    pen = null;
    const blocks = greys();
    if (Math.max(...blocks) > Math.min(...blocks)) present(blocks);
  }

  function unpick() {
    document.querySelectorAll("#picks input").forEach((input) => {
      input.checked = false;
    });
  }

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    unpick();
    pen = [at(event)];
    strokes.push(pen);
    show();
  });
  pad.addEventListener("pointermove", (event) => {
    if (pen) {
      pen.push(at(event));
      show();
    }
  });
  pad.addEventListener("pointerup", () => {
    if (pen) finish();
  });
  pad.addEventListener("pointercancel", () => {
    if (pen) finish();
  });
  pad.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") {
      down = !down;
      if (down) {
        unpick();
        pen = [[...cursor]];
        strokes.push(pen);
      } else finish();
    } else if (moves[event.key]) {
      cursor = cursor.map((value, axis) => Math.min(31, Math.max(1, value + moves[event.key][axis])));
      if (down) pen.push([...cursor]);
    } else return;
    event.preventDefault();
    show();
  });
  pad.addEventListener("focus", show);
  pad.addEventListener("blur", () => {
    if (down) {
      down = false;
      finish();
    }
    show();
  });
  $("clear").addEventListener("click", () => {
    strokes = [];
    unpick();
    presentNothing();
  });
  $("undo").addEventListener("click", () => {
    strokes.pop();
    if (strokes.length) finish();
    else if (!document.querySelector("#picks input:checked")) presentNothing();
    show();
  });

  return {
    show,
    forget() {
      strokes = [];
      show();
    },
  };
})();

function paintGreys(context, greys, size) {
  const side = size / 8,
    [from, to] = [rgb("map"), rgb("ink")];
  greys.forEach((grey, i) => {
    context.fillStyle = css(mix(from, to, grey / 16));
    context.fillRect((i % 8) * side, Math.floor(i / 8) * side, side + 0.5, side + 0.5);
  });
}

/** Ten digits to pick from, one of each class; `round` tells which ten. */
function showPicks(round) {
  const box = document.querySelector("#picks .picks");
  box.replaceChildren(
    ...DATA.digits.digits.slice(10 * round, 10 * round + 10).map((digit) => {
      const greys = greysOf(digit.picture),
        canvas = element("canvas", { width: 64, height: 64, "aria-hidden": "true" });
      paintGreys(canvas.getContext("2d"), greys, 64);
      const input = element("input", {
        type: "radio",
        name: "pick",
        "aria-label": `a handwritten ${digit.label}`,
        onchange() {
          Pad.forget();
          present(greys, digit);
        },
      });
      return element("label", {}, input, canvas);
    }),
  );
}

/** The answer and the ten logits. */
function showAnswer() {
  const logits = Array.from(state.outcome.logits),
    best = logits.indexOf(Math.max(...logits));
  $("answer").textContent = network.labels[best];
  const most = Math.max(...logits),
    least = Math.min(...logits);
  $("answer-note").textContent =
    state.digit && state.digit.label !== best
      ? `It was written as a ${state.digit.label}: the network is wrong here.`
      : "The class with the greatest logit, after 8 timesteps.";
  $("logits").replaceChildren(
    ...logits.map((logit, i) =>
      element(
        "div",
        { class: i === best ? "best" : "" },
        element("i", { style: `height:${((100 * 0.72 * (logit - least)) / (most - least || 1)).toFixed(1)}%` }),
        network.labels[i],
      ),
    ),
  );
  $("logits").setAttribute("aria-label", `Logits: ${logits.map((logit, i) => `${i} ${logit.toFixed(1)}`).join(", ")}`);
}

/** The eight frames, each a button that goes to its timestep. */
function showFrames() {
  const { SENSOR } = Camera,
    [off, on, none] = [rgb("off"), rgb("spike"), rgb("map")];
  $("events").textContent = number(state.events);
  $("frames").replaceChildren(
    ...state.frames.map((frame, t) => {
      const canvas = element("canvas", { width: SENSOR, height: SENSOR, "aria-hidden": "true" });
      const context = canvas.getContext("2d"),
        image = context.createImageData(SENSOR, SENSOR);
      for (let i = 0; i < SENSOR * SENSOR; i++) {
        const [dark, bright] = [frame[2 * i], frame[2 * i + 1]];
        const shade =
          dark + bright ? mix(none, dark > bright ? off : on, Math.min(1, 0.45 + 0.2 * (dark + bright))) : none;
        image.data.set([...shade, 255], 4 * i);
      }
      context.putImageData(image, 0, 0);
      return element(
        "button",
        {
          type: "button",
          "aria-pressed": String(t === state.t),
          "aria-label": `timestep ${t}`,
          onclick() {
            goTo(t);
          },
        },
        canvas,
        String(t),
      );
    }),
  );
}
