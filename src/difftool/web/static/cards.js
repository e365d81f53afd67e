// What the page shows of a job: its title, facts, progress, results and buttons.

import { ended, jobs, remove, rerun, submit, subscribe } from "./api.js";
import { action, announce, duration, h, icon, plural, problem, sentence, when } from "./dom.js";
import { show } from "./lightbox.js";
import { player } from "./player.js";

const STATES = { queued: "Queued", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled" };
const KINDS = { speech: "Speech", pictures: "Pictures", sample: "Samples", voice: "Voice" };

export function title(job) {
  const { text, prompt, model, label, name } = job.settings;
  if (job.kind === "speech") return text ?? "";
  if (job.kind === "pictures") return prompt ?? "";
  if (job.kind === "voice") return `Voice “${name}”`;
  return label ? `${model}: ${label}` : model ?? "";
}

/** The settings worth a glance, in short words. */
function facts(job) {
  const s = job.settings;
  const given = (name, word = name) => (s[name] || s[name] === 0 ? `${word} ${s[name]}` : null);
  const some = (list, noun) => (list?.length ? plural(list.length, noun) : null);
  const drawn = [s.sampler, s.steps && plural(s.steps, "step"), given("guidance"), given("seed")];
  const list = {
    speech: [s.voice, s.engine === "auto" ? null : s.engine, s.preset, given("seed"), given("speed", "rate")],
    pictures: [s.model, s.size, ...drawn, s.negative && `without ${s.negative}`],
    sample: drawn,
    voice: [some(s.takes, "take"), some(s.uploads, "recording"), s.consent && `consent: ${s.consent.split(":")[0]}`],
  }[job.kind];
  return (list ?? []).filter(Boolean).map(String);
}

const took = (job) => (job.started && job.ended ? (Date.parse(job.ended) - Date.parse(job.started)) / 1000 : null);

/** The title of a job and the facts below it. */
const heading = (job, details) =>
  h("div", {},
    h("h3", { class: "job-title" }, title(job)),
    h("p", { class: "facts" }, details.filter(Boolean).map((fact) => h("span", {}, fact))));

/** The line below the bar: what is being done, and for how much longer. */
export function outlook(job) {
  if (job.state === "queued") return job.position > 1 ? `${plural(job.position - 1, "job")} before it` : "Starts next";
  const { label, done, total, seconds_left: left } = job.progress ?? {};
  const parts = [];
  if (job.kind === "voice" && label) parts.push(sentence(label).slice(0, -1));
  if (total) parts.push(`${Math.floor((100 * done) / total)} %`);
  if (left || left === 0) parts.push(`about ${duration(Math.max(1, Math.round(left)))} left`);
  return parts.join(" · ") || "Starting";
}

function progressOf(job) {
  const bar = h("progress", { "aria-label": "Progress", max: 1 });
  const note = h("p", { class: "note" });
  const cancel = action("close", "Cancel", () => attempt(job, remove));
  const root = h("div", { class: "progress" }, bar, cancel, note);
  root.update = (now) => {
    const { done, total } = now.progress ?? {};
    bar.hidden = now.state === "queued";
    root.classList.toggle("queued", bar.hidden);
    if (total) bar.value = done / total;
    else bar.removeAttribute("value");
    note.textContent = outlook(now);
  };
  root.update(job);
  return root;
}

/** Does something with a job; an error is shown in the job's own card. */
async function attempt(job, act) {
  const region = document.querySelector(`.page:not([hidden]) [data-job="${CSS.escape(job.id)}"] > .problem`);
  try {
    if (region && job.state !== "failed") problem(region, null);
    return await act(job);
  } catch (error) {
    if (region) problem(region, error);
    return null;
  }
}

function command(job) {
  if (!job.command) return null;
  const copy = h("button", { type: "button", class: "icon", "aria-label": "Copy the command", title: "Copy", onclick: async () => {
    try { await navigator.clipboard.writeText(job.command); announce("Copied."); } catch { getSelection().selectAllChildren(code); }
  } }, icon("copy"));
  const code = h("code", {}, job.command);
  return h("details", { class: "command" }, h("summary", {}, "Command line"), h("div", {}, code, copy));
}

const download = (output, word, kind = "action") =>
  h("a", { class: kind, href: `${output.url}?download=1`, download: output.name, title: word }, icon("download"), h("span", {}, word));

/** The pictures of a job, without their grid. */
function pictures(job) {
  const all = job.outputs.filter((output) => output.kind === "picture");
  return all.length > 1 ? all.filter((output) => output.name !== "grid.png") : all;
}

function grid(job) {
  const list = pictures(job);
  const entries = list.map((output) => ({ ...output, title: `${title(job)} · seed ${output.seed ?? job.settings.seed}` }));
  const small = list[0].width < 200;
  const root = h("div", { class: `grid ${list.length === 1 ? "one" : ""} ${small ? "small" : ""}` }, entries.map((entry, i) =>
    h("button", { type: "button", "aria-label": `Enlarge picture ${i + 1} of ${list.length}`, onclick: () => show(entries, i) },
      h("img", { src: entry.url, alt: entry.title, loading: "lazy", class: small ? "small-picture" : null }))));
  if (list[0].width && list[0].height) root.style.setProperty("--ratio", list[0].width / list[0].height);
  return root;
}

function results(job) {
  const sounds = job.outputs.filter((output) => output.kind === "sound");
  const parts = sounds.map((output) => {
    const sound = player(output.url, { seconds: output.seconds ?? 0, label: title(job).slice(0, 60) });
    if (sounds.length === 1) return sound;
    return h("div", { class: "sound" }, sound, download(output, `Download ${output.name}`, "icon"));
  });
  if (pictures(job).length) parts.push(grid(job));
  return parts;
}

function identical(job) {
  if (typeof job.rerun?.identical !== "boolean") return null;
  return job.rerun.identical
    ? h("span", { class: "badge good" }, "Rerun: identical")
    : h("span", { class: "badge failed" }, "Rerun: differs");
}

function status(job) {
  if (job.state === "done") return identical(job);
  const word = job.rerun && !ended(job) ? `${STATES[job.state]}: rerun` : STATES[job.state];
  return h("span", { class: `badge ${job.state}` }, word);
}

function downloads(job) {
  if (job.outputs.length === 1) return [download(job.outputs[0], "Download")];
  const sounds = job.outputs.filter((output) => output.kind === "sound");
  if (sounds.length === 1) return [download(sounds[0], "Download")];
  const grid = job.outputs.find((output) => output.name === "grid.png"); // the others have buttons of their own
  return grid && !sounds.length ? [download(grid, "Download grid")] : [];
}

/** A job that is done is made again and compared; any other one is tried again. */
function again(job) {
  if (job.state !== "done") return action("rerun", "Try again", () => attempt(job, ({ kind, settings }) => submit(kind, settings)), { title: "Add it to the queue again" });
  return job.kind === "voice" ? null : action("rerun", "Rerun", () => attempt(job, rerun), { title: "Make it again from its settings and compare" });
}

const forget = (job) => action("trash", "Forget", () => attempt(job, remove), { title: "Remove it from the list; its files stay" });

/** The buttons below a job. `use` puts its settings into the form, `another` makes the next seed. */
function buttons(job, { use, another, first }) {
  const list = [];
  const { count } = job.settings;
  const word = job.kind === "speech" ? "Another take" : `Another ${count > 1 ? count : "one"}`;
  if (job.state === "done") {
    if (first) list.push(first(job));
    if (another) list.push(action("next", word, () => attempt(job, another), { kind: "first" }));
    list.push(...downloads(job));
  }
  if (use) list.push(action("edit", "Edit", () => use(job), { title: "Put these settings into the form" }));
  if (ended(job)) list.push(again(job), forget(job));
  return h("div", { class: "actions" }, list);
}

function failure(job) {
  const region = h("p", { class: "problem", hidden: true });
  if (job.error) problem(region, job.error);
  return region;
}

const warnings = (job) =>
  job.warnings?.length ? h("ul", { class: "warnings" }, job.warnings.map((text) => h("li", {}, sentence(text)))) : null;

function preview(job) {
  return job.preview ? h("img", { class: "preview", src: job.preview, alt: "Preview of the unfinished picture" }) : null;
}

/** A card with results. */
export function card(job, handlers = {}) {
  const seconds = took(job);
  const details = [...facts(job), seconds !== null && job.state === "done" && `made in ${duration(seconds)}`];
  const head = h("div", { class: "job-head" }, heading(job, details), status(job));
  const root = h("article", { class: "job", "data-job": job.id, "aria-label": `${KINDS[job.kind]}: ${title(job).slice(0, 80)}` }, head);
  if (!ended(job)) {
    const bar = progressOf(job);
    root.append(...[preview(job), bar].filter(Boolean));
    root.update = (now) => {
      bar.update(now);
      const [old, fresh] = [root.querySelector(".preview"), now.preview];
      if (fresh && old) old.src = fresh;
      else if (fresh) bar.before(preview(now));
    };
    root.append(failure(job));
    return root;
  }
  if (job.state === "done") root.append(...(handlers.results ?? results)(job));
  root.append(...[warnings(job), failure(job), buttons(job, handlers), command(job)].filter(Boolean));
  return root;
}

/** A line of the queue. `open` leads to the job's section. */
export function row(job, { open }) {
  const seconds = took(job);
  const details = [KINDS[job.kind], when(job.created), seconds !== null && `took ${duration(seconds)}`, ...facts(job)];
  const list = [];
  if (job.state === "done") list.push(action("right", "Show", () => open(job)));
  if (ended(job)) list.push(again(job), forget(job));
  const root = h("article", { class: "row", "data-job": job.id, "aria-label": `${STATES[job.state]}: ${title(job).slice(0, 80)}` },
    identical(job) ?? h("span", { class: `badge ${job.state}` }, STATES[job.state]),
    heading(job, details),
    h("div", { class: "actions" }, list));
  if (!ended(job)) {
    const bar = progressOf(job);
    root.append(bar);
    root.update = bar.update;
  }
  root.append(...[warnings(job), failure(job)].filter(Boolean));
  return root;
}

/** Keeps a list of jobs on the page, the newest first. A card is made anew only when its job's state changes, so that a
 * sound that plays goes on playing. */
export function list(root, { keep, make, empty }) {
  const shown = new Map();
  subscribe((job, gone) => {
    if (!keep(job)) return;
    const now = shown.get(job.id);
    if (gone) {
      const heir = now?.element.nextElementSibling ?? now?.element.previousElementSibling;
      if (now?.element.contains(document.activeElement)) (heir?.querySelector("button") ?? document.querySelector("main")).focus();
      now?.element.remove();
      shown.delete(job.id);
    } else if (now && now.state === job.state && !ended(job)) {
      now.element.update(job);
    } else {
      const element = make(job);
      const since = element.dataset.since = `${job.created} ${job.id}`;
      const focused = now?.element.contains(document.activeElement);
      if (now) now.element.replaceWith(element);
      else root.insertBefore(element, [...root.children].find((other) => other.dataset.since < since) ?? null);
      if (focused) element.querySelector("button")?.focus();
      shown.set(job.id, { element, state: job.state });
    }
    if (empty) empty.hidden = shown.size > 0;
  });
}

/** Says aloud what became of the jobs of this page. */
export function narrate() {
  const before = new Map([...jobs.values()].map((job) => [job.id, job.state]));
  subscribe((job, gone) => {
    if (!gone && before.get(job.id) !== job.state) {
      const subject = `${KINDS[job.kind]} “${title(job).slice(0, 60)}”`;
      const known = before.has(job.id);
      if (job.state === "queued" && !known) announce(`${subject}: queued.`);
      else if (job.state === "failed") announce(`${subject}: failed. ${sentence(job.error?.message ?? "")}`);
      else if (job.state !== "queued") announce(`${subject}: ${STATES[job.state].toLowerCase()}.`);
    }
    if (gone) before.delete(job.id);
    else before.set(job.id, job.state);
  });
}

