// Why a text got its label: the parts of the decision, and the entries that took part.

import { bar, topAndRest } from "./answer.js";
import { h, originMark, passages } from "./dom.js";
import { ORIGINS, finePercent, percent, plural } from "./words.js";

const PARTS = ["head", ...Object.keys(ORIGINS)];

// One bar of all that took part: the classifier and the entries by origin.
function parts(explanation) {
  const shares = { head: explanation.head_share };
  for (const { origin, share } of explanation.neighbours) shares[origin] = (shares[origin] ?? 0) + share;
  const taking = PARTS.filter((part) => shares[part] > 0);
  const segments = taking.map((part) => {
    const segment = h("span", { class: `part ${part}` });
    segment.style.flexGrow = String(shares[part]);
    return segment;
  });
  const names = taking.map((part) => {
    const name = part === "head" ? "classifier" : part;
    return h("li", {}, originMark(part, `${name} ${percent(shares[part])}`));
  });
  return [
    h("div", { class: "parts", "aria-hidden": "true" }, segments),
    h("ul", { class: "legend", "aria-label": "Parts of the decision" }, names),
  ];
}

function summary({ decided_by_user: decided, neighbours, label, head_label: alone }, model) {
  if (decided) {
    const others = "The classifier and the other entries took no part.";
    return `An entry that a person made decided alone: it is nearly identical to the text. ${others}`;
  }
  if (!model.has_store) return "This model has no knowledge store: the classifier decides alone.";
  if (neighbours.length) {
    const nearest = plural(neighbours.length, "nearest entry", "nearest entries");
    const other = alone === label ? "the same" : alone;
    return `The classifier is mixed with the ${nearest}. Alone it would say ${other}.`;
  }
  if (model.retrieval.weight > 0) return "The knowledge store is empty: the classifier decides alone.";
  const but = "but for what people say of nearly identical texts";
  return `The model was found to be best without its store: the classifier decides alone, ${but}.`;
}

function neighbour(one, largest, label, model) {
  const { id, origin, similarity, share } = one;
  const without = `${one.label_without} ${percent(one.probability_without)}`;
  return h(
    "li",
    { class: "neighbour" },
    h(
      "div",
      { class: "line" },
      passages(one.texts, model.fields),
      h("p", { class: "share" }, bar(share / largest, origin), h("span", { class: "number" }, finePercent(share))),
    ),
    h(
      "p",
      { class: "facts" },
      h("span", { class: "chip", dir: "auto" }, one.label),
      originMark(origin),
      h("span", {}, `similarity ${similarity.toFixed(2)}`),
      h("span", { class: one.label_without !== label && "changes" }, `without it: ${without}`),
      h("a", { href: `#/knowledge/${id}`, "aria-label": `Entry ${id}` }, `#${id}`),
    ),
  );
}

export function whyView(explanation, model) {
  const { neighbours, label } = explanation;
  const largest = Math.max(...neighbours.map(({ share }) => share));
  const rows = neighbours.map((one) => neighbour(one, largest, label, model));
  const hint = "Each entry with its share of the decision; the longest bar is the largest share.";
  return h(
    "section",
    { class: "why", "aria-labelledby": "why-title" },
    h("h2", { id: "why-title" }, "Why"),
    h("p", {}, summary(explanation, model)),
    parts(explanation),
    rows.length > 1 && h("p", { class: "hint" }, hint),
    rows.length > 0 && topAndRest(rows, { class: "neighbours" }, "entries"),
  );
}
