// The labels that can be chosen: those of the model, and those that are added to it while the page is open.

import { announce, h, labelled } from "./dom.js";

const NEW = "a new label…";
const grown = new EventTarget(); // tells "change" with the label

// Labels that the service has by now; those that the page does not know are offered from then on.
export function learn(model, labels) {
  for (const label of labels) {
    if (model.labels.includes(label)) continue;
    model.labels.push(label);
    grown.dispatchEvent(new CustomEvent("change", { detail: label }));
  }
}

const option = (label) => h("option", { value: label }, label);

// A select of the labels whose first choice is none; the nodes of `last` stay behind the labels.
export function labelSelect(model, first, required = false, ...last) {
  const control = h("select", { required }, h("option", { value: "" }, first), model.labels.map(option), last);
  grown.addEventListener("change", ({ detail }) => control.insertBefore(option(detail), last[0] ?? null));
  return control;
}

// The same with a last choice that asks for the name of a new label. `nodes` go into a form, which is not sent without
// a name; `read` returns {label, isNew}, and `saved` is to be called with that when the service has taken it.
export function labelChoice(model, title) {
  const fresh = h("option", { value: NEW }, NEW);
  const control = labelSelect(model, "Choose…", true, fresh);
  const name = h("input", { type: "text", maxlength: 200, pattern: ".*\\S.*", dir: "auto", autocomplete: "off" });
  const hint = "It is for good: Undo takes it from the text, not from the list.";
  const place = labelled("Name of the new label", name, hint);
  place.classList.add("whole");
  const update = () => {
    const asked = control.selectedOptions[0] === fresh;
    place.hidden = !asked;
    name.required = asked;
    if (!asked) name.value = "";
  };
  control.addEventListener("change", () => {
    update();
    if (!place.hidden) announce("The name of the new label is asked for next.");
  });
  update();
  const choose = (label) => {
    control.value = label;
    update();
  };
  return {
    nodes: [labelled(title, control), place],
    choose,
    read: () => {
      const typed = name.value.trim().replace(/\s+/g, " ");
      return control.selectedOptions[0] === fresh
        ? { label: typed, isNew: !model.labels.includes(typed) }
        : { label: control.value, isNew: false };
    },
    saved: ({ label }) => {
      learn(model, [label]);
      choose(label);
    },
  };
}
