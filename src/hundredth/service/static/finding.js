// The two ways to find entries: by what they are and contain, and by meaning.

import { h, labelled, fieldName, select, textInputs } from "./dom.js";
import { labelSelect } from "./labels.js";
import { ORIGINS } from "./words.js";

const PAUSE = 200; // ms without a key after which the filter applies

// `browse` is called when the filter has changed, `search` with a text to find the nearest to.
export function findingView(model, browse, search) {
  const filters = {
    contains: h("input", { type: "search", dir: "auto", maxlength: 500 }),
    label: labelSelect(model, "All"),
    origin: select(Object.keys(ORIGINS), "All"),
    least_sure: h("input", { type: "checkbox" }),
  };
  let waiting = 0;
  const filter = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filter" },
    labelled("Contains", filters.contains),
    h("div", { class: "row" }, labelled("Label", filters.label), labelled("Origin", filters.origin)),
    h("label", { class: "check" }, filters.least_sure, "The least sure, of what no person labelled"),
  );
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(browse, PAUSE);
  });

  const name = (field) => (model.fields.length === 1 ? "Nearest in meaning to" : `Nearest in meaning: ${fieldName(field)}`);
  const text = textInputs(model.fields, () => h("input", { type: "search", dir: "auto" }), name);
  const button = h("button", { type: "submit", class: "quiet" }, "Search");
  const last = h("div", { class: "row" }, text.nodes.pop(), button);
  const named = { class: "searching", role: "search", "aria-label": "Search by meaning" };
  const searching = h("form", named, text.nodes, last);
  searching.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    if (text.inputs.every((input) => !input.value.trim())) return browse();
    if (text.empty()) return text.empty().focus();
    filter.reset();
    search(text.read());
  });
  return {
    node: h("div", { class: "card finding" }, searching, filter),
    query: () => {
      const { least_sure: box, ...named } = filters;
      const given = Object.entries(named).map(([key, control]) => [key, control.value]);
      return { ...Object.fromEntries(given), least_sure: box.checked || "" };
    },
    clearSearch: text.clear,
  };
}
