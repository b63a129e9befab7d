"""Progress lines: counts, what they say of the rest, and how often."""

import io

import pytest

from nsl_assets.progress import LINE_EVERY_S, Progress, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_is_estimated_from_what_was_computed_not_from_what_was_stored():
    clock = Clock()
    progress = Progress(clock=clock)
    progress.begin(10)
    progress.advance("a", is_reused=True)
    assert progress.eta_s is None
    clock.now = 30.0
    progress.advance("b")
    progress.advance("c")
    assert progress.eta_s == pytest.approx(15.0 * 7)
    assert progress.line("c") == "3 of 10 (1 stored already), about 2 min left: c"


def test_lines_that_are_no_terminal_come_now_and_then_and_at_the_end():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(stream, clock)
    progress.begin(4)
    for label in "abc":
        progress.advance(label)
        clock.now += 1
    assert stream.getvalue().count("\n") == 1
    clock.now += LINE_EVERY_S
    progress.advance("d", is_failed=True)
    assert stream.getvalue().splitlines()[-1] == "4 of 4 (1 failed): d"


def test_runs_that_are_parts_do_not_start_the_count_again():
    progress = Progress()
    progress.begin_overall(6)
    progress.begin(2)
    progress.advance("a")
    progress.begin(4)
    assert (progress.done, progress.total) == (1, 6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "about 40 s"), (200, "about 3 min"), (9_000, "about 2.5 h"), (None, "unknown")]
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_what_a_worker_does_now_is_said_beside_the_count():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(stream, clock)
    progress.begin(2)
    progress.step("scvi q=0.1: epoch 3 of at most 400")
    progress.step("scvi q=0.1: epoch 4 of at most 400")
    assert stream.getvalue() == "0 of 2: scvi q=0.1: epoch 3 of at most 400\n"
