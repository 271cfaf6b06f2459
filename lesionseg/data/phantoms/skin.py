"""All of a phantom but its lesion: noise, skin, the things that lie on it, and the camera.

Sizes and distances are in pixels; `size` is (height, width). Fields are (H, W) float32, images (H, W, 3) float32 BGR
in [0, 255]. A function that draws takes the random generator first and changes the image in place.
"""

import math

import cv2
import numpy as np

# Fitzpatrick types I to VI as a dermoscope with cross-polarised light shows them.
_SKIN_TONES = np.array(
    [[212, 215, 234], [190, 203, 230], [160, 184, 216], [120, 149, 190], [86, 110, 152], [60, 76, 106]], np.float32
)
# Absorption of blue, green and red light.
MELANIN = np.array([1.25, 0.95, 0.6], np.float32)
HAEMOGLOBIN = np.array([1.1, 1.15, 0.25], np.float32)
_INK = np.array([0.2, 0.95, 0.75], np.float32)
_PATCH_COLOURS = np.array([[178, 182, 62], [60, 170, 232], [190, 120, 50], [80, 160, 60], [150, 90, 210]], np.float32)

# OpenCV draws at fractions of a pixel, in fixed-point numbers of so many binary digits.
_SHIFT = 4


def noise(rng: np.random.Generator, size: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise: (H, W) float32 of mean about 0 and deviation about 1; `cell` is its grain in pixels."""
    # Drawn on a coarser grid and blurred there: fast, and without the squares that enlarging alone would show.
    step = max(1.0, cell / 3)
    blur = 0.5 * cell / step
    rows, columns = (max(2, round(length / step)) for length in size)
    margin = int(3 * blur) + 1
    grid: np.ndarray = rng.standard_normal((rows + 2 * margin, columns + 2 * margin), dtype=np.float32)
    grid = cv2.GaussianBlur(grid, (0, 0), blur)[margin:-margin, margin:-margin]
    # Blurring divides the deviation of white noise by this factor.
    return cv2.resize(grid * (2 * math.sqrt(math.pi) * blur), size[::-1], interpolation=cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, size: tuple[int, int], cell: float, octaves: int, gain: float) -> np.ndarray:
    """Noise of several grains, each half as coarse and `gain` times as strong as the one before."""
    total = noise(rng, size, cell)
    for octave in range(1, octaves):
        total += gain**octave * noise(rng, size, cell / 2**octave)
    return total


def streaks(rng: np.random.Generator, size: tuple[int, int], angle: float, cell: float, length: float) -> np.ndarray:
    """Noise drawn out along `angle` in degrees; its grain is `cell` pixels across and `length` pixels along."""
    height, width = size
    side = math.ceil(math.hypot(height, width)) + 2
    grid = rng.standard_normal((max(2, round(side / cell)), max(2, round(side / length))), dtype=np.float32)
    square = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    turn: np.ndarray = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    turn[:, 2] -= ((side - width) / 2, (side - height) / 2)
    return cv2.warpAffine(square, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


def ramp(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise smoothly from 0 where the field is `low` to 1 where it is `high`."""
    share = np.clip((field - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def through(image: np.ndarray, *layers: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """See an image (H, W, 3) through absorbers: each a density (H, W) and an absorption of blue, green and red."""
    densities, absorptions = zip(*layers, strict=True)
    return image * cv2.exp(-cv2.transform(cv2.merge(densities), np.column_stack(absorptions)))


def paint(image: np.ndarray, cover: np.ndarray, colour: np.ndarray, opacity: float = 1) -> None:
    """Paint a colour over an image in place where the cover, (H, W) in [0, 255], is."""
    image += (cover * np.float32(opacity / 255))[..., None] * (np.float32(colour) - image)


# Skin


def _skin_tone(rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) between two neighbouring skin types, more often of the lighter ones, as in the archives."""
    kinds = np.arange(len(_SKIN_TONES))
    kind = kinds[-1] * rng.beta(1.1, 1.6)
    return np.array([np.interp(kind, kinds, channel) for channel in _SKIN_TONES.T], np.float32)


def draw_skin(rng: np.random.Generator, depth: np.ndarray) -> np.ndarray:
    """Skin without a lesion, (H, W, 3) float32: mottles, furrows, grain, freckles, sometimes a red halo.

    Args:
        rng: decides on all of it.
        depth: (H, W) float32, distance to the lesion's border, below 0 in the skin.
    """
    size = depth.shape
    short = min(size)
    tone = _skin_tone(rng)
    melanin = rng.uniform(0, 0.04) * fractal(rng, size, short / 5, 4, 0.6)
    blood = rng.uniform(0.01, 0.06) * fractal(rng, size, short / 3, 5, 0.7)
    furrows = np.zeros(size, np.float32)
    angle = rng.uniform(0, 180)
    for turn in (0, rng.uniform(50, 90)):
        lines = streaks(rng, size, angle + turn, short * rng.uniform(0.025, 0.05), short * rng.uniform(0.2, 0.5))
        furrows += cv2.exp(-np.square(lines / 0.3))
    melanin += rng.uniform(0, 0.03) * furrows
    blood += rng.uniform(0, 0.03) * furrows
    melanin += rng.uniform(0.003, 0.015) * noise(rng, size, max(1.5, short / 110))
    if rng.random() < 0.4:
        melanin += _freckles(rng, size)
    if rng.random() < 0.2:
        blood += rng.uniform(0.05, 0.25) * cv2.exp(np.minimum(depth, 0) / (0.08 * short))
    return through(np.broadcast_to(tone, (*size, 3)), (melanin, MELANIN), (blood, HAEMOGLOBIN))


def _freckles(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Melanin of small fuzzy spots, fainter and smaller than lesions."""
    short = min(size)
    spots = np.zeros(size, np.uint8)
    for _ in range(rng.integers(1, 25)):
        radius = short * rng.uniform(0.006, 0.022)
        axes = _fixed(radius * rng.uniform(0.6, 1), radius)
        at = _fixed(*(rng.random(2) * size[::-1]))
        cv2.ellipse(spots, at, axes, rng.uniform(0, 180), 0, 360, int(rng.integers(60, 256)), -1, cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(spots.astype(np.float32), (0, 0), 0.006 * short)
    return soft / 255 * rng.uniform(0.1, 0.4)


# Things on the skin: each takes the generator, the image, which it changes in place, and the lesion's depth.


def _fixed(*numbers: float) -> tuple[int, ...]:
    """Pixel coordinates as OpenCV draws them with fractions."""
    return tuple(round(float(number) * (1 << _SHIFT)) for number in numbers)


def _line(cover: np.ndarray, points: np.ndarray, value: int, thickness: int) -> None:
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(cover, [fixed], False, value, thickness, cv2.LINE_AA, _SHIFT)


def _bow(rng: np.random.Generator, start: np.ndarray, angle: float, length: float, bend: float) -> np.ndarray:
    """A curved line, (points, 2) of (x, y): a cubic Bezier curve whose inner points lie beside its chord."""
    chord = length * np.array([math.cos(angle), math.sin(angle)])
    aside = bend * np.array([-chord[1], chord[0]])
    first, second = rng.uniform(-1, 1, 2)
    corners = np.stack(
        [start, start + chord / 3 + first * aside, start + 2 * chord / 3 + second * aside, start + chord]
    )
    share = np.linspace(0, 1, 24)[:, None]
    weights = np.hstack([(1 - share) ** 3, 3 * share * (1 - share) ** 2, 3 * share**2 * (1 - share), share**3])
    return weights @ corners


def draw_hairs(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """Few or many curved hairs, dark ones with a shadow, or light ones."""
    size = depth.shape
    short = min(size)
    cover = np.zeros(size, np.uint8)
    count = rng.integers(1, 7) if rng.random() < 0.6 else rng.integers(8, 32)
    direction, spread, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 2), rng.uniform(0.05, 0.5)
    width = short * rng.uniform(0.0025, 0.005)
    for _ in range(count):
        own = width * rng.uniform(0.6, 1.2)
        thickness = max(1, round(own))
        # A hair thinner than a pixel is a paler line.
        value = int(255 * min(1, own / thickness) * rng.uniform(0.7, 1))
        start = rng.uniform(-0.1, 1, 2) * size[::-1]
        angle = direction + rng.normal(0, spread)
        _line(cover, _bow(rng, start, angle, short * rng.uniform(0.25, 1.4), bend), value, thickness)
    light = rng.random() < 0.2
    colour = (
        np.array([170, 200, 215], np.float32) if light else np.array([24, 32, 44], np.float32) * rng.uniform(0.4, 1.5)
    )
    if not light:
        shadow = cv2.GaussianBlur(cover, (0, 0), 0.006 * short)
        paint(image, np.roll(shadow, round(0.008 * short), axis=1), colour, 0.3)
    paint(image, cover, colour, rng.uniform(0.75, 0.95))


def draw_ruler(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """A scale of millimetres, along a border or slightly turned above it."""
    height, width = depth.shape
    short = min(height, width)
    cover = np.zeros(depth.shape, np.uint8)
    upright = rng.random() < 0.3
    step, ticks = short * rng.uniform(0.035, 0.06), int(rng.integers(8, 16))
    along = np.array([0.0, 1.0]) if upright else np.array([1.0, rng.uniform(-0.15, 0.15)])
    aside = np.array([along[1], -along[0]])
    low, high = (0.9, 0.96) if rng.random() < 0.7 else (0.06, 0.1)
    place = [rng.uniform(0.05, 0.3), rng.uniform(low, high)]
    start = np.array([width, height]) * (place[::-1] if upright else place)
    thickness = max(1, round(short / 250))
    if rng.random() < 0.6:
        _line(cover, np.stack([start, start + along * step * ticks]), 255, thickness)
    for tick in range(ticks + 1):
        foot = start + along * step * tick
        reach = short * (0.04 if tick % 5 == 0 else 0.02)
        _line(cover, np.stack([foot, foot + aside * reach]), 255, thickness)
    if rng.random() < 0.5:
        foot = tuple(int(number) for number in start + (step * ticks + 0.02 * short) * along)
        cv2.putText(cover, "mm", foot, cv2.FONT_HERSHEY_SIMPLEX, short / 600, 255, thickness, cv2.LINE_AA)
    paint(image, cover, rng.uniform(10, 70) * np.ones(3), rng.uniform(0.6, 0.95))


def draw_bubbles(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """Bubbles in the contact gel, rings with a bright and a dark side, and the lamp's reflections."""
    size = depth.shape
    short = min(size)
    bright, dark = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    thickness = max(1, round(short / 220))
    for _ in range(rng.integers(1, 9)):
        at, radius, turn = rng.random(2) * size[::-1], short * math.exp(rng.uniform(-4.6, -2.4)), rng.uniform(0, 360)
        axes = _fixed(radius, radius * rng.uniform(0.6, 1))
        for cover, offset in ((dark, 0.7 * thickness), (bright, -0.7 * thickness)):
            cv2.ellipse(cover, _fixed(*at + offset), axes, turn, 0, 360, 255, thickness, cv2.LINE_AA, _SHIFT)
    middle = rng.random(2) * size[::-1]
    for _ in range(rng.integers(0, 25)):
        at = rng.normal(middle, 0.12 * short)
        axes = _fixed(*(short * rng.uniform(0.002, 0.008, 2)))
        cv2.ellipse(bright, _fixed(*at), axes, rng.uniform(0, 360), 0, 360, 255, -1, cv2.LINE_AA, _SHIFT)
    paint(image, dark, np.array([70, 75, 85], np.float32), 0.35)
    paint(image, cv2.GaussianBlur(bright, (0, 0), short / 400), np.array([245, 248, 250], np.float32), 0.85)


def draw_ink(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """A surgeon's violet marks beside the lesion."""
    size = depth.shape
    short = min(size)
    angle = rng.uniform(0, 180)
    region = ramp(fractal(rng, size, 0.5 * short, 5, 0.6), 0, 1.5) * ramp(-depth / short, 0.03, 0.15)
    strokes = ramp(streaks(rng, size, angle, max(1.5, 0.007 * short), 0.2 * short), -0.3, 1.6)
    image[:] = through(image, (rng.uniform(0.5, 1.6) * region * strokes, _INK))


def draw_patch(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """A round colour sticker at the corner that is farthest from the lesion, where there is room."""
    height, width = depth.shape
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    x, y = min(corners, key=lambda corner: depth[corner[::-1]])
    radius = min(-0.9 * float(depth[y, x]), rng.uniform(0.25, 0.5) * min(height, width))
    if radius < 0.1 * min(height, width):
        return
    cover = np.zeros(depth.shape, np.uint8)
    cv2.circle(cover, _fixed(x, y), _fixed(radius)[0], 255, -1, cv2.LINE_AA, _SHIFT)
    cloth = rng.choice(_PATCH_COLOURS) * rng.uniform(0.8, 1.1)
    paint(image, cover, cloth * (1 + 0.04 * noise(rng, depth.shape, 2))[..., None])


# Camera


def draw_field_of_view(rng: np.random.Generator, image: np.ndarray, lesion: np.ndarray) -> None:
    """Darken the corners in place; in some images they are black outside the round field of view."""
    height, width = lesion.shape
    x = np.arange(width, dtype=np.float32)[None] - np.float32(width * rng.uniform(0.46, 0.54))
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(height * rng.uniform(0.46, 0.54))
    away = cv2.sqrt(x * x + y * y) / np.float32(math.hypot(height, width) / 2)
    image *= (1 - rng.uniform(0, 0.25) * away**2)[..., None]
    if rng.random() < 0.25:
        # The whole lesion stays in view.
        rim = max(rng.uniform(0.72, 0.98), float(away[lesion].max()) + 0.02)
        image *= (1 - ramp(away, rim, rim + rng.uniform(0.02, 0.12)))[..., None]


def _white_balance(rng: np.random.Generator) -> np.ndarray:
    """Gains of blue, green and red: from warm to cold light, and a little from green to violet."""
    cold, violet = rng.normal(0, 0.06), rng.normal(0, 0.018)
    return np.exp([cold + violet, -violet, violet - cold])


def take_photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light, white balance, focus and sensor noise: (H, W, 3) uint8."""
    size = image.shape[:2]
    light = 1 + rng.uniform(0, 0.06) * noise(rng, size, 0.8 * min(size))
    image = image * light[..., None] * np.float32(rng.uniform(0.88, 1.08) * _white_balance(rng))
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.7))
    image = image + rng.uniform(0.5, 2) * rng.standard_normal((*size, 1), dtype=np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
