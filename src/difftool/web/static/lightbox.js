// A picture in full size, with the others of its job beside it.

import { $ } from "./dom.js";

const box = $("#lightbox");
const image = $("#lightbox-image");
let entries = [];
let current = 0;

function turn(to) {
  current = (to + entries.length) % entries.length;
  const entry = entries[current];
  image.src = entry.url;
  image.alt = entry.title;
  image.classList.toggle("small-picture", entry.width < 400);
  $("#lightbox-title").textContent = entries.length > 1 ? `${current + 1} of ${entries.length} · ${entry.title}` : entry.title;
  $("#lightbox-download").href = `${entry.url}?download=1`;
  $("#lightbox-download").download = entry.name;
}

/** Opens the pictures ({url, name, title, width}) at one of them. */
export function show(list, at) {
  entries = list;
  for (const side of [$("#lightbox-back"), $("#lightbox-on")]) side.hidden = list.length < 2;
  turn(at);
  box.showModal();
}

$("#lightbox-back").addEventListener("click", () => turn(current - 1));
$("#lightbox-on").addEventListener("click", () => turn(current + 1));
$("#lightbox-close").addEventListener("click", () => box.close());
box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(current - 1);
  else if (event.key === "ArrowRight") turn(current + 1);
});
