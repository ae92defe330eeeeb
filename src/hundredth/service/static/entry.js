// One entry of the knowledge in a list: its texts, label and origin, its soft label, and the way to delete it.

import * as api from "./api.js";
import { attempt, mayWrite } from "./access.js";
import { probabilityBars } from "./answer.js";
import { action, h, originMark, passages } from "./dom.js";
import { percent, time } from "./words.js";

// A link that asks before it deletes; `deleted` is told of the change.
function deletion(id, deleted) {
  const place = h("div", { class: "actions" });
  const outcome = h("div", { class: "outcome" });
  const begin = action("Delete", "link", () => ask(), { "aria-label": `Delete entry ${id}` });
  const remove = () => attempt(outcome, async () => deleted((await api.remove(id)).change));
  const keep = () => {
    place.replaceChildren(begin);
    begin.focus();
  };
  const no = action("Keep", "quiet", keep);
  const question = h(
    "div",
    { class: "confirm", role: "group", "aria-label": `Delete entry ${id}?` },
    h("span", {}, "Delete this entry?"),
    action("Delete", "danger", remove),
    no,
    outcome,
  );
  question.addEventListener("keydown", (event) => event.key === "Escape" && keep());
  const ask = () => {
    place.replaceChildren(question);
    no.focus();
  };
  place.append(begin);
  return place;
}

export function entryRow(entry, model, { similarity = null, open = false, deleted }) {
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
      mayWrite(model) && deletion(id, deleted),
    ),
  );
}
