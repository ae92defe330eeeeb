// The answer to a text: its label, how sure that is, how near the text is to the knowledge, and all labels as bars.

import { breakable, h, newId } from "./dom.js";
import { confidence, count, nearness, percent } from "./words.js";

const FIRST = 8; // labels, neighbours or changes shown at once
const LONG = 14; // letters of a label that needs a line of its own on a narrow screen

// A list whose rest comes on demand; then it scrolls, also by keyboard.
export function topAndRest(items, properties, what) {
  const list = h("ol", properties);
  const frame = h("div", { id: newId("list") }, list);
  const more = h("button", { type: "button", class: "link", "aria-controls": frame.id });
  const set = (open) => {
    list.replaceChildren(...(open ? items : items.slice(0, FIRST)));
    more.textContent = open ? `Show ${FIRST} ${what}` : `Show all ${count(items.length)} ${what}`;
    more.setAttribute("aria-expanded", String(open));
    const region = { class: "scroll", tabindex: "0", role: "region", "aria-label": `All ${what}` };
    for (const [name, value] of Object.entries(region)) {
      if (open) frame.setAttribute(name, value);
      else frame.removeAttribute(name);
    }
  };
  more.addEventListener("click", () => set(more.getAttribute("aria-expanded") === "false"));
  set(false);
  return items.length > FIRST ? h("div", {}, frame, more) : list;
}

// A bar for a share from 0 to 1; the number stands beside it, so it is hidden from screen readers.
export function bar(share, kind = "") {
  const fill = h("span", { class: `fill ${kind}` });
  fill.style.width = `${Math.min(1, share) * 100}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, share > 0 && fill);
}

export function probabilityBars(probabilities) {
  const rows = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  const items = rows.map(([label, p], rank) =>
    h(
      "li",
      { class: rank === 0 && "best" },
      h("span", { class: "name", dir: "auto" }, breakable(label)),
      bar(p),
      h("span", { class: "number" }, percent(p)),
    ),
  );
  const kind = rows.some(([label]) => label.length > LONG) ? "bars long" : "bars";
  return topAndRest(items, { class: kind, "aria-label": "Probability of each label" }, "labels");
}

// What is said of an answer at a threshold, for the eye and, as `spoken`, for screen readers.
export function verdict(explanation, threshold) {
  const { label, probability } = explanation;
  const p = percent(probability);
  if (probability >= threshold) {
    const head = h("p", { class: "label", dir: "auto" }, breakable(label));
    return { head, number: p, line: confidence(explanation), spoken: `${label}, ${p}.` };
  }
  const line = `The likeliest is ${label} with ${p}, below the ${percent(threshold)} asked for.`;
  return { head: h("p", { class: "label none" }, "No answer"), line, spoken: `No answer. ${line}` };
}

export function answerView(explanation, threshold, model) {
  const near = nearness(explanation, model);
  const top = h("div");
  const node = h(
    "section",
    { class: "card answer", "aria-labelledby": "answer-title" },
    h("h2", { id: "answer-title", class: "over" }, "Answer"),
    top,
    h("p", { class: near.far ? "near far" : "near" }, near.text),
    probabilityBars(explanation.probabilities),
  );
  const update = (least) => {
    const { head, number, line } = verdict(explanation, least);
    top.replaceChildren(
      h("div", { class: "headline" }, head, number && h("p", { class: "sure" }, number)),
      h("p", { class: "confidence" }, line),
    );
    node.classList.toggle("with-mark", least > 0);
    node.style.setProperty("--mark", `${least * 100}%`);
  };
  update(threshold);
  return { node, update };
}
