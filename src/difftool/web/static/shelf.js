// A list of recordings, on the page and in the studio.

import { request } from "./api.js";
import { $, problem } from "./dom.js";

export class Shelf {
  /**
   * @param path of the studio's interface, such as "takes"
   * @param root the list on the page
   * @param region where errors appear
   * @param make the element of an item
   * @param changed called after each change
   */
  constructor({ path, root, region, make, changed = () => {} }) {
    Object.assign(this, { path, root, region, make, changed });
    this.items = new Map();
    this.sending = new Set();
    this.count = 0;
  }

  /** Reads what the studio has. */
  async load(keep = () => true) {
    for (const item of await request("GET", `/api/${this.path}`)) if (keep(item)) this.put(item);
  }

  /** Items that the studio has taken. */
  get ready() {
    return [...this.items.values()].filter((item) => !item.waiting && !item.error);
  }

  /** Sends a file; `item` says what is known of it already. Returns what the studio answers, or null after an error. */
  async send(query, file, item) {
    const waiting = { ...item, id: `new ${this.count++}`, waiting: true };
    this.put(waiting);
    const sent = request("POST", `/api/${this.path}?${new URLSearchParams(query)}`, file);
    this.sending.add(sent);
    try {
      const answer = { ...item, ...(await sent) };
      this.items.delete(waiting.id);
      this.put(answer, waiting.id);
      return answer;
    } catch (error) {
      const again = () => { this.drop(waiting.id); this.send(query, file, item); };
      this.put({ ...waiting, waiting: false, error, again });
      return null;
    } finally {
      this.sending.delete(sent);
    }
  }

  /** Resolves when nothing is on its way any more. */
  settled() {
    return Promise.allSettled([...this.sending]);
  }

  /** Deletes an item in the studio, too, if it is there. */
  async forget(item) {
    problem(this.region, null);
    try {
      if (!item.waiting && !item.error) await request("DELETE", `/api/${this.path}/${item.id}`);
      this.drop(item.id);
    } catch (error) {
      problem(this.region, error);
    }
  }

  put(item, replaced = item.id) {
    this.items.set(item.id, item);
    const element = this.make(item);
    element.dataset.id = item.id;
    const old = this.element(replaced);
    if (old) old.replaceWith(element);
    else this.root.prepend(element);
    this.changed();
  }

  drop(id) {
    const element = this.element(id);
    const focused = element.contains(document.activeElement);
    const heir = element.nextElementSibling ?? element.previousElementSibling;
    this.items.delete(id);
    element.remove();
    if (focused) (heir ? $("button", heir) : this.root.closest(".page").querySelector("h1")).focus();
    this.changed();
  }

  element(id) {
    return [...this.root.children].find((child) => child.dataset.id === String(id));
  }
}
