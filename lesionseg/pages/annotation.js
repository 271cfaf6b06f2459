// The page of tools/annotate.py. Gradio calls this once, with `element`, where annotation.html is, and `server`, the
// functions of annotation_page.py. Before it stands masks.js, after it pointer.js.
const all = (selector) => [...element.querySelectorAll(selector)];
const one = (selector) => element.querySelector(selector);
const show = (name, text) => { one(`[data-show="${name}"]`).textContent = text; };
const stage = one(".stage"), paper = one(".paper"), picture = one(".paper img"), lines = one(".paper svg");
const SVG = "http://www.w3.org/2000/svg";
const MOST_STEPS = 40;
const HINTS = {
  brush: "Paint over what is seen.",
  eraser: "Take away what was painted.",
  outline: "Draw around it: it is filled. With Shift, it is taken away.",
  refine: "Draw around it roughly, with some skin inside: its edge is looked for.",
};

const page = {
  images: [], findings: [], number: -1, finding: 0, tool: "brush", radius: 12, alpha: 40,
  width: 0, height: 0, original: [0, 0], ready: false, busy: false, opening: 0,
  masks: {}, canvases: {}, touched: new Set(), stamps: {}, own: new Set(), undone: [], done: [],
  scale: 1, left: 0, top: 0,
};
const current = () => page.findings[page.finding].name;
const locked = () => !page.ready || page.busy || !one(".ask").hidden;

// ---- what is told

function tell(text, isError = false) {
  show("status", text);
  one(".status").classList.toggle("error", isError);
}

function ask(text, answers) {
  const box = one(".ask");
  box.querySelector("p").textContent = text;
  box.querySelector("div").replaceChildren(...answers.map(([label, act]) => {
    const button = document.createElement("button");
    button.textContent = label;
    button.onclick = () => { box.hidden = true; refresh(); act(); };
    return button;
  }));
  box.hidden = false;
  refresh();
  box.querySelector("button").focus();
}

async function call(name, asked) {
  page.busy = true;
  refresh();
  try {
    const given = await server[name](asked);
    if (given.error) tell(given.error, true);
    return given.error ? null : given;
  } catch {
    tell("The page's program does not answer. Is it still running in its terminal?", true);
    return null;
  } finally {
    page.busy = false;
    refresh();
  }
}

function refresh() {
  const off = locked(), has = (list) => list.length > 0;
  const asking = page.busy || !one(".ask").hidden;
  const usable = {
    previous: !asking && page.number > 0, next: !asking && page.number < page.images.length - 1,
    first: !asking && has(page.images), in: page.ready, out: page.ready, fit: page.ready,
    undo: !off && has(page.done), redo: !off && has(page.undone), clear: !off, model: !off, save: !off && page.touched.size > 0,
  };
  all("[data-do]").forEach((button) => { button.disabled = !usable[button.dataset.do]; });
  all("[data-tool]").forEach((button) => {
    button.disabled = !page.ready;
    button.setAttribute("aria-pressed", button.dataset.tool === page.tool);
  });
  stage.classList.toggle("ready", page.ready && !page.busy);
  stage.classList.toggle("busy", page.busy);
  show("hint", HINTS[page.tool]);
  show("size", `${2 * page.radius} px`);
  show("alpha", `${page.alpha} %`);
  one('[data-set="radius"]').value = page.radius;
  one('[data-set="alpha"]').value = page.alpha;
  if (!has(page.images)) return;
  const total = page.images.length;
  const masks = page.images.filter((image) => image.done[page.finding]).length;
  show("counter", page.number < 0 ? "" : `${page.number + 1} of ${total}`);
  show("name", page.number < 0 ? "" : page.images[page.number].name);
  show("done", `${masks} of ${total} have a mask${page.findings.length > 1 ? ` of ${current()}` : ""}`);
  one(".findings").replaceChildren(...page.findings.map(findingRow));
  // What is drawn now lies over the rest.
  page.findings.forEach((finding, place) => {
    if (page.ready) page.canvases[finding.name].style.zIndex = place === page.finding ? 1 : 0;
  });
}

function findingRow(finding, place) {
  const row = document.createElement("div");
  row.className = "finding";
  row.setAttribute("role", "radio");
  row.setAttribute("aria-checked", place === page.finding);
  row.dataset.finding = finding.name;
  row.title = `Draw ${finding.name} (${place + 1})`;
  const [swatch, called, state, seen] = ["span", "span", "span", "input"].map((tag) => document.createElement(tag));
  [swatch.className, called.className, state.className] = ["swatch", "called", "state"];
  swatch.style.background = `rgb(${finding.colour})`;
  called.textContent = finding.name;
  if (page.ready) {
    const share = 100 * area(page.masks[finding.name]) / (page.width * page.height);
    const kept = page.stamps[finding.name] ? `${share.toFixed(1)} %` : "no mask";
    state.textContent = page.touched.has(finding.name) ? `${share.toFixed(1)} %, unsaved` : kept;
  }
  seen.type = "checkbox";
  seen.checked = !finding.hidden;
  seen.title = "Show it";
  seen.onclick = (event) => {
    event.stopPropagation();
    finding.hidden = !seen.checked;
    if (page.ready) page.canvases[finding.name].style.display = finding.hidden ? "none" : "";
  };
  row.onclick = () => { page.finding = place; refresh(); };
  row.append(swatch, called, state, seen);
  return row;
}

// ---- masks

