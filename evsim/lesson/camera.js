"use strict";
/* The camera: a picture of 8 x 8 greys, moved before a simulated event camera of 128 x 128 pixels, as `evsim record`.

   A pixel remembers the log intensity at its last event, and fires when the present one has moved by a threshold from
   there (v2e, arXiv 2006.07722; ESIM, Rebecq et al. 2018). */

const Camera = (() => {
  const SENSOR = 128,
    EXTENT = 96,
    DARKEST = 64,
    LINEAR_BELOW = 20,
    THRESHOLD = 0.2,
    STEP_US = 1000,
    REFRACTORY_US = 1000;
  const AMPLITUDE = 8;

  /** Intensities 64 .. 255 of the picture, enlarged, in the middle of the sensor. */
  function scene(greys) {
    const side = Math.sqrt(greys.length),
      least = Math.min(...greys),
      spread = Math.max(...greys) - least;
    const small = new Float64Array((side + 2) ** 2).fill(DARKEST); // strokes at the edge end softly
    greys.forEach((grey, i) => {
      const value = (grey - least) / spread;
      small[(((i / side) | 0) + 1) * (side + 2) + (i % side) + 1] = value * (255 - DARKEST) + DARKEST;
    });
    const large = enlarge(small, side + 2),
      whole = new Float64Array(SENSOR * SENSOR).fill(DARKEST);
    const margin = (SENSOR - EXTENT) / 2;
    for (let y = 0; y < EXTENT; y++) {
      whole.set(large.subarray(y * EXTENT, (y + 1) * EXTENT), (y + margin) * SENSOR + margin);
    }
    return whole;
  }

  /** Bilinear between the middles of pixels; what lies outside is as the edge. */
  function enlarge(small, side) {
    const large = new Float64Array(EXTENT * EXTENT),
      axis = [];
    for (let i = 0; i < EXTENT; i++) {
      // as scipy.ndimage.zoom with grid_mode: the middle of pixel i, in pixels of the small picture
      const at = (side / EXTENT) * (i + 0.5) - 0.5,
        low = Math.floor(at),
        inside = (n) => Math.min(Math.max(n, 0), side - 1);
      axis.push([inside(low), inside(low + 1), 1 - (at - low), at - low]);
    }
    for (let y = 0; y < EXTENT; y++) {
      const [top, bottom, wt, wb] = axis[y];
      for (let x = 0; x < EXTENT; x++) {
        const [left, right, wl, wr] = axis[x];
        const value =
          small[top * side + left] * wt * wl +
          small[top * side + right] * wt * wr +
          small[bottom * side + left] * wb * wl +
          small[bottom * side + right] * wb * wr;
        large[y * EXTENT + x] = Math.min(Math.max(value, 0), 255);
      }
    }
    return large;
  }

  /** Where the picture stands at each millisecond: three straight moves, as in N-MNIST. */
  function path() {
    const a = AMPLITUDE / 2,
      corners = [
        [-a, -a],
        [a, 0],
        [-a, a],
        [-a, -a],
      ],
      places = [];
    for (let i = 0; i <= 300; i++) {
      const at = i / 100,
        leg = Math.min(Math.floor(at), 2);
      places.push(
        [0, 1].map((axis) => {
          const slope = corners[leg + 1][axis] - corners[leg][axis];
          return i === 300 ? corners[3][axis] : slope * (at - leg) + corners[leg][axis];
        }),
      );
    }
    return places;
  }

  /** Lin-log intensity at a point, bilinear between pixels; outside is as the corner. */
  function response(light, row, column) {
    const top = Math.floor(row),
      left = Math.floor(column),
      dy = row - top,
      dx = column - left;
    const at = (y, x) => (y >= 0 && y < SENSOR && x >= 0 && x < SENSOR ? light[y * SENSOR + x] : light[0]);
    let value = 0;
    value += (1 - dy) * (1 - dx) * at(top, left);
    value += (1 - dy) * dx * at(top, left + 1);
    value += dy * (1 - dx) * at(top + 1, left);
    value += dy * dx * at(top + 1, left + 1);
    return value <= LINEAR_BELOW ? (value * Math.log(LINEAR_BELOW)) / LINEAR_BELOW : Math.log(value);
  }

  /** Whether all that a pixel can see while the picture moves is dark: then it never fires. */
  function dark(light, row, column) {
    const around = AMPLITUDE / 2 + 1;
    for (let y = Math.max(0, row - around); y <= Math.min(SENSOR - 1, row + around); y++) {
      for (let x = Math.max(0, column - around); x <= Math.min(SENSOR - 1, column + around); x++) {
        if (light[y * SENSOR + x] !== DARKEST) return false;
      }
    }
    return true;
  }

  /** Events of one pixel, as [time in microseconds, brighter]. */
  function watch(light, places, row, column, put) {
    let before = response(light, row - places[0][0], column - places[0][1]),
      reference = before,
      silent = -1;
    for (let i = 1; i < places.length; i++) {
      const now = response(light, row - places[i][0], column - places[i][1]);
      const step = now > reference ? THRESHOLD : -THRESHOLD,
        times = Math.floor(Math.abs(now - reference) / THRESHOLD);
      for (let k = 1; k <= times; k++) {
        const share = now === before ? 1 : (reference + step * k - before) / (now - before);
        const when = Math.floor((i - 1 + Math.min(Math.max(share, 0), 1)) * STEP_US);
        if (when < silent) continue;
        silent = when + REFRACTORY_US;
        put(when, step > 0);
      }
      reference += step * times;
      before = now;
    }
  }

  /** Play greys [64] before the camera: {events, frames}, an Int32Array [row][column][off, on] for each timestep. */
  function record(greys, timesteps) {
    const light = scene(greys),
      places = path(),
      keys = [];
    for (let row = 0; row < SENSOR; row++) {
      for (let column = 0; column < SENSOR; column++) {
        if (dark(light, row, column)) continue;
        const pixel = row * SENSOR + column;
        watch(light, places, row, column, (when, brighter) => {
          keys.push((when * SENSOR * SENSOR + pixel) * 2 + (brighter ? 1 : 0)); // sorts by time, row, column
        });
      }
    }
    return { events: keys.length, frames: framed(Float64Array.from(keys).sort(), timesteps) };
  }

  /** Slices of as many events each; the last takes the remainder. */
  function framed(keys, timesteps) {
    const size = Math.floor(keys.length / timesteps),
      frames = [];
    for (let t = 0; t < timesteps; t++) {
      const frame = new Int32Array(SENSOR * SENSOR * 2),
        end = t === timesteps - 1 ? keys.length : (t + 1) * size;
      for (let i = t * size; i < end; i++) frame[keys[i] % (SENSOR * SENSOR * 2)] += 1;
      frames.push(frame);
    }
    return frames;
  }

  return { record, SENSOR };
})();
