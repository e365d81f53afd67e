// The section Record: sentences are read aloud, graded, and built into a voice.

import * as booth from "./booth.js";
import * as takes from "./takes.js";
import * as voice from "./voice.js";

export async function start() {
  const loaded = takes.start(booth.again);
  booth.start();
  await Promise.all([loaded, voice.start()]);
  booth.resume();
}

export const leave = booth.leave;
