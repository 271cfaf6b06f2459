"""The page on which masks are drawn: `annotation.js` draws, and what it needs to know or to keep is asked for here.

Masks travel as bits, row by row, and not as pictures: browsers that guard against fingerprints change the pixels of
every canvas that a script reads.
"""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionseg.pages.annotations import Annotations, Drawn
from lesionseg.pages.photographs import jpeg_url, working_size
from lesionseg.pages.serving import import_gradio, told
from lesionseg.pixels.outlines import PREDICTION_COLOUR, TRUTH_COLOUR
from lesionseg.pixels.pictures import picture_size

if TYPE_CHECKING:
    import gradio as gr

# RGB. Told apart by people with red-green blindness, too, and all seen on skin; more findings begin anew.
_COLOURS = (PREDICTION_COLOUR, TRUTH_COLOUR, (230, 60, 170), (0, 190, 140), (255, 140, 0), (150, 90, 255))
_HERE = Path(__file__).parent
# One program in three files.
_SCRIPTS = ("masks.js", "annotation.js", "pointer.js")
TITLE = "lesionseg annotation"


def annotation_page(annotations: Annotations) -> "gr.Blocks":
    """Make the page; see `lesionseg.pages.serving.served`."""
    gradio = import_gradio()
    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(
            html_template=(_HERE / "annotation.html").read_text("utf-8"),
            css_template=(_HERE / "annotation.css").read_text("utf-8"),
            js_on_load="\n".join((_HERE / name).read_text("utf-8") for name in _SCRIPTS),
            apply_default_css=False,
            server_functions=_Calls(annotations).functions(),
        )
    return page


class _Calls:
    """What the script asks for: one JSON object in, one out, which is `{"error": message}` where it cannot be done."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations

    def functions(self) -> list[Callable[[dict], dict]]:
        """By these names the script calls them."""
        named = dict(
            overview=self.overview, opened=self.open, predicted=self.predict, refined=self.refine, saved=self.save
        )
        return [self._guarded(name, function) for name, function in named.items()]

    def _guarded(self, name: str, function: Callable[[dict], dict]) -> Callable[[dict], dict]:
        def call(asked: dict) -> dict:
            try:
                return function(asked)
            except Exception as error:  # Whatever a browser sends, the page goes on.
                return {"error": told(error, self._names(asked))}

        call.__name__ = name
        return call

    def _names(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """What the paths of an image and its masks are called in the page."""
        number = asked.get("number")
        if not isinstance(number, int) or not 0 <= number < len(self.annotations.images):
            return {}
        image = self.annotations.images[number]
        masks = {str(self.annotations.mask_path(number, name)): f"mask of {name}" for name in self.annotations.findings}
        return {str(image.path): image.path.name, **masks, str(self.annotations.folder): "masks"}

    def overview(self, asked: dict) -> dict:
        """Name all images, which of them have masks, and what is drawn."""
        findings = self.annotations.findings
        return dict(
            images=[
                dict(name=image.id, done=[self.annotations.is_done(number, name) for name in findings])
                for number, image in enumerate(self.annotations.images)
            ],
            findings=[dict(name=name, colour=_COLOURS[place % len(_COLOURS)]) for place, name in enumerate(findings)],
            model=self.annotations.segmenter is not None,
        )

    def open(self, asked: dict) -> dict:
        """Give an image and the masks that it has."""
        opened = self.annotations.open(self._number(asked))
        height, width = opened.picture.shape[:2]
        return dict(
            picture=jpeg_url(opened.picture),
            width=width,
            height=height,
            original=opened.size[::-1],
            masks={name: pack(mask) for name, mask in opened.masks.items()},
            stamps=dict(opened.stamps),
        )

    def predict(self, asked: dict) -> dict:
        """Give the model's masks."""
        found = self.annotations.predict(self._number(asked), self._finding(asked["finding"]))
        return dict(masks={name: pack(mask) for name, mask in found.items()})

    def refine(self, asked: dict) -> dict:
        """Give a mask that was refined in an outline."""
        number = self._number(asked)
        size = self._size(number)
        refined = self.annotations.refine(number, unpack(asked["inside"], size), unpack(asked["mask"], size))
        return dict(mask=pack(refined))

    def save(self, asked: dict) -> dict:
        """Write masks, and give what tells later that they are still these."""
        number = self._number(asked)
        size = self._size(number)
        drawn = {
            self._finding(name): Drawn(unpack(each["mask"], size), str(each["stamp"]), each["replace"] is True)
            for name, each in asked["masks"].items()
        }
        return dict(stamps=self.annotations.save(number, drawn))

    def _number(self, asked: dict) -> int:
        number = asked["number"]
        # Python counts negative ones from the end, and takes True for 1.
        if type(number) is not int or not 0 <= number < len(self.annotations.images):
            raise ValueError(f"no image {number!r}")
        return number

    def _finding(self, name: str) -> str:
        if name not in self.annotations.findings:
            raise ValueError(f"no finding {name!r}")
        return name

    def _size(self, number: int) -> tuple[int, int]:
        """The (height, width) of an image's working copy."""
        return working_size(*picture_size(self.annotations.images[number].path))[::-1]


def pack(mask: np.ndarray) -> str:
    """(H, W) bool -> base64 of its bits, row by row, the first pixel in the lowest bit."""
    return base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()


def unpack(text: str, size: tuple[int, int]) -> np.ndarray:
    """Undo `pack`: (H, W) bool of `size`, (height, width).

    Raises:
        ValueError: it holds another number of pixels.
    """
    height, width = size
    bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if bits.size != -(-height * width // 8):
        raise ValueError(f"a mask of {bits.size} bytes for {width}x{height} pixels")
    return np.unpackbits(bits, count=height * width, bitorder="little").reshape(height, width).astype(bool)
