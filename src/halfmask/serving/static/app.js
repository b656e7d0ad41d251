// The page: photos, what is asked of them, and what comes back.

import { ask, blob, events, Failure, json, save } from "./api.js";
import { watch } from "./files.js";
import * as panel from "./panel.js";
import * as stage from "./stage.js";

const $ = (id) => document.getElementById(id);
const { make } = panel;
const photos = [];
let current = null;

class Photo {
  constructor(file, name) {
    Object.assign(this, { file, name, id: null, info: null, result: null, reads: null, error: null, busy: "" });
    this.urls = { thumb: null, before: null, after: null, full: null };
    this.turn = 0; // counts what was asked, so that an old answer is told from a new one
    this.ready = null;
    this.saved = null; // what became of it in the last zip
  }

  // The faces with what is true of each: protected or not, and how that is said.
  faces() {
    const done = new Map((this.result?.faces ?? []).map((face) => [face.number, face]));
    return (this.info?.faces ?? []).map((face) => {
      const after = done.get(face.number);
      const why = face.on ? (after ? after.unprotected : "not yet protected") : "switched off";
      const safe = face.on && after && !after.unprotected;
      return { ...face, safe, short: "UNPROTECTED", said: safe ? "protected" : `UNPROTECTED: ${why}` };
    });
  }

  get unprotected() {
    return this.faces().filter((face) => !face.safe).length;
  }

  forget(...names) {
    for (const name of names) {
      if (this.urls[name]) URL.revokeObjectURL(this.urls[name]);
      this.urls[name] = null;
    }
  }
}

// ---- what is said

function say(text) {
  $("status").textContent = text;
}

