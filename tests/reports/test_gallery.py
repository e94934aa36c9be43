"""The gallery: drawn from its two files and a record, or named and left out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hevitpose.records import RecordStore
from reports import build
from reports.__main__ import main
from reports.figures import gallery, style
from reports.load import check


def measured(record):
    return check([("a.json", record)])


def test_it_is_drawn_with_its_facts(make, write_gallery, tmp_path):
    record = make.evaluation(mean=61.27)
    write_gallery(tmp_path / "g", record)
    data, problems = gallery.load(tmp_path / "g", measured(record))
    assert not problems and data["record"] == record.id
    assert data["title"] == "HEViTPose-nano on synthetic people; PCKh@0.5 over all of val 61.3"
    figure = gallery.draw_gallery(data)
    axes = figure.axes
    assert len(axes) == 6 and [a.get_ylabel() for a in axes[::2]] == [
        "truth",
        "prediction",
        "heatmaps, summed",
    ]
    assert axes[2].get_xlabel() == "1 of 1 joints found"  # what is not labelled does not count
    shown = axes[0].images[0].get_array()
    sheet = np.asarray(Image.open(tmp_path / "g" / "people.jpg"))
    assert (shown == sheet[:24, :32]).all()
    assert (axes[1].images[0].get_array() == sheet[:24, 32:]).all()
    path = tmp_path / "gallery.svg"
    style.save(figure, [path], style.digest(data))
    style.close(figure)
    text = path.read_text()
    assert "left wrist: 0.12 head sizes from the truth, score 0.81" in text
    assert "right knee: not labelled, score 0.40" in text
    assert text.count("data:image/jpeg;base64,") == 6 and "image/png" not in text


def test_its_digest_follows_picture_and_joints(make, write_gallery, tmp_path):
    record = make.evaluation()
    RecordStore(tmp_path / "s").add(record)

    def digest(changes=None, columns=2):
        write_gallery(tmp_path / "g", record, changes, columns)
        return build.make([tmp_path / "s"], pictures=[tmp_path / "g"]).plot("gallery").digest

    assert digest() == digest() != digest(columns=3)
    assert digest() != digest({"names": ["left_wrist", "right_hip"]})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"record": "0" * 20}, "of record 00000000000000000000, which is not here"),
        ({"sheet": "0" * 64}, "people.jpg is not the picture that it names"),
        ({"names": ["one"]}, "person 0: 2 predicted, expected 1"),
        ({"skeleton": [[0, 2]]}, "a joint outside 0 to 1"),
        ({"people": []}, "people"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_is_named_and_left_out(make, write_gallery, tmp_path, changes, reason):
    record = make.evaluation()
    write_gallery(tmp_path / "g", record, changes)
    data, (problem,) = gallery.load(tmp_path / "g", measured(record))
    assert data is None
    assert problem.file == "g/gallery.json" and reason in problem.reason


def test_photographs_are_refused(make, write_gallery, tmp_path):
    facts = {"name": "mpii", "split": "val", "fingerprint": "sha256:0", "boxes": "gt"}
    record = make.evaluation(dataset=facts)
    write_gallery(tmp_path / "g", record)
    _, (problem,) = gallery.load(tmp_path / "g", measured(record))
    assert problem.reason == "of real photographs, expected synthetic people"


def test_absent_and_half_there(make, write_gallery, tmp_path):
    found = measured(make.evaluation())
    assert gallery.load(tmp_path / "none", found) == (None, [])
    write_gallery(tmp_path / "g", found.records[0])
    (tmp_path / "g" / "people.jpg").unlink()
    _, (problem,) = gallery.load(tmp_path / "g", found)
    assert str(problem) == "g/people.jpg: No such file or directory, expected a picture"
    (tmp_path / "g" / "people.jpg").write_bytes(b"x")
    (tmp_path / "g" / "gallery.json").write_text('{"record": NaN')
    assert len(gallery.load(tmp_path / "g", found)[1]) == 1


def test_a_bad_gallery_fails_the_check(make, write_gallery, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("reports.__main__.OUT", tmp_path / "out")
    record = make.evaluation()
    RecordStore(tmp_path / "results" / "measured").add(record)
    write_gallery(tmp_path / "results" / "gallery", record)
    given = ["--measured", tmp_path / "results" / "measured", "--out", tmp_path / "out"]
    given = [*map(str, given), "--readme", str(tmp_path / "none"), "--no-site"]
    assert main(given) == 0
    assert (tmp_path / "out" / "figures" / "gallery.svg").is_file()
    assert main([*given, "--check"]) == 0
    write_gallery(tmp_path / "results" / "gallery", record, {"record": "f" * 20})
    capsys.readouterr()
    assert main([*given, "--check"]) == 1
    captured = capsys.readouterr()
    assert "gallery/gallery.json: of record ffff" in captured.err
    assert "gallery.svg: no plot of this name any more" in captured.out
