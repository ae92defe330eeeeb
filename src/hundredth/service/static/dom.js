// Makes DOM nodes. What is put into them is text, never markup.

let made = 0;

export const newId = (stem) => `${stem}-${++made}`;

// Children are nodes, texts or lists of them; null, undefined, false and "" are left out.
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child || child === 0));
  return node;
}

// A task as a listener that runs once at a time; its button shows that, and keeps the focus, unlike a disabled one.
export const whileBusy = (button, task) => async (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  try {
    await task();
  } finally {
    button.removeAttribute("aria-disabled");
  }
};

export function action(text, kind, task, more = {}) {
  const button = h("button", { type: "button", class: kind, ...more }, text);
  button.addEventListener("click", whileBusy(button, task));
  return button;
}

// Tells screen readers; said twice, it is heard twice.
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

// A runner of requests of which only the newest counts: an older one is cancelled, and its promise never settles.
export function newest() {
  let current = null;
  return async (task) => {
    current?.abort();
    const mine = new AbortController();
    current = mine;
    try {
      const result = await task(mine.signal);
      if (!mine.signal.aborted) return result;
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    }
    return new Promise(() => {});
  };
}

export function labelled(label, control, hint = "") {
  control.id ||= newId("field");
  const said = hint && h("p", { class: "hint", id: `${control.id}-hint` }, hint);
  if (said) control.setAttribute("aria-describedby", said.id);
  return h("div", { class: "field" }, h("label", { for: control.id, dir: "auto" }, label), control, said);
}

// A select whose first choice is none.
export function select(names, first) {
  const options = names.map((name) => h("option", { value: name }, name));
  return h("select", {}, h("option", { value: "" }, first), options);
}

export const noteInput = () => h("input", { type: "text", maxlength: 500, dir: "auto" });

// A name that may be broken after its underscores and the like.
export const breakable = (name) => name.split(/(?<=[_./:-])/).map((part, i) => (i ? [h("wbr"), part] : part));

// An origin of entries, with its colour.
export const originMark = (origin, words = origin) =>
  h("span", {}, h("span", { class: `dot ${origin}`, "aria-hidden": "true" }), words);

const SHOWN = 280; // characters of a long text, until asked for more

// A text as people wrote it, in its own direction; cut where it is long, with the rest on demand.
export function passage(text) {
  const letters = Array.from(text);
  const body = h("span", { dir: "auto", class: "passage" }, text);
  if (letters.length <= SHOWN * 1.2) return body;
  const short = `${letters.slice(0, SHOWN).join("")}…`;
  const more = h("button", { type: "button", class: "link" });
  const set = (open) => {
    body.textContent = open ? text : short;
    more.textContent = open ? "Show less" : "Show all";
    more.setAttribute("aria-expanded", String(open));
  };
  more.addEventListener("click", () => set(more.getAttribute("aria-expanded") === "false"));
  set(false);
  return h("span", {}, body, " ", more);
}

// The texts of an entry, a list in the order of fields or an object by field; named where there are several.
export function passages(texts, fields) {
  const values = fields.map((name, position) => (Array.isArray(texts) ? texts[position] : texts[name]) ?? "");
  if (fields.length === 1) return h("p", { class: "texts" }, passage(values[0]));
  const rows = fields.map((name, position) => [h("dt", {}, name), h("dd", {}, passage(values[position]))]);
  return h("dl", { class: "texts" }, rows);
}

export function fieldName(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// Inputs for the fields of a text: `nodes` with their labels, `read` and `clear`, and the first `empty` one.
export function textInputs(fields, make, label = fieldName, hint = "") {
  const inputs = fields.map(make);
  return {
    inputs,
    nodes: inputs.map((input, i) => labelled(label(fields[i]), input, hint)),
    read: () => Object.fromEntries(fields.map((name, i) => [name, inputs[i].value])),
    clear: () => inputs.forEach((input) => (input.value = "")),
    empty: () => inputs.find((input) => !input.value.trim()),
  };
}
