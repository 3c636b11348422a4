"""What a run is compared with, on invented runs."""

from __future__ import annotations

from dataclasses import replace

from flint import arb
from tests.soundness.falsification_power import honest

from talweg.falsification._course import END, HALVING, PATH, RADIUS, RATE, Course, Iterate
from talweg.falsification._stated import Stated, stated


def claims(theorem: str = "T11", **numbers: float) -> Stated:
    """Rate 1/2, radius 1, three steps to halve, and further numbers."""
    found = stated(honest("ordinary"))
    common = {"radius": 1.0, "rate": 0.5, "one_minus_rate": 0.5, "halving_steps": 2.5}
    return replace(found, theorem=theorem, claims={**found.claims, **common, **numbers})


def broken(course: Course, *iterates: Iterate) -> set[str]:
    """The names of the comparisons that fail along the run."""
    return {
        name
        for after in iterates
        if course.running
        for name, left, right in course.step(after)
        if left > right
    }


START = Iterate(8.0, 0.0, 0.0)


def test_a_run_that_does_what_is_claimed() -> None:
    course = Course(claims(), float, certified=True, first=START)
    assert broken(course, Iterate(4.0, 0.5, 0.5), Iterate(2.0, 1.0, 1.0)) == set()


def test_each_claim_by_itself() -> None:
    def alone(*iterates: Iterate, certified: bool = True) -> set[str]:
        return broken(Course(claims(), float, certified=certified, first=START), *iterates)

    assert alone(Iterate(4.1, 0.5, 0.5)) == {RATE}
    assert alone(Iterate(4.1, 0.5, 0.5), certified=False) == set()
    assert alone(Iterate(4.0, 1.1, 1.0)) == {RADIUS}
    assert alone(Iterate(4.0, 1.0, 1.1)) == {PATH}
    slow = [Iterate(f, 0.1, 0.1) for f in (7.0, 6.0, 5.0)]
    assert alone(*slow) == {RATE, HALVING}
    assert alone(*slow[:2]) == {RATE}


def test_the_last_step_to_a_target() -> None:
    """It may leave the ball, but not the larger one, and needs no rate."""
    found = claims("T7", target_loss=1.0, overshoot_radius=2.0, steps_upper=2.0)

    def run(*iterates: Iterate) -> set[str]:
        return broken(Course(found, float, certified=True, first=START), *iterates)

    near = replace(START, loss=1.5)
    assert broken(Course(found, float, certified=True, first=near), Iterate(0.9, 1.9, 1.9)) == set()
    assert run(Iterate(0.9, 2.1, 2.1)) == {RADIUS}
    assert run(Iterate(4.0, 0.1, 0.1), Iterate(2.0, 0.2, 0.2)) == {END}
    assert run(Iterate(4.0, 0.1, 0.1), Iterate(1.0, 0.2, 0.2), Iterate(9.0, 9.0, 9.0)) == set()


def test_the_last_step_to_a_floor() -> None:
    found = claims("T9", floor=1.0, steps_upper=2.0)
    near = replace(START, loss=1.5)
    assert broken(Course(found, float, certified=True, first=near), Iterate(0.9, 0.1, 0.1)) == {
        RATE
    }
    assert broken(Course(found, float, certified=True, first=START), Iterate(0.9, 1.1, 0.1)) == {
        RADIUS
    }


def test_nothing_is_concluded_from_a_ball_across_the_target() -> None:
    found = claims("T7", target_loss=1.0, overshoot_radius=2.0, steps_upper=1.0)
    first = Iterate(arb(8), arb(0), arb(0))
    course = Course(found, arb, certified=True, first=first)
    assert broken(course, Iterate(arb(1, 0.5), arb(9), arb(9))) == set()
    assert not course.running
