"use strict";
(() => {
  const FIRST = 4;       // figures of a gallery that are shown at once
  const REACH = 22;      // pixels within which a marker is pointed at
  const marks = JSON.parse(document.getElementById("marks").textContent);
  const tip = document.getElementById("tip");
  const pickers = document.querySelector(".pickers");
  const picked = { task: "", model: "" };

  // Tooltips: the nearest marker of a figure says what it is.
  const markersOf = (svg) => {
    const found = [];
    for (const [id, series] of Object.entries(marks[svg.dataset.figure] || {})) {
      if (!series.tips || (picked.model && series.model && series.model !== picked.model)) continue;
      const group = document.getElementById(id);
      (group ? group.querySelectorAll("use") : []).forEach((use, place) => {
        const box = use.getBoundingClientRect();
        found.push({ x: box.x + box.width / 2, y: box.y + box.height / 2, text: series.tips[place] });
      });
    }
    return found;
  };
  const pointAt = (event) => {
    const svg = event.currentTarget;
    let nearest = null, distance = REACH;
    for (const marker of markersOf(svg)) {
      const away = Math.hypot(marker.x - event.clientX, marker.y - event.clientY);
      if (away < distance) { nearest = marker; distance = away; }
    }
    tip.hidden = !nearest;
    if (!nearest) return;
    tip.textContent = nearest.text;
    const left = Math.min(Math.max(8, nearest.x + 12), innerWidth - tip.offsetWidth - 8);
    const above = nearest.y - tip.offsetHeight - 10;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : nearest.y + 14}px`;
  };
  for (const svg of document.querySelectorAll("figure svg")) {
    svg.addEventListener("pointermove", pointAt);
    svg.addEventListener("pointerdown", pointAt);
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // Pickers: figures and rows of other tasks and models go; other models in a shared figure pale.
  const isPicked = (node) => ["task", "model"].every(
    (key) => !picked[key] || !node.dataset[key] || node.dataset[key] === picked[key]);
  const showGallery = (gallery) => {
    const chosen = [...gallery.children].filter(isPicked);
    const isCut = gallery.dataset.all !== "yes" && chosen.length > FIRST;
    for (const figure of gallery.children) {
      const place = chosen.indexOf(figure);
      figure.classList.toggle("chosen-away", place < 0 || (isCut && place >= FIRST));
    }
    const more = gallery.nextElementSibling;
    more.hidden = !isCut;
    more.textContent = `Show all ${chosen.length} figures`;
  };
  const pale = () => {
    for (const series of Object.values(marks)) {
      for (const [id, one] of Object.entries(series)) {
        const group = document.getElementById(id);
        if (group && one.model) group.classList.toggle("dimmed", picked.model !== "" && one.model !== picked.model);
      }
    }
  };
  const show = () => {
    document.querySelectorAll("tbody tr, .answer").forEach(
      (node) => node.classList.toggle("chosen-away", !isPicked(node)));
    document.querySelectorAll(".gallery").forEach(showGallery);
    pale();
  };
  document.querySelectorAll(".gallery").forEach((gallery) => {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.addEventListener("click", () => { gallery.dataset.all = "yes"; showGallery(gallery); });
    gallery.after(more);
  });
  pickers.querySelectorAll("select").forEach((select) => {
    select.addEventListener("change", () => { picked[select.dataset.picks] = select.value; show(); });
  });
  pickers.hidden = !pickers.querySelector("select");
  addEventListener("beforeprint", () => {
    document.querySelectorAll(".gallery").forEach((gallery) => { gallery.dataset.all = "yes"; showGallery(gallery); });
  });

  // Tables: a click on a heading sorts by it, a second one the other way round.
  const keyOf = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.value;
    if (!cell.classList.contains("number")) return text;
    return text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  document.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => {
      const heading = button.parentElement, body = heading.closest("table").tBodies[0];
      const isDown = heading.getAttribute("aria-sort") === "ascending";
      for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, heading.cellIndex) }));
      rows.sort((a, b) => (isDown ? -1 : 1) * compare(a.key, b.key));
      body.append(...rows.map((one) => one.row));
    });
  });

  // Text to paste.
  document.querySelectorAll(".copy").forEach((button) => {
    button.addEventListener("click", () => {
      const text = button.previousElementSibling;
      getSelection().selectAllChildren(text);
      document.execCommand("copy");
      button.textContent = "Copied";
    });
  });

  show();
})();
