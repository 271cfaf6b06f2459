"use strict";

// What a name means: one tip for all, which stays within the window.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

function showTip(event) {
  const named = event.target.closest?.(".term");
  if (!named) return;
  tip.textContent = named.getAttribute("aria-description");
  tip.hidden = false;
  const place = named.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = Math.min(Math.max(12, place.left), innerWidth - size.width - 12);
  const below = place.bottom + 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${below + size.height < innerHeight ? below : Math.max(8, place.top - size.height - 8)}px`;
}

for (const kind of ["pointerover", "focusin", "click"]) document.addEventListener(kind, showTip);
for (const kind of ["pointerout", "focusout"]) document.addEventListener(kind, () => { tip.hidden = true; });
document.addEventListener("scroll", () => { tip.hidden = true; }, { capture: true, passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

function openGallery(gallery) {
  const list = gallery.querySelector(".cards"), controls = gallery.querySelector(".controls");
  const at = (name) => controls.querySelector(`[data-do="${name}"]`);
  const sort = at("sort"), turn = at("turn"), find = at("find"), least = at("least"), most = at("most"), size = at("size");
  // In the order of their ids.
  const cards = [...list.children].map((item, number) => ({
    item, number, words: item.dataset.find,
    values: item.dataset.values.split(" ").map((value) => value === "-" ? NaN : Number(value)),
  }));
  let falling = false;

  function order() {
    const place = sort.value === "id" ? -1 : Number(sort.value), sign = falling ? -1 : 1;
    const key = (card) => place < 0 ? card.number : card.values[place];
    // What has no number comes last, whichever way.
    list.append(...[...cards].sort((one, other) =>
      Number(isNaN(key(one))) - Number(isNaN(key(other))) || sign * (key(one) - key(other)) || one.number - other.number
    ).map((card) => card.item));
    for (const card of cards)
      [...card.item.querySelectorAll("dl > div")].forEach((row, number) => row.classList.toggle("chosen", number === place));
    turn.textContent = falling ? "↓" : "↑";
    turn.title = falling ? "largest first" : "smallest first";
    gallery.querySelector(".range").hidden = place < 0;
    const chosen = sort.selectedOptions[0];
    gallery.querySelector("[data-sorted]").textContent = `${chosen.textContent} ${chosen.dataset.unit ?? ""}`.trim();
    choose();
  }

  function choose() {
    const place = sort.value === "id" ? -1 : Number(sort.value), words = find.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const card of cards) {
      const value = card.values[place];
      const fits = words.every((word) => card.words.includes(word)) &&
        (place < 0 || ((least.value === "" || value >= Number(least.value)) && (most.value === "" || value <= Number(most.value))));
      card.item.hidden = !fits;
      shown += fits;
    }
    controls.querySelector("output").textContent = `${shown} of ${cards.length} images`;
  }

  sort.addEventListener("change", () => {
    falling = sort.selectedOptions[0].dataset.falling === "1";
    least.value = most.value = "";
    order();
  });
  turn.addEventListener("click", () => { falling = !falling; order(); });
  for (const field of [find, least, most]) field.addEventListener("input", choose);
  controls.addEventListener("submit", (event) => event.preventDefault());
  size?.addEventListener("input", () => list.style.setProperty("--cell", `${size.value}px`));
  for (const box of controls.querySelectorAll("[data-outline]"))
    box.addEventListener("change", () => list.classList.toggle(`without-${box.dataset.outline}`, !box.checked));
  controls.hidden = false;
  // A browser that comes back to the page remembers what was chosen.
  controls.reset();
  sort.selectedIndex = Math.min(1, sort.options.length - 1);
  falling = sort.selectedOptions[0].dataset.falling === "1";
  order();
}

for (const gallery of document.querySelectorAll(".gallery")) openGallery(gallery);
