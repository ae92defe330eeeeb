// Markdown, as much as a model card has, to DOM nodes. What is not understood is shown as it was written.

import { h } from "./dom.js";

const INLINE = /(`+)(.+?)\1(?!`)|\*\*(.+?)\*\*|\*(?=\S)(.+?)\*|\[([^\]]+)\]\(([^)\s]+)\)/;

function inline(text) {
  const nodes = [];
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    const [whole, , code, strong, emphasis, words, target] = found;
    nodes.push(rest.slice(0, found.index));
    if (code !== undefined) nodes.push(h("code", {}, code));
    else if (strong !== undefined) nodes.push(h("strong", {}, inline(strong)));
    else if (emphasis !== undefined) nodes.push(h("em", {}, inline(emphasis)));
    else if (/^https?:\/\//i.test(target)) nodes.push(h("a", { href: target, rel: "noopener noreferrer" }, words));
    else nodes.push(words);
    rest = rest.slice(found.index + whole.length);
  }
  return [...nodes, rest].filter((node) => node !== "");
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(lines) {
  const head = cells(lines[0]);
  const body = lines.slice(2).map((line) => h("tr", {}, cells(line).map((cell) => h("td", {}, inline(cell)))));
  const names = head.map((cell) => (cell ? h("th", { scope: "col" }, inline(cell)) : h("td")));
  return h("table", {}, h("thead", {}, h("tr", {}, names)), h("tbody", {}, body));
}

const KINDS = [
  { // headings begin below those of the page
    start: /^#{1,6} /,
    make: ([line]) => h(`h${Math.min(line.indexOf(" ") + 1, 6)}`, {}, inline(line.replace(/^#+ +/, "").trim())),
    more: () => false,
  },
  {
    start: /^```/,
    make: (lines) => h("pre", {}, h("code", {}, lines.slice(1).filter((line) => !/^```/.test(line)).join("\n"))),
    more: (line, lines) => lines.length === 1 || !/^```/.test(lines.at(-1)),
  },
  { start: /^\|.*\|\s*$/, make: table, more: (line) => /^\|/.test(line), least: 2 },
  {
    start: /^[-*] /,
    make: (lines) => h("ul", {}, ...items(lines, /^[-*] /)),
    more: (line) => /^([-*] |\s+\S)/.test(line),
  },
  {
    start: /^\d+[.)] /,
    make: (lines) => h("ol", {}, ...items(lines, /^\d+[.)] /)),
    more: (line) => /^(\d+[.)] |\s+\S)/.test(line),
  },
];
const PARAGRAPH = {
  make: (lines) => h("p", {}, inline(lines.join(" "))),
  more: (line) => line.trim() !== "" && !KINDS.some(({ start }) => start.test(line)),
};

function items(lines, start) {
  const texts = [];
  for (const line of lines) {
    if (start.test(line)) texts.push(line.replace(start, ""));
    else texts.push(`${texts.pop()} ${line.trim()}`);
  }
  return texts.map((text) => h("li", {}, inline(text)));
}

export function markdown(text) {
  const lines = text.split(/\r?\n/);
  const nodes = [];
  for (let i = 0; i < lines.length; ) {
    if (!lines[i].trim()) {
      i += 1;
      continue;
    }
    const kind = KINDS.find(({ start }) => start.test(lines[i])) ?? PARAGRAPH;
    const taken = [lines[i++]];
    while (i < lines.length && kind.more(lines[i], taken)) taken.push(lines[i++]);
    nodes.push((taken.length < (kind.least ?? 1) ? PARAGRAPH : kind).make(taken));
  }
  return nodes;
}
