// The photo in the middle: before and after, the frames of its faces, and the box that a user draws.

const $ = (id) => document.getElementById(id);
const stage = $("stage"), frame = $("frame"), clip = $("after-clip"), drawn = $("drawn");
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

let size = { width: 1, height: 1 };
let box = null;
let onBox = () => {};

export const view = () => document.querySelector("input[name=view]:checked").value;

// Show a photo; urls are of pictures of it: before, after (as it will be saved), full (at strength 1). share is how
// much of full shows instead of after while the dial moves, null when after is what is meant.
export function show(photo, share = null) {
  size = photo.info ?? size;
  const { before, after, full } = photo.urls;
  set($("before"), before);
  set($("after"), after);
  set($("full"), full);
  $("before").alt = `${photo.name}, as it was given`;
  $("after").alt = "";
  const at = view();
  const both = after && at !== "before";
  clip.hidden = !both || at === "difference";
  const quick = share !== null && full;
  $("full").hidden = !quick;
  $("full").style.opacity = quick ? share : 0;
  $("after").style.opacity = quick ? 0 : 1;
  const split = at === "compare" ? Number($("split").value) : 0;
  clip.style.clipPath = `inset(0 0 0 ${split}%)`;
  $("seam").hidden = at !== "compare" || !both;
  $("seam").style.left = `${split}%`;
  $("split-label").hidden = $("seam").hidden;
  $("difference").hidden = at !== "difference" || !both;
  if (!$("difference").hidden) difference();
  $("boxes").hidden = !$("frames").checked;
}

function set(image, url) {
  if (url ? image.getAttribute("src") !== url : image.hasAttribute("src")) {
    if (url) image.src = url;
    else image.removeAttribute("src");
  }
}

// What changed, four times as strong, on gray.
async function difference() {
  const [a, b] = [$("before"), $("after")];
  try {
    await Promise.all([a.decode(), b.decode()]);
  } catch {
    return; // another photo was chosen meanwhile
  }
  const canvas = $("difference");
  canvas.width = a.naturalWidth;
  canvas.height = a.naturalHeight;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const [one, two] = [a, b].map((image) => {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    return pen.getImageData(0, 0, canvas.width, canvas.height);
  });
  for (let i = 0; i < one.data.length; i++) {
    if (i % 4 < 3) one.data[i] = 128 + 4 * (two.data[i] - one.data[i]);
  }
  pen.putImageData(one, 0, 0);
}

function place(element, [x, y, w, h]) {
  element.style.left = `${(100 * x) / size.width}%`;
  element.style.top = `${(100 * y) / size.height}%`;
  element.style.width = `${(100 * w) / size.width}%`;
  element.style.height = `${(100 * h) / size.height}%`;
}

// A frame for each face, which is a button that switches it.
export function frames(faces, toggle) {
  const focused = document.activeElement?.dataset?.face;
  $("boxes").replaceChildren(...faces.map((face) => {
    const button = document.createElement("button");
    const label = document.createElement("span");
    button.type = "button";
    button.className = `face${face.safe ? "" : " off"}${face.box[1] < size.height * 0.06 ? " low" : ""}${face.box[0] > size.width / 2 ? " right" : ""}`;
    button.dataset.face = face.number;
    button.setAttribute("aria-pressed", face.on);
    button.setAttribute("aria-label", `Face ${face.number}: ${face.said}. Press to ${face.on ? "leave it as it is" : "protect it"}`);
    label.textContent = face.safe ? (face.who ?? face.number) : `${face.number} ${face.short}`;
    button.append(label);
    place(button, face.box);
    button.addEventListener("click", () => toggle(face.number, !face.on));
    return button;
  }));
  if (focused) $("boxes").querySelector(`[data-face="${focused}"]`)?.focus({ preventScroll: true });
}

// Let the user draw a box; take(box) is called with it.
export function draw(take) {
  onBox = take;
  const side = Math.min(size.width, size.height) / 4;
  box = [(size.width - side) / 2, (size.height - side) / 2, side, side];
  stage.classList.add("drawing");
  drawn.hidden = false;
  place(drawn, box);
  drawn.focus();
}

export function stopDrawing() {
  box = null;
  drawn.hidden = true;
  stage.classList.remove("drawing");
}

export const drawing = () => box !== null;

drawn.addEventListener("keydown", (event) => {
  const step = Math.max(1, Math.round(Math.max(size.width, size.height) / 60));
  const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (way && event.shiftKey) box = [box[0], box[1], Math.max(8, box[2] + way[0]), Math.max(8, box[3] + way[1])];
  else if (way) box = [clamp(box[0] + way[0], 0, size.width - 8), clamp(box[1] + way[1], 0, size.height - 8), box[2], box[3]];
  else if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault(); // else Enter would also press the button that gets the focus next
  if (way) place(drawn, box);
  else onBox(event.key === "Enter" ? box.map(Math.round) : null);
});

function point(event) {
  const area = frame.getBoundingClientRect();
  return [
    clamp(((event.clientX - area.left) / area.width) * size.width, 0, size.width),
    clamp(((event.clientY - area.top) / area.height) * size.height, 0, size.height),
  ];
}

let start = null;
frame.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  if (drawing()) {
    start = point(event);
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  } else if (view() === "compare" && !event.target.closest(".face")) {
    start = "split";
    frame.setPointerCapture(event.pointerId);
    split(event);
  }
});
frame.addEventListener("pointermove", (event) => {
  if (start === "split") split(event);
  else if (start) {
    const [x, y] = point(event);
    box = [Math.min(x, start[0]), Math.min(y, start[1]), Math.abs(x - start[0]), Math.abs(y - start[1])];
    place(drawn, box);
  }
});
frame.addEventListener("pointerup", () => {
  const drew = start && start !== "split";
  start = null;
  if (drew && box && box[2] >= 8 && box[3] >= 8) onBox(box.map(Math.round));
});
frame.addEventListener("pointercancel", () => (start = null));

function split(event) {
  $("split").value = (100 * point(event)[0]) / size.width;
  $("split").dispatchEvent(new Event("input"));
}
