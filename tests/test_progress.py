"""Lines where nobody watches: what is left is estimated from the pass that is running."""

from __future__ import annotations

from hevitpose import progress


def test_each_pass_has_an_estimate_of_its_own(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False)
    with progress.progress_bar("looks", "images") as report:
        for seconds, done in ((20, 1), (40, 2), (51, 1), (63, 12)):
            now[0] = float(seconds)
            report(done, 2 if seconds < 51 else 34)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "looks: 1/2 images, 0.1/s, 20 s left"
    assert lines[-1] == "looks: 12/34 images, 1.0/s, 22 s left"  # 12 s for 12, not 63
    assert len(lines) == 3  # none when the second pass begins: nothing is known of it yet
