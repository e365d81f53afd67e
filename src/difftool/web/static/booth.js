// The recording booth: a sentence, a level meter, and a button that is held while one reads.

import { know } from "./api.js";
import { $, announce, clock, fill, h } from "./dom.js";
import { LONGEST, Recorder, obstacle } from "./recorder.js";
import { graded, send, sentences } from "./takes.js";

const TAP = 350; // milliseconds up to which a press is a tap, which starts a take that the next press ends
const HELP = "Hold the button, or Space, while you read. A short press starts a take and another one ends it; Escape discards it.";
const WORDS = {
  off: ["Turn on the microphone", "Your voice stays on this machine."],
  opening: ["Waiting for the browser", "The browser asks whether this page may use the microphone."],
  ready: ["Press and hold to record", HELP],
  recording: ["Release to stop", HELP],
  ending: ["Release to stop", HELP],
};

const button = $("#record-button");
const booth = $("#booth");
const recorder = new Recorder(level);
let current = 0;
let phase = "off"; // a row of WORDS
let timer = null;
let secured = "difftool studio --tls"; // the command for a page that has a microphone

// the sentence

function turn(to) {
  current = (to + sentences.length) % sentences.length;
  const text = sentences[current];
  if ($("#sentence").textContent !== text) $("#sentence").textContent = text; // a change is read aloud
  $("#which-sentence").textContent = `Sentence ${current + 1} of ${sentences.length}${graded(current) ? ", recorded" : ""}`;
}

function next() {
  const order = sentences.map((_, i) => (current + 1 + i) % sentences.length);
  turn(order.find((index) => !graded(index)) ?? order[0]);
}

/** Shows a sentence that is to be read again. */
export function again(index) {
  turn(index);
  button.focus();
  booth.scrollIntoView({ block: "nearest" });
}

// the microphone

let needle = 0;
let heard = 0; // the loudest of the last second or so

function level(peak) {
  needle = Math.max(peak, needle * 0.86);
  heard = Math.max(peak, heard * 0.97);
  const decibels = Math.max(-60, 20 * Math.log10(needle || 1e-6));
  $("#meter i").style.clipPath = `inset(0 ${(-decibels / 60) * 100}% 0 0 round 6px)`;
  const word = heard < 0.003 ? "silent" : heard < 0.05 ? "quiet: move closer" : heard < 0.95 ? "good" : "too loud: move away";
  const meter = $("#meter");
  if (meter.getAttribute("aria-valuetext") !== word) {
    meter.setAttribute("aria-valuetext", word);
    meter.setAttribute("aria-valuenow", Math.round(decibels));
  }
  const length = phase === "recording" ? ` · ${clock((performance.now() - recorder.began) / 1000)}` : "";
  const text = phase === "off" || phase === "opening" ? "The microphone is off." : `Input level: ${word}${length}`;
  if ($("#level").textContent !== text) $("#level").textContent = text;
}

function set(to) {
  phase = to;
  $("span", button).textContent = WORDS[phase][0];
  $("#record-help").textContent = WORDS[phase][1];
  button.setAttribute("aria-pressed", phase === "recording");
  button.classList.toggle("off", phase === "off" || phase === "opening");
  booth.classList.toggle("recording", phase === "recording");
  $("#microphone-off").hidden = phase !== "ready";
  $("#sentence-back").disabled = $("#sentence-on").disabled = phase === "recording";
}

async function open(device) {
  explain(null);
  set("opening");
  try {
    await recorder.start(device, off);
    if (phase !== "opening") return recorder.close(); // the reader left the section meanwhile
  } catch (error) {
    off();
    explain(error);
    return null;
  }
  set("ready");
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((entry) => entry.kind === "audioinput");
  fill($("#device"), devices.map((entry, i) => [entry.deviceId, entry.label || `Microphone ${i + 1}`]));
  $("#device").value = recorder.device;
  $("#device-field").hidden = devices.length < 2;
  return announce("The microphone is on.");
}

function off() {
  clearTimeout(timer);
  recorder.close();
  set("off");
  level(0);
}

/** Why there is no microphone: a headline, a sentence, and a command within it if there is one. */
function reason(error) {
  if (obstacle() === "insecure")
    return ["The browser offers no microphone here.", "Microphones exist on secure pages only. Start the studio with ", secured, ", open it on its own machine, or upload a recording."];
  if (obstacle()) return ["This browser offers no microphone.", "Open the page in a current browser, or upload a recording."];
  if (error.name === "NotAllowedError")
    return ["The microphone is blocked for this page.", "Allow it in the browser's settings for this page, beside its address, and press the button again. Or upload a recording."];
  if (["NotFoundError", "OverconstrainedError"].includes(error.name))
    return ["No microphone was found.", "Plug one in and press the button again, or upload a recording."];
  return ["The microphone does not start.", `The browser says: ${error.message || error.name}. Another program may be using it. You can also upload a recording.`];
}

function explain(error) {
  const notice = $("#no-microphone");
  notice.hidden = !error && !obstacle();
  if (notice.hidden) return;
  const [head, text, command, rest] = reason(error);
  notice.replaceChildren(h("p", {}, h("b", {}, head)), h("p", {}, text, command && h("code", {}, command), rest));
}

// press, hold, release

function press() {
  if (phase === "off") open();
  else if (phase === "recording") finish();
  else if (phase === "ready") {
    for (const audio of document.querySelectorAll("audio")) audio.pause();
    recorder.begin();
    set("recording");
    timer = setTimeout(finish, LONGEST * 1000);
  }
}

function release() {
  if (phase !== "recording") return;
  if (performance.now() - recorder.began > TAP) finish();
  else $("span", button).textContent = "Press to stop"; // it was a tap
}

async function finish() {
  clearTimeout(timer);
  set("ending");
  const sound = await recorder.end();
  if (phase !== "ending") return; // the microphone was turned off meanwhile
  set("ready");
  send(current, sound);
  next();
}

function discard() {
  if (phase !== "recording") return;
  clearTimeout(timer);
  recorder.cancel();
  set("ready");
  announce("Discarded.");
}

function listen() {
  let held = false; // a key
  const isKey = (event) => event.key === " " || event.key === "Enter";
  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  for (const name of ["pointerup", "pointercancel"]) button.addEventListener(name, release);
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a phone
  button.addEventListener("click", (event) => { if (event.detail === 0 && !held) press(); }); // by assistive technology
  button.addEventListener("keydown", (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
    held = true;
  });
  button.addEventListener("keyup", (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    held = false;
    release();
  });
  button.addEventListener("blur", () => { if (held) release(); held = false; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") discard(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) discard(); });
}

export function start() {
  set("off");
  know((state) => {
    secured = state.secure_hint ?? secured;
    turn(current);
  });
  document.addEventListener("takes", () => turn(current));
  $("#sentence-back").addEventListener("click", () => turn(current - 1));
  $("#sentence-on").addEventListener("click", () => turn(current + 1));
  $("#device").addEventListener("change", () => open($("#device").value));
  $("#microphone-off").addEventListener("click", () => { off(); button.focus(); });
  listen();
  if (!obstacle()) return;
  explain(null);
  booth.hidden = $("#takes-panel").hidden = true;
  $("#no-microphone").after($("#upload-panel")); // which takes its place
}

/** Goes on where the reader stopped at the last visit. */
export function resume() {
  if (graded(current)) next();
}

/** The microphone is off wherever it is not in use. */
export function leave() {
  if (phase !== "off") off();
}
