"""The page on which a model is tried, and two are compared."""

import html
import os
import shutil
import tempfile
from abc import ABCMeta
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionseg.data.phantoms.phantom import draw_phantom
from lesionseg.files import write_bytes
from lesionseg.inference.postprocess import PostProcessing
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pages.demo import Seen, agreement, downloads, look, masks, view
from lesionseg.pages.serving import import_gradio, told
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.outlines import PREDICTION_COLOUR, TRUTH_COLOUR
from lesionseg.pixels.pictures import encode_jpeg

if TYPE_CHECKING:
    import gradio as gr

TITLE = "lesionseg demo"
_HERE = Path(__file__).parent
# Seeds and (height, width) of the drawn examples.
_PHANTOMS = ((3, 480, 640), (8, 600, 600), (21, 480, 720), (34, 640, 560))
# Seconds after which uploads and results that are no longer shown are removed, and between looks for them.
_KEPT, _LOOKED_FOR = 3600, 600
_HOLES, _LARGEST = "Fill holes", "Only the largest part"
_EMPTY = '<div class="empty">Drop a photograph on the left, or take one of the examples.</div>'


def demo_page(models: Sequence[tuple[str, Segmenter]]) -> "gr.Blocks":
    """Make the page; see `lesionseg.pages.serving.served`.

    Args:
        models: one or two, with the names to show.
    """
    gradio = import_gradio()
    with gradio.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(_LOOKED_FOR, _KEPT)
    ) as page:
        seen = gradio.State(None, time_to_live=_KEPT)
        written = gradio.State(None, time_to_live=_KEPT, delete_callback=_remove)
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                photo = _drop_zone(label="Photograph", height=230, sources=["upload", "clipboard"], elem_id="photo")
                truth = _drop_zone(label="True mask, if there is one", height=150, sources=["upload"], elem_id="truth")
                gradio.Examples(
                    _draw_examples(), [photo, truth], label="Examples, drawn: no patients", cache_examples=False
                )
            with gradio.Column(scale=3, min_width=480):
                with gradio.Row(equal_height=True):
                    opacity = gradio.Slider(0, 100, 40, step=1, label="Soft mask, %", elem_id="opacity")
                    smooth = gradio.Slider(0, 20, 0, step=0.5, label="Smooth, pixels", elem_id="smooth")
                    min_area = gradio.Slider(0, 5, 0, step=0.05, label="Drop parts below, %", elem_id="min-area")
                    switches = gradio.CheckboxGroup([_HOLES, _LARGEST], label="Mask", elem_id="switches")
                settings = [smooth, min_area, switches]
                finding = gradio.Radio([], label="Finding", visible=False, elem_id="finding")
                message = gradio.HTML(_EMPTY, elem_id="message")
                views, files = [], []
                with gradio.Row():
                    for number, _ in enumerate(models):
                        with gradio.Column(min_width=320):
                            views.append(gradio.HTML("", elem_id=f"view-{number}"))
                            with gradio.Row():
                                for kind in ("mask", "overlay"):
                                    files.append(
                                        gradio.DownloadButton(
                                            f"Download {kind}", visible=False, elem_id=f"{kind}-{number}", size="sm"
                                        )
                                    )
                gradio.HTML((_HERE / "demo_legend.html").read_text("utf-8"))
        page_parts = _Parts(models, gradio)
        shown = [written, finding, message, *views, *files]
        asked = [seen, written, finding, *settings]
        for changed in (photo, truth):
            changed.change(page_parts.look, [photo, truth, *asked], [seen, *shown], api_visibility="private")
        for setting in settings:
            event = setting.release if isinstance(setting, gradio.Slider) else setting.change
            event(page_parts.show, asked, shown, api_visibility="private")
        finding.input(page_parts.show, asked, shown, api_visibility="private")
        # In the browser alone, so that it follows the hand.
        opacity.change(
            None, opacity, None, js="(percent) => document.body.style.setProperty('--soft-opacity', percent / 100)"
        )
    return page


def demo_css() -> str:
    """What `served` needs for this page."""
    colours = f":root {{--truth: rgb{TRUTH_COLOUR}; --prediction: rgb{PREDICTION_COLOUR}}}"
    return f"{colours}\n{(_HERE / 'demo.css').read_text('utf-8')}"


