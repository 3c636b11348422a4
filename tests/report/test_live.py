"""The view in the terminal."""

from __future__ import annotations

import io
import re

import pytest
from tests.report.records import FINDINGS, rows_of_descent

from talweg.report import LiveView


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_shows_a_panel_and_is_left_clean() -> None:
    stream, clock = Terminal(), Clock()
    with LiveView(total=200, stream=stream, clock=clock) as view:
        for row in rows_of_descent():
            clock.now += 1.0
            view.update(row, 0.04)
        view.update({"step": 195, "findings": FINDINGS})
    text = stream.getvalue()
    assert "195 of 200, 40 looks" in text
    assert "PL ratio" in text
    assert "of the limit" in text
    assert "4.0% of the time" in text
    assert "Step too small, 75% sure" in text
    assert "█" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert text.rstrip().endswith("\x1b[?25h")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_cursor_is_back_after_an_error(error: type[BaseException]) -> None:
    stream = Terminal()

    def run() -> None:
        with LiveView(stream=stream) as view:
            view.update(rows_of_descent(1)[0])
            raise error

    with pytest.raises(error):
        run()
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")


def test_it_is_drawn_four_times_a_second_at_most() -> None:
    stream, clock = Terminal(), Clock()
    with LiveView(stream=stream, clock=clock) as view:
        view.draw()
        length = len(stream.getvalue())
        for row in rows_of_descent():
            clock.now += 0.001
            view.update(row)
        assert len(stream.getvalue()) == length


def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> str:
        stream = Terminal()
        with LiveView(stream=stream) as view:
            view.update(rows_of_descent(1)[0])
        return stream.getvalue()

    assert "\x1b[32m" in drawn() or "\x1b[36m" in drawn()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(f"\x1b[{code}m" in drawn() for code in (31, 32, 33, 36))


def test_elsewhere_a_line_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    with LiveView(stream=stream, plain_every=30.0, clock=clock) as view:
        for row in rows_of_descent():
            clock.now += 2.0
            view.update(row)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3  # two in 80 seconds, and one at the end
    assert lines[-1].startswith("step 195: loss ")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_be_redrawn(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    with LiveView(stream=stream) as view:
        view.update(rows_of_descent(1)[0])
    assert stream.getvalue().count("\n") == 1


def test_silence_where_it_is_asked_for() -> None:
    stream = io.StringIO()
    with LiveView(stream=stream, plain_every=None) as view:
        view.update(rows_of_descent(1)[0])
    assert stream.getvalue() == ""


class Breaks(Terminal):
    """A terminal that goes away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "gone")


@pytest.mark.parametrize("closed", [False, True])
def test_a_stream_that_breaks_does_not_end_the_run(closed: bool) -> None:
    stream = Breaks() if not closed else Terminal()
    clock = Clock()
    with LiveView(stream=stream, clock=clock) as view:
        if closed:
            stream.close()
        for row in rows_of_descent(3):
            clock.now += 1.0
            view.update(row)
    assert view.broken


def test_letters_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with LiveView(stream=stream) as view:
        view.update(rows_of_descent(1)[0])
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "+-" in text
    assert "##" in text or ".." in text


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    view = LiveView(stream=stream)
    for row in rows_of_descent():
        view.summary.add(row)
    view._console.print(view.panel())
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= 40
