"""What is shown of a training: lines on a terminal and elsewhere, the result in a notebook."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from graphad.train import FitResult
from graphad.train._progress import Progress


def progress(live=False, **options):
    stream = io.StringIO()
    stream.isatty = lambda: live
    made = Progress(**{"epochs": 2, "per_epoch": 40, "batch_size": 10, "enabled": True, "stream": stream, **options})
    made.begin_epoch()
    made.count()
    return made, stream


def test_a_long_epoch_is_not_silent_where_there_is_no_terminal(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    shown, stream = progress()
    for clock[0] in np.arange(1.0, 100.0):
        shown.count()
        shown.update(1, int(clock[0]) // 3, 0.25)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3, "one in half a minute"
    assert re.fullmatch(r"epoch 1/2 \[#{5}\.{15}\] 10/40  loss 0\.25  1 steps/s  10 examples/s", lines[0])
    shown.end_epoch({"epoch": 1.0, "step": 40.0, "loss": 0.5, "seconds": 100.0})
    clock[0] += 20.0
    shown.update(2, 1, 0.25)
    assert len(stream.getvalue().splitlines()) == 4, "the line of the epoch counts"


def test_nothing_is_shown_where_nothing_is_wanted(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    shown, stream = progress(enabled=False, live=True)
    clock[0] = 1000.0
    shown.update(1, 1, 0.5)
    shown.end_epoch({"epoch": 1.0, "step": 40.0, "loss": 0.5})
    shown.close()
    assert stream.getvalue() == ""


def test_the_last_line_of_an_epoch_stays_on_a_terminal():
    shown, stream = progress(live=True)
    shown.update(1, 20, 0.25)
    shown.end_epoch({"epoch": 1.0, "step": 40.0, "loss": 0.5, "seconds": 1.0})
    assert re.search(r"\r\x1b\[Kepoch 1/2  step 40  loss 0\.5  .* examples/s\n$", stream.getvalue())


def result(epochs, **options):
    history = [{"epoch": k + 1.0, "step": 4.0 * (k + 1), "loss": 1 / (k + 1), "seconds": 0.1} for k in range(epochs)]
    return FitResult({"w": 1.0}, None, history, 4 * epochs, "1 < 2", np.ones(4 * epochs), **options)


def test_the_result_in_a_notebook():
    html = result(2, best_epoch=1)._repr_html_()
    assert "stopped because 1 &lt; 2" in html
    assert "parameters of epoch 1;" in html
    assert "<tr><th>epoch</th><th>step</th><th>loss</th><th>seconds</th></tr>" in html
    assert "<tr><td>2</td><td>8</td><td>0.5</td><td>0.1</td></tr></table>" in html
    assert html.count("<tr>") == 3
    long = result(500)._repr_html_()
    assert long.count("<tr>") == 22
    assert "<td>...</td>" in long
    assert "<td>500</td>" in long
    assert "<tr>" not in result(0)._repr_html_()


def test_a_plot_in_a_notebook_is_shown_once():
    """As the value of a cell; `pyplot`, which shows its figures when a cell ends, knows nothing of it."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = result(2).plot()
    assert axes._repr_png_().startswith(b"\x89PNG\r\n")
    assert not pyplot.get_fignums()
    figure, given = pyplot.subplots()
    assert result(2).plot(given) is given
    assert not hasattr(given, "_repr_png_")
    pyplot.close(figure)


def test_a_column_that_begins_later():
    late = result(2)
    late.history[1]["eval_loss"] = 0.5
    assert "<td></td>" not in late._repr_html_().splitlines()[0].split("</tr>")[-2]
    assert "<td></td></tr>" in late._repr_html_()
    assert [line.get_label() for line in late.plot().lines[1:]] == ["loss", "eval_loss"]
