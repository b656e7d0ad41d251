// The one way to the server: JSON in and out, files as blobs, errors as words.

const KEY = "halfmask-token";
if (location.hash.length > 1) {
  sessionStorage.setItem(KEY, decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname); // the token is not for the address bar, bookmarks or shoulders
}

export class Failure extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code, id: error.id, models: error.models ?? [] });
  }
}

export async function ask(path, { method = "GET", json, body, headers = {}, signal, keepalive } = {}) {
  const token = sessionStorage.getItem(KEY);
  if (token) headers["X-Halfmask-Token"] = token;
  if (json !== undefined) {
    body = JSON.stringify(json);
    headers["Content-Type"] = "application/json";
  }
  for (let tries = 0; ; tries++) {
    let answer;
    try {
      answer = await fetch(`api/v1/${path}`, { method, body, headers, signal, keepalive });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure(0, { code: "gone", message: "halfmask does not answer. Is it still running? Start it again by: halfmask serve" });
    }
    if (answer.ok) return answer;
    let error;
    try {
      ({ error } = await answer.json());
    } catch {
      error = { code: "odd", message: `halfmask answered with ${answer.status}. Try again` };
    }
    if (answer.status === 429 && tries < 20) { // it is busy, and says for how long
      await new Promise((done) => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") ?? 1)));
      continue;
    }
    throw new Failure(answer.status, error);
  }
}

export const json = async (path, how) => (await ask(path, how)).json();
export const blob = async (path, how) => (await ask(path, how)).blob();

export async function* events(path, signal) {
  const reader = (await ask(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const said = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s)));
      if (said.event) yield { kind: said.event, ...JSON.parse(said.data) };
    }
  }
}

export function save(data, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name.split("/").pop();
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
