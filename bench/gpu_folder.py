"""What the rows in a folder of ``bench/gpu.py`` have in common: scale, device, torch, data.

Rows are named by part and key alone, so a folder takes rows of one kind only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hevitpose import json_file
from hevitpose.errors import UsageError
from hevitpose.files import write_atomically
from hevitpose.records import provenance
from hevitpose.records.identity import file_digest

#: What a call must share with the one that began the folder, and how it is called.
_SAME = {"scale": "scale", "device": "device", "torch": "torch", "data": "annotations"}


def header_of(scale: str, device: str, data: Path) -> dict[str, Any]:
    """The header of a call.

    Args:
        scale: full or rehearsal.
        device: cpu or cuda.
        data: the folder that holds coco_small, or will.
    """
    facts, versions, code = provenance.machine(), provenance.versions(), provenance.code()
    return {
        "scale": scale,
        "device": facts["cpu" if device == "cpu" else "gpu"],
        "driver": facts["driver"],
        "threads": facts["threads"],
        "torch": versions["torch"],
        "cuda": versions["cuda"],
        "data": _fingerprint(data),
        "commits": [code["commit"]],
    }


def begin(out: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Keep the header in the folder, or compare it with the one that is there.

    Returns:
        The folder's header: of the call that began it, with the commits of all.

    Raises:
        DataError: the folder's header is damaged.
        UsageError: the folder's rows are of another scale, device, torch or data.
    """
    path, other = out / "header.json", "expected another --out"
    if path.exists():
        kept = _read(path)
        for key, name in _SAME.items():
            # Parts without data know none.
            unknown = key == "data" and None in (kept[key], header[key])
            if kept[key] != header[key] and not unknown:
                now = f"this call's is {header[key]}"
                raise UsageError(f"{out}: begun with {name} {kept[key]}, {now}: {other}")
        commits = list(dict.fromkeys([*kept["commits"], *header["commits"]]))
        header = kept | {"data": kept["data"] or header["data"], "commits": commits}
    elif (out / "rows.jsonl").exists():
        raise UsageError(f"{out}: rows.jsonl without a header.json that tells its device: {other}")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(header, indent=1) + "\n")
    return header


def headline(header: dict[str, Any]) -> str:
    """The header in one line."""
    commits = ", ".join((commit or "unknown")[:10] for commit in header["commits"])
    return (
        f"{header['device']}, driver {header['driver']}, {header['threads']} cores; "
        f"torch {header['torch']}, CUDA {header['cuda']}; {header['scale']} scale; commit {commits}"
    )


def _read(path: Path) -> dict[str, Any]:
    kept = json_file.read(path, "description")
    needed = {*_SAME, "commits", "driver", "threads", "cuda"}
    if not isinstance(kept, dict) or not needed <= kept.keys():
        raise UsageError(f"{path}: not a header of bench/gpu.py, expected another --out")
    return kept


def _fingerprint(data: Path) -> str | None:
    """Of the annotations, which name the pictures; None where they are not there (yet)."""
    folder = data / "coco_small" / "annotations"
    files = [folder / f"coco_small_{split}.json" for split in ("train", "val")]
    if not all(file.is_file() for file in files):
        return None
    return "sha256:" + "+".join(file_digest(file)[:16] for file in files)
