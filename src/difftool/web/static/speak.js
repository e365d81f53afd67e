// The section Speak: a text, a voice, and what came of it.

import { know, submit } from "./api.js";
import { card, list } from "./cards.js";
import { $, droppable, duration, fill, form, memory, plural } from "./dom.js";
import { restore, restores } from "./restore.js";

const NAMES = ["text", "voice", "engine", "preset", "seed", "speed"];
const WORDS_A_SECOND = 2.6;
const element = $("#speak-form");
const fields = element.elements;
let engines = [];
let voices = [];

const whole = (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : text);

function settings() {
  const values = { text: fields.text.value.trim(), voice: fields.voice.value, seed: whole(fields.seed.value) };
  if (fields.engine.value !== "auto") values.engine = fields.engine.value;
  if (fields.preset.value) values.preset = fields.preset.value;
  if (fields.speed.value) values.speed = Number(fields.speed.value);
  return values;
}

/** Puts settings into the form. */
export function use(values) {
  fields.text.value = values.text ?? "";
  choose("voice", values.voice);
  choose("engine", values.engine);
  presets();
  choose("preset", values.preset);
  fields.seed.value = values.seed ?? 0;
  fields.speed.value = values.speed && values.speed !== 1 ? values.speed : "";
  noted();
}

function choose(name, value) {
  if ([...fields[name].options].some((option) => option.value === value)) fields[name].value = value;
}

export function useVoice(name) {
  fields.voice.value = name;
  noted();
  fields.text.focus();
}

function presets() {
  const engine = engines.find((row) => row.name === fields.engine.value) ?? engines[0];
  const before = fields.preset.value;
  fill(fields.preset, (engine?.presets ?? []).map((name) => [name, name]));
  if (fields.preset.value !== before) choose("preset", engine?.default);
}

/** The notes below text and voice, and what is kept for the next visit. */
function noted() {
  const words = fields.text.value.trim().split(/\s+/).filter(Boolean).length;
  const seconds = words / WORDS_A_SECOND / (Number(fields.speed.value) || 1);
  const voice = voices.find((row) => row.name === fields.voice.value);
  $("#tally").textContent = words ? `${plural(words, "word")}, about ${duration(seconds)} of speech` : "";
  const parts = voice
    ? [
        voice.source === "package" ? "Comes with difftool" : "Your voice",
        voice.grade && `grade ${voice.grade}`,
        voice.consent && `consent: ${voice.consent}`,
        voice.trained && "trained",
      ]
    : ["A different voice for each seed"];
  $("#voice-note").textContent = parts.filter(Boolean).join(" · ");
  memory.write("speak", Object.fromEntries(NAMES.map((name) => [name, fields[name].value])));
}

export function start() {
  const before = memory.read("speak");
  let restored = false;
  know((state) => {
    ({ engines, voices } = state);
    const yours = voices.filter((voice) => voice.source !== "package");
    const theirs = voices.filter((voice) => voice.source === "package");
    fill(fields.voice, [...yours, ...theirs].map((voice) => [voice.name, voice.name]).concat([["random", "random"]]));
    fill(fields.engine, engines.map((engine) => [engine.name, engine.name]));
    if (engines.length === 2) fields.engine.value = engines[1].name; // auto and the only one that is installed
    $("#engine-note").hidden = engines.length > 2;
    presets();
    if (!restored) use(before);
    restored = true;
    noted();
  });
  fields.engine.addEventListener("change", presets);
  element.addEventListener("input", noted);
  element.addEventListener("change", noted);
  restores(["speech"], "speak", use);
  droppable($("#speak .drop"), $("#speak"), (files) => restore(files, $(".problem", element)));
  form(element, async () => {
    const job = await submit("speech", settings());
    $(`#speak-jobs [data-job="${job.id}"]`)?.scrollIntoView({ block: "nearest" });
  });
  const another = (job) => submit("speech", { ...job.settings, seed: Number(job.settings.seed ?? 0) + 1 });
  list($("#speak-jobs"), {
    keep: (job) => job.kind === "speech",
    make: (job) => card(job, { use: (old) => { use(old.settings); fields.text.focus(); }, another }),
    empty: $("#speak-empty"),
  });
}
