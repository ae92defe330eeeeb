// One entry of the knowledge in a list: its texts, label and origin, its soft label, and the ways to change it.

import * as api from "./api.js";
import { attempt, mayWrite } from "./access.js";
import { probabilityBars } from "./answer.js";
import { action, h, originMark, passages, whileBusy } from "./dom.js";
import { labelChoice } from "./labels.js";
import { percent, time } from "./words.js";

// Two links, each of which asks before anything is done. `deleted` is told of the change, `relabelled` of it and of
// what was given.
function changing({ id, texts }, model, deleted, relabelled) {
  const place = h("div", { class: "actions" });
  const outcome = h("div", { class: "outcome" });
  const open = (name, begin, first, ...parts) => {
    const group = h("div", { class: "confirm", role: "group", "aria-label": name }, parts, outcome);
    const keep = () => {
      place.replaceChildren(...links);
      begin.focus();
    };
    group.append(action("Keep", "quiet", keep));
    group.addEventListener("keydown", (event) => event.key === "Escape" && keep());
    outcome.replaceChildren();
    place.replaceChildren(group);
    (first ?? group.lastChild).focus();
  };
  const askToDelete = () => {
    const remove = () => attempt(outcome, async () => deleted((await api.remove(id)).change));
    open(`Delete entry ${id}?`, links[1], null, h("span", {}, "Delete this entry?"), action("Delete", "danger", remove));
  };
  const askForLabel = () => {
    const label = labelChoice(model, "Its right label");
    const save = h("button", { type: "submit" }, "Save");
    const send = whileBusy(save, () =>
      attempt(outcome, async () => {
        const given = label.read();
        const { change } = await api.correct(texts, given.label, "", given.isNew);
        label.saved(given);
        relabelled(change, given.label);
      }),
    );
    const form = h("form", { class: "row", onsubmit: send }, label.nodes, save);
    open(`Relabel entry ${id}`, links[0], form.querySelector("select"), form);
  };
  const links = [
    action("Relabel", "link", askForLabel, { "aria-label": `Relabel entry ${id}` }),
    action("Delete", "link", askToDelete, { "aria-label": `Delete entry ${id}` }),
  ];
  place.append(...links);
  return place;
}

export function entryRow(entry, model, { similarity = null, open = false, deleted, relabelled }) {
  const { id } = entry;
  return h(
    "li",
    { class: "entry" },
    passages(entry.texts, model.fields),
    h(
      "div",
      { class: "facts" },
      h("span", { class: "chip", dir: "auto" }, entry.label ?? entry.likeliest),
      entry.label === null && h("span", {}, percent(entry.probability)),
      originMark(entry.origin),
      similarity !== null && h("span", {}, `similarity ${similarity.toFixed(2)}`),
      h("time", { datetime: entry.added }, time(entry.added)),
      h("a", { href: `#/knowledge/${id}`, "aria-label": `Entry ${id}` }, `#${id}`),
      h("details", { open }, h("summary", {}, "Soft label"), probabilityBars(entry.soft_label)),
      mayWrite(model) && changing(entry, model, deleted, relabelled),
    ),
  );
}
