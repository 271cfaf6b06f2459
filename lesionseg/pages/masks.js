// A mask in the browser: a Uint8Array of one byte a pixel, 0 or 1, row by row, of `width` times `height` pixels. It is never
// read back from a canvas, whose edges are soft and whose pixels some browsers change: canvases only show it.

// Undo `pack`.
function unpack(text, pixels) {
  const bits = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Uint8Array.from({ length: pixels }, (_, place) => (bits[place >> 3] >> (place & 7)) & 1);
}

// As bits in base64, the first pixel in the lowest bit: `pack` and `unpack` of annotation_page.py.
function pack(mask) {
  const bits = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((pixel, place) => { bits[place >> 3] |= pixel << (place & 7); });
  let text = "";
  for (let at = 0; at < bits.length; at += 8192) text += String.fromCharCode(...bits.subarray(at, at + 8192));
  return btoa(text);
}

// Pixels whose middle is within the radius of the line between two points.
function stroke(mask, width, height, [ax, ay], [bx, by], radius, value) {
  const box = [Math.floor(Math.min(ax, bx) - radius), Math.floor(Math.min(ay, by) - radius),
    Math.ceil(Math.max(ax, bx) + radius), Math.ceil(Math.max(ay, by) + radius)]
    .map((edge, side) => Math.min(Math.max(edge, 0), side % 2 ? height : width));
  const [dx, dy] = [bx - ax, by - ay], length = dx * dx + dy * dy;
  for (let y = box[1]; y < box[3]; y++) {
    for (let x = box[0]; x < box[2]; x++) {
      const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) mask[y * width + x] = value;
    }
  }
  return box;
}

// Pixels whose middle a closed line goes round, also where it crosses itself (the nonzero winding rule).
function fill(mask, width, height, points, value) {
  for (let y = 0; y < height; y++) {
    const crossed = [];
    points.forEach(([ax, ay], place) => {
      const [bx, by] = points[(place + 1) % points.length];
      if ((ay <= y + 0.5) !== (by <= y + 0.5)) crossed.push([ax + (y + 0.5 - ay) / (by - ay) * (bx - ax), by > ay ? 1 : -1]);
    });
    crossed.sort((a, b) => a[0] - b[0]);
    let turns = 0;
    crossed.forEach(([x, turn], place) => {
      turns += turn;
      if (!turns) return;
      const [from, to] = [x, crossed[place + 1][0]].map((edge) => Math.min(Math.max(Math.ceil(edge - 0.5), 0), width));
      mask.fill(value, y * width + from, y * width + to);
    });
  }
}

// What is seen of the part of a mask from (left, top) up to (right, bottom): its edge in full, the rest at `alpha`, 0..255.
function look(mask, width, height, [left, top, right, bottom], colour, alpha) {
  const seen = new ImageData(right - left, bottom - top);
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at += 4) {
      const place = y * width + x;
      if (!mask[place]) continue;
      const enclosed = (x === 0 || mask[place - 1]) && (x === width - 1 || mask[place + 1])
        && (y === 0 || mask[place - width]) && (y === height - 1 || mask[place + width]);
      seen.data.set(colour, at);
      seen.data[at + 3] = enclosed ? alpha : 255;
    }
  }
  return seen;
}

function area(mask) {
  return mask.reduce((sum, pixel) => sum + pixel, 0);
}
