"""Images and a folder of masks -> a page on which the masks are drawn, until Ctrl-C."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesionseg.errors import DataError, first_names
from lesionseg.files import lock_folder
from lesionseg.inference.inputs import Inputs, find_inputs
from lesionseg.inference.opening import find_paths
from lesionseg.pages.address import Address

if TYPE_CHECKING:
    from lesionseg.inference.segmenter import Segmenter


@dataclass(frozen=True)
class Annotation:
    """What is annotated.

    Attributes:
        images: files, folders and patterns.
        out: folder of the masks.
        findings: what is drawn, a layer each; empty for one mask an image.
        model: to begin from: an exported model, or a config and its checkpoint; empty for none.
    """

    images: Sequence[str]
    out: Path
    findings: Sequence[str] = ()
    model: Sequence[str] = ()


def annotate(asked: Annotation, address: Address) -> str:
    """Serve the page until Ctrl-C.

    Returns:
        What there is then, a line.

    Raises:
        DataError: all that is wrong with images, masks or model, before the page is served.
        OSError: a file cannot be read.
    """
    inputs = check(asked)
    address.check()
    from lesionseg.pages.annotation_page import annotation_page
    from lesionseg.pages.annotations import Annotations
    from lesionseg.pages.serving import import_gradio, private_gradio, served, wait_for_the_end

    with private_gradio(), lock_folder(asked.out, "annotate"):
        import_gradio()
        annotations = Annotations(inputs.images, asked.out, asked.findings, _open(asked.model))
        annotations.check()
        with served(annotation_page(annotations), address) as url:
            print(f"annotating {len(inputs.images)} images at {url} (Ctrl-C ends it)", flush=True)
            wait_for_the_end()
    counts = []
    for finding in annotations.findings:
        done = sum(annotations.is_done(number, finding) for number in range(len(inputs.images)))
        counts.append(f"{done} have a mask" + (f" of {finding}" if asked.findings else ""))
    return f"of {len(inputs.images)} images, {', '.join(counts)}; masks are in {asked.out}"


def check(asked: Annotation) -> Inputs:
    """Find what is wrong before anything heavy is imported: with paths and names; nothing is written.

    Raises:
        DataError: it is.
    """
    inputs = find_inputs(asked.images)
    if asked.model:
        find_paths(*asked.model)
    inputs.check_apart(asked.out)
    if wrong := [repr(name) for name in asked.findings if not _is_folder_name(name)]:
        raise DataError(
            f"--findings: {first_names(wrong)} cannot be the name of a folder, expected names such as acne. Choose "
            "others."
        )
    # On file systems that do not tell capitals from small letters, they would be one folder.
    if len({name.lower() for name in asked.findings}) < len(asked.findings):
        raise DataError(
            f"--findings: {first_names(asked.findings)}, expected each name once. Take away what is double."
        )
    return inputs


def _is_folder_name(name: str) -> bool:
    return name != "" and name.isprintable() and name == Path(name).name and not name.startswith(".")


def _open(model: Sequence[str]) -> "Segmenter | None":
    if not model:
        return None
    from lesionseg.inference.segmenter import Segmenter

    return Segmenter(*model)
