"use strict";

/* Attention: a word's map over every stage's image, as overlay_attention draws it. */
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
  const [red, green, blue, strength, dimmed] = document.body.dataset.heat.split(",").map(Number);
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
  if (lens.readout) lens.readout.textContent =
    "peak " + percent(lens.peaks[word]) + ", mean " + percent(lens.means[word]);
}

/* Makes the words of an `.explorer` show their maps on all of its lenses. */
function explore(explorer) {
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
      else if (lens.readout) lens.readout.textContent = "\u00a0";
      const about = word < 0 ? "No word chosen" : "Attention to “" +
        buttons[word].textContent + "”" + (lens.readout ? ": " + lens.readout.textContent : "");
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
