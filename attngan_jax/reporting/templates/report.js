document.documentElement.classList.add("scripted");

/* Samples over training: one slider for all cards. */
(() => {
  const slider = document.getElementById("step");
  if (!slider) return;
  const steps = slider.dataset.steps.split(",").map(Number);
  const now = document.getElementById("step-now");
  const play = document.getElementById("play");
  const cards = [...document.querySelectorAll(".frames")].map((strip) =>
    [...strip.children].reverse()); /* the newest comes first in the page */
  let timer = 0;

  function show() {
    const place = Number(slider.value);
    const text = steps[place].toLocaleString("en");
    now.textContent = text;
    slider.setAttribute("aria-valuetext", "step " + text);
    for (const frames of cards) {
      frames.forEach((frame, index) => frame.classList.toggle("now", index === place));
    }
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  function advance() {
    slider.value = Number(slider.value) + 1;
    show();
    if (Number(slider.value) === steps.length - 1) stop();
  }
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) === steps.length - 1) { slider.value = 0; show(); }
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(advance, 450);
  });
  show();
})();

for (const explorer of document.querySelectorAll(".explorer")) explore(explorer);

/* Curves: the values at the step under the pointer. */
(() => {
  function digits(value) {
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(3)));
  }
  function nearest(points, x) {
    return points.reduce((best, point) =>
      Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
  }
  function valueAt(place, [start, end, low, high]) {
    return low + (place - start) / (end - start) * (high - low);
  }
  for (const chart of document.querySelectorAll(".chart")) {
    const svg = chart.querySelector("svg");
    const cross = svg.querySelector(".cross");
    const at = chart.querySelector(".chart-at");
    const readouts = [...chart.querySelectorAll("b[data-last]")];
    const xScale = svg.dataset.x.split(",").map(Number);
    const yScale = svg.dataset.y.split(",").map(Number);
    const lines = [...svg.querySelectorAll(".smooth")].map((line) =>
      line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number)));
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      const points = lines.map((line) => nearest(line, x));
      cross.setAttribute("x1", points[0][0]);
      cross.setAttribute("x2", points[0][0]);
      cross.setAttribute("visibility", "visible");
      at.textContent = "step " + Math.round(valueAt(points[0][0], xScale)).toLocaleString("en");
      readouts.forEach((readout, line) => {
        readout.textContent = digits(valueAt(points[line][1], yScale));
      });
    });
    svg.addEventListener("pointerleave", () => {
      cross.setAttribute("visibility", "hidden");
      at.textContent = "\u00a0";
      for (const readout of readouts) readout.textContent = readout.dataset.last;
    });
  }
})();
