"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const text = (n) => data.strings[n] || "";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = (name, content, style) => {
    const made = document.createElement(name);
    if (style) made.className = style;
    for (const part of [content].flat()) if (part !== undefined && part !== null) made.append(part);
    return made;
  };
  const pad = (n) => String(n).padStart(2, "0");

  // -- the story of a slot
  const dialog = document.querySelector("dialog");
  const story = document.getElementById("story");
  let opener = null;
  const list = (pairs) => {
    const made = element("dl");
    for (const [name, value] of pairs) if (value !== "" && value !== null && value !== undefined) made.append(element("dt", name), element("dd", value));
    return made;
  };
  const schedule = (task, minute) => {
    for (const [start, end, expression, zone, by, engine] of data.schedules[task] || [])
      if (start < minute * 60 && (end === null || minute * 60 <= end) && expression) return `${expression} ${zone}, set by ${by || "unknown"} on ${engine || "unknown"}`;
    return "no schedule expected it";
  };
  const duration = (seconds) => {
    if (seconds === null || seconds === undefined) return "";
    const s = Math.round(seconds);
    if (s < 60) return `${seconds} s`;
    return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  };
  const runName = (task, minute, attempt) => `${data.experiment}-${data.tasks[task]}-${minute}${attempt > 1 ? `-r${attempt}` : ""}`;
  const models = (own) => {
    const rows = own.map(([member, model, weight, accuracy, leftOut, degraded, newer]) => {
      const parts = [leftOut ? `left out: ${leftOut}` : `took ${model}`];
      if (weight !== null) parts.push(`weight ${weight.toFixed(3)}`);
      if (accuracy !== null) parts.push(`accuracy here ${accuracy.toFixed(4)}`);
      if (degraded) parts.push(`degraded: ${degraded}`);
      const cell = element("dd", parts.join(", "));
      for (const [name, why] of newer) cell.append(element("div", `not ${text(name)}: ${text(why)}`, "soft"));
      return [element("dt", member), cell];
    });
    const made = element("dl");
    for (const row of rows) made.append(...row);
    return made;
  };
  const attempt = (task, day, row) => {
    const [time, status, why, reason, evidence, minute, number, kind, seconds, accuracy, loss, tried, most] = row;
    const section = element("section");
    const chip = element("span", text(status), `chip ${data.styles[status] || "off"}`);
    section.append(element("p", [chip, " ", element("b", time.slice(0, 5)), text(reason) ? `: ${text(reason)}` : ""]));
    const isRun = number !== undefined;
    const run = isRun ? runName(task, minute, number) : "";
    section.append(list([
      ["expected by", schedule(task, minute)],
      ["run", run],
      ["why it ran", isRun ? text(why) || "on time, by its schedule" : ""],
      ["kind", isRun ? text(kind) : ""],
      ["evidence", text(evidence)],
      ["accuracy", accuracy === null || accuracy === undefined ? "" : `${accuracy}${data.tasks[task] === "ensemble" ? " (on its items)" : " (its own validation)"}`],
      ["loss", loss],
      ["duration", duration(seconds)],
      ["tries", tried ? `${tried}${most ? ` of ${most}` : ""}` : ""],
    ]));
    const details = data.details[run] || {};
    for (const [n, [started, ended, host, end, why2, said]] of (details.tries || []).entries()) {
      section.append(element("p", `Try ${n + 1}: ${end}${why2 ? `: ${why2}` : ""}${host ? ` on ${host}` : ""}${started ? `, ${started}` : ""}${ended ? ` to ${ended}` : ""}`));
      if (said.length) section.append(element("pre", said.join("\n")));
    }
    if (details.models) section.append(element("h3", "Models"), models(details.models));
    if (isRun) section.append(element("p", `More: cronsemble show ${run}`, "soft"));
    const shown = document.getElementById(`d${minute}`);
    if (shown && data.tasks[task] === "ensemble") {
      const link = element("button", "Its predictions", "link");
      link.type = "button";
      link.addEventListener("click", () => { dialog.close(); show(minute, true); });
      section.append(element("p", link));
    }
    return section;
  };
  const open = (task, day, minute, from) => {
    opener = from;
    document.getElementById("story-title").textContent = `${data.tasks[task]}, ${day}`;
    story.replaceChildren();
    const rows = ((data.rows[task] || {})[day] || []).filter((row) => minute === undefined || row[5] === minute);
    for (const row of rows) story.append(attempt(task, day, row));
    const folded = (data.folded[task] || {})[day];
    if (folded) {
      story.append(element("p", `This date is folded: ${folded.map(([status, count]) => `${count} ${text(status)}`).join(", ")}. cronsemble history ${day} --task ${data.tasks[task]} has each slot.`));
      for (const [status, , reason] of folded) if (text(reason)) story.append(element("p", `${text(status)}, the last: ${text(reason)}`));
    }
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (opener) opener.focus(); });

  // -- the calendar
  const dayOf = (button) => {
    const table = button.closest("table");
    return `${table.dataset.month}-${pad(Number(table.dataset.first) + button.parentElement.cellIndex - 1)}`;
  };
  const summary = (task, day) => {
    const rows = (data.rows[task] || {})[day];
    const counts = new Map();
    if (rows) for (const row of rows) counts.set(row[1], (counts.get(row[1]) || 0) + 1);
    else for (const [status, count] of (data.folded[task] || {})[day] || []) counts.set(status, count);
    return [...counts].map(([status, count]) => (count > 1 ? `${count} ${text(status)}` : text(status))).join(", ") || "by hand alone";
  };
  for (const table of all(".cal")) {
    const buttons = all("button", table);
    buttons.forEach((button, n) => {
      const task = button.closest("tr").dataset.task;
      const day = dayOf(button);
      button.tabIndex = n ? -1 : 0;
      const label = `${data.tasks[task]}, ${day}: ${summary(task, day)}`;
      button.setAttribute("aria-label", label);
      button.title = label;
    });
    table.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) open(button.closest("tr").dataset.task, dayOf(button), undefined, button);
    });
    table.addEventListener("keydown", (event) => {
      const button = event.target.closest("button");
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!button || !step) return;
      event.preventDefault();
      let cell = button.parentElement;
      for (;;) {
        const row = step[0] < 0 ? cell.parentElement.previousElementSibling : step[0] > 0 ? cell.parentElement.nextElementSibling : cell.parentElement;
        cell = row && row.cells[cell.cellIndex + step[1]];
        if (!cell || cell.tagName !== "TD") return;
        const next = cell.querySelector("button");
        if (next) { button.tabIndex = -1; next.tabIndex = 0; next.focus(); return; }
      }
    });
  }
  for (const line of all(".fine"))
    line.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) open(line.dataset.task, line.dataset.date, Number(button.dataset.minute), button);
    });

  addEventListener("beforeprint", () => { for (const details of all("details")) details.open = true; });

  // -- the charts
  const local = (minute) => {
    const known = local.known.get(minute);
    if (known) return known;
    return new Date(minute * 60000).toISOString().slice(0, 16).replace("T", " ");
  };
  local.known = new Map();
  data.tasks.forEach((task, n) => {
    if (task !== "ensemble") return;
    for (const [day, rows] of Object.entries(data.rows[n] || {})) for (const row of rows) local.known.set(row[5], `${day} ${row[0].slice(0, 5)}`);
  });
  const ensemble = data.tasks.indexOf("ensemble");
  for (const figure of all("[data-figure]")) {
    const chart = data.charts[figure.dataset.figure];
    const readout = figure.querySelector(".readout");
    const isDaily = figure.dataset.figure === "durations";
    let at = -1;
    const dateOf = (n) => (isDaily ? new Date(chart.minutes[n] * 60000).toISOString().slice(0, 10) : local(chart.minutes[n]));
    const read = (n) => {
      at = Math.max(0, Math.min(chart.minutes.length - 1, n));
      const span = chart.minutes[chart.minutes.length - 1] - chart.minutes[0];
      for (const svg of all("svg", figure)) {
        const [left, right, top, bottom] = svg.dataset.box.split(" ").map(Number);
        const x = left + (right - left) * (span ? (chart.minutes[at] - chart.minutes[0]) / span : 0.5);
        const cursor = svg.querySelector(".cursor");
        cursor.setAttribute("d", `M${x},${top}V${bottom}`);
        cursor.classList.add("on");
      }
      const values = chart.names.map((name, k) => [name, chart.values[k][at]]).filter(([, value]) => value !== null);
      readout.textContent = `${dateOf(at)}: ${values.map(([name, value]) => `${name} ${value}`).join(", ")}`;
    };
    const nearest = (event) => {
      const svg = all("svg", figure).find((each) => each.getBoundingClientRect().width);
      const box = svg.getBoundingClientRect();
      const [left, right] = svg.dataset.box.split(" ").map(Number);
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const span = chart.minutes[chart.minutes.length - 1] - chart.minutes[0];
      const minute = chart.minutes[0] + (span * (x - left)) / (right - left);
      let low = 0;
      let high = chart.minutes.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (chart.minutes[middle] < minute) low = middle + 1;
        else high = middle;
      }
      return low > 0 && minute - chart.minutes[low - 1] < chart.minutes[low] - minute ? low - 1 : low;
    };
    const choose = () => {
      if (at < 0) return;
      const minute = chart.minutes[at];
      if (!isDaily && document.getElementById(`d${minute}`)) show(minute, true);
      else if (ensemble >= 0) open(ensemble, dateOf(at).slice(0, 10), undefined, figure);
    };
    for (const svg of all("svg", figure)) {
      svg.addEventListener("pointermove", (event) => read(nearest(event)));
      svg.addEventListener("click", (event) => { read(nearest(event)); choose(); });
    }
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -1e9, End: 1e9 }[event.key];
      if (step) { event.preventDefault(); read((at < 0 ? chart.minutes.length : at) + step); }
      if (event.key === "Enter") choose();
    });
  }

  // -- the dates
  const select = document.getElementById("date");
  const show = (minute, scroll) => {
    const chosen = document.getElementById(`d${minute}`);
    if (!chosen) return;
    for (const article of all("article.date")) article.hidden = article !== chosen;
    select.value = String(minute);
    history.replaceState(null, "", `#d${minute}`);
    if (scroll) document.getElementById("predictions").scrollIntoView();
  };
  if (select) select.addEventListener("change", () => show(select.value, false));
  for (const button of all("[data-date]:not(.fine)")) button.addEventListener("click", () => show(button.dataset.date, true));
  if (/^#d\d+$/.test(location.hash)) show(location.hash.slice(2), false);

  // -- two dates side by side
  const pairs = document.getElementById("pair");
  const compare = (key, scroll) => {
    const chosen = document.getElementById(`p${key}`);
    if (!chosen) return;
    for (const article of all("article.pair")) article.hidden = article !== chosen;
    pairs.value = key;
    if (scroll) document.getElementById("compare").scrollIntoView();
  };
  if (pairs) pairs.addEventListener("change", () => compare(pairs.value, false));
  for (const button of all("[data-pair]")) button.addEventListener("click", () => compare(button.dataset.pair, true));

  // -- news from `serve --listen`
  const look = async () => {
    const place = document.querySelector("[data-live]");
    try {
      const answer = await fetch(new URL(`/${data.experiment}/state`, location.href), { cache: "no-store" });
      const state = answer.ok ? await answer.text() : "";
      place.textContent = answer.ok ? "Live." : `The server answers ${answer.status}.`;
      if (state && state !== data.live && !dialog.open) location.reload();
    } catch {
      place.textContent = "The server does not answer: this is what it showed last.";
    }
  };
  if (data.live) setInterval(look, 5000);

  // -- the tables of predictions
  const collator = new Intl.Collator(undefined, { numeric: true });
  for (const article of all("article.date")) {
    const table = article.querySelector(".items");
    if (!table) continue;
    const body = table.tBodies[0];
    const count = article.querySelector("[data-count]");
    for (const button of all("[data-filter]", article))
      button.addEventListener("click", () => {
        for (const other of all("[data-filter]", article)) other.setAttribute("aria-pressed", String(other === button));
        let shown = 0;
        for (const row of body.rows) {
          row.hidden = Boolean(button.dataset.filter) && !row.classList.contains(button.dataset.filter);
          shown += !row.hidden;
        }
        count.textContent = `${shown} items`;
      });
    for (const button of all("th button", table))
      button.addEventListener("click", () => {
        const heading = button.parentElement;
        const ascending = heading.getAttribute("aria-sort") !== "ascending";
        for (const other of all("th", table)) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const n = heading.cellIndex;
        const rows = [...body.rows].map((row) => [row.cells[n].textContent, row]);
        rows.sort((a, b) => (ascending ? 1 : -1) * collator.compare(a[0], b[0]));
        body.append(...rows.map(([, row]) => row));
      });
  }
})();
