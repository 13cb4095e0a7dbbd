"use strict";
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

/* Attention: a word's map over every stage's image, as overlay_attention draws it. */
(() => {
  const [red, green, blue, strength, dimmed] = document.body.dataset.heat.split(",").map(Number);

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }
  function lensOf(element) {
    const { maps, rows, columns, peaks, means } = element.dataset;
    return {
      element, maps: bytes(maps), rows: Number(rows), columns: Number(columns),
      peaks: peaks.split(",").map(Number), means: means.split(",").map(Number),
      context: element.querySelector("canvas").getContext("2d"),
      readout: element.parentElement.querySelector(".readout"),
    };
  }
  function percent(share) {
    return (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %";
  }
  function lay(lens, word) {
    const cells = lens.rows * lens.columns;
    const overlay = lens.context.createImageData(lens.columns, lens.rows);
    for (let cell = 0; cell < cells; cell++) {
      const heat = lens.maps[word * cells + cell] / 255;
      const warm = strength * heat;
      const kept = (dimmed + (1 - dimmed) * heat) * (1 - warm); /* of the image beneath */
      const share = kept < 1 ? warm / (1 - kept) : 0;
      overlay.data.set([red * share, green * share, blue * share, 255 * (1 - kept)], 4 * cell);
    }
    lens.context.putImageData(overlay, 0, 0);
    lens.readout.textContent =
      "peak " + percent(lens.peaks[word]) + ", mean " + percent(lens.means[word]);
  }

  for (const explorer of document.querySelectorAll(".explorer")) {
    const buttons = [...explorer.querySelectorAll(".words button")];
    /* One stop for Tab, at the word last reached; the arrow keys reach the others. */
    const stopAt = (place) => buttons.forEach((button, index) => {
      button.tabIndex = index === place ? 0 : -1;
    });
    const lenses = [...explorer.querySelectorAll(".lens[data-maps]")].map(lensOf);
    let pinned = Number(explorer.dataset.selected);

    const show = (word) => {
      buttons.forEach((button, index) => {
        button.classList.toggle("lit", index === word);
        button.setAttribute("aria-pressed", String(index === pinned));
      });
      for (const lens of lenses) {
        lens.element.classList.toggle("on", word >= 0);
        if (word >= 0) lay(lens, word);
        else lens.readout.textContent = "\u00a0";
        const about = word < 0 ? "No word chosen" : "Attention to “" +
          buttons[word].textContent + "”: " + lens.readout.textContent;
        lens.element.querySelector("canvas").setAttribute("aria-label", about);
      }
    };
    const pin = (word) => { pinned = pinned === word ? -1 : word; show(pinned); };

    buttons.forEach((button, word) => {
      button.addEventListener("pointerenter", (event) => {
        if (event.pointerType === "mouse") show(word);
      });
      button.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") show(pinned);
      });
      button.addEventListener("focus", () => {
        stopAt(word);
        if (button.matches(":focus-visible")) show(word);
      });
      button.addEventListener("blur", () => show(pinned));
      button.addEventListener("click", () => pin(word));
      button.addEventListener("keydown", (event) => {
        const target = { ArrowLeft: word - 1, ArrowRight: word + 1, Home: 0,
          End: buttons.length - 1 }[event.key];
        if (buttons[target]) { buttons[target].focus(); event.preventDefault(); }
        if (event.key === "Escape") { pinned = -1; show(-1); }
      });
    });
    for (const item of explorer.querySelectorAll("[data-word]:not(button)")) {
      item.addEventListener("click", () => { pinned = Number(item.dataset.word); show(pinned); });
    }
    stopAt(0);
    show(pinned);
  }
})();

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
