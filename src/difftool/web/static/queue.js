// The section Queue: every job of the folder, the newest first.

import { ended, jobs, subscribe } from "./api.js";
import { list, outlook, row } from "./cards.js";
import { $ } from "./dom.js";

const SECTIONS = { speech: "speak", voice: "record", pictures: "pictures", sample: "pictures" };

function open(job) {
  const section = SECTIONS[job.kind];
  location.hash = section;
  requestAnimationFrame(() => $(`#${section} [data-job="${CSS.escape(job.id)}"]`)?.scrollIntoView({ block: "center" }));
}

export function start() {
  list($("#queue-jobs"), { keep: () => true, make: (job) => row(job, { open }), empty: $("#queue-empty") });
  subscribe(() => {
    const waiting = [...jobs.values()].filter((job) => !ended(job));
    const running = waiting.find((job) => job.state === "running");
    $("#count").hidden = !waiting.length;
    $("#count").replaceChildren(String(waiting.length));
    $("#count").setAttribute("aria-label", `${waiting.length} unfinished`);
    $("#count").title = running ? outlook(running) : "";
  });
}
