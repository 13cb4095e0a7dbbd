document.documentElement.classList.add("scripted");

(() => {
  const byId = (name) => document.getElementById(name);
  const form = byId("form");
  const { images, seed, truncation } = form.elements;
  const boxes = [byId("caption-1"), byId("caption-2")];
  const { words, tokenizer } = JSON.parse(byId("facts").textContent);
  const known = new Set(words);
  const suggestions = new Map();
  let last = boxes[0]; /* the caption that was typed in last */
  let busy = false;

  /* Words as the model's tokeniser finds them: [text, where it begins]. */
  function wordsOf(text) {
    const alone = "\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}" +
      "\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Myanmar}\\p{sc=Khmer}";
    const pattern = tokenizer === "ascii" ? /[\p{L}\p{N}_]+/gu :
      new RegExp(`(?=[\\p{L}\\p{N}])[${alone}]\\p{M}*|` +
        `(?![\\p{M}])(?:(?!(?=[\\p{L}\\p{N}])[${alone}])[\\p{L}\\p{N}\\p{M}_])+`, "gu");
    return [...text.matchAll(pattern)].map((found) => [found[0], found.index]);
  }
  function plain(word) {
    if (tokenizer !== "ascii") return word.normalize("NFKC").toLowerCase().normalize("NFKC");
    return [...word.toLowerCase()].filter((letter) => letter < "\u0080").join("");
  }
  /* Insertions, deletions, changes and swaps of neighbours that lead from a to b. */
  function distance(a, b) {
    let [before, row] = [[], [...Array(b.length + 1).keys()]];
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++) {
        next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] !== b[j - 1]));
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
          next[j] = Math.min(next[j], before[j - 2] + 1);
      }
      [before, row] = [row, next];
    }
    return row[b.length];
  }
  function suggestion(word) {
    if (!suggestions.has(word)) {
      let [best, least] = ["", word.length < 5 ? 1.5 : 2.5];
      for (const one of words) {
        if (Math.abs(one.length - word.length) > 2) continue;
        const far = distance(word, one) + (one[0] === word[0] ? 0 : 0.25);
        if (far < least) [best, least] = [one, far];
      }
      suggestions.set(word, best);
    }
    return suggestions.get(word);
  }

  /* Marks the words that the model doesn't know; the one being typed may still become one. */
  function check(box) {
    const text = box.value;
    const typing = document.activeElement === box && box.selectionEnd === text.length;
    const parts = [];
    const unknown = new Map();
    let end = 0;
    for (const [word, start] of wordsOf(text)) {
      const name = plain(word);
      const begun = typing && start + word.length === text.length &&
        words.some((one) => one.startsWith(name));
      if (!name || known.has(name) || begun) continue;
      const mark = document.createElement("mark");
      mark.textContent = word;
      parts.push(text.slice(end, start), mark);
      end = start + word.length;
      unknown.set(name, word);
    }
    box.previousElementSibling.replaceChildren(...parts, text.slice(end));
    const place = byId(box.getAttribute("aria-describedby"));
    const now = [...unknown.keys()].join(" ");
    if (place.dataset.words === now) return; /* or a button would go while it is being pressed */
    place.dataset.words = now;
    const line = [];
    for (const [name, word] of unknown) {
      const bold = document.createElement("b");
      bold.textContent = word;
      line.push(line.length ? " " : "Not known, left out: ", bold);
      if (!suggestion(name)) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = suggestion(name) + "?";
      button.setAttribute("aria-label", `Replace ${word} by ${suggestion(name)}`);
      button.addEventListener("mousedown", (event) => event.preventDefault()); /* keeps the focus */
      button.addEventListener("click", () => {
        box.value = box.value.replace(
          /[\p{L}\p{N}_]+/gu, (one) => plain(one) === name ? suggestion(name) : one);
        box.focus();
        check(box);
      });
      line.push(" ", button);
    }
    place.replaceChildren(...line);
  }

  function compare(on) {
    byId("second").hidden = !on;
    byId("compare").textContent = on ? "One caption" : "Compare two captions";
    byId("compare").setAttribute("aria-expanded", String(on));
  }
  function showTruncation() {
    const text = truncation.value === truncation.max ? "off" : Number(truncation.value).toFixed(1);
    byId("truncation-now").textContent = text;
    truncation.setAttribute("aria-valuetext", text);
  }
  function query() {
    const settings = new URLSearchParams();
    for (const box of boxes) {
      const shown = box === boxes[0] || !byId("second").hidden;
      if (shown && box.value.trim()) settings.append("caption", box.value.trim());
    }
    settings.set("seed", seed.value);
    settings.set("images", images.value);
    if (truncation.value !== truncation.max) settings.set("truncation", truncation.value);
    return settings.toString();
  }
  /* Fills the form from the link; what it can't show goes to the server as it is. */
  function read(link) {
    const settings = new URLSearchParams(link);
    const captions = settings.getAll("caption");
    boxes.forEach((box, place) => { box.value = captions[place] ?? ""; });
    compare(captions.length > 1);
    if (settings.has("seed")) seed.value = settings.get("seed");
    if ([...images.options].some((one) => one.value === settings.get("images")))
      images.value = settings.get("images");
    truncation.value = settings.get("truncation") ?? truncation.max;
    showTruncation();
    boxes.forEach(check);
  }

  async function generate(link) {
    const began = performance.now();
    const wait = () => {
      const seconds = Math.round((performance.now() - began) / 1000);
      byId("go").textContent = "Generating …" + (seconds > 1 ? ` ${seconds} s` : "");
    };
    const timer = setInterval(wait, 1000);
    setBusy(true);
    wait();
    try {
      const answer = await fetch("generate?" + link);
      const made = await answer.json();
      if (!answer.ok) throw new Error(made.error);
      byId("error").hidden = true;
      show(made.html, link, (performance.now() - began) / 1000);
    } catch (error) {
      const lost = error instanceof TypeError || error instanceof SyntaxError;
      byId("error").textContent = lost ? "The server doesn’t answer: is it still running?"
        : error.message[0].toUpperCase() + error.message.slice(1) + ".";
      byId("error").hidden = false;
    }
    clearInterval(timer);
    byId("go").textContent = "Generate";
    setBusy(false);
  }
  function setBusy(now) {
    busy = now;
    byId("go").setAttribute("aria-disabled", String(now)); /* `disabled` would lose the focus */
    byId("cards").setAttribute("aria-busy", String(now));
  }
  function show(html, link, seconds) {
    byId("cards").innerHTML = html; /* of this page's own server, which escapes captions */
    for (const card of byId("cards").querySelectorAll(".explorer")) explore(card);
    for (const save of byId("cards").querySelectorAll(".save"))
      save.href = save.closest("figure").querySelector("img").src;
    const count = byId("cards").querySelectorAll(".images li").length;
    byId("status").textContent =
      `${count} ${count === 1 ? "image" : "images"} in ${seconds.toFixed(1)} s`;
    byId("all").href = "images.png?" + link;
    document.querySelector(".bar").hidden = false;
  }
  function submit() {
    if (busy || !form.reportValidity()) return;
    const link = query();
    history.replaceState(null, "", "?" + link);
    generate(link);
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  boxes.forEach((box) => {
    box.addEventListener("input", () => {
      if (/[\r\n]/.test(box.value)) box.value = box.value.replace(/\s*[\r\n]+\s*/g, " ");
      check(box);
    });
    box.addEventListener("blur", () => check(box));
    box.addEventListener("focus", () => { last = box; });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); submit(); }
    });
  });
  for (const chip of document.querySelectorAll(".chip")) {
    chip.addEventListener("click", () => {
      const box = byId("second").hidden ? boxes[0] : last;
      box.value = chip.textContent;
      check(box);
      submit();
    });
  }
  byId("noise").addEventListener("click", () => {
    seed.value = crypto.getRandomValues(new Uint32Array(1))[0] % 100000;
    submit();
  });
  truncation.addEventListener("input", showTruncation);
  byId("compare").addEventListener("click", () => {
    compare(byId("second").hidden);
    if (byId("second").hidden) { last = boxes[0]; return; }
    if (!boxes[1].value) boxes[1].value = boxes[0].value;
    check(boxes[1]);
    boxes[1].focus();
  });
  byId("sharp").addEventListener("change", (event) =>
    byId("cards").classList.toggle("sharp", event.target.checked));
  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      byId("copy").textContent = "Copied";
      setTimeout(() => { byId("copy").textContent = "Copy link"; }, 1500);
    } catch {
      window.prompt("The link to these images:", location.href); /* no clipboard without https */
    }
  });

  if (location.search.length > 1) {
    read(location.search);
    generate(location.search.slice(1));
  } else {
    boxes[0].value = document.querySelector(".chip").textContent;
    check(boxes[0]);
    const link = query();
    history.replaceState(null, "", "?" + link);
    generate(link);
  }
})();
