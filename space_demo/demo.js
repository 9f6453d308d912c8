// What happens on the page without asking the server. Everything is delegated: results come and go.
(() => {
  const closest = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);
  const finite = (text) => Number.parseFloat(text) || 0;

  // --- which face is shown ---
  function chooseFace(button) {
    const result = button.closest(".clef-result");
    for (const other of result.querySelectorAll(".clef-box, .clef-tab"))
      other.setAttribute("aria-pressed", String(other.dataset.face === button.dataset.face));
    for (const face of result.querySelectorAll(".clef-face")) face.hidden = face.dataset.face !== button.dataset.face;
    follow();
  }

  // --- where the model looked ---
  function light(row) {
    const face = row.closest(".clef-face");
    const veil = face && face.querySelector(".clef-veil");
    if (!veil || !row.dataset.veil) return;
    veil.src = row.dataset.veil;
    veil.hidden = false;
    face.querySelector(".clef-caption").textContent =
      `Where the model looked for “${row.querySelector(".clef-name").textContent}”. It does not say whether it is right.`;
  }
  function unlight(face) {
    const kept = face.querySelector('.clef-row[aria-pressed="true"]');
    if (kept) return light(kept);
    const veil = face.querySelector(".clef-veil");
    if (veil) veil.hidden = true;
    const caption = face.querySelector(".clef-caption");
    if (caption) caption.textContent = "";
  }
  function keep(row) {
    const face = row.closest(".clef-face");
    if (!face) return;
    const kept = row.getAttribute("aria-pressed") !== "true";
    for (const other of face.querySelectorAll(".clef-row")) other.setAttribute("aria-pressed", "false");
    row.setAttribute("aria-pressed", String(kept));
    unlight(face);
  }

  // --- the camera's stream stops for good ---
  // Its time is over: the server has let go, and Gradio's camera begins anew within a moment, which this ends.
  window.clefStopCamera = () => {
    const button = document.querySelector("#clef-camera button[aria-label='capture photo']");
    if (!button) return;
    let looks = 30;
    const look = setInterval(() => {
      if (!button.querySelector("[title='start recording']")) button.click();
      else if (!--looks) clearInterval(look);
    }, 100);
    button.addEventListener("click", () => clearInterval(look), { once: true }); // also when a person begins anew
  };

  // --- numbers ---
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  function table(numbers, separator) {
    const lines = [["label", "name", "probability", "threshold", "present"]];
    const sets = Object.entries(numbers).filter(([name, value]) => name !== "words" && Array.isArray(value));
    for (const one of sets.flatMap(([, rows]) => rows)) {
      const present = one.present === undefined ? "" : Number(one.present);
      lines.push([one.label, one.name ?? one.label, one.probability, one.threshold ?? "", present]);
    }
    for (const one of numbers.words ?? []) lines.push([one.label, one.label, one.score, "", ""]);
    const written = separator === "," ? cell : (value) => String(value).replaceAll("\t", " ");
    return lines.map((line) => line.map(written).join(separator)).join("\n") + "\n";
  }
  async function take(button) {
    const face = button.closest(".clef-face");
    const numbers = JSON.parse(face.dataset.numbers);
    const kind = button.dataset.take;
    if (kind === "copy") {
      const said = button.textContent;
      try {
        await navigator.clipboard.writeText(table(numbers, "\t"));
        button.textContent = "Copied";
      } catch {
        button.textContent = "The browser does not allow it";
      }
      setTimeout(() => (button.textContent = said), 1500);
      return;
    }
    const text = kind === "json" ? JSON.stringify(numbers, null, 2) + "\n" : table(numbers, ",");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind === "json" ? "application/json" : "text/csv" }));
    link.download = `clef-face-${finite(face.dataset.face) + 1}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // --- the timeline goes with the video ---
  const video = () => document.querySelector("#clef-overlay video");
  function follow() {
    const playing = video();
    const now = playing ? playing.currentTime : 0;
    for (const track of document.querySelectorAll(".clef-track:not([hidden])")) {
      const seconds = finite(track.closest(".clef-result").dataset.seconds) || 1;
      track.style.setProperty("--clef-at", Math.min(now / seconds, 1));
      const slider = track.querySelector('input[type="range"]');
      if (slider && document.activeElement !== slider) slider.value = now;
      const said = (track.said ??= JSON.parse(track.dataset.said));
      let at = null;
      for (const one of said) if (Math.abs(one[0] - now) < (at ? Math.abs(at[0] - now) : 0.5)) at = one;
      track.querySelector(".clef-reading").textContent = `${now.toFixed(1)} s: ${at ? at[1] : "not in sight"}`;
    }
    if (playing && !playing.paused) requestAnimationFrame(follow);
  }
  for (const name of ["play", "seeked", "timeupdate", "loadeddata"])
    document.addEventListener(name, (event) => event.target === video() && follow(), true);

  document.addEventListener("click", (event) => {
    const found = closest(event, ".clef-box, .clef-tab");
    if (found) return chooseFace(found);
    const row = closest(event, ".clef-row");
    if (row) return keep(row);
    const button = closest(event, "[data-take]");
    if (button) return take(button);
    const lane = closest(event, ".clef-lane svg, .clef-segments");
    if (lane && video()) {
      const frame = lane.getBoundingClientRect();
      const seconds = finite(lane.closest(".clef-result").dataset.seconds);
      video().currentTime = ((event.clientX - frame.left) / frame.width) * seconds;
    }
  });
  document.addEventListener("input", (event) => {
    if (closest(event, ".clef-seek") && video()) video().currentTime = finite(event.target.value);
  });
  document.addEventListener("mouseover", (event) => {
    const row = closest(event, ".clef-row");
    if (row) light(row);
  });
  document.addEventListener("focusin", (event) => {
    const row = closest(event, ".clef-row");
    if (row) light(row);
  });
  for (const name of ["mouseout", "focusout"])
    document.addEventListener(name, (event) => {
      const row = closest(event, ".clef-row");
      if (row && row.closest(".clef-face")) unlight(row.closest(".clef-face"));
    });
  // Arrow keys go from label to label; Tab goes from group to group.
  document.addEventListener("keydown", (event) => {
    const row = closest(event, ".clef-row");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!row || !step) return;
    const rows = [...row.parentElement.querySelectorAll(".clef-row")];
    const next = rows[rows.indexOf(row) + step];
    if (!next) return;
    event.preventDefault();
    row.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // The page's language, and names for Gradio's buttons that have none.
  document.documentElement.lang = "en";
  new MutationObserver(() => {
    for (const button of document.querySelectorAll("button:not([aria-label])"))
      if (!button.textContent.trim() && !button.title) button.setAttribute("aria-label", "Take or stop");
    for (const input of document.querySelectorAll("input[type=file]:not([aria-label])"))
      input.setAttribute("aria-label", "Choose a file");
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
