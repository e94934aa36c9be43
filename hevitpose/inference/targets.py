"""Where ``hevitpose predict`` writes, and what it may not replace: all known before it predicts."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hevitpose.errors import UsageError
from hevitpose.files import require_file
from hevitpose.inference.pictures import Pictures

KEYPOINTS, DETECTIONS = "keypoints.json", "detections.json"
_PANEL = re.compile(r"(.+)_person[0-9]+_heatmaps")


@dataclass(frozen=True)
class Targets:
    """Files of a prediction."""

    drawn: list[Path]  # per image
    films: list[Path]  # per video; the json of each lies beside it


def panel_of(drawn: Path, person: int) -> Path:
    """The picture of a person's heatmaps, beside the drawn image."""
    return drawn.with_name(f"{drawn.stem}_person{person}_heatmaps.jpg")


def plan_targets(
    images: Pictures,
    clips: Pictures,
    out: Path,
    *,
    read: Iterable[Path | None] = (),
    detector: bool = False,
    heatmaps: bool = False,
) -> Targets:
    """Files for what is predicted: ``a/x.png`` is drawn as ``a/x.jpg``, or as ``a/x.png.jpg`` where
    an ``a/x.webp`` is predicted too; all others keep their names.

    Args:
        images: the images.
        clips: the videos.
        out: the folder.
        read: other files that are read.
        detector: what it finds is written, too.
        heatmaps: so are the maps.

    Raises:
        UsageError: something would replace a file that is read, or another one that is written,
            or cannot be written.
    """
    made = Targets(_named(images, out, ".jpg"), _named(clips, out, ".mp4"))
    lists = [KEYPOINTS, *([DETECTIONS] if detector else [])] if images.paths else []
    films = [film.with_suffix(".json") for film in made.films]
    whose: dict[str, str] = {}  # by where it lies, links followed
    originals = _read(images, clips, read)
    for target, source in (
        *((out / name, "the images") for name in lists),
        *zip(made.drawn, images.names, strict=True),
        *zip(made.films, clips.names, strict=True),
        *zip(films, clips.names, strict=True),
    ):
        place = os.path.realpath(target)
        if place in whose:
            raise UsageError(
                f"--out {out}: {target} would be of {whose[place]} and of {source}; "
                "predict them into two folders, or rename one"
            )
        if place in originals:
            kind = originals[place]
            raise UsageError(f"--out {out}: {target} is {kind}, expected another folder")
        whose[place] = source
    _require_no_folders(out, whose)
    _require_writable(out, map(Path, whose))
    if heatmaps:
        _require_no_panels(out, (*whose, *originals), set(map(os.path.realpath, made.drawn)))
    return made


def _named(sources: Pictures, out: Path, suffix: str) -> list[Path]:
    names = [PurePosixPath(name) for name in sources.names]
    short = [name.with_suffix(suffix) for name in names]
    long = [name.with_name(f"{name.name}{suffix}") for name in names]
    chosen = list(short)
    while True:  # a longer name may be another's short one: x.jpg, x.png and x.png.jpg
        count = Counter(chosen)
        clash = [i for i, name in enumerate(chosen) if count[name] > 1 and name == short[i]]
        if not clash:
            return [out / name for name in chosen]
        # Whose name it is keeps it where it can: x.jpg beside x.png.
        for i in [i for i in clash if names[i] != short[i]] or clash:
            chosen[i] = long[i]


def _read(images: Pictures, clips: Pictures, others: Iterable[Path | None]) -> dict[str, str]:
    """What each file that is read is, by its place."""
    found: dict[str, str] = {}
    kinds: Sequence[tuple[Iterable[Path | None], str]] = (
        (images.paths, "an image to predict"),
        (clips.paths, "a video to predict"),
        (others, "a file that is read"),
    )
    for paths, kind in kinds:
        # realpath, as resolve() fails on a link to itself.
        found |= {os.path.realpath(path): kind for path in paths if path is not None}
    return found


def _require_no_folders(out: Path, whose: dict[str, str]) -> None:
    """Refuse a file that another one needs as its folder.

    Raises:
        UsageError: there is one.
    """
    for place, source in whose.items():
        for folder in map(str, Path(place).parents):
            if folder in whose:
                raise UsageError(
                    f"--out {out}: {folder} would be a file of {whose[folder]} and a folder of "
                    f"{source}; predict them into two folders, or rename one"
                )


def _require_writable(out: Path, places: Iterable[Path]) -> None:
    """Refuse files that are folders already, and folders that are files, or closed.

    Raises:
        UsageError: there is one.
    """
    for place in places:
        require_file(place, f"--out {out}:")


def _require_no_panels(out: Path, places: Iterable[str], drawn: set[str]) -> None:
    """Refuse files that are called as the panel of an image's heatmaps.

    Raises:
        UsageError: there is one.
    """
    for path in map(Path, places):
        found = _PANEL.fullmatch(path.stem) if path.suffix == ".jpg" else None
        image = path.with_name(f"{found[1]}.jpg") if found else path
        if found and str(image) in drawn:
            raise UsageError(
                f"--out {out}: {path.name} would be the heatmaps of {image.name}, and is another "
                "file of this prediction; predict them into two folders, or rename one"
            )
