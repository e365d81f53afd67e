// The page of difftool studio: signs in, reads what the studio can do, and shows one section at a time.

import { Failure, follow, learn, know, refresh, request } from "./api.js";
import { narrate } from "./cards.js";
import { $, $$, form, problem } from "./dom.js";
import * as pictures from "./pictures.js";
import * as queue from "./queue.js";
import * as record from "./record.js";
import * as speak from "./speak.js";

const SECTIONS = ["speak", "record", "pictures", "queue"];

let current = SECTIONS[0];

function section() {
  const [name, query] = location.hash.slice(1).split("?");
  if (SECTIONS.includes(name)) current = name; // any other is an anchor within the section
  return [current, new URLSearchParams(query)];
}

function go(event) {
  const [name, query] = section();
  if (name !== "record") record.leave();
  for (const page of $$(".page")) page.hidden = page.id !== name;
  for (const link of $$(".bar nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${$(`#${name} h1`).textContent} · difftool studio`;
  if (query.has("voice")) {
    speak.useVoice(query.get("voice"));
    history.replaceState(null, "", `#${name}`);
  } else if (event) {
    $(`#${name} h1`).focus({ preventScroll: true });
    scrollTo({ top: 0, behavior: "instant" });
  }
}

/** The token of the address, once: it does not stay in the history of the browser. */
async function token() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return;
  await request("POST", "/api/login", { token: decodeURIComponent(match[1]) });
  history.replaceState(null, "", location.pathname);
}

function login(error) {
  for (const page of $$(".page")) page.hidden = page.id !== "login";
  $(".bar nav").hidden = true;
  const element = $("#login-form");
  form(element, async () => {
    await request("POST", "/api/login", { token: element.elements.token.value.trim() });
    location.reload();
  });
  if (location.hash.startsWith("#token=")) problem($(".problem", element), error);
  history.replaceState(null, "", location.pathname);
  element.elements.token.focus();
}

/** The studio knows its device once PyTorch is loaded, some seconds after its start. */
function awaitDevice(tries = 6) {
  if (!tries || $("#machine").textContent.includes("·")) return;
  setTimeout(async () => {
    await learn().catch(() => {});
    awaitDevice(tries - 1);
  }, 5000);
}

async function start() {
  try {
    await token();
    await learn();
  } catch (error) {
    if (error instanceof Failure && error.status === 401) return login(error);
    $("#lost").hidden = false;
    setTimeout(start, 3000);
    return null;
  }
  $("#lost").hidden = true;
  if (/Mac|iPhone|iPad/.test(navigator.platform)) for (const keys of $$("kbd")) keys.textContent = "⌘ Enter";
  know((state) => {
    $("#machine").textContent = [state.device, `difftool ${state.version}`].filter(Boolean).join(" · ");
    for (const folder of $$(".folder")) folder.textContent = "outputs";
    for (const folder of $$(".folder")) folder.title = state.folder ?? "";
  });
  awaitDevice();
  await refresh();
  speak.start();
  pictures.start();
  queue.start();
  record.start();
  addEventListener("hashchange", go);
  go();
  narrate();
  follow((connected) => ($("#lost").hidden = connected));
  return null;
}

start();
