// The first tab: a text goes in; its answer, why, and a way to correct it come out.

import * as api from "./api.js";
import { alarm, attempt } from "./access.js";
import { answerView, verdict } from "./answer.js";
import { correctView } from "./correct.js";
import { action, announce, h, labelled, newest, textInputs } from "./dom.js";
import { learn } from "./labels.js";
import { whyView } from "./why.js";
import { nearness } from "./words.js";

const KEYS = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ Enter" : "Ctrl Enter";
const HINT = "Write a text to see its label, how sure that is, and which knowledge decided it.";

// The slider and the number for the probability from which on there is an answer; `set` is told of every value, and
// `settled` called when one is chosen.
function thresholdInputs(set, settled) {
  const limits = { min: 0, max: 99, value: 0 };
  const range = h("input", { type: "range", ...limits });
  const number = h("input", { type: "number", ...limits, "aria-label": "Answer only above, in percent" });
  for (const control of [range, number]) {
    control.addEventListener("input", () => {
      const whole = Math.max(0, Math.min(99, Math.round(Number(control.value) || 0)));
      range.value = whole;
      if (control === range) number.value = whole;
      set(whole / 100);
    });
    control.addEventListener("change", () => {
      number.value = range.value;
      settled();
    });
  }
  return h("div", { class: "threshold" }, labelled("Answer only above", range), h("span", {}, number, " %"));
}

export function askView(model) {
  const latest = newest();
  let threshold = 0;
  let shown = null; // the answer that is shown

  const rows = model.fields.length === 1 ? 4 : 3;
  const text = textInputs(model.fields, () => h("textarea", { rows, dir: "auto", spellcheck: "true" }));
  const submit = h("button", { type: "submit", "aria-keyshortcuts": "Control+Enter Meta+Enter" }, "Ask");
  const answer = h("div", { class: "answers" });
  const why = h("div", { class: "reasons" }, h("p", { class: "empty" }, HINT));
  const stale = h("p", { class: "stale", hidden: true }, "The text has changed: ask again.");
  const renewed = h(
    "div",
    { class: "notice" },
    h("p", {}, "The service has another model by now."),
    action("Reload the page", "quiet", () => location.reload()),
  );

  const place = h("div");
  const explain = async (asked) => {
    const explanation = await latest((signal) => api.explain(asked, signal));
    learn(model, Object.keys(explanation.probabilities));
    shown = { ...answerView(explanation, threshold, model), explanation };
    place.replaceChildren(shown.node);
    why.replaceChildren(whyView(explanation, model));
    return explanation;
  };
  const correct = correctView(model, explain);

  const ask = async () => {
    const empty = text.empty();
    if (empty) {
      answer.replaceChildren(alarm("There is no text: write one."));
      why.replaceChildren();
      return empty.focus();
    }
    correct.leave();
    form.setAttribute("aria-busy", "true");
    stale.hidden = true;
    shown = null;
    const asked = text.read();
    const task = async () => {
      const explanation = await explain(asked);
      correct.begin(asked, explanation);
      const same = explanation.model_version === model.model_version;
      answer.replaceChildren(...(same ? [] : [renewed]), place, correct.node);
      announce(`${verdict(explanation, threshold).spoken} ${nearness(explanation, model).text}`);
    };
    await attempt(answer, task, ask);
    if (!shown) why.replaceChildren();
    form.removeAttribute("aria-busy");
  };

  const limit = thresholdInputs(
    (value) => {
      threshold = value;
      shown?.update(threshold);
    },
    () => shown && announce(verdict(shown.explanation, threshold).spoken),
  );
  const form = h(
    "form",
    { class: "card asking" },
    text.nodes,
    h("div", { class: "asking-row" }, h("div", { class: "go" }, submit, h("kbd", {}, KEYS)), limit),
    stale,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("input", (event) => {
    if (event.target.matches("textarea")) stale.hidden = !shown;
  });
  return h("div", { class: "columns" }, h("div", { class: "stack" }, form, answer), why);
}
