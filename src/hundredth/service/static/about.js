// The third tab: what the model is, in numbers, and its card.

import * as api from "./api.js";
import { attempt } from "./access.js";
import { bar } from "./answer.js";
import { h, newest } from "./dom.js";
import { markdown } from "./markdown.js";
import { ORIGINS, count } from "./words.js";

// A value of the service as text; lists and objects as JSON.
function value(given) {
  if (Number.isInteger(given)) return count(given);
  if (typeof given === "number") return String(Number(given.toPrecision(4)));
  if (typeof given === "boolean") return given ? "yes" : "no";
  return given !== null && typeof given === "object" ? JSON.stringify(given) : String(given ?? "unknown");
}

// Nested objects as rows with dotted names.
function rows(content, path = "") {
  return Object.entries(content).flatMap(([name, given]) => {
    const whole = path ? `${path}.${name}` : name;
    const nested = given !== null && typeof given === "object" && !Array.isArray(given);
    return nested ? rows(given, whole) : [[whole.replaceAll("_", " "), value(given)]];
  });
}

function facts(title, pairs) {
  const items = pairs.map(([name, given]) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, given)));
  if (!items.length) return null;
  return h("section", { class: "card" }, h("h2", {}, title), h("dl", { class: "numbers" }, items));
}

function knowledge({ has_store: hasStore, entries }) {
  const all = Object.values(entries).reduce((sum, each) => sum + each, 0);
  const items = Object.keys(ORIGINS).map((origin) =>
    h(
      "li",
      {},
      h("span", { class: "name" }, `${origin} `, h("span", { class: "hint" }, ORIGINS[origin])),
      bar(all ? (entries[origin] ?? 0) / all : 0, origin),
      h("span", { class: "number" }, count(entries[origin] ?? 0)),
    ),
  );
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Knowledge"),
    hasStore
      ? [h("p", {}, `${count(all)} entries.`), h("ol", { class: "bars origins" }, ...items)]
      : h("p", {}, "This model has no knowledge store: it is a plain classifier."),
  );
}

function page(model) {
  const { calibration, metrics, encoder, retrieval, provenance } = model;
  return [
    h(
      "div",
      { class: "stack" },
      model.card && h("section", { class: "card prose", dir: "auto" }, markdown(model.card)),
      facts("Made from", rows(provenance)),
    ),
    h(
      "div",
      { class: "stack" },
      h(
        "section",
        { class: "card" },
        h("h2", {}, `${count(model.labels.length)} labels`),
        h("ul", { class: "chips" }, ...model.labels.map((name) => h("li", { class: "chip", dir: "auto" }, name))),
      ),
      knowledge(model),
      facts("Measured", rows(metrics)),
      facts("Calibration", rows(calibration)),
      facts("Look-up", model.has_store ? rows(retrieval) : []),
      facts("Served", [
        ["model", model.model_version],
        ["threads", value(model.threads)],
        ["numbers", model.number_format],
        ...rows(encoder, "encoder"),
      ]),
    ),
  ];
}

export function aboutView() {
  const latest = newest();
  const node = h("div", { class: "columns" });
  const load = async () => node.replaceChildren(...page(await latest((signal) => api.model(signal))));
  const show = () => attempt(node, load, show);
  return { node, show };
}
