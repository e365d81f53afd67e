// The form that makes a voice of takes and recordings.

import { know, learn, request, submit, subscribe } from "./api.js";
import { card, list } from "./cards.js";
import { $, announce, droppable, duration, form, h, icon, iconButton, memory, sentence } from "./dom.js";
import { Shelf } from "./shelf.js";
import { takes, usable } from "./takes.js";

const element = $("#voice-form");
const fields = element.elements;
const recordings = new Shelf({ path: "uploads", root: $("#uploads"), region: $("#upload-problem"), make });
let consents = [];

// recordings

function make(item) {
  const state = item.waiting ? "Uploading" : item.error ? `Not kept: ${sentence(item.error.message)} ${sentence(item.error.hint ?? "")}` : duration(item.seconds);
  return h("li", { class: "take" },
    h("span", { class: `grade ${item.waiting ? "waiting" : item.error ? "failed" : ""}`, "aria-hidden": "true" }, item.error ? "!" : "♪"),
    h("div", {}, h("p", { class: "words" }, item.name), h("p", { class: "advice", role: item.error && "alert" }, state)),
    h("div", { class: "tools" }, item.waiting ? null : iconButton("trash", `Remove ${item.name}`, () => recordings.forget(item))));
}

async function upload(files) {
  for (const file of files) {
    if (await recordings.send({ name: file.name }, file, { name: file.name })) announce(`${file.name} is uploaded.`);
  }
}

// consent

const chosen = () => consents.find((consent) => consent.kind === fields.consent?.value);

function offer() {
  const root = $("#consents");
  const before = fields.consent?.value;
  const choice = ({ kind, title }) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "consent", value: kind, required: true, checked: kind === before }), h("span", {}, title));
  root.replaceChildren($("legend", root), ...consents.map(choice));
}

function ask() {
  for (const kind of ["text", "file"]) {
    const field = $(`#consent-${kind}`);
    field.hidden = chosen()?.needs !== kind;
    $("input", field).required = !field.hidden;
  }
}

/** The consent as the command line has it. */
async function consent() {
  const { kind, needs } = chosen();
  if (needs === "text") return `${kind}:${fields["consent-text"].value.trim()}`;
  if (needs !== "file") return kind;
  const paper = fields["consent-file"].files[0];
  const { id } = await request("POST", `/api/uploads?${new URLSearchParams({ paper: 1, name: paper.name })}`, paper);
  return `${kind}:${id}`;
}

// the voice

async function build() {
  await Promise.all([takes.settled(), recordings.settled()]);
  const ids = (items) => items.map((item) => item.id);
  const settings = { name: fields.name.value.trim(), takes: ids(usable()), uploads: ids(recordings.ready) };
  if (!settings.takes.length && !settings.uploads.length)
    throw Object.assign(new Error("there is nothing to build a voice from"), { hint: "record some sentences, or upload a recording" });
  const job = await submit("voice", { ...settings, consent: await consent() });
  memory.write("record", { name: settings.name });
  $(`#voice-jobs [data-job="${job.id}"]`)?.scrollIntoView({ block: "nearest" });
}

function built(job) {
  const { name, grade, reasons } = job.voice ?? { name: job.settings.name };
  const advice = (reasons ?? []).map((reason) => h("li", {}, sentence(reason)));
  return [h("div", { class: "take" },
    grade && h("span", { class: `grade ${grade}`, role: "img", "aria-label": `Grade ${grade}` }, grade),
    h("div", {}, h("p", { class: "words" }, "The voice is ready."), advice.length ? h("ul", { class: "advice" }, advice) : null))];
}

const toSpeak = (job) =>
  h("a", { class: "action first", href: `#speak?voice=${encodeURIComponent(job.settings.name)}` }, icon("right"), h("span", {}, "Speak in this voice"));

export async function start() {
  know((state) => {
    ({ consents } = state);
    offer();
    ask();
  });
  fields.name.value = memory.read("record").name ?? "";
  element.addEventListener("change", ask);
  droppable($("#upload-panel .drop"), $("#record"), upload);
  form(element, build);
  list($("#voice-jobs"), { keep: (job) => job.kind === "voice", make: (job) => card(job, { results: built, first: toSpeak }) });
  let started = false;
  subscribe((job, gone) => {
    if (started && !gone && job.kind === "voice" && job.state === "done") learn(); // of the new voice
  });
  started = true;
  await recordings.load((item) => item.seconds); // papers of consent have none
}
