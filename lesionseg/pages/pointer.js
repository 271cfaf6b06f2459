// Pointer, zoom and keys of the page; before it stands annotation.js.

function place() {
  paper.style.transform = `translate(${page.left}px, ${page.top}px) scale(${page.scale})`;
  paper.classList.toggle("near", page.scale >= 3);
  show("zoom", `${Math.round(100 * page.scale)} %`);
}

function fit() {
  const { clientWidth: width, clientHeight: height } = stage;
  page.scale = Math.min((width - 24) / page.width, (height - 24) / page.height);
  page.left = (width - page.scale * page.width) / 2;
  page.top = (height - page.scale * page.height) / 2;
  place();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const scale = Math.min(32, Math.max(0.05, page.scale * factor));
  page.left = x - (x - page.left) * scale / page.scale;
  page.top = y - (y - page.top) * scale / page.scale;
  page.scale = scale;
  place();
}

function pointOf(event) {
  const frame = stage.getBoundingClientRect();
  return [(event.clientX - frame.left - page.left) / page.scale, (event.clientY - frame.top - page.top) / page.scale];
}

function mark(kind, attributes) {
  const mine = document.createElementNS(SVG, kind);
  const look = { fill: "none", stroke: "white", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" };
  Object.entries({ ...look, ...attributes }).forEach(([name, value]) => mine.setAttribute(name, value));
  return mine;
}

function cursor(points, event) {
  const marks = [];
  if (points && points.length > 1) {
    const path = { points: points.join(" ") };
    marks.push(mark("polyline", { ...path, stroke: "black", "stroke-width": 3 }), mark("polyline", path));
  }
  const [cx, cy] = pointOf(event), r = page.tool === "brush" || page.tool === "eraser" ? page.radius : 2 / page.scale;
  marks.push(mark("circle", { cx, cy, r, stroke: "black", "stroke-width": 3 }), mark("circle", { cx, cy, r }));
  lines.replaceChildren(...marks);
}

let drawing = null, panning = null, spaceHeld = false;

stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest(".zoom") || !page.ready) return;
  stage.focus();
  stage.setPointerCapture(event.pointerId);
  event.preventDefault();
  if (event.button !== 0 || spaceHeld) {
    panning = [event.clientX - page.left, event.clientY - page.top];
    stage.classList.add("panning");
    return;
  }
  if (locked()) return;
  const name = current(), point = pointOf(event);
  // What cannot be seen should not be changed.
  page.findings[page.finding].hidden = false;
  page.canvases[name].style.display = "";
  drawing = { name, points: [point], before: page.masks[name].slice(), takesAway: event.shiftKey };
  move(event);
});

function move(event) {
  const points = drawing.points, last = points[points.length - 1], point = pointOf(event);
  points.push(point);
  if (page.tool === "brush" || page.tool === "eraser") {
    paint(drawing.name, stroke(page.masks[drawing.name], page.width, page.height, last, point, page.radius, page.tool === "brush" ? 1 : 0));
  }
}

stage.addEventListener("pointermove", (event) => {
  if (!page.ready) return;
  if (panning) {
    [page.left, page.top] = [event.clientX - panning[0], event.clientY - panning[1]];
    place();
  } else if (drawing) {
    // A fast hand moves on several times between two frames.
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    (events.length ? events : [event]).forEach(move);
  }
  const encloses = page.tool === "outline" || page.tool === "refine";
  cursor(drawing && encloses ? drawing.points : null, event);
});

function finish() {
  panning = null;
  stage.classList.remove("panning");
  if (!drawing) return;
  const { name, points, before, takesAway } = drawing;
  drawing = null;
  lines.replaceChildren();
  if (page.tool === "refine") { refine(points); return; }
  if (page.tool === "outline") fill(page.masks[name], page.width, page.height, points, takesAway ? 0 : 1);
  if (page.masks[name].some((pixel, at) => pixel !== before[at])) remember(name, before);
  paint(name);
  refresh();
}

stage.addEventListener("pointerup", finish);
stage.addEventListener("pointercancel", finish);
stage.addEventListener("pointerleave", () => { if (!drawing) lines.replaceChildren(); });
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (!page.ready) return;
  const frame = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });

const acts = {
  previous: () => go(page.number - 1), next: () => go(page.number + 1), first: firstWithoutMask,
  in: () => zoom(1.25), out: () => zoom(0.8), fit,
  undo: () => step(page.done, page.undone), redo: () => step(page.undone, page.done),
  clear: () => { change(current(), new Uint8Array(page.width * page.height)); refresh(); },
  model: predict, save: () => save(),
};
all("[data-do]").forEach((button) => { button.onclick = () => { acts[button.dataset.do](); button.blur(); }; });
all("[data-tool]").forEach((button) => { button.onclick = () => { page.tool = button.dataset.tool; refresh(); }; });
all("[data-set]").forEach((input) => {
  input.oninput = () => {
    page[input.dataset.set] = Number(input.value);
    if (input.dataset.set === "alpha" && page.ready) page.findings.forEach((finding) => paint(finding.name));
    refresh();
  };
});

const keys = {
  b: "tool:brush", e: "tool:eraser", o: "tool:outline", r: "tool:refine", ArrowLeft: "previous", ArrowRight: "next", m: "model",
  "+": "in", "=": "in", "-": "out", 0: "fit",
};
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") && event.target.type !== "range") return;
  if (event.key === " ") { spaceHeld = true; if (event.target === stage) event.preventDefault(); return; }
  let name = keys[event.key];
  if (event.ctrlKey || event.metaKey) {
    name = { z: event.shiftKey ? "redo" : "undo", y: "redo", s: "save" }[event.key.toLowerCase()];
  } else if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  const row = Number(event.key);
  if (row >= 1 && row <= page.findings.length && !event.ctrlKey && !event.metaKey) { page.finding = row - 1; refresh(); }
  if (!name || drawing) return;
  event.preventDefault();
  const button = name.startsWith("tool:") ? one(`[data-tool="${name.slice(5)}"]`) : one(`[data-do="${name}"]`);
  if (!button.disabled && !button.hidden) button.click();
});
document.addEventListener("keyup", (event) => { if (event.key === " ") spaceHeld = false; });
window.addEventListener("beforeunload", (event) => { if (page.touched.size) event.preventDefault(); });
new ResizeObserver(() => { if (page.ready) fit(); }).observe(stage);

call("overview", {}).then((given) => {
  if (!given) return;
  Object.assign(page, { images: given.images, findings: given.findings });
  one('[data-do="model"]').hidden = !given.model;
  const first = page.images.findIndex((image) => image.done.some((done) => !done));
  open(Math.max(first, 0));
});
