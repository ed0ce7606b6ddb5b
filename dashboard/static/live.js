// What lives on the pages of the dashboard: numbers that follow, graphs that tell their
// values, logs and events as they come. Every page reads without it.
"use strict";

// Parts that are marked data-live are taken from a fresh copy of the page: every five
// seconds, and when something happened.
const living = () => document.querySelectorAll("[data-live]");
let asking = false;
async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const type = answer.headers.get("Content-Type") || "";
    if (answer.status === 401) { location.reload(); return; }
    if (!answer.ok || !type.startsWith("text/html")) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of living()) {
      const now = fresh.getElementById(old.id);
      if (now) renew(old, now);
    }
  } catch {
    // The engine is away; the next time may go better.
  } finally {
    asking = false;
  }
}

// renew makes a part like its fresh copy, and leaves alone what is the same: rows with an
// id one by one, so that neither the focus nor a pointer that is about to click loses its place.
function renew(old, now) {
  if (old.innerHTML === now.innerHTML) return;
  const rows = (e) => [...e.children].map((c) => c.id).join();
  if (now.firstElementChild?.id && rows(old) === rows(now)) {
    [...now.children].forEach((c, i) => renew(old.children[i], c));
    return;
  }
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceChildren(...now.childNodes);
  if (focus) document.getElementById(focus)?.focus();
  for (const g of old.querySelectorAll(".graph")) readout(g);
}

if (living().length) {
  setInterval(refresh, 5000);
  document.addEventListener("visibilitychange", refresh);
}

// A graph tells the values under the pointer.
function readout(graph) {
  const plot = graph.querySelector(".plot"), out = graph.querySelector("output");
  const values = JSON.parse(graph.dataset.values || "[]");
  if (!values.length) return;
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.hidden = true;
  plot.append(mark);
  plot.addEventListener("pointermove", (e) => {
    const box = plot.getBoundingClientRect();
    const age = graph.dataset.seconds * (1 - (e.clientX - box.left) / box.width);
    const best = values.reduce((a, b) => (Math.abs(b[0] - age) < Math.abs(a[0] - age) ? b : a));
    mark.hidden = false;
    mark.style.left = 100 * (1 - best[0] / graph.dataset.seconds) + "%";
    const when = best[0] < 60 ? best[0] + " s ago" : Math.round(best[0] / 60) + " min ago";
    out.textContent = when + ": " + best.slice(1).join(", ");
    graph.classList.add("reading");
  });
  plot.addEventListener("pointerleave", () => {
    mark.hidden = true;
    out.textContent = "";
    graph.classList.remove("reading");
  });
}
document.querySelectorAll(".graph").forEach(readout);

// follow hears what a page of the server sends, until it is over. address is asked anew for
// each connection, so that one that broke goes on where it was.
function follow(address, each, over, state) {
  let wait = 1000;
  const open = () => {
    const source = new EventSource(address());
    source.onopen = () => { wait = 1000; state(true); };
    source.onmessage = (e) => each(JSON.parse(e.data));
    source.addEventListener("over", (e) => { source.close(); over(JSON.parse(e.data)); });
    source.onerror = () => {
      source.close();
      state(false);
      setTimeout(open, wait);
      wait = Math.min(2 * wait, 30000);
    };
  };
  open();
}

function element(name, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

// Logs: lines as they come, at the end while one looks at the end; typing narrows what is
// shown, and what was found is marked.
const log = document.getElementById("log");
if (log) {
  const most = 5000;
  const find = document.getElementById("find"), status = document.getElementById("logstate");
  let since = log.dataset.since, broken = "";
  const hits = "Highlight" in window ? new Highlight() : null;
  if (hits) CSS.highlights.set("hit", hits);
  const wanted = () => find.value.trim().toLowerCase();
  const judge = (line) => {
    const text = line.lastElementChild, word = wanted(), at = text.textContent.toLowerCase();
    line.hidden = !at.includes(word);
    if (line.hidden || !hits || !word) return;
    for (let i = at.indexOf(word); i >= 0; i = at.indexOf(word, i + word.length)) {
      const range = new Range();
      range.setStart(text.firstChild, i);
      range.setEnd(text.firstChild, i + word.length);
      hits.add(range);
    }
  };
  const tell = () => {
    const shown = wanted() ? [...log.children].filter((l) => !l.hidden).length : -1;
    status.textContent = [broken, shown < 0 ? "" : shown === 1 ? "1 line found" : shown + " lines found"].filter(Boolean).join(" · ");
  };
  const all = () => {
    hits?.clear();
    for (const line of log.children) judge(line);
    tell();
  };
  const end = () => { log.scrollTop = log.scrollHeight; };
  all();
  end();
  let later = 0;
  find.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      // What the server left out comes back when the search is another one.
      if (log.dataset.q && !find.value.includes(log.dataset.q)) { find.form.requestSubmit(); return; }
      all();
      end();
    }, 120);
  });
  follow(() => log.dataset.follow + "?" + new URLSearchParams({ since, q: log.dataset.q }), (l) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const line = element("div", undefined, "l " + (l.stream === "stderr" ? "stderr" : "stdout"));
    const at = element("time", l.at);
    at.dateTime = l.time;
    line.append(at, element("span", l.text));
    log.append(line);
    document.getElementById("nothing")?.remove();
    judge(line);
    if (wanted()) tell();
    while (log.children.length > most) log.firstElementChild.remove();
    since = l.time || since;
    if (atEnd) end();
  }, (why) => { broken = why || (log.dataset.alive === "true" ? "The output has ended." : ""); tell(); },
  (well) => { broken = well ? "" : "The engine does not answer; trying again."; tell(); });
}

// Events as they happen.
const events = document.getElementById("events");
if (events) {
  const status = document.getElementById("eventstate");
  let since = events.dataset.since;
  follow(() => events.dataset.follow + "?" + new URLSearchParams({ since, kind: events.dataset.kind }), (e) => {
    const item = element("li"), at = element("time", e.at);
    at.dateTime = e.time;
    const name = element(e.link ? "a" : "span", e.name);
    if (e.link) name.href = e.link;
    item.append(at, element("span", e.kind, "badge"), element("b", e.act), name, element("span", e.more, "mute"));
    item.classList.add("fresh");
    events.prepend(item);
    status.textContent = "The newest first, as they happen.";
    while (events.children.length > 500) events.lastElementChild.remove();
    since = String(Date.parse(e.time) / 1000);
  }, () => {}, (well) => { if (!well) status.textContent = "The engine does not answer; trying again."; });
}

// The files of a layer open in their place; a second press closes them.
for (const link of document.querySelectorAll("a[data-inline]")) {
  link.setAttribute("role", "button");
  link.setAttribute("aria-expanded", "false");
  link.addEventListener("click", async (e) => {
    if (e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    const room = document.getElementById(link.dataset.inline);
    if (room.firstChild) {
      room.replaceChildren();
      link.setAttribute("aria-expanded", "false");
      return;
    }
    const answer = await fetch(link.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const table = page.querySelector("#files .changes") || page.querySelector("#files .empty");
    if (!answer.ok || !table) { location.href = link.href; return; }
    room.replaceChildren(table);
    if (page.querySelector("#files .pages")) {
      const all = element("a", "All of them, to search and to page through");
      all.href = link.href;
      room.append(all);
    }
    link.setAttribute("aria-expanded", "true");
  });
}
