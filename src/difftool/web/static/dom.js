// Small helpers for the page. Texts of others become text nodes, never HTML.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element: `h("button", {class: "icon", onclick: run}, icon("play"), "Play")`. Empty children are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child || child === 0));
  return element;
}

/** An icon of index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and a word. One with a title is minor: on phones its icon stands alone. */
export const action = (name, word, onclick, { kind = "", title } = {}) =>
  h("button", { type: "button", class: `action ${title ? "minor" : kind}`, title, onclick }, icon(name), h("span", {}, word));

/** A button with an icon only. */
export const iconButton = (name, label, onclick) =>
  h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, icon(name));

/** Tells people who do not see the page what changed. */
export function announce(text) {
  const region = $("#announce");
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 50);
}

/** Shows an error in a form's region for errors, or clears it. */
export function problem(region, error) {
  region.hidden = !error;
  region.replaceChildren();
  if (!error) return;
  region.append(h("b", {}, sentence(error.message)));
  if (error.hint) region.append(h("span", {}, sentence(error.hint)));
}

/** A message of the command line as a sentence. */
export const sentence = (text) => {
  if (!text) return "";
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:]$/.test(whole) ? whole : `${whole}.`;
};

/** 0:07, 12:30, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A length of time in words: 4.2 s, 40 s, 12 min, 3 h 20 min. */
export function duration(seconds) {
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** When something happened, in the manner of the reader's language. */
export function when(moment) {
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Options of a select: [value, title] pairs. The current value is kept where it still exists. */
export function fill(select, rows) {
  const before = select.value;
  select.replaceChildren(...rows.map(([value, title]) => h("option", { value }, title)));
  if (rows.some(([value]) => value === before)) select.value = before;
}

/** A field for files that takes what is dropped anywhere in `area`, too. */
export function droppable(field, area, take) {
  for (const name of ["dragenter", "dragover"])
    area.addEventListener(name, (event) => { event.preventDefault(); field.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) area.addEventListener(name, () => field.classList.remove("over"));
  area.addEventListener("drop", (event) => { event.preventDefault(); take([...event.dataTransfer.files]); });
  const input = $("input", field);
  input.addEventListener("change", () => { take([...input.files]); input.value = ""; });
}

/** What a form held is kept in this browser, so that a reload loses nothing. */
export const memory = {
  read(name) {
    try { return JSON.parse(localStorage.getItem(`difftool ${name}`)) || {}; } catch { return {}; }
  },
  write(name, value) {
    try { localStorage.setItem(`difftool ${name}`, JSON.stringify(value)); } catch { /* private mode, or full */ }
  },
};

/** The dice beside a seed, Ctrl+Enter, and the one path on which a form is sent. */
export function form(element, send) {
  const region = $(".problem", element);
  const button = $(".primary", element);
  const dice = $(".dice", element);
  dice?.addEventListener("click", () => {
    element.elements.seed.value = Math.floor(Math.random() * 2 ** 31);
    announce(`Seed ${element.elements.seed.value}`);
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); element.requestSubmit(); }
  });
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    problem(region, null);
    button.disabled = true;
    try { await send(); } catch (error) { problem(region, error); } finally { button.disabled = false; }
  });
}
