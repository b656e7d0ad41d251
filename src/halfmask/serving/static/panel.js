// What is said and asked on the right: options, faces with what is read off them, and the command line.

const $ = (id) => document.getElementById(id);
export const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const ATTRIBUTES = { gender: "whether woman or man", age: "how old", race: "where the family is from (“race”)" };
const METHODS = {
  halfmask: "Hides best and still matches. Chance decides what each face is made to look like to machines.",
  san: "The method of the paper on semi-adversarial networks. Who has many of its photos can learn to read them.",
  ensemble: "Several such networks, one drawn for each face.",
  flowsan: "Such networks one after the other; changes more with each.",
  mixing: "Blends each face with one of another person. Costs more of the likeness.",
  privacynet: "Shows least to people; hides less.",
  deidentify: "The other way round: machines should not recognise who it is. Takes seconds for each face.",
  stranger: "The same at once, by a trained network. Hides less, and paints the same heavy brows on everybody.",
};

let methods = [];
export const method = () => methods.find((one) => one.name === $("method").value) ?? methods[0];

export function fill(told) {
  methods = told.methods;
  $("method").replaceChildren(...methods.map((one) => make("option", {
    value: one.name, selected: one.default, disabled: Boolean(one.lacks),
    textContent: one.name + (one.default ? " (usual)" : one.lacks ? " (not installed)" : ""),
  })));
  $("format").append(...told.formats.map((name) => make("option", { value: name.toLowerCase(), textContent: name })));
  settle();
}

// Have the controls fit the method.
export function settle() {
  const chosen = method();
  const before = new Set(hidden());
  const can = Object.keys(ATTRIBUTES).filter((name) => chosen.hides.includes(name));
  const kept = can.filter((name) => before.has(name));
  const rows = can.map((name) => {
    const box = make("input", { type: "checkbox", name, checked: (kept.length ? kept : can.slice(0, 1)).includes(name) });
    return make("label", {}, box, make("span", { textContent: ATTRIBUTES[name] + (name === "gender" ? "" : " – experimental") }));
  });
  if (!can.length) rows.push(make("p", { textContent: "who it is" }));
  $("hide").replaceChildren($("hide").querySelector("legend"), ...rows);
  $("strength-row").hidden = !chosen.strength;
  if (chosen.strength) {
    const marks = Object.values(chosen.strengths).map((value) => make("option", { value }));
    $("marks").replaceChildren(...marks);
    $("strength").value = chosen.strengths.mid;
    sayStrength();
  }
  $("prototype-row").hidden = !chosen.prototypes.length;
  $("method-help").textContent = METHODS[chosen.name] ?? "";
}

function hidden() {
  return [...$("hide").querySelectorAll("input:checked")].map((box) => box.name);
}

// The options as the server takes them; null when nothing is to be hidden.
export function options() {
  const chosen = method();
  const asked = { method: chosen.name };
  if (chosen.hides.some((name) => name in ATTRIBUTES)) {
    if (!hidden().length) return null;
    asked.hide = hidden().join(",");
  }
  if (chosen.strength) asked.strength = strength();
  if (chosen.prototypes.length) asked.prototype = $("prototype").value;
  if ($("format").value) asked.format = $("format").value;
  return asked;
}

// The method's own word for where the dial stands, if there is one: low, mid, high.
const named = (value) => Object.entries(method().strengths).find(([, at]) => Math.abs(at - value) < 0.001)?.[0];

export function strength() {
  const value = Number($("strength").value);
  return named(value) ?? value;
}

export function sayStrength() {
  const value = Number($("strength").value);
  const word = named(value)?.replace("mid", "usual");
  $("strength-word").textContent = `${Math.round(100 * value)} %${word ? ` (${word})` : ""}`;
  $("strength").setAttribute("aria-valuetext", $("strength-word").textContent);
}

