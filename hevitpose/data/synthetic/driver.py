"""Generating a data set: splits, worker processes, and a folder that is complete or absent.

Everything is written below a folder of the run's own (``ROOT/.partial-...``), sealed, and moved
into place at the end; the marker ``ROOT/synthetic.json`` comes last. A folder without the marker is
never taken for a data set.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Set
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.synthetic import pool, seal
from hevitpose.data.synthetic.seal import FORMATS
from hevitpose.errors import DataError, UsageError
from hevitpose.files import exists, is_dir, require_folder
from hevitpose.records import provenance
from hevitpose.records.identity import RENDERED_PEOPLE as VERSION

if TYPE_CHECKING:  # what renders is imported where it renders
    from hevitpose.data.synthetic.formats import Picture

MARKER = "synthetic.json"
_PARTIAL = ".partial"
_LOCK = ".synthetic.lock"
#: How many people stand in a picture, and how often.
_CROWD = ((1, 0.68), (2, 0.20), (3, 0.08), (4, 0.04))
_VAL, _TEST = 0.15, 0.05  # shares of the people
_CHUNK = 16  # images a worker takes at a time
_JPEG_QUALITY = 92

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SyntheticInfo:
    """What a generated folder holds; the content of its marker file.

    Attributes:
        version: of the generator.
        seed: of all randomness.
        people: in all splits together.
        size: side of every image in pixels.
        images: in all splits together.
        splits: for each split ``{"images": n, "people": n}``.
    """

    version: int
    seed: int
    people: int
    size: int
    images: int
    splits: dict[str, dict[str, int]]


def generate(
    root: Path | str,
    people: int = 5000,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SyntheticInfo:
    """Write the synthetic data set below ``root`` unless it is already there.

    The files depend on ``people``, ``size``, ``seed`` and ``RENDERED_PEOPLE`` alone, not on
    ``workers``.

    Args:
        root: folder that will hold ``coco``, ``mpii``, ``crowdpose`` and ``ochuman``.
        people: number of people in all splits together, at least 3.
        size: side of the square images in pixels, 64 to 2048.
        seed: 0 or above.
        workers: processes; default as many as CPUs that this process may use; with 1, or for
            fewer than 100 images by default, everything happens in this process.
        progress: called with (images done, images in all).

    Returns:
        What the folder holds.

    Raises:
        UsageError: an argument out of range, or ``root`` holds something else.
        DataError: the disk is full, or a file or folder cannot be written.
    """
    _check_arguments(people, size, seed, workers)
    root = Path(root)
    info, crowds = _plan(people, size, seed)
    if read_marker(root) == info:
        return info
    require_folder(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root):
            if read_marker(root) == info:  # another process made it meanwhile
                return info
            _clear_leftovers(root, info)
            _build(root, info, crowds, workers, progress)
    except OSError as error:
        where = error.filename or root
        full = error.errno == errno.ENOSPC
        what = "no space left on the device" if full else error.strerror or error
        raise DataError(f"{where}: cannot write the synthetic data: {what}") from error
    return info


def fingerprint(root: Path | str) -> str:
    """``synthetic:v1:seed0:people5000:size256``: what a record says of the people in a folder.

    Raises:
        DataError: ``root`` holds no complete set of rendered people, or a file of it was changed.
    """
    info = read_marker(Path(root))
    if info is None:
        raise DataError(f"{Path(root) / MARKER}: absent, expected a complete synthetic data set")
    seal.check(Path(root))
    return _fingerprint(info.version, info.seed, info.people, info.size)


def expected_fingerprint(root: Path | str, people: int, size: int) -> str:
    """The fingerprint of what a folder holds, or will hold once it is rendered."""
    if read_marker(Path(root)) is not None:
        return fingerprint(root)
    return _fingerprint(VERSION, 0, people, size)


def _fingerprint(version: int, seed: int, people: int, size: int) -> str:
    return f"synthetic:v{version}:seed{seed}:people{people}:size{size}"


def is_complete(root: Path | str, people: int = 5000, size: int = 256, seed: int = 0) -> bool:
    """Whether ``root`` holds the data set that :func:`generate` would write for these values."""
    _check_arguments(people, size, seed, None)
    return read_marker(Path(root)) == _plan(people, size, seed)[0]


def read_marker(root: Path) -> SyntheticInfo | None:
    """The marker of a complete data set, or None where there is none.

    Raises:
        DataError: the marker is there but damaged.
    """
    path = root / MARKER
    if not exists(path):
        return None
    try:
        return SyntheticInfo(**json_file.read(path, "description"))
    except TypeError as error:
        raise DataError(f"{path}: not a marker of synthetic data: {error}") from error


def _check_arguments(people: int, size: int, seed: int, workers: int | None) -> None:
    for name, value, low, high in (
        ("people", people, 3, 10_000_000),
        ("size", size, 64, 2048),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", 1 if workers is None else workers, 1, 1024),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"{name}: {value!r}, expected an integer from {low} to {high}")


def _plan(people: int, size: int, seed: int) -> tuple[SyntheticInfo, list[int]]:
    """The marker, and the number of people in each image; images are in the order of splits."""
    rng = np.random.default_rng((seed, 0, VERSION))
    counts, weights = zip(*_CROWD, strict=True)
    crowds = rng.choice(counts, size=people, p=weights).tolist()
    ends = np.cumsum(crowds)
    images = int(np.searchsorted(ends, people)) + 1
    crowds = crowds[:images]
    crowds[-1] -= int(ends[images - 1]) - people
    if images < 3:  # every split needs an image
        crowds, images = [1] * people, people
    ends = np.cumsum(crowds)
    train = int(np.clip(np.searchsorted(ends, people * (1 - _VAL - _TEST)), 1, images - 2))
    val = int(np.clip(np.searchsorted(ends, people * (1 - _TEST)), train + 1, images - 1))
    parts = {"train": crowds[:train], "val": crowds[train:val], "test": crowds[val:]}
    splits = {name: {"images": len(c), "people": sum(c)} for name, c in parts.items()}
    return SyntheticInfo(VERSION, seed, people, size, images, splits), crowds


def _clear_leftovers(root: Path, info: SyntheticInfo) -> None:
    """Remove what an interrupted run of ours left; refuse anything else."""
    marker = read_marker(root)
    if marker is not None:
        raise UsageError(
            f"{root}: holds synthetic data version {marker.version}, people {marker.people}, size "
            f"{marker.size}, seed {marker.seed}; wanted version {info.version}, people "
            f"{info.people}, size {info.size}, seed {info.seed}: remove it or choose another root"
        )
    names = sorted(path.name for path in root.iterdir() if path.name != _LOCK)
    partial = [name for name in names if name.startswith(_PARTIAL)]
    for folder in partial:
        for name in _moved(root, root / folder):
            _remove(root / name)
        if not (root / folder).is_symlink():
            _remove(root / folder / seal.SEAL)  # from here on nothing counts as moved
        _remove(root / folder)
    if partial:
        names = sorted(path.name for path in root.iterdir() if path.name != _LOCK)
    if names:
        raise UsageError(
            f"{root}: not empty (holds {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}) "
            "and not a synthetic data set: choose another root"
        )


def _moved(root: Path, partial: Path) -> list[str]:
    """What an interrupted run had moved into place.

    Nothing before its seal, the last file, was written; not what is still in its folder; and no
    folder with a file that the seal does not name: one of the user's own stays.
    """
    waiting = [name for name in FORMATS if exists(partial / name)]
    if exists(partial / seal.SEAL):
        where, rest = partial, []
    elif exists(root / seal.SEAL) and not waiting:
        where, rest = root, [seal.CHECKED, seal.SEAL]
    else:
        return []
    known = seal.names(where)
    ours = [name for name in FORMATS if name not in waiting and _is_of(root, name, known)]
    return [*ours, *rest]


def _is_of(root: Path, name: str, known: Set[str]) -> bool:
    """Whether a folder has nothing but files that are known."""
    folder = root / name
    if folder.is_symlink() or not is_dir(folder):
        return False
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(path.relative_to(root).as_posix() in known for path in files)


def _remove(path: Path) -> None:
    if is_dir(path) and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _build(
    root: Path,
    info: SyntheticInfo,
    crowds: list[int],
    workers: int | None,
    progress: Progress | None,
) -> None:
    from hevitpose.data.synthetic import formats

    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}-", dir=root))
    for split in formats.SPLITS:
        for folder in formats.folders(split):
            (partial / folder).mkdir(parents=True, exist_ok=True)
    pictures = _render_all(partial, info, crowds, workers, progress)
    formats.write(partial, pictures)
    seal.write(partial, pictures)
    for name in (*FORMATS, seal.SEAL):
        (partial / name).rename(root / name)
    marker = partial / MARKER
    marker.write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    marker.replace(root / MARKER)
    partial.rmdir()


def _jobs(info: SyntheticInfo, crowds: list[int]) -> list[dict[str, Any]]:
    """One entry per image: everything that its pixels and annotations depend on."""
    splits = [name for name, n in info.splits.items() for _ in range(n["images"])]
    firsts = (np.cumsum(crowds) - crowds + 1).tolist()
    return [
        {
            "id": i + 1,
            "split": split,
            "first": first,
            "people": n,
            "size": info.size,
            "seed": info.seed,
        }
        for i, (split, first, n) in enumerate(zip(splits, firsts, crowds, strict=True))
    ]


def _render_all(
    partial: Path,
    info: SyntheticInfo,
    crowds: list[int],
    workers: int | None,
    progress: Progress | None,
) -> list[Picture]:
    jobs = _jobs(info, crowds)
    chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    if workers is None:
        workers = 1 if len(jobs) < 100 else provenance.cores()
    workers = min(workers, len(chunks))
    pictures: list[Picture] = []
    # Closed here, not when collected: after Ctrl-C no worker may write once the lock is gone.
    with closing(_chunks_done(partial, chunks, workers)) as results:
        for done in results:
            pictures += done
            if progress is not None:
                progress(len(pictures), len(jobs))
    return sorted(pictures, key=lambda picture: picture.id)


def _chunks_done(partial: Path, chunks: list, workers: int) -> Generator[list[Picture], None, None]:
    if workers > 1:
        yield from pool.run(render_chunk, [(partial, chunk) for chunk in chunks], workers)
    else:
        for chunk in chunks:
            yield render_chunk(partial, chunk)


def render_chunk(partial: Path, jobs: list[dict[str, Any]]) -> list[Picture]:
    """Render and write some images; returns their ``formats.Picture`` entries."""
    import cv2

    from hevitpose.data.synthetic.formats import Picture, folders
    from hevitpose.data.synthetic.scene import render_scene

    out = []
    for job in jobs:
        # Keyed by seed and image: no image depends on which process drew it, or after what.
        rng = np.random.default_rng((job["seed"], 1, job["id"], VERSION))
        scene = render_scene(rng, job["people"], job["size"])
        ok, data = cv2.imencode(".jpg", scene.image, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        if not ok:
            raise DataError(f"image {job['id']}: OpenCV cannot encode JPEG")
        name = f"{job['id']:012d}.jpg"
        first, *others = (partial / folder / name for folder in folders(job["split"]))
        # Not cv2.imwrite: it reports a full disk as success.
        first.write_bytes(data.tobytes())
        for other in others:
            _link(first, other)
        people = list(enumerate(scene.people, job["first"]))
        digest = hashlib.sha256(data.tobytes()).hexdigest()
        out.append(Picture(job["id"], name, job["size"], job["split"], people, digest))
    return out


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, target)  # a file system without hard links


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """One generation at a time below ``root``; a second one waits and finds the work done."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock: there, two at once are the caller's affair
        yield
        return
    with (root / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
