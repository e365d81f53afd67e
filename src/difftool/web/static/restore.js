// Puts the settings of a file that difftool made back into the form that they came from.

import { request } from "./api.js";
import { announce, problem } from "./dom.js";

const forms = new Map();

/** Names the section and the function that take the settings of a kind of job. */
export function restores(kinds, section, use) {
  for (const kind of kinds) forms.set(kind, (settings) => {
    location.hash = section;
    use(settings, kind);
  });
}

/** Reads the first of the files; an error appears in `region`. */
export async function restore([file], region) {
  problem(region, null);
  if (!file) return;
  try {
    const { kind, settings } = await request("POST", "/api/settings", file);
    forms.get(kind)(settings);
    announce(`The settings of ${file.name} are in the form.`);
  } catch (error) {
    problem(region, error);
  }
}
