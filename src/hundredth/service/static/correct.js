// Say what the right label of the asked text is; the answer is asked again, and the change can be taken back.

import * as api from "./api.js";
import { attempt, gate } from "./access.js";
import { action, announce, h, labelled, noteInput, whileBusy } from "./dom.js";
import { labelChoice, learn } from "./labels.js";
import { percent } from "./words.js";

const said = ({ label, probability }) => [h("strong", { dir: "auto" }, label), ` ${percent(probability)}`];

// `again` asks a text anew and returns its explanation. `begin` is called with every answer, and `leave` when another
// text is asked.
export function correctView(model, again) {
  let text = null;
  let left = false; // another text is being asked
  let current = null; // its explanation
  const label = labelChoice(model, "The right label");
  const note = noteInput();
  const save = h("button", { type: "submit" }, "Save");
  const outcome = h("div", { class: "outcome" });

  const tell = (line, undo) => {
    outcome.replaceChildren(h("div", { class: "notice", tabindex: "-1" }, line, undo));
    announce(line.textContent);
  };
  // Says what a change of a text did to its answer; of one that is no longer asked about, only that it was made.
  const changed = async (asked, title, undo = null) => {
    if (left || text !== asked) return tell(h("p", {}, `${title}, for the text asked before.`), undo);
    const before = current;
    current = await again(asked);
    tell(h("p", {}, `${title}: `, said(before), " → ", said(current)), undo);
  };
  const undoing = (change, asked) =>
    action("Undo", "quiet", () =>
      attempt(outcome, async () => {
        await api.undo(change.id);
        await changed(asked, "Taken back");
        outcome.firstChild.focus();
      }),
    );
  const submit = whileBusy(save, () =>
    attempt(outcome, async () => {
      const [asked, given] = [text, label.read()];
      const { change } = await api.correct(asked, given.label, note.value.trim(), given.isNew);
      learn(model, [given.label]);
      if (!left && text === asked) {
        label.choose(given.label);
        note.value = "";
      }
      await changed(asked, "Saved", undoing(change, asked));
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
    [text, current, left] = [given, explanation, false];
    label.choose("");
    note.value = "";
    save.removeAttribute("aria-disabled"); // a question asked meanwhile has cancelled what it waited for
    outcome.replaceChildren();
  };
  const leave = () => (left = true);
  return { node, begin, leave };
}