function paint(name, box = [0, 0, page.width, page.height]) {
  const { width, height } = page;
  // The edge of what changed may lie one pixel further.
  const [left, top] = [Math.max(0, box[0] - 1), Math.max(0, box[1] - 1)];
  const [right, bottom] = [Math.min(width, box[2] + 1), Math.min(height, box[3] + 1)];
  if (right <= left || bottom <= top) return;
  const { colour } = page.findings.find((finding) => finding.name === name);
  const seen = look(page.masks[name], width, height, [left, top, right, bottom], colour, Math.round(2.55 * page.alpha));
  page.canvases[name].getContext("2d").putImageData(seen, left, top);
}

function remember(name, before) {
  page.done.push([name, before]);
  if (page.done.length > MOST_STEPS) page.done.shift();
  page.undone = [];
  page.touched.add(name);
}

function change(name, mask) {
  const before = page.masks[name];
  page.masks[name] = mask;
  remember(name, before);
  paint(name);
}

function step(from, to) {
  if (!from.length) return;
  const [name, mask] = from.pop();
  to.push([name, page.masks[name]]);
  page.masks[name] = mask;
  page.touched.add(name);
  paint(name);
  refresh();
}

// ---- what is asked for

async function open(number) {
  // Nothing may be drawn before the picture is seen: what is drawn on the one before would be lost.
  const opening = ++page.opening;
  Object.assign(page, { number, ready: false, done: [], undone: [], touched: new Set() });
  paper.style.visibility = "hidden";
  show("wait", "Opening ...");
  tell("");
  const given = await call("opened", { number });
  if (opening !== page.opening) return;
  if (!given) { show("wait", one(".status").textContent); return; }
  picture.src = given.picture;
  await picture.decode();
  if (opening !== page.opening) return;
  Object.assign(page, { width: given.width, height: given.height, original: given.original, stamps: given.stamps });
  [picture, lines].forEach((layer) => { layer.style.width = `${page.width}px`; layer.style.height = `${page.height}px`; });
  Object.values(page.canvases).forEach((canvas) => canvas.remove());
  const pixels = page.width * page.height;
  page.findings.forEach((finding) => {
    const { name } = finding, canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [page.width, page.height];
    canvas.style.display = finding.hidden ? "none" : "";
    paper.insertBefore(canvas, lines);
    page.canvases[name] = canvas;
    page.masks[name] = given.masks[name] ? unpack(given.masks[name], pixels) : new Uint8Array(pixels);
    page.images[number].done[page.findings.indexOf(finding)] = Boolean(given.stamps[name]);
    paint(name);
  });
  fit();
  show("wait", "");
  paper.style.visibility = "visible";
  page.ready = true;
  const shrunk = page.width === page.original[0] ? "" : `, shown at ${page.width} x ${page.height}`;
  tell(`${page.original[0]} x ${page.original[1]} pixels${shrunk}.`);
  refresh();
}

function go(number) {
  if (page.busy || !one(".ask").hidden || number < 0 || number >= page.images.length) return;
  if (!page.touched.size) { open(number); return; }
  ask("What was drawn on this image is not saved.", [
    ["Save", () => save(() => open(number))],
    ["Discard", () => open(number)],
    ["Stay", () => {}],
  ]);
}

function save(then = () => {}) {
  if (locked() || !page.touched.size) return;
  const names = [...page.touched];
  const there = names.filter((name) => page.stamps[name] && !page.own.has(page.stamps[name]));
  if (!there.length) { write(names, then); return; }
  const which = page.findings.length > 1 ? ` of ${there.join(", ")}` : "";
  ask(`There is a mask${which} already, which was not drawn on this page. Replace it?`, [
    ["Replace", () => write(names, then)],
    ["Keep it", () => {}],
  ]);
}

async function write(names, then) {
  const masks = Object.fromEntries(names.map((name) => [
    name, { mask: pack(page.masks[name]), stamp: page.stamps[name], replace: Boolean(page.stamps[name]) },
  ]));
  tell("Saving ...");
  const given = await call("saved", { number: page.number, masks });
  if (!given) return;
  Object.assign(page.stamps, given.stamps);
  Object.values(given.stamps).forEach((stamp) => page.own.add(stamp));
  names.forEach((name) => {
    page.touched.delete(name);
    page.images[page.number].done[page.findings.findIndex((finding) => finding.name === name)] = true;
  });
  tell(`Saved ${page.findings.length > 1 ? names.join(", ") : "the mask"}, ${page.original[0]} x ${page.original[1]} pixels.`);
  refresh();
  then();
}

function firstWithoutMask() {
  const number = page.images.findIndex((image) => !image.done[page.finding]);
  if (number < 0) tell("All images have a mask.");
  else if (number === page.number) tell("This is the first one without a mask.");
  else go(number);
}

async function predict() {
  if (locked()) return;
  tell("The model is looking ...");
  const given = await call("predicted", { number: page.number, finding: current() });
  if (!given) return;
  Object.entries(given.masks).forEach(([name, mask]) => change(name, unpack(mask, page.width * page.height)));
  tell("This is what the model finds. Correct it, and save it.");
  refresh();
}

async function refine(points) {
  const inside = new Uint8Array(page.width * page.height), name = current();
  fill(inside, page.width, page.height, points, 1);
  tell("Looking for the edge ...");
  const given = await call("refined", { number: page.number, inside: pack(inside), mask: pack(page.masks[name]) });
  if (!given) return;
  change(name, unpack(given.mask, inside.length));
  const found = area(page.masks[name].map((pixel, at) => pixel & inside[at]));
  tell(found ? "Refined. Undo it where it is worse." : "Nothing was found in it. Undo it, and draw around the lesion alone.");
  refresh();
}
