// The section Record: sentences are read aloud, graded, and built into a voice.

import { know, learn, request, submit, subscribe } from "./api.js";
import { card, list } from "./cards.js";
import { $, action, announce, clock, droppable, duration, fill, form, h, icon, iconButton, memory, plural, problem, sentence } from "./dom.js";
import { player } from "./player.js";
import { LONGEST, Recorder, obstacle } from "./recorder.js";

const TAP = 350; // milliseconds up to which a press is a tap, which starts a take that the next press ends
const ENOUGH = [15, 90]; // seconds of speech for the worst and for the best grade
const HELP = "Hold the button, or Space, while you read. A short press starts a take and another one ends it; Escape discards it.";
const OBSTACLES = {
  insecure: ["The browser offers no microphone here.", "Microphones exist on secure pages only. Start the studio with ", ", open it on its own machine, or upload a recording."],
  unsupported: ["This browser offers no microphone.", "Open the page in a current browser, or upload a recording."],
};

const button = $("#record-button");
const booth = $("#booth");
const recorder = new Recorder(level);
const takes = new Map(); // id or key of a take that is on its way -> take
const recordings = new Map();
let sentences = [];
let consents = [];
let secured = "difftool studio --tls"; // the command for a page that has a microphone
let current = 0;
let phase = "off"; // off, ready, recording, ending
let timer = null;

// the sentence

function graded(index) {
  return [...takes.values()].some((take) => take.sentence === index);
}

function turn(to) {
  if (!sentences.length) return;
  current = (to + sentences.length) % sentences.length;
  if ($("#sentence").textContent !== sentences[current]) $("#sentence").textContent = sentences[current]; // it is read aloud
  const done = graded(current) ? ", recorded" : "";
  $("#which-sentence").textContent = `Sentence ${current + 1} of ${sentences.length}${done}`;
}

function next() {
  const order = sentences.map((_, i) => (current + 1 + i) % sentences.length);
  turn(order.find((index) => !graded(index)) ?? order[0]);
}

// the microphone

let shownLevel = 0;
let heard = 0; // the loudest of the last second or so

function level(peak) {
  shownLevel = Math.max(peak, shownLevel * 0.86);
  heard = Math.max(peak, heard * 0.97);
  const decibels = Math.max(-60, 20 * Math.log10(shownLevel || 1e-6));
  $("#meter i").style.clipPath = `inset(0 ${(-decibels / 60) * 100}% 0 0 round 6px)`;
  const word = heard < 0.003 ? "silent" : heard < 0.05 ? "quiet: move closer" : heard < 0.95 ? "good" : "too loud: move away";
  const meter = $("#meter");
  if (meter.getAttribute("aria-valuetext") !== word) {
    meter.setAttribute("aria-valuetext", word);
    meter.setAttribute("aria-valuenow", Math.round(decibels));
  }
  const length = phase === "recording" ? ` · ${clock((performance.now() - recorder.began) / 1000)}` : "";
  const text = `Input level: ${word}${length}`;
  if ($("#level").textContent !== text) $("#level").textContent = text;
}

function set(to) {
  phase = to;
  const words = { off: "Turn on the microphone", ready: "Press and hold to record", recording: "Release to stop", ending: "Release to stop" };
  $("span", button).textContent = words[phase];
  booth.classList.toggle("recording", phase === "recording");
  button.classList.toggle("off", phase === "off");
  $("#microphone-off").hidden = phase !== "ready";
  button.setAttribute("aria-pressed", phase === "recording");
  $("#record-help").textContent = phase === "off" ? "Your voice stays on this machine." : HELP;
  $("#sentence-back").disabled = $("#sentence-on").disabled = phase === "recording";
}

async function open(device) {
  problemOfMicrophone(null);
  try {
    await recorder.start(device);
    recorder.stream.getAudioTracks()[0].addEventListener("ended", off);
    set("ready");
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter((entry) => entry.kind === "audioinput");
    fill($("#device"), devices.map((entry, i) => [entry.deviceId, entry.label || `Microphone ${i + 1}`]));
    $("#device").value = recorder.device;
    $("#device-field").hidden = devices.length < 2;
    announce("The microphone is on.");
  } catch (error) {
    off();
    problemOfMicrophone(error);
  }
}

