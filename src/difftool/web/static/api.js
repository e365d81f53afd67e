// The studio's HTTP interface, and the jobs that it knows.

export class Failure extends Error {
  constructor(message, hint, status) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

/** Sends a request; a body that is no Blob goes as JSON. Raises Failure with the studio's own message and hint. */
export async function request(method, path, body) {
  const options = { method, headers: { Accept: "application/json" } };
  if (body instanceof Blob) {
    options.body = body;
    options.headers["Content-Type"] = "application/octet-stream"; // the studio looks at the bytes
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Failure("no connection to the studio", "start it again with difftool studio");
  }
  const text = await response.text();
  let answer = null;
  try { answer = text ? JSON.parse(text) : null; } catch { /* not JSON: a proxy, or a crash */ }
  if (response.ok) return answer;
  const error = answer?.error ?? {};
  throw new Failure(error.message ?? `the studio answered ${response.status}`, error.hint ?? "", response.status);
}

/** All jobs by id; `subscribe` calls with each job that changed, and with `gone` true when it was removed. */
export const jobs = new Map();
const listeners = new Set();

export function subscribe(listener) {
  listeners.add(listener);
  for (const job of jobs.values()) listener(job, false);
}

function changed(job, gone = false) {
  if (gone) jobs.delete(job.id);
  else jobs.set(job.id, job);
  for (const listener of listeners) listener(job, gone);
}

export const ended = (job) => !["queued", "running"].includes(job.state);

export async function submit(kind, settings) {
  const job = await request("POST", "/api/jobs", { kind, settings });
  if (!jobs.has(job.id)) changed(job); // an event may have been faster
  return job;
}

export async function rerun(job) {
  const again = await request("POST", `/api/jobs/${job.id}/rerun`);
  if (!jobs.has(again.id)) changed(again);
  return again;
}

/** Cancels a job that has not ended; forgets one that has. */
export async function remove(job) {
  const gone = ended(job);
  await request("DELETE", `/api/jobs/${job.id}`);
  if (gone) changed(job, true);
}

/** Reads the newest jobs, which also covers what was missed while the connection was down. */
export async function refresh() {
  const list = await request("GET", "/api/jobs?limit=200");
  const known = new Set(list.map((job) => job.id));
  for (const job of [...jobs.values()]) if (!known.has(job.id) && list.length < 200) changed(job, true);
  for (const job of list.reverse()) {
    if (JSON.stringify(jobs.get(job.id)) !== JSON.stringify(job)) changed(job);
  }
}

/** Follows the jobs; `connected` is called with true and false. */
export function follow(connected) {
  const events = new EventSource("/api/events");
  let lost = false;
  events.addEventListener("open", () => {
    if (lost) refresh();
    lost = false;
    connected(true);
  });
  events.addEventListener("error", () => {
    lost = true;
    connected(false);
    if (events.readyState === EventSource.CLOSED) setTimeout(() => again(connected), 3000);
  });
  events.addEventListener("job", (event) => changed(JSON.parse(event.data)));
}

/** After a refusal: another token leads to the page that asks for it. */
async function again(connected) {
  try {
    await learn();
    await refresh();
  } catch (error) {
    if (error.status === 401) location.reload();
  }
  follow(connected);
}

/** What the studio can do (`/api/state`): `know` calls at once and whenever it was read again. */
let state = null;
const knowers = new Set();

export function know(listener) {
  knowers.add(listener);
  if (state) listener(state);
}

export async function learn() {
  state = await request("GET", "/api/state");
  for (const listener of knowers) listener(state);
}
