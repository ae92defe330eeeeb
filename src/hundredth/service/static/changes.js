// What changes the knowledge beside corrections: adding texts, and the log of changes with its undo.

import * as api from "./api.js";
import { attempt, gate, mayWrite } from "./access.js";
import { topAndRest } from "./answer.js";
import { action, fieldName, h, labelled, newest, noteInput, textInputs, whileBusy } from "./dom.js";
import { labelChoice } from "./labels.js";
import { ids, plural, time } from "./words.js";

const SHOWN = 50; // changes of the log

// A task of one field takes many texts, one a line; one of several takes one text at a time.
export function addView(model, added) {
  const many = model.fields.length === 1;
  const area = () => h("textarea", { rows: many ? 4 : 2, dir: "auto", required: true });
  const inputs = textInputs(model.fields, area, fieldName, many ? "One text a line." : "");
  const label = labelChoice(model, "Their label");
  const note = noteInput();
  const button = h("button", { type: "submit" }, "Add");
  const outcome = h("div", { class: "outcome" });

  const texts = () => {
    if (!many) return [inputs.read()];
    const lines = inputs.inputs[0].value.split("\n").map((line) => line.trim());
    return lines.filter(Boolean).map((line) => ({ [model.fields[0]]: line }));
  };
  const count = () => {
    const found = texts().length;
    button.textContent = found > 1 ? `Add ${plural(found, "text")}` : "Add";
  };
  const submit = whileBusy(button, () =>
    attempt(outcome, async () => {
      const given = texts();
      if (!given.length) return inputs.empty()?.focus();
      outcome.replaceChildren();
      const chosen = label.read();
      const labels = given.map(() => chosen.label);
      const { ids: made, change } = await api.add(given, labels, note.value.trim(), chosen.isNew);
      label.saved(chosen);
      inputs.clear();
      count();
      added(`${plural(made.length, "text")} added.`, change);
    }),
  );
  const fields = [inputs.nodes, label.nodes, labelled("Note, if you like", note)];
  const form = h("form", { onsubmit: submit, oninput: count }, fields, button, outcome);
  return h("details", { class: "card side" }, h("summary", {}, h("h2", {}, "Add texts")), gate(model, form));
}

const KINDS = { add: "added", correct: "corrected", delete: "deleted", update: "altered" };

function changeRow(change, undo) {
  const { id, undoes, added, removed, note, at } = change;
  const what = undoes === null ? KINDS[change.kind] : `took back change ${undoes}`;
  const runs = [added.length && `+ ${ids(added)}`, removed.length && `− ${ids(removed)}`].filter(Boolean);
  const touched = h("span", { class: "hint" }, runs.join(" "));
  const outcome = h("div", { class: "outcome" });
  const more = { "aria-label": `Undo change ${id}` };
  const button = undo && change.undoable && action("Undo", "link", () => attempt(outcome, () => undo(id)), more);
  return h(
    "li",
    { class: change.undone && "undone" },
    h("p", {}, h("strong", { dir: "auto" }, change.by || "unknown"), ` ${what} `, touched),
    note && h("p", { dir: "auto" }, `“${note}”`),
    h(
      "p",
      { class: "facts" },
      h("span", {}, `#${id}`),
      h("time", { datetime: at }, time(at)),
      change.undone ? h("span", {}, "taken back") : button,
    ),
    outcome,
  );
}

// `undone` is told of the change that an undo made.
export function logView(model, undone) {
  const latest = newest();
  const body = h("div");
  const undo = async (id) => undone((await api.undo(id)).change);
  const load = () =>
    attempt(
      body,
      async () => {
        const { changes } = await latest((signal) => api.log(SHOWN, signal));
        const rows = changes.map((change) => changeRow(change, mayWrite(model) && undo));
        const none = h("p", { class: "empty" }, "Nothing has been changed yet.");
        body.replaceChildren(rows.length ? topAndRest(rows, { class: "log" }, "changes") : none);
      },
      load,
    );
  const node = h("details", { class: "card side" }, h("summary", {}, h("h2", {}, "Changes")), body);
  const reload = () => node.open && load();
  node.addEventListener("toggle", reload);
  return { node, reload };
}
