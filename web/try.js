// The terminal of a machine in the browser: a token (POST), then a WebSocket with the console's bytes in binary
// messages. docs/api.md has both.
"use strict";

// xterm.js puts its colours and measures into <style> elements and style attributes, which the page's
// Content-Security-Policy forbids. They get another way: a style sheet that is made by script, and the element's own
// style object. So the policy need not be weakened for whatever else might get into the page.
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
const createElement = document.createElement.bind(document);
document.createElement = (name, options) => createElement(name === "style" ? "template" : name, options);
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const place = document.getElementById("terminal");
new MutationObserver(() => {
  sheet.replaceSync(Array.from(place.querySelectorAll("template"), (e) => e.textContent).join("\n"));
}).observe(place, { childList: true, subtree: true, characterData: true });

const actions = document.querySelector(".actions");
const keys = document.getElementById("keys");
const start = document.getElementById("start");
const stop = document.getElementById("stop");
const state = document.getElementById("state");
const back = document.getElementById("back");
const name = location.pathname.split("/").pop();
const api = new URL("../api/v1/try/", location.href);
const FRAME = 4096; // bytes, of what the server takes at once
const COLUMNS = 80; // as a serial console has; fewer where they would be too small to read
const GLYPH = 0.61; // the width of a character, in parts of its size
let terminal = null;
let socket = null;

document.title = "Try " + name + " in the browser";
document.querySelector("h1").textContent = document.title;
back.href = "../images/" + name + "/";
back.textContent = "← " + name;

const say = (text) => { state.textContent = text; };

const send = (bytes) => {
  if (!socket || socket.readyState !== WebSocket.OPEN) return;
  for (let i = 0; i < bytes.length; i += FRAME) socket.send(bytes.subarray(i, i + FRAME));
};

const fit = () => {
  const style = getComputedStyle(place);
  const width = place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const size = Math.max(11, Math.min(18, Math.floor(width / COLUMNS / GLYPH * 10) / 10));
  terminal.options.fontSize = size;
  terminal.resize(Math.max(2, Math.min(COLUMNS, Math.floor(width / size / GLYPH))), 24);
};

const show = () => {
  if (terminal) {
    terminal.reset();
    return;
  }
  place.hidden = keys.hidden = false;
  terminal = new Terminal({ cursorBlink: true, scrollback: 2000,
    fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace", theme: { background: "#0f1113" } });
  terminal.open(place);
  fit();
  terminal.onData((text) => send(new TextEncoder().encode(text)));
  terminal.onBinary((text) => send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  terminal.attachCustomKeyEventHandler((event) => {
    if (!event.ctrlKey || event.key !== "]") return true;
    if (event.type === "keydown") stop.focus();
    return false;
  });
  window.addEventListener("resize", fit);
};

const ended = (text) => {
  socket = null;
  start.disabled = false;
  stop.disabled = true;
  say(text);
  start.focus();
};

start.addEventListener("click", async () => {
  start.disabled = true;
  say("Starting the machine …");
  let answer;
  try {
    const response = await fetch(new URL(name, api), { method: "POST" });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.error + ": " + answer.next);
  } catch (error) {
    ended("It cannot be started. " + error.message);
    return;
  }
  const url = new URL("socket?token=" + answer.token, api);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  show();
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    stop.disabled = false;
    say("The machine runs; its console is below.");
    terminal.focus();
  };
  socket.onmessage = (event) => terminal.write(new Uint8Array(event.data));
  socket.onclose = (event) => ended(event.code === 1000 ? "The machine has ended." :
    event.code === 1001 ? "The server has stopped, and the machine with it." :
    event.code === 1013 ? "No machine could be started. Try again later." : "The connection has ended.");
});
stop.addEventListener("click", () => { if (socket) socket.close(1000); });
actions.hidden = typeof Terminal === "undefined";
start.focus();
