// Starts the page: asks what is served, then shows the tab that the address names.

import * as api from "./api.js";
import { aboutView } from "./about.js";
import { accessMenu, problem } from "./access.js";
import { askView } from "./ask.js";
import { h } from "./dom.js";
import { knowledgeView } from "./knowledge.js";

const TABS = ["ask", "knowledge", "about"];
const $ = (id) => document.getElementById(id);
const tab = (name) => $(`tab-${name}`);

function open(model) {
  const views = { knowledge: knowledgeView(model), about: aboutView() };
  $("ask").replaceChildren(askView(model));
  $("knowledge").replaceChildren(views.knowledge.node);
  $("about").replaceChildren(views.about.node);
  $("access").replaceChildren(accessMenu(model));
  $("task").textContent = model.task;

  const route = (event) => {
    const [, name, id] = /^#\/(\w+)(?:\/(\d+))?$/.exec(location.hash) ?? [];
    const current = TABS.includes(name) ? name : "ask";
    select(current);
    document.title = `${tab(current).textContent} – ${model.task} – hundredth`;
    views[current]?.show?.(id, Boolean(event));
  };
  addEventListener("hashchange", route);
  api.session.addEventListener("change", () => views.knowledge.redraw?.());
  route();
}

function select(name) {
  for (const one of TABS) {
    tab(one).setAttribute("aria-selected", String(one === name));
    tab(one).tabIndex = one === name ? 0 : -1;
    $(one).hidden = one !== name;
  }
}

function tabs() {
  for (const [position, name] of TABS.entries()) {
    tab(name).addEventListener("click", () => {
      location.hash = `#/${name}`;
    });
    tab(name).addEventListener("keydown", (event) => {
      const last = TABS.length - 1;
      const goal = {
        ArrowRight: position === last ? 0 : position + 1,
        ArrowLeft: position === 0 ? last : position - 1,
        Home: 0,
        End: last,
      }[event.key];
      if (goal === undefined) return;
      event.preventDefault();
      location.hash = `#/${TABS[goal]}`;
      select(TABS[goal]); // the address tells of its change a moment later, and the next key may come before
      tab(TABS[goal]).focus();
    });
  }
}

async function start() {
  const place = $("start");
  place.replaceChildren(h("p", { class: "empty", role: "status" }, "Loading the model…"));
  try {
    const model = await api.model();
    place.replaceChildren();
    document.querySelector("[role=tablist]").hidden = false;
    open(model);
  } catch (error) {
    place.replaceChildren(problem(error, start));
  }
}

tabs();
start();
