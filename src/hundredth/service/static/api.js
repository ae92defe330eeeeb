// The service's HTTP interface, and the token and name that go with requests; both are kept for this tab alone.

const TIMEOUT = 30_000; // ms
const kept = { token: "", name: "" };

for (const key of Object.keys(kept)) {
  try {
    kept[key] = sessionStorage.getItem(`hundredth.${key}`) ?? "";
  } catch {
    // Storage is blocked: token and name last until the page is left.
  }
}

export const session = new EventTarget(); // tells "change"

export const credentials = () => ({ ...kept });

export function setCredentials(values) {
  for (const [key, value] of Object.entries(values)) {
    kept[key] = value;
    try {
      if (value) sessionStorage.setItem(`hundredth.${key}`, value);
      else sessionStorage.removeItem(`hundredth.${key}`);
    } catch {
      // As above.
    }
  }
  session.dispatchEvent(new Event("change"));
}

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: no answer came
  }
}

async function call(method, path, { body, signal, token = kept.token } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  // A header holds bytes, written as a letter each; the service reads them as UTF-8.
  if (kept.name) headers["X-User"] = String.fromCharCode(...new TextEncoder().encode(kept.name));
  const limit = AbortSignal.timeout(TIMEOUT);
  let response;
  let content = null;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    content = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return null; // not JSON: something between page and service answered
      throw error;
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) throw new ServiceError(0, "The service did not answer within 30 seconds.");
    throw new ServiceError(0, "The service does not answer: check that it runs and can be reached.");
  }
  if (response.ok && content !== null) return content;
  throw new ServiceError(response.status, message(response, content));
}

function message(response, content) {
  const said = content?.error?.message;
  const what = typeof said === "string" ? said : `The service answered ${response.status} without saying why.`;
  const wait = Number(response.headers.get("Retry-After"));
  return response.status === 429 && wait > 0 ? `${what} Try again in ${wait} s.` : what;
}

const post = (path, body, signal) => call("POST", path, { body, signal });

// Relative paths, so that the page also works behind a proxy that puts it under a path of its own.
export const model = (signal) => call("GET", "v1/model", { signal });
export const explain = (text, signal) => post("v1/explain", { text }, signal);
export const entry = (id, signal) => call("GET", `v1/knowledge/${encodeURIComponent(id)}`, { signal });
export const search = (text, k, signal) => post("v1/knowledge/search", { text, k }, signal);
export const add = (texts, labels, note, mayBeNew) =>
  post("v1/knowledge", { texts, labels, note, new_labels: mayBeNew });
export const correct = (text, label, note, mayBeNew) =>
  post("v1/knowledge/correct", { text, label, note, new_label: mayBeNew });
export const remove = (id) => call("DELETE", `v1/knowledge/${encodeURIComponent(id)}`);
export const undo = (change) => post("v1/knowledge/undo", { change });
export const log = (limit, signal) => call("GET", `v1/knowledge/log?limit=${limit}`, { signal });

// Whether the service takes a token: it looks at that before it refuses an undo that names no change.
export async function takes(token) {
  if (!/^[!-~]+$/.test(token)) return false; // no header could carry it
  const refusal = await call("POST", "v1/knowledge/undo", { body: {}, token }).catch((error) => error);
  if ([401, 422].includes(refusal.status)) return refusal.status === 422;
  throw refusal;
}

export function entries(query, signal) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  return call("GET", `v1/knowledge?${new URLSearchParams(given)}`, { signal });
}