function off() {
  recorder.close();
  set("off");
  level(0);
  $("#level").textContent = "The microphone is off.";
}

function problemOfMicrophone(error) {
  const notice = $("#no-microphone");
  const kind = obstacle();
  notice.hidden = !error && !kind;
  if (notice.hidden) return;
  const denied = error?.name === "NotAllowedError";
  const missing = ["NotFoundError", "OverconstrainedError"].includes(error?.name);
  const told = kind ? OBSTACLES[kind]
    : denied ? ["The microphone is blocked for this page.", "Allow it in the browser's settings for this page, beside its address, and press the button again. Or upload a recording."]
    : missing ? ["No microphone was found.", "Plug one in and press the button again, or upload a recording."]
    : ["The microphone does not start.", `The browser says: ${error.message || error.name}. Another program may be using it. You can also upload a recording.`];
  const [head, text, rest = ""] = told;
  notice.replaceChildren(h("p", {}, h("b", {}, head)), h("p", {}, text, kind === "insecure" && h("code", {}, secured), rest));
  if (!kind) notice.setAttribute("role", "alert");
}

// press, hold, release

function press() {
  if (phase === "off") return open();
  if (phase === "recording") return finish();
  if (phase !== "ready") return null;
  for (const audio of document.querySelectorAll("audio")) audio.pause();
  recorder.begin();
  set("recording");
  timer = setTimeout(finish, LONGEST * 1000);
  return null;
}

function release() {
  if (phase !== "recording") return;
  if (performance.now() - recorder.began > TAP) finish();
  else $("span", button).textContent = "Press to stop"; // a tap
}

async function finish() {
  clearTimeout(timer);
  set("ending");
  const index = current;
  const sound = await recorder.end();
  set("ready");
  send(index, sound);
  next();
}

function discard() {
  clearTimeout(timer);
  recorder.cancel();
  set("ready");
  announce("Discarded.");
}

