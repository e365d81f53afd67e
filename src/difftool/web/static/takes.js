// The sentences to be read, and the takes of them with their grades.

import { know } from "./api.js";
import { $, action, announce, duration, h, iconButton, plural, sentence } from "./dom.js";
import { player } from "./player.js";
import { Shelf } from "./shelf.js";

const ENOUGH = [15, 90]; // seconds of speech for the worst and for the best grade
const SURE = 4000; // milliseconds in which a second press deletes all takes

export let sentences = [];
let read = () => {};

export const takes = new Shelf({ path: "takes", root: $("#takes"), region: $("#takes-problem"), make, changed: () => summed() });

/** Takes that a voice is built from. */
export const usable = () => takes.ready.filter((take) => take.grade !== "F");

/** Whether a sentence was read, if only just now. */
export const graded = (index) => [...takes.items.values()].some((take) => take.sentence === index);

/** Sends a take of a sentence; it replaces an earlier one. */
export async function send(index, sound) {
  const before = takes.ready.filter((take) => take.sentence === index);
  const take = await takes.send({ sentence: index }, sound, { sentence: index });
  if (!take) return;
  announce(`Grade ${take.grade}. ${take.advice.join(" ")}`);
  for (const old of before) await takes.forget(old);
}

function make(take) {
  const words = h("p", { class: "words" }, sentences[take.sentence] ?? take.text ?? "");
  if (take.waiting)
    return h("li", { class: "take" },
      h("span", { class: "grade waiting", "aria-hidden": "true" }, "…"),
      h("div", {}, words, h("p", { class: "advice" }, "Grading")));
  if (take.error)
    return h("li", { class: "take" },
      h("span", { class: "grade failed", "aria-hidden": "true" }, "!"),
      h("div", {}, words, h("p", { class: "advice", role: "alert" }, `Not kept: ${sentence(take.error.message)} ${sentence(take.error.hint ?? "")}`)),
      h("div", { class: "tools" },
        action("rerun", "Send again", take.again),
        iconButton("trash", "Discard the take", () => takes.forget(take))));
  const advice = take.advice.length ? take.advice.map(sentence).join(" ") : `${duration(take.seconds)}. Nothing to improve.`;
  return h("li", { class: "take" },
    h("span", { class: `grade ${take.grade}`, role: "img", "aria-label": `Grade ${take.grade}` }, take.grade),
    h("div", {}, words, h("p", { class: "advice" }, advice)),
    h("div", { class: "tools" },
      iconButton("mic", "Read this sentence again", () => read(take.sentence)),
      iconButton("trash", "Delete the take", () => takes.forget(take))),
    player(take.url, { seconds: take.seconds, label: `take of sentence ${take.sentence + 1}`, small: true }));
}

/** How much speech there is, and how much more helps. */
function summed() {
  const good = usable();
  const seconds = good.reduce((sum, take) => sum + take.seconds, 0);
  const bound = ENOUGH.find((least) => seconds < least);
  const advice = bound ? `${duration(bound - seconds)} more for ${bound === ENOUGH[0] ? "a voice" : "the best grade"}` : "enough for the best grade";
  $("#takes-sum").textContent = good.length ? `${duration(seconds)} of speech · ${advice}` : "";
  $("#takes-empty").hidden = takes.items.size > 0;
  $("#takes-clear").hidden = !takes.items.size;
  document.dispatchEvent(new Event("takes"));
}

/** Deletes all takes, at the second press. */
async function clear() {
  const button = $("#takes-clear");
  const reset = () => { delete button.dataset.sure; button.textContent = "Delete all"; };
  if (button.dataset.sure) {
    reset();
    for (const take of [...takes.items.values()]) await takes.forget(take);
    return read(0);
  }
  button.dataset.sure = "yes";
  button.textContent = `Delete ${plural(takes.items.size, "take")}?`;
  return setTimeout(reset, SURE);
}

/** `again` is called with a sentence that is to be read again. */
export async function start(again) {
  read = again;
  know((state) => { ({ sentences } = state); });
  $("#takes-clear").addEventListener("click", clear);
  await takes.load();
}
