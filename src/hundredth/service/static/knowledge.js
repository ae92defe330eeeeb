// The second tab: look at what the model knows, search it, add, delete, and take changes back.

import * as api from "./api.js";
import { attempt } from "./access.js";
import { addView, logView } from "./changes.js";
import { action, announce, h, newest } from "./dom.js";
import { entryRow } from "./entry.js";
import { findingView } from "./finding.js";
import { learn } from "./labels.js";
import { count, plural } from "./words.js";

const PAGE = 20; // entries
const FOUND = 20; // entries nearest to a text
const NONE = "This model has no knowledge store: it is a plain classifier.";

export function knowledgeView(model) {
  if (!model.has_store) return { node: h("p", { class: "empty" }, NONE) };

  const latest = newest();
  let load = null; // shows the list anew: a page, what was found, or one entry
  let trail = [0]; // the ids after which the pages up to this one begin

  const notice = h("div", { class: "outcome" });
  const title = h("p", { class: "title", tabindex: "-1" });
  const list = h("ol", { class: "entries", "aria-label": "Entries" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });

  const show = (heading, rows, ...turns) => {
    title.textContent = heading;
    list.replaceChildren(...rows);
    pages.replaceChildren(...turns.filter(Boolean));
    announce(heading);
  };
  const shown = async (task) => {
    load = task;
    list.setAttribute("aria-busy", "true");
    const place = h("li");
    await attempt(place, () => latest(task), () => shown(task));
    if (place.firstChild) show("", [place]);
    list.removeAttribute("aria-busy");
  };

  // Says what changed, with a way back; the list and the log are asked anew.
  const changed = async (text, change = null) => {
    const takeBack = async () => {
      await api.undo(change.id);
      await changed("Taken back.");
    };
    const undo = change && action("Undo", "quiet", () => attempt(notice, takeBack));
    notice.replaceChildren(h("div", { class: "notice", tabindex: "-1" }, h("p", {}, text), undo));
    notice.firstChild.focus();
    changes.reload();
    await shown(load);
    announce(text);
  };
  const row = (entry, { then = () => {}, ...more } = {}) => {
    learn(model, Object.keys(entry.soft_label));
    const told = (text, change) => {
      then();
      return changed(text, change);
    };
    const { id } = entry;
    const relabelled = (change, label) => {
      const replaced = change.removed.some(([first, last]) => first <= id && id <= last);
      return told(`Entry ${change.added[0][0]} says ${label}, ${replaced ? "in place of" : "beside"} entry ${id}.`, change);
    };
    return entryRow(entry, model, {
      deleted: (change) => told(`Entry ${id} is deleted.`, change),
      relabelled,
      ...more,
    });
  };

  const page = async (signal) => {
    const query = finding.query();
    const found = await api.entries({ ...query, limit: PAGE, after: trail.at(-1) }, signal);
    if (!found.entries.length && trail.length > 1) {
      trail.pop(); // the last entry of the last page is gone
      return page(signal);
    }
    const first = (trail.length - 1) * PAGE;
    const none = Object.values(query).some(Boolean) ? "No entry fits." : "The store is empty.";
    const range = query.least_sure ? "The least sure" : `${count(first + 1)} to ${count(first + found.entries.length)}`;
    const turn = (text, next) =>
      action(text, "quiet", async () => {
        trail = next;
        await shown(page);
        title.focus();
      });
    show(
      found.total ? `${range} of ${plural(found.total, "entry", "entries")}` : none,
      found.entries.map((entry) => row(entry)),
      trail.length > 1 && turn("Previous", trail.slice(0, -1)),
      found.next !== null && turn("Next", [...trail, found.next]),
    );
  };
  // What is listed from now on is not the entry that the address names.
  const leaveEntry = () => {
    if (location.hash.startsWith("#/knowledge/")) history.replaceState(null, "", "#/knowledge");
  };
  const browse = () => {
    leaveEntry();
    finding.clearSearch();
    trail = [0];
    return shown(page);
  };
  const search = (text) => {
    leaveEntry();
    return shown(async (signal) => {
      const { hits } = await api.search(text, FOUND, signal);
      const nearest = plural(hits.length, "nearest entry", "nearest entries");
      show(`The ${nearest}, nearest first`, hits.map(({ entry, similarity }) => row(entry, { similarity })));
    });
  };
  const one = (id) =>
    shown(async (signal) => {
      const then = () => {
        leaveEntry(); // it is gone
        load = page;
      };
      const entry = await api.entry(id, signal);
      show(`Entry ${id}`, [row(entry, { open: true, then })], h("a", { href: "#/knowledge" }, "All entries"));
    });

  const finding = findingView(model, browse, search);
  const changes = logView(model, (change) => changed(`Change ${change.undoes} is taken back.`, change));
  const node = h(
    "div",
    { class: "columns wide-right" },
    h("div", { class: "stack" }, finding.node, addView(model, changed), changes.node),
    h("section", { class: "stack", "aria-label": "Entries" }, notice, title, list, pages),
  );
  return {
    node,
    // One entry, or the first page; `arrived` says that a link led here.
    show: async (id, arrived) => {
      notice.replaceChildren();
      changes.reload();
      await (id ? one(id) : browse());
      if (id && arrived) title.focus();
    },
    redraw: () => load && (changes.reload(), shown(load)),
  };
}
