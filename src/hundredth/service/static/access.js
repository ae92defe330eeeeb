// Who may change the knowledge: the token, what is shown instead of a form without it, and errors.

import { ServiceError, credentials, session, setCredentials, takes } from "./api.js";
import { action, h, labelled, whileBusy } from "./dom.js";

export const mayWrite = (model) => model.writable && (!model.writes_need_token || credentials().token !== "");

function readOnly(model) {
  if (model.writes_need_token) return h("p", {}, "This service is read-only: it cannot write into its folder.");
  return h(
    "div",
    { class: "read-only" },
    h("p", {}, "This service is read-only. To allow changes to those who have a token, start it with one:"),
    h("pre", {}, h("code", {}, "hundredth serve MODEL --token-file FILE")),
  );
}

// A form for the name that goes into the log, and for the token where one is needed.
function identityForm(why, needsToken = true) {
  const token = h("input", { type: "password", autocomplete: "off", required: true, maxlength: 500 });
  const name = h("input", { autocomplete: "name", maxlength: 100, value: credentials().name, dir: "auto" });
  const button = h("button", { type: "submit" }, "Use it");
  const outcome = h("div", { class: "outcome" });
  const submit = whileBusy(button, () =>
    attempt(outcome, async () => {
      const given = { name: name.value.trim() };
      if (needsToken) given.token = token.value.trim();
      if (!needsToken || (await takes(given.token))) return setCredentials(given);
      outcome.replaceChildren(alarm("This is not the token of this service."));
      token.select();
    }),
  );
  const fields = [needsToken && labelled("Token", token), labelled("Your name, for the log", name)];
  return h(
    "form",
    { class: "identity", onsubmit: submit },
    h("p", {}, why),
    h("div", { class: "row" }, fields, button),
    needsToken && h("p", { class: "hint" }, "The token is kept in this tab only, until it is closed."),
    outcome,
  );
}

const NEEDED = "Changes need the token of this service.";

// A place for what changes the knowledge: the form itself, or why it is not there and what to do about it.
export function gate(model, form) {
  const place = h("div");
  const update = () => {
    const here = place.contains(document.activeElement);
    place.replaceChildren(mayWrite(model) ? form : model.writable ? identityForm(NEEDED) : readOnly(model));
    if (here) place.querySelector("input, select, textarea")?.focus();
  };
  session.addEventListener("change", update);
  update();
  return place;
}

// The state in the header, with what can be done about it.
export function accessMenu(model) {
  const state = h("summary");
  const body = h("div", { class: "menu" });
  const menu = h("details", { class: "access" }, state, body);
  const say = (text, ...content) => {
    state.textContent = text;
    body.replaceChildren(...content);
  };
  const update = () => {
    const { token, name } = credentials();
    const editing = name ? `Editing as ${name}` : "Editing";
    if (menu.contains(document.activeElement)) state.focus();
    menu.open = false;
    if (token) {
      const forget = action("Forget the token", "quiet", () => setCredentials({ token: "" }));
      say(mayWrite(model) ? editing : "Token set", h("p", {}, "The token is kept in this tab only."), forget);
    } else if (!model.writable) {
      say("Read-only", readOnly(model));
    } else if (model.writes_need_token) {
      say("Enter token", identityForm(NEEDED));
    } else {
      say(editing, identityForm("Everyone on this machine may change the knowledge.", false));
    }
  };
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    state.focus();
  });
  document.addEventListener("click", (event) => {
    if (!event.composedPath().includes(menu)) menu.open = false;
  });
  session.addEventListener("change", update);
  update();
  return menu;
}

export const alarm = (text) => h("div", { class: "problem", role: "alert" }, h("p", {}, text));

// An error as something to read and to act on. What is not the service's is a fault of the page: to the console.
export function problem(error, retry = null) {
  const foreseen = error instanceof ServiceError;
  if (!foreseen) console.error(error);
  const box = alarm(foreseen ? error.message : "This page has failed.");
  if (error.status === 401) {
    box.append(identityForm("Enter the token of this service."));
    session.addEventListener("change", () => (retry ? retry() : box.remove()), { once: true });
  } else if (retry) {
    box.append(action("Try again", "quiet", retry));
  }
  return box;
}

// Runs a task; where it fails, says so in a place.
export async function attempt(place, task, retry = null) {
  try {
    await task();
  } catch (error) {
    place.replaceChildren(problem(error, retry));
  }
}