function notice(text, { bad = true, actions = [] } = {}) {
  const box = make("div", { className: `notice ${bad ? "bad" : ""}` }, make("p", { textContent: text }));
  const close = make("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => box.remove());
  box.append(make("div", { className: "row" }, ...actions, close));
  if ([...$("notices").children].some((one) => one.firstChild.textContent === text)) return null;
  $("notices").append(box);
  return box;
}

function sentence(error) {
  const text = error instanceof Failure ? error.message : `Something on this page broke: ${error.message}`;
  const whole = text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  return error.id && error.status >= 500 ? `${whole} (error ${error.id})` : whole;
}

// ---- the list of photos

function state(photo) {
  if (photo.error) return ["not done", "mark"];
  if (photo.busy) return [photo.busy, ""];
  if (!photo.info) return ["waiting", ""];
  if (!photo.info.faces.length) return ["UNPROTECTED: no face found", "mark"];
  const all = photo.info.faces.length;
  const count = photo.result || !photo.saved ? photo.unprotected : photo.saved.unprotected;
  if (!photo.result && !photo.saved) return [all === 1 ? "1 face" : `${all} faces`, ""];
  if (count) return [`${count} of ${all} UNPROTECTED`, "mark"];
  return [all === 1 ? "1 face protected" : `${all} faces protected`, "ok"];
}

function list() {
  const focused = document.activeElement?.dataset?.photo;
  $("photos").replaceChildren(...photos.map((photo, index) => {
    const [text, kind] = state(photo);
    const picture = photo.urls.thumb ? make("img", { src: photo.urls.thumb, alt: "" }) : make("span", { className: "blank" });
    const words = make("span", {}, make("b", { textContent: photo.name.split("/").pop() }), make("small", { textContent: text, className: kind }));
    const button = make("button", { type: "button" }, picture, words);
    button.dataset.photo = index;
    button.title = photo.name;
    if (photo === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => choose(photo));
    return make("li", {}, button);
  }));
  if (focused !== undefined) $("photos").querySelector(`[data-photo="${focused}"]`)?.focus({ preventScroll: true });
  $("work").hidden = !photos.length;
  document.body.classList.toggle("working", photos.length > 0);
  $("save-all").hidden = photos.length < 2;
}

function refresh(share = null) {
  list();
  const photo = current;
  if (!photo) return;
  $("photo-name").textContent = photo.name;
  const none = photo.info && !photo.info.faces.length;
  const notes = [...(photo.result?.notes ?? photo.info?.notes ?? [])];
  if (none) notes.unshift("UNPROTECTED: no face was found. If there is one, mark it below; else there is nothing to protect.");
  if (photo.error) notes.unshift(sentence(photo.error));
  $("photo-note").textContent = notes.join(" ");
  $("photo-note").hidden = !notes.length;
  $("photo-note").classList.toggle("bad", Boolean(photo.error || none));
  $("busy").hidden = !photo.busy;
  $("busy-text").textContent = photo.busy;
  $("stage").hidden = $("views").hidden = !photo.info;
  $("draw").disabled = !photo.info;
  $("save").disabled = !photo.result || Boolean(photo.error);
  panel.faces(photo, (number, said) => change(photo, { faces: [{ number, ...said }] }));
  panel.command(photo.result);
  stage.show(photo, share);
  stage.frames(photo.faces(), (number, on) => change(photo, { faces: [{ number, on }] }));
}

async function choose(photo) {
  if (stage.drawing()) stopDrawing();
  if (current !== photo) current?.forget("before", "after", "full"); // of hundreds of photos, one is shown
  current = photo;
  refresh();
  if (photo.error?.code === "not_found") photo.error = null;
  await photo.ready;
  if (photo === current && photo.info && !photo.error) await protect(photo);
}

// ---- the work on one photo

async function look(photo) {
  photo.busy = "looking for faces";
  photo.error = null;
  if (photo === current) refresh();
  else list();
  try {
    const said = photo.info;
    photo.info = await json("photos", { method: "POST", body: photo.file, headers: { "X-Halfmask-Name": encodeURIComponent(photo.name) } });
    photo.id = photo.info.id;
    if (said) { // it had been forgotten: what was said of it is said again
      const faces = said.faces.map(({ number, on, who, gender }) => ({ number, on, who, gender }));
      if (said.boxes.length) photo.info = await json(`photos/${photo.id}/faces`, { method: "POST", json: { boxes: said.boxes } });
      const fits = faces.filter(({ number }) => number <= photo.info.faces.length);
      photo.info = await json(`photos/${photo.id}/faces`, { method: "POST", json: { faces: fits } });
    }
    photo.result = photo.reads = null;
    photo.forget("thumb", "before", "after", "full");
    photo.urls.thumb = URL.createObjectURL(await blob(`photos/${photo.id}/picture?side=160`));
    const count = photo.info.faces.length;
    say(`${photo.name}: ${count === 1 ? "1 face" : `${count} faces`} found`);
  } catch (error) {
    failed(photo, error);
  }
  photo.busy = "";
  if (photo === current) refresh();
  else list();
}

function failed(photo, error) {
  if (error.name === "AbortError") return;
  photo.error = error;
  if (error.code === "model_missing") askForModels();
  else if (error.code === "no_token" || error.code === "gone" || error.code === "memory_full") notice(sentence(error));
  say(`${photo.name}: ${sentence(error)}`);
}

// Do something with a photo that the server may have forgotten: then give it again, once.
async function held(photo, work) {
  try {
    return await work();
  } catch (error) {
    if (error.code !== "not_found") throw error;
    await look(photo);
    if (photo.error) throw photo.error;
    return work();
  }
}

async function change(photo, said) {
  try {
    photo.info = await held(photo, () => json(`photos/${photo.id}/faces`, { method: "POST", json: said }));
    photo.saved = null;
    photo.forget("full");
    if (said.faces?.some((face) => "on" in face)) {
      const face = said.faces[0];
      say(`Face ${face.number} ${face.on ? "will be protected" : "is UNPROTECTED: switched off"}`);
    }
    refresh();
    await protect(photo);
  } catch (error) {
    failed(photo, error);
    refresh();
  }
}

async function protect(photo) {
  const asked = panel.options();
  const turn = ++photo.turn;
  photo.error = null;
  if (!photo.urls.before) {
    try {
      photo.urls.before = URL.createObjectURL(await held(photo, () => blob(`photos/${photo.id}/picture`)));
    } catch (error) {
      failed(photo, error);
      return refresh();
    }
    if (turn !== photo.turn) return;
    refresh();
  }
  if (!asked || !photo.info.faces.length || photo.info.faces.every((face) => !face.on)) {
    photo.result = photo.reads = null;
    photo.forget("after", "full");
    if (!asked) notice("Nothing is to be hidden. Tick at least one thing under “Hide from machines”.", { bad: false });
    return refresh();
  }
  const lacks = panel.method().models;
  if (lacks.length) {
    askForModels(lacks);
    return refresh();
  }
  photo.busy = panel.method().name === "deidentify" ? "changing faces, some seconds for each" : "protecting";
  if (photo === current) $("busy").hidden = false, ($("busy-text").textContent = photo.busy);
  try {
    const result = await held(photo, () => json(`photos/${photo.id}/protect`, { method: "POST", json: asked }));
    if (turn !== photo.turn) return;
    const picture = await blob(`results/${result.id}/picture`);
    if (turn !== photo.turn) return;
    photo.forget("after");
    Object.assign(photo, { result, asked: JSON.stringify(asked), busy: "" });
    photo.urls.after = URL.createObjectURL(picture);
    refresh();
    say(`${photo.name}: ${state(photo)[0]}`);
    const reads = await json(`photos/${photo.id}/reads`, { method: "POST", json: { result: result.id } });
    if (turn !== photo.turn) return;
    photo.reads = reads;
    refresh();
    if (panel.method().at_once && !photo.urls.full) await fetchFull(photo, asked, turn);
  } catch (error) {
    if (turn !== photo.turn) return;
    photo.busy = "";
    photo.result = photo.reads = null;
    photo.forget("after", "full");
    failed(photo, error);
    refresh();
  }
}

// The change at full strength, of which any other is a share: so the dial shows at once what it will do.
async function fetchFull(photo, asked, turn) {
  const full = await json(`photos/${photo.id}/protect`, { method: "POST", json: { ...asked, strength: 1 } });
  const picture = await blob(`results/${full.id}/picture`);
  await ask(`results/${full.id}`, { method: "DELETE" });
  if (turn !== photo.turn) return;
  photo.forget("full");
  photo.urls.full = URL.createObjectURL(picture);
}

async function download(photo) {
  photo.busy = "saving";
  refresh();
  try {
    const fetched = () => blob(`results/${photo.result.id}`);
    let data;
    try {
      data = await fetched();
    } catch (error) {
      if (error.code !== "not_found") throw error;
      await protect(photo); // it was forgotten
      data = await fetched();
    }
    save(data, photo.result.name);
    const count = photo.unprotected;
    say(`Saved ${photo.result.name}${count ? `, with ${count} UNPROTECTED` : ""}`);
  } catch (error) {
    failed(photo, error);
  }
  photo.busy = "";
  refresh();
}

async function remove(photo) {
  const at = photos.indexOf(photo);
  photos.splice(at, 1);
  photo.turn++;
  photo.forget("thumb", "before", "after", "full");
  if (photo.id) ask(`photos/${photo.id}`, { method: "DELETE" }).catch(() => {});
  current = null;
  list();
  const next = photos[Math.min(at, photos.length - 1)];
  if (next) {
    $("photos").children[photos.indexOf(next)].firstChild.focus();
    await choose(next);
  } else $("pick").focus();
}

// ---- many photos

let batch = null;

async function saveAll() {
  const asked = panel.options();
  if (!asked || batch) return;
  batch = { stop: new AbortController(), id: null };
  $("save-all").disabled = true;
  $("progress").hidden = false;
  $("bar").value = 0;
  $("progress-text").textContent = "getting ready";
  let done = 0, bad = 0;
  try {
    await Promise.all(photos.map((photo) => photo.ready));
    for (const photo of photos) if (photo.id) await held(photo, () => json(`photos/${photo.id}`));
    const members = photos.filter((photo) => photo.id && photo.info);
    bad = photos.length - members.length;
    batch.id = (await json("batches", { method: "POST", json: { photos: members.map((photo) => photo.id), options: asked } })).id;
    const zip = blob(`batches/${batch.id}/zip`, { signal: batch.stop.signal });
    zip.catch(() => {}); // told of below
    for await (const event of events(`batches/${batch.id}/events`, batch.stop.signal)) {
      if (event.kind !== "photo") continue;
      done++;
      const photo = members[event.index];
      if (event.error) photo.error = new Failure(422, event.error);
      else photo.saved = event;
      list();
      if (event.error || event.unprotected) bad++;
      $("bar").value = done / members.length;
      $("progress-text").textContent = `${done} of ${members.length}`;
      say($("progress-text").textContent);
    }
    save(await zip, "protected.zip");
    if (bad) notice(`${bad === 1 ? "1 photo is" : `${bad} photos are`} not, or not wholly, protected. The file NOT PROTECTED.txt in the zip, and the list, say which and why.`);
    else say(`All ${done} photos are protected and saved`);
  } catch (error) {
    if (error.name !== "AbortError") notice(sentence(error));
  }
  if (batch.id) ask(`batches/${batch.id}`, { method: "DELETE" }).catch(() => {});
  batch = null;
  $("progress").hidden = true;
  $("save-all").disabled = false;
}

// ---- models

async function askForModels(extra = []) {
  const { models } = await json("models");
  const absent = models.filter((model) => !model.here && (model.needed || extra.includes(model.name)));
  if (!absent.length) return;
  const named = absent.map((model) => `${model.name} (${(model.bytes / 1e6).toFixed(1)} MB, ${model.licence}, for ${model.for.join(" and ")})`);
  const get = make("button", { type: "button", className: "primary", textContent: "Fetch now" });
  const box = notice(
    `This needs ${named.join(" and ")}, which is not on this computer yet. It can be fetched from the internet now; your photos stay here. ` +
      `Without a connection: run “halfmask models get ${absent.map((model) => model.name).join(" ")}” on another computer and copy its folder of models.`,
    { bad: false, actions: [get] },
  );
  get.addEventListener("click", async () => {
    get.disabled = true;
    get.textContent = "Fetching …";
    try {
      await json("models", { method: "POST", json: { names: absent.map((model) => model.name) } });
      box.remove();
      const told = await json("methods");
      for (const one of told.methods) Object.assign(panel.method().name === one.name ? panel.method() : {}, { models: one.models });
      for (const photo of photos) if (photo.error?.code === "model_missing") photo.ready = look(photo);
      if (current) choose(current);
    } catch (error) {
      get.disabled = false;
      get.textContent = "Try again";
      notice(sentence(error));
    }
  });
}

// ---- wiring

let line = Promise.resolve();

watch((given, ignored) => {
  if (ignored) notice(`${ignored === 1 ? "1 file is no picture and was" : `${ignored} files are no pictures and were`} left out.`, { bad: false });
  const added = given.map(({ file, name }) => new Photo(file, name));
  photos.push(...added);
  for (const photo of added) photo.ready = line = line.then(() => photos.includes(photo) && look(photo)); // one after the other
  list();
  if (added.length) choose(added[0]);
  if (added.length) $("main").focus({ preventScroll: true });
});

function stopDrawing() {
  stage.stopDrawing();
  $("draw").setAttribute("aria-pressed", "false");
  $("draw").textContent = "Mark a face that was missed";
  $("draw-help").hidden = true;
}

$("draw").addEventListener("click", () => {
  if (stage.drawing()) return stopDrawing();
  $("draw").setAttribute("aria-pressed", "true");
  $("draw").textContent = "Leave it";
  $("draw-help").hidden = false;
  const photo = current;
  stage.draw((box) => {
    stopDrawing();
    $("draw").focus();
    if (box) change(photo, { boxes: [...photo.info.boxes, box] });
  });
});

let soon = 0;
$("strength").addEventListener("input", () => {
  panel.sayStrength();
  if (current?.urls.full && panel.method().at_once) stage.show(current, Number($("strength").value));
  clearTimeout(soon);
  soon = setTimeout(() => current?.info && protect(current), 250);
});
$("options").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["hide", "method", "prototype", "format"]) {
  $(id).addEventListener("change", () => {
    if (id === "method") panel.settle();
    if (!current) return;
    current.forget("full");
    if (current.info) protect(current);
  });
}
$("views").addEventListener("change", () => current && stage.show(current));
$("split").addEventListener("input", () => current && stage.show(current));
$("save").addEventListener("click", () => download(current));
$("remove").addEventListener("click", () => remove(current));
$("save-all").addEventListener("click", saveAll);
$("stop").addEventListener("click", () => batch?.stop.abort());
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("command").textContent);
    say("Copied");
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy"), 2000);
  } catch {
    getSelection().selectAllChildren($("command"));
    say("Selected: copy it with your keyboard");
  }
});
addEventListener("pagehide", () => {
  for (const photo of photos) if (photo.id) ask(`photos/${photo.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
});

try {
  panel.fill(await json("methods"));
  await askForModels();
} catch (error) {
  notice(sentence(error));
}
