// A terminal in a container: xterm.js tied to a websocket.
"use strict";
const room = document.getElementById("term");
if (room) {
  // xterm.js makes style elements and attributes, which the page's policy forbids; their
  // rules go where the policy lets scripts put them: style sheets and properties.
  const create = document.createElement.bind(document);
  document.createElement = (name, options) => {
    if (name === "style") {
      const stand = create("template"), sheet = new CSSStyleSheet();
      document.adoptedStyleSheets.push(sheet);
      Object.defineProperty(stand, "textContent", { set: (text) => sheet.replaceSync(text), get: () => "" });
      return stand;
    }
    const e = create(name, options);
    if (name === "span") {
      const set = e.setAttribute.bind(e);
      e.setAttribute = (key, value) => { if (key === "style") e.style.cssText = value; else set(key, value); };
    }
    return e;
  };
  const status = document.getElementById("termstate");
  const term = new Terminal({
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"), fontSize: 14, cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    scrollback: 5000, screenReaderMode: false, theme: { background: "#10131c", foreground: "#e8ebf3", cursor: "#9aa8ff", selectionBackground: "#3d4a78" },
  });
  const fit = new FitAddon.FitAddon();
  term.loadAddon(fit);
  term.open(room);
  fit.fit();
  const query = new URLSearchParams({ rows: term.rows, cols: term.cols, cmd: room.dataset.cmd, user: room.dataset.user });
  const ws = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + room.dataset.ws + "?" + query);
  ws.binaryType = "arraybuffer";
  const bytes = new TextEncoder();
  const ready = () => ws.readyState === WebSocket.OPEN;
  ws.onopen = () => { status.textContent = "connected"; room.dataset.state = "open"; };
  ws.onmessage = (e) => term.write(new Uint8Array(e.data));
  ws.onclose = () => { status.textContent = "ended: open it again for another"; room.dataset.state = "closed"; term.options.cursorBlink = false; };
  term.onData((text) => { if (ready()) for (let i = 0; i < text.length; i += 8192) ws.send(bytes.encode(text.slice(i, i + 8192))); });
  term.onBinary((text) => { if (ready()) ws.send(Uint8Array.from(text, (c) => c.charCodeAt(0))); });
  term.onResize(({ rows, cols }) => { if (ready()) ws.send(JSON.stringify({ Rows: rows, Columns: cols })); });
  new ResizeObserver(() => fit.fit()).observe(room);
  term.attachCustomKeyEventHandler((e) => {
    if (e.key !== "Escape" || !e.ctrlKey || !e.shiftKey) return true;
    document.getElementById("cmd").focus();
    return false;
  });
  term.focus();
  window.lighterTerminal = term;
}