function listen() {
  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  for (const name of ["pointerup", "pointercancel"]) button.addEventListener(name, release);
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a phone
  button.addEventListener("click", (event) => { if (event.detail === 0 && !held) press(); }); // by assistive technology
  let held = false;
  button.addEventListener("keydown", (event) => {
    if (![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (!event.repeat) { held = true; press(); }
  });
  button.addEventListener("keyup", (event) => {
    if (![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    held = false;
    release();
  });
  button.addEventListener("blur", () => { if (held) release(); held = false; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && phase === "recording") discard(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden && phase === "recording") discard(); });
}

// takes

let keys = 0;

async function send(index, sound) {
  const key = `new ${keys++}`;
  const take = { id: key, sentence: index, waiting: true };
  const before = [...takes.values()].filter((other) => other.sentence === index && !other.waiting);
  put(takes, take);
  try {
    const answer = await request("POST", `/api/takes?sentence=${index}`, sound);
    takes.delete(key);
    put(takes, { sentence: index, ...answer }, key);
    announce(`Grade ${answer.grade}. ${(answer.advice ?? []).join(" ")}`);
    for (const old of before) await forget("takes", takes, old); // the sentence was read again
  } catch (error) {
    put(takes, { ...take, waiting: false, error, again: () => { drop(takes, key); send(index, sound); } });
  }
}

function put(map, item, replaced) {
  map.set(item.id, item);
  const root = map === takes ? $("#takes") : $("#uploads");
  const old = [...root.children].find((child) => child.dataset.id === String(replaced ?? item.id));
  const fresh = (map === takes ? takeItem : recordingItem)(item);
  if (old) old.replaceWith(fresh);
  else root.prepend(fresh);
  counted();
}

function drop(map, id) {
  map.delete(id);
  const root = map === takes ? $("#takes") : $("#uploads");
  const element = [...root.children].find((child) => child.dataset.id === String(id));
  const neighbour = element?.nextElementSibling ?? element?.previousElementSibling;
  if (element?.contains(document.activeElement)) (neighbour?.querySelector("button") ?? button).focus();
  element?.remove();
  counted();
}

async function forget(path, map, item) {
  await request("DELETE", `/api/${path}/${item.id}`);
  drop(map, item.id);
}

const usable = () => [...takes.values()].filter((take) => !take.waiting && !take.error && take.grade !== "F");

function counted() {
  const good = usable();
  const seconds = good.reduce((sum, take) => sum + take.seconds, 0);
  $("#takes-empty").hidden = takes.size > 0;
  $("#takes-clear").hidden = !takes.size;
  const more = ENOUGH.find((bound) => seconds < bound);
  const advice = !more ? "enough for the best grade" : `${duration(more - seconds)} more for ${more === ENOUGH[0] ? "a voice" : "the best grade"}`;
  $("#takes-sum").textContent = good.length ? `${duration(seconds)} of speech · ${advice}` : "";
  turn(current);
}

function takeItem(take) {
  const words = h("p", { class: "words" }, sentences[take.sentence] ?? "");
  if (take.waiting)
    return h("li", { class: "take", "data-id": take.id }, h("span", { class: "grade waiting", "aria-label": "Being graded" }, "…"), h("div", {}, words, h("p", { class: "advice" }, "Grading")));
  if (take.error)
    return h("li", { class: "take", "data-id": take.id }, h("span", { class: "grade failed", "aria-hidden": "true" }, "!"),
      h("div", {}, words, h("p", { class: "advice", role: "alert" }, `Not kept: ${sentence(take.error.message)} ${take.error.hint ? sentence(take.error.hint) : ""}`)),
      h("div", { class: "tools" }, action("rerun", "Send again", take.again), iconButton("trash", "Discard the take", () => drop(takes, take.id))));
  const advice = take.advice?.length ? take.advice.map(sentence).join(" ") : `${duration(take.seconds)}. Nothing to improve.`;
  return h("li", { class: "take", "data-id": take.id },
    h("span", { class: `grade ${take.grade}`, "aria-label": `Grade ${take.grade}` }, take.grade),
    h("div", {}, words, h("p", { class: "advice" }, advice)),
    h("div", { class: "tools" },
      iconButton("mic", "Read this sentence again", () => { turn(take.sentence); button.focus(); booth.scrollIntoView({ block: "nearest" }); }),
      iconButton("trash", "Delete the take", () => forget("takes", takes, take))),
    player(take.url, { seconds: take.seconds, label: `take of sentence ${take.sentence + 1}`, small: true }));
}

/** Deletes all takes, at the second press within some seconds. */
async function clear() {
  const all = $("#takes-clear");
  if (!all.dataset.sure) {
    all.dataset.sure = "yes";
    all.textContent = `Delete ${plural(takes.size, "take")}?`;
    setTimeout(unsure, 4000);
    return;
  }
  unsure();
  for (const take of [...takes.values()]) await (take.waiting || take.error ? drop(takes, take.id) : forget("takes", takes, take));
  turn(0);
  button.focus();
}

function unsure() {
  delete $("#takes-clear").dataset.sure;
  $("#takes-clear").textContent = "Delete all";
}

// recordings

function recordingItem(item) {
  return h("li", { class: "take", "data-id": item.id },
    h("span", { class: item.waiting ? "grade waiting" : "grade", "aria-hidden": "true" }, "♪"),
    h("div", {}, h("p", { class: "words" }, item.name), h("p", { class: "advice" }, item.waiting ? "Uploading" : [item.seconds && duration(item.seconds), ...(item.advice ?? [])].filter(Boolean).join(" · "))),
    h("div", { class: "tools" }, item.waiting ? null : iconButton("trash", "Remove the recording", () => forget("uploads", recordings, item))));
}

async function upload(files) {
  problem($("#upload-problem"), null);
  for (const file of files) {
    const key = `new ${keys++}`;
    put(recordings, { id: key, name: file.name, waiting: true });
    try {
      const answer = await request("POST", `/api/uploads?name=${encodeURIComponent(file.name)}`, file);
      recordings.delete(key);
      put(recordings, { name: file.name, ...answer }, key);
      announce(`${file.name} is uploaded.`);
    } catch (error) {
      drop(recordings, key);
      problem($("#upload-problem"), Object.assign(error, { message: `${file.name}: ${error.message}` }));
    }
  }
}

// the voice

const element = $("#voice-form");
const chosen = () => consents.find((consent) => consent.kind === element.elements.consent?.value);

function consentFields() {
  const root = $("#consents");
  const before = element.elements.consent?.value;
  root.replaceChildren($("legend", root), ...consents.map(({ kind, title }) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "consent", value: kind, required: true, checked: kind === before }), h("span", {}, title))));
}