class _Parts:
    """What the page shows after each event: the values of its parts, in their order."""

    def __init__(self, models: Sequence[tuple[str, Segmenter]], gradio: Any) -> None:
        self.models = models
        self.gradio = gradio

    def look(self, photo: str | None, truth: str | None, seen: Seen | None, written: str | None, *chosen: Any) -> list:
        """Look at another photograph, or at the same one with another truth."""
        if photo is None:
            return [None, *self._nothing(written, _EMPTY)]
        try:
            seen = look([segmenter for _, segmenter in self.models], photo, truth, seen)
        except Exception as error:  # What is shown must not be of the photograph before.
            return [None, *self._nothing(written, self._error(error, photo, truth))]
        return [seen, *self.show(seen, written, *chosen)]

    def show(self, seen: Seen | None, written: str | None, finding: str | None, *settings: Any) -> list:
        """Show what was found by other settings."""
        if seen is None:
            return self._nothing(written, _EMPTY)
        try:
            return self._show(seen, written, finding, *settings)
        except Exception as error:
            return self._nothing(written, self._error(error, seen.path))

    def _show(
        self,
        seen: Seen,
        written: str | None,
        finding: str | None,
        smooth: float,
        min_area: float,
        switches: Sequence[str],
    ) -> list:
        findings = seen.findings
        finding = finding if finding in findings else findings[0]
        postprocess = PostProcessing(smooth, _HOLES in switches, min_area / 100, _LARGEST in switches)
        found = masks(seen, finding, postprocess)
        views = [
            view(seen, number, name, finding, mask)
            for number, ((name, _), mask) in enumerate(zip(self.models, found, strict=True))
        ]
        choice = self.gradio.Radio(findings, value=finding, visible=len(findings) > 1)
        agreed = agreement(seen, found)
        message = self.gradio.HTML(f'<div class="agreement">{agreed}</div>', visible=bool(agreed))
        _remove(written)
        folder = _new_folder()
        return [str(folder), choice, message, *views, *self._files(folder, seen, found)]

    def _files(self, folder: Path, seen: Seen, found: Sequence[np.ndarray | None]) -> list:
        """Write what can be downloaded, and give the buttons for it: mask and overlay of each model."""
        buttons = []
        for number, mask in enumerate(found):
            if mask is None:
                buttons += [self.gradio.DownloadButton(visible=False)] * 2
                continue
            for name, data in downloads(seen, mask).items():
                # Both models' files are called alike.
                path = folder / str(number) / name
                write_bytes(path, data)
                buttons.append(self.gradio.DownloadButton(value=str(path), visible=True))
        return buttons

    def _nothing(self, written: str | None, message: str) -> list:
        _remove(written)
        hidden = [self.gradio.DownloadButton(visible=False)] * (2 * len(self.models))
        return [
            None,
            self.gradio.Radio(visible=False),
            self.gradio.HTML(message, visible=True),
            *[""] * len(self.models),
            *hidden,
        ]

    def _error(self, error: Exception, *paths: str | None) -> str:
        text = told(error, {path: os.path.basename(path) for path in paths if path})
        return f'<div class="empty error">{html.escape(text)}</div>'


def _new_folder() -> Path:
    """Make an empty folder, below the one whose files the page may send; see `private_gradio`."""
    return Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))


def _remove(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _draw_examples() -> list[list[str]]:
    """Draw photographs and their true masks, and give the paths of each pair."""
    folder = _new_folder()
    examples = []
    for number, (seed, height, width) in enumerate(_PHANTOMS, 1):
        image, mask = draw_phantom(seed, height, width)
        paths = folder / f"phantom_{number}.jpg", folder / f"phantom_{number}_truth.png"
        write_bytes(paths[0], encode_jpeg(image))
        write_bytes(paths[1], encode_mask(mask > 0))
        examples.append([str(path) for path in paths])
    return examples


def _drop_zone(**look: Any) -> "gr.Image":
    """Make a place to drop a picture file on. What is wrong with it is told by whoever reads it."""
    gradio = import_gradio()

    def preprocess(zone: "gr.Image", upload: Any) -> str | None:
        return upload and upload.path

    async def move(zone: "gr.Image", path: str | Path | None) -> str | None:
        # Gradio would fetch what lies there.
        if "://" in str(path):
            raise gradio.Error("An address, expected a file that is dropped here.", print_exception=False)
        return await gradio.Image.async_move_resource_to_block_cache(zone, path)

    parts = dict(preprocess=preprocess, async_move_resource_to_block_cache=move, is_template=True)
    # Not by `class`: Gradio would write a stub file beside this one for it.
    return ABCMeta.__new__(type(gradio.Image), "DropZone", (gradio.Image,), parts)(**look)
