// The section Pictures: a prompt or a label, a model, and what came of it.

import { know, submit } from "./api.js";
import { card, list } from "./cards.js";
import { $, $$, droppable, fill, form, h, memory } from "./dom.js";
import { restore, restores } from "./restore.js";

const NAMES = ["model", "prompt", "negative", "label", "size", "count", "sampler", "steps", "guidance", "seed"];
const SHAPES = "Shapes knows circle, square, triangle, star, cross and ring, in colours and places: “a red circle on a blue ground”.";
const element = $("#pictures-form");
const fields = element.elements;
let models = { txt2img: [], sample: [] };

const kind = () => (fields.model.value.startsWith("sample:") ? "sample" : "pictures");
const name = () => fields.model.value.slice(fields.model.value.indexOf(":") + 1);
const model = () => models[kind() === "sample" ? "sample" : "txt2img"].find((row) => row.name === name());

/** Shows the fields that the model has, with its own defaults in them. */
function adapt() {
  const row = model() ?? {};
  for (const part of $$("[data-for]", element)) part.hidden = part.dataset.for !== kind();
  fields.prompt.required = kind() === "pictures";
  const shapes = name() === "shapes";
  fields.prompt.placeholder = shapes ? "a red circle on a blue ground" : "a lighthouse in a storm, oil on canvas";
  $("#prompt-note").textContent = shapes ? SHAPES : "(word:1.3) gives a word more weight.";
  fill(fields.size, (row.sizes ?? []).map((size) => [size, size.replace("x", " × ")]));
  fill(fields.label, [["", "all in turn"], ...(row.labels ?? []).map((label) => [label, label])]);
  fields.label.closest(".field").hidden ||= !row.labels?.length;
  fields.steps.placeholder = row.steps ?? "default";
  fields.guidance.placeholder = row.guidance ?? "default";
}

function keep() {
  memory.write("pictures", Object.fromEntries(NAMES.map((field) => [field, fields[field].value])));
}

function settings() {
  const text = (field) => fields[field].value.trim() || undefined; // left out of what is sent
  const number = (field) => (text(field) === undefined ? undefined : Number(text(field)));
  const settings = { model: name(), sampler: text("sampler") };
  for (const field of ["steps", "guidance", "seed", "count"]) settings[field] = number(field);
  for (const field of kind() === "sample" ? ["label"] : ["prompt", "negative", "size"]) settings[field] = text(field);
  return settings;
}

/** Puts settings into the form. */
export function use(values, of) {
  const wanted = `${of === "sample" ? "sample" : "txt2img"}:${values.model ?? "shapes"}`;
  if ([...fields.model.options].some((option) => option.value === wanted)) fields.model.value = wanted;
  adapt();
  for (const field of NAMES.slice(1)) {
    const value = values[field];
    if (fields[field].tagName === "SELECT") {
      const known = [...fields[field].options].map((option) => option.value);
      if (value && !known.includes(String(value))) fields[field].append(h("option", { value }, String(value)));
      fields[field].value = value ?? known[0] ?? "";
    } else fields[field].value = value ?? (field === "count" ? 1 : field === "seed" ? 0 : "");
  }
  keep();
}

function learned(state) {
  models = state.models;
  const named = (row) => row.title ?? (row.kind === "sounds" ? `${row.name}, sounds` : row.name);
  const group = (label, prefix, rows) =>
    h("optgroup", { label, hidden: !rows.length }, rows.map((row) => h("option", { value: `${prefix}:${row.name}` }, named(row))));
  const before = fields.model.value;
  fields.model.replaceChildren(group("From a prompt", "txt2img", models.txt2img), group("Trained models", "sample", models.sample));
  if (before) fields.model.value = before;
  fill(fields.sampler, [["", "default"], ...state.samplers.map((row) => [row.name, row.title ?? row.name])]);
  adapt();
}

function edit(job) {
  use(job.settings, job.kind);
  (fields.prompt.required ? fields.prompt : fields.model).focus();
}

export function start() {
  const before = memory.read("pictures");
  let restored = false;
  know((state) => {
    learned(state);
    if (restored || !before.model) return;
    restored = true;
    const [of, ...rest] = before.model.split(":");
    use({ ...before, model: rest.join(":") }, of);
  });
  fields.model.addEventListener("change", adapt);
  element.addEventListener("input", keep);
  element.addEventListener("change", (event) => { if (event.target.name) keep(); });
  restores(["pictures", "sample"], "pictures", use);
  droppable($("#pictures .drop"), $("#pictures"), (files) => restore(files, $(".problem", element)));
  form(element, async () => {
    const job = await submit(kind(), settings());
    $(`#pictures-jobs [data-job="${job.id}"]`)?.scrollIntoView({ block: "nearest" });
  });
  const another = ({ kind: of, settings: { seed = 0, count = 1, ...others } }) => submit(of, { ...others, count, seed: seed + count });
  list($("#pictures-jobs"), {
    keep: (job) => job.kind === "pictures" || job.kind === "sample",
    make: (job) => card(job, { use: edit, another }),
    empty: $("#pictures-empty"),
  });
}
