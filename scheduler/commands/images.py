"""The command `images`: builds the images that runtimes run in, and the tool's own, on this machine."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Action(StrEnum):
    """What is done with the images."""

    BUILD = "build"


class ImageName(StrEnum):
    """An image that can be built, or all of them."""

    LEGACY = "legacy"
    KERAS3 = "keras3"
    TOOL = "tool"
    ALL = "all"


def images(
    action: Annotated[Action, typer.Argument(help="What to do: build.")],
    image: Annotated[ImageName, typer.Argument(help="Which image.")] = ImageName.ALL,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Also write the images there as docker archives.")
    ] = None,
    mirror: Annotated[str | None, typer.Option("--mirror", metavar="URL", help="The Debian mirror for debootstrap.")] = None,
) -> None:
    """Build the container images of the runtimes and of the tool, by podman or docker. Example: cronsemble images build legacy"""
    from scheduler.images.build import SUITES, build_images

    names = list(SUITES) if image is ImageName.ALL else [image.value]
    build_images(names, mirror, save, lambda text: print(text, flush=True))
