// Say what the right label of the asked text is; the answer is asked again, and the change can be taken back.

import * as api from "./api.js";
import { attempt, gate } from "./access.js";
import { action, announce, h, labelled, noteInput, whileBusy } from "./dom.js";
import { labelChoice } from "./labels.js";
import { percent } from "./words.js";

const said = ({ label, probability }) => [h("strong", { dir: "auto" }, label), ` ${percent(probability)}`];

// `again` asks a text anew and returns its explanation.
export function correctView(model, again) {
  let text = null;
  let current = null; // its explanation
  const label = labelChoice(model, "The right label");
  const note = noteInput();
  const save = h("button", { type: "submit" }, "Save");
  const outcome = h("div", { class: "outcome" });

  const changed = async (title, undo = null) => {
    const before = current;
    current = await again(text);
    const line = h("p", {}, `${title}: `, said(before), " → ", said(current));
    outcome.replaceChildren(h("div", { class: "notice", tabindex: "-1" }, line, undo));
    announce(line.textContent);
  };
  const undoing = (change) =>
    action("Undo", "quiet", () =>
      attempt(outcome, async () => {
        await api.undo(change.id);
        await changed("Taken back");
        outcome.firstChild.focus();
      }),
    );
  const submit = whileBusy(save, () =>
    attempt(outcome, async () => {
      const given = label.read();
      const { change } = await api.correct(text, given.label, note.value.trim(), given.isNew);
      label.saved(given);
      note.value = "";
      await changed("Saved", undoing(change));
    }),
  );

  const fields = [label.nodes, labelled("Note, if you like", note)];
  const form = h("form", { class: "row", onsubmit: submit }, fields, save);
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "correct-title" },
    h("h2", { id: "correct-title" }, "Correct it"),
    model.has_store ? gate(model, form) : h("p", {}, "A model without a knowledge store cannot be corrected."),
    outcome,
  );
  const begin = (given, explanation) => {
    [text, current] = [given, explanation];
    label.choose("");
    save.removeAttribute("aria-disabled"); // a question asked meanwhile has cancelled what it waited for
    outcome.replaceChildren();
  };
  return { node, begin };
}