const WORD = { female: "woman", male: "man", Latino_Hispanic: "Latino" };
const percent = (p) => `${Math.round(100 * p)} %`;

function bars(title, word, before, after) {
  const rows = [make("h4", { textContent: title })];
  for (const [when, p] of [["before", before], ["after", after]]) {
    if (p === undefined) continue;
    const fill = make("i");
    fill.style.width = `${100 * p}%`;
    const gauge = make("div", { className: `gauge ${when === "after" ? "then" : ""}` }, fill);
    gauge.setAttribute("aria-hidden", "true");
    rows.push(make("span", { textContent: when }), gauge, make("span", { textContent: `${word}: ${percent(p)}` }));
  }
  return make("div", { className: "guess" }, ...rows);
}

// Bars of one face: how sure our classifiers are, before and after, of what they said before.
function guesses(read) {
  if (!read?.before) return [];
  const { before, after } = read;
  const found = [];
  for (const [name, title] of [["gender", "Woman or man"], ["age", "Age"], ["race", "“Race”"]]) {
    if (!before[name]) continue;
    const said = before[name].probabilities;
    const word = Object.keys(said).reduce((best, one) => (said[one] > said[best] ? one : best));
    const ages = name === "age" ? `: looks ${Math.round(before.age.years)}${after ? `, then ${Math.round(after.age.years)}` : ""}` : "";
    found.push(bars(title + ages, WORD[word] ?? word.replace("_", " or "), said[word], after?.[name].probabilities[word]));
  }
  if (read.match !== null && read.match !== undefined) {
    const same = read.match >= 0.363 ? "taken for the same person" : "not taken for the same person any more";
    found.push(make("p", { className: "match", textContent: `Match with itself before: ${read.match.toFixed(2)}, ${same} (SFace)` }));
  }
  return found;
}

// The list of faces; say(number, {on | who | gender}) is called with what the user changes.
export function faces(photo, say) {
  const list = photo.faces();
  const focused = document.activeElement?.id;
  const reads = new Map((photo.reads?.faces ?? []).map((one) => [one.number, one]));
  $("faces").replaceChildren(...list.map((face) => {
    const box = make("input", { type: "checkbox", checked: face.on, id: `face-${face.number}` });
    box.addEventListener("change", () => say(face.number, { on: box.checked }));
    const state = make("span", { className: `state ${face.safe ? "ok" : "mark"}`, textContent: face.said });
    const head = make("div", { className: "head" }, make("label", {}, box, `Face ${face.number}`), state);
    const who = make("input", { type: "text", id: `who-${face.number}`, value: face.who ?? "", maxLength: 200, placeholder: "not needed", autocomplete: "off" });
    who.addEventListener("change", () => say(face.number, { who: who.value || null }));
    const rows = [head];
    if (method().names) rows.push(make("label", { className: "who" }, "Name", who));
    if (method().needs_gender) {
      const gender = make("select", { id: `gender-${face.number}` });
      gender.append(...[["", "guess it"], ["female", "woman"], ["male", "man"]].map(([value, textContent]) => make("option", { value, textContent, selected: value === (face.gender ?? "") })));
      gender.addEventListener("change", () => say(face.number, { gender: gender.value || null }));
      rows.push(make("label", { className: "who" }, "Is a", gender));
    }
    return make("li", { className: face.safe ? "" : "off" }, ...rows, ...guesses(reads.get(face.number)));
  }));
  $("faces-title").textContent = list.length === 1 ? "1 face" : `${list.length} faces`;
  $("read-note").hidden = !reads.size;
  if (focused) $(focused)?.focus({ preventScroll: true });
}

export function command(result) {
  $("command").textContent = result?.command ?? "";
  $("command-files").replaceChildren(...Object.entries(result?.files ?? {}).flatMap(([name, text]) => [
    make("p", { textContent: `and beside the photo a file ${name}:` }),
    make("pre", { textContent: text, tabIndex: 0, ariaLabel: name }),
  ]));
}
