// A player for one sound: its waveform on a canvas, to be played and sought by mouse, finger and keyboard.

import { clock, h, icon } from "./dom.js";

const BAR = 3; // pixels of a bar and the gap after it
const MOST = 40e6; // bytes above which a file is not decoded for its waveform
const waiting = []; // waveforms to be drawn, one at a time, the last that came into view first
const drawn = new Set();

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    entry.target.dispatchEvent(new Event("seen"));
  }
}, { rootMargin: "200px" });
const sized = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.dispatchEvent(new Event("sized"))));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw()));

/** Loudest value of each of `count` stretches of a sound. */
async function peaks(url, count) {
  const response = await fetch(url);
  if (!response.ok || Number(response.headers.get("Content-Length")) > MOST) return null;
  const context = new OfflineAudioContext(1, 1, 8000);
  const samples = (await context.decodeAudioData(await response.arrayBuffer())).getChannelData(0);
  const values = new Float32Array(count);
  for (let i = 0; i < samples.length; i++) {
    const bar = Math.min(count - 1, Math.floor((i * count) / samples.length));
    values[bar] = Math.max(values[bar], Math.abs(samples[i]));
  }
  const loudest = Math.max(...values, 1e-4);
  return values.map((value) => value / loudest);
}

let working = false;

async function work() {
  working = true;
  while (waiting.length) await waiting.pop()();
  working = false;
}

/** The player of a sound. `seconds` is its length where it is known. */
export function player(url, { seconds = 0, label = "sound", small = false } = {}) {
  const audio = h("audio", { src: url, preload: "none" });
  const canvas = h("canvas", { "aria-hidden": "true" });
  const seek = h("div", { class: "seek", role: "slider", tabindex: "0", "aria-label": `Position in ${label}`, "aria-valuemin": "0" }, canvas);
  const time = h("span", { class: "time", "aria-hidden": "true" });
  const button = h("button", { type: "button", class: "play", onclick: toggle }, icon("play"));
  const root = h("div", { class: small ? "player small" : "player" }, button, seek, time, audio);
  let values = null;
  let wanted = null; // a position chosen before the length was known

  const length = () => (Number.isFinite(audio.duration) && audio.duration) || seconds;
  const position = () => wanted ?? audio.currentTime;

  function toggle() {
    if (!audio.paused) return audio.pause();
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    return audio.play().catch(() => { time.textContent = "cannot play"; });
  }

  function go(to) {
    const target = Math.min(Math.max(0, to), length());
    if (audio.readyState > 0) audio.currentTime = target;
    else { wanted = target; audio.preload = "metadata"; }
    show();
  }

  function show() {
    const playing = !audio.paused && !audio.ended;
    button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${label}`);
    button.querySelector("use").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
    const [now, all] = [position(), length()];
    const started = playing || now > 0;
    time.textContent = small && !started ? clock(all) : `${clock(now)} / ${clock(all)}`;
    seek.setAttribute("aria-valuemax", all.toFixed(1));
    seek.setAttribute("aria-valuenow", now.toFixed(1));
    seek.setAttribute("aria-valuetext", `${now.toFixed(1)} of ${all.toFixed(1)} seconds`);
    draw();
  }

  function draw() {
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!canvas.isConnected) drawn.delete(draw);
    if (!width) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(root);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const count = Math.floor(width / BAR);
    const share = length() ? position() / length() : 0;
    for (let i = 0; i < count; i++) {
      const loud = values ? values[Math.floor((i * values.length) / count)] : 0;
      const tall = Math.max(2, loud * (height - 2));
      pen.fillStyle = style.getPropertyValue(i / count < share ? "--accent" : "--wave");
      pen.beginPath();
      pen.roundRect(i * BAR, (height - tall) / 2, BAR - 1, tall, 1);
      pen.fill();
    }
  }

  function tick() {
    show();
    if (!audio.paused) requestAnimationFrame(tick);
  }

  const at = (event) => {
    const box = seek.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * length());
  };
  seek.addEventListener("pointerdown", (event) => { seek.setPointerCapture(event.pointerId); at(event); });
  seek.addEventListener("pointermove", (event) => { if (seek.hasPointerCapture(event.pointerId)) at(event); });
  seek.addEventListener("keydown", (event) => {
    const small = Math.max(0.1, Math.min(5, length() / 20));
    const steps = { ArrowRight: small, ArrowUp: small, ArrowLeft: -small, ArrowDown: -small, PageUp: 4 * small, PageDown: -4 * small };
    if (event.key === " " || event.key === "Enter") toggle();
    else if (event.key in steps) go(position() + steps[event.key]);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(length());
    else return;
    event.preventDefault();
  });
  for (const name of ["play", "pause", "ended", "seeked", "durationchange", "timeupdate"]) audio.addEventListener(name, show);
  audio.addEventListener("play", tick);
  audio.addEventListener("loadedmetadata", () => {
    if (wanted !== null) audio.currentTime = wanted;
    wanted = null;
    show();
  });
  canvas.addEventListener("sized", draw);
  root.addEventListener("seen", () => {
    audio.preload = "metadata";
    drawn.add(draw);
    sized.observe(canvas);
    waiting.push(async () => {
      if (!canvas.isConnected) return;
      values = await peaks(url, 240).catch(() => null);
      show();
    });
    if (!working) work();
  });
  seen.observe(root);
  show();
  return root;
}
