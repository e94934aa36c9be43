"""The environment that nox makes."""

from __future__ import annotations

import subprocess

import pytest


class Session:
    def __init__(self):
        self.ran = []

    def run(self, *words, external):
        self.ran.append(words)


@pytest.mark.parametrize(
    ("installed", "removed"),
    [
        ("numpy==2.4\n", []),
        ("opencv-contrib-python-headless==5.0\nnumpy==2.4\n", []),
        ("opencv-python-headless==5.0\n", ["opencv-python-headless"]),
        (  # what was removed last would take the other's files with it
            "opencv-python==4.8\nopencv-contrib-python-headless==5.0\n",
            ["opencv-contrib-python-headless", "opencv-python"],
        ),
    ],
)
def test_no_two_builds_of_opencv(installed, removed, noxfile, monkeypatch):
    answer = subprocess.CompletedProcess([], 0, stdout=installed)
    monkeypatch.setattr(noxfile.subprocess, "run", lambda *_, **__: answer)
    session = Session()
    noxfile._remove_other_opencvs(session, "python")
    assert [list(words[6:]) for words in session.ran] == ([removed] if removed else [])