function consentNeeds() {
  const consent = chosen();
  for (const kind of ["text", "file"]) {
    const field = $(`#consent-${kind}`);
    field.hidden = consent?.needs !== kind;
    $("input", field).required = !field.hidden;
    $("span", field).textContent = kind === "file" ? "The signed paper" : "Licence";
  }
}

async function consent() {
  const { kind, needs } = chosen();
  if (needs === "text") return `${kind}:${element.elements["consent-text"].value.trim()}`;
  if (needs !== "file") return kind;
  const paper = element.elements["consent-file"].files[0];
  const { id } = await request("POST", `/api/uploads?paper=1&name=${encodeURIComponent(paper.name)}`, paper);
  return `${kind}:${id}`;
}

async function build() {
  const settings = { name: element.elements.name.value.trim(), takes: usable().map((take) => take.id), uploads: [...recordings.values()].filter((item) => !item.waiting).map((item) => item.id) };
  if (!settings.takes.length && !settings.uploads.length)
    throw Object.assign(new Error("there is nothing to build a voice from"), { hint: "record some sentences, or upload a recording" });
  const job = await submit("voice", { ...settings, consent: await consent() });
  memory.write("record", { name: settings.name });
  $(`#voice-jobs [data-job="${job.id}"]`)?.scrollIntoView({ block: "nearest" });
}

function built(job) {
  const { name, grade, reasons } = job.voice ?? { name: job.settings.name };
  const tells = (reasons ?? []).map((reason) => h("li", {}, sentence(reason)));
  return [
    h("div", { class: "take" }, grade ? h("span", { class: `grade ${grade}`, "aria-label": `Grade ${grade}` }, grade) : null,
      h("div", {}, h("p", { class: "words" }, h("b", {}, name), " is ready."), tells.length ? h("ul", { class: "advice" }, tells) : null)),
  ];
}

const speakIn = (job) => h("a", { class: "action first", href: `#speak?voice=${encodeURIComponent(job.settings.name)}` }, icon("right"), h("span", {}, "Speak in this voice"));

export async function start() {
  const seen = new Set();
  set("off");
  know((state) => {
    ({ sentences, consents } = state);
    secured = state.secure_hint ?? secured;
    consentFields();
    turn(current);
  });
  if (obstacle()) {
    problemOfMicrophone(null);
    booth.hidden = true;
    $("#takes-panel").hidden = true;
    $("#no-microphone").after($("#upload-panel"));
  }
  element.elements.name.value = memory.read("record").name ?? "";
  listen();
  $("#sentence-back").addEventListener("click", () => turn(current - 1));
  $("#sentence-on").addEventListener("click", () => turn(current + 1));
  $("#device").addEventListener("change", () => open($("#device").value));
  element.addEventListener("change", consentNeeds);
  droppable($("#upload-drop"), $("#record"), upload);
  $("#microphone-off").addEventListener("click", () => { off(); button.focus(); });
  $("#takes-clear").addEventListener("click", clear);
  form(element, build);
  list($("#voice-jobs"), { keep: (job) => job.kind === "voice", make: (job) => card(job, { results: built, first: speakIn }) });
  subscribe((job) => {
    if (job.kind !== "voice" || job.state !== "done" || seen.has(job.id)) return;
    seen.add(job.id);
    learn();
  });
  const [before, files] = await Promise.all([request("GET", "/api/takes"), request("GET", "/api/uploads")]);
  for (const take of before) put(takes, take);
  for (const item of files) if (item.seconds) put(recordings, item); // papers of consent have no seconds
  if (takes.size) next();
}

/** The microphone is off wherever it is not in use. */
export function leave() {
  if (phase !== "off") off();
}
