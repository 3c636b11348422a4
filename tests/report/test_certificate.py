"""The report of a certificate: what it may call proved, its numbers, and what it refuses."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import plotly.graph_objects as go
import pytest
from tests.report.certificates import MEASURED, OTHERS, VALID, WORD, body
from tests.report.records import ATTACK, rows_of_descent
from tests.report.test_page import Page

from talweg import InputError
from talweg.report import Report, certificate_report, joined_report, render, run_report
from talweg.report._claim import LONGEST_TEXT, MOST_RADII, clean, read_claim
from talweg.report._criterion import budget, profile_of
from talweg.report._envelope import bound_at
from talweg.report._pieces import Table
from talweg.theory import CrossEntropy, cross_entropy_budget

CHECKS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "skipped": {"verdict": None, "reason": "--no-check"},
    "invalid": {"verdict": "invalid", "reason": f"unknown key {WORD!r}", "claim": None},
    "incomplete": {"verdict": "incomplete", "reason": "no data"},
    "another claim": VALID | {"claim": "Something else."},
    "no claim": VALID | {"claim": None},
    "unknown": {"verdict": WORD},
}


def text_of(report: Report) -> str:
    """Everything that the page says, without plotly's own code."""
    return json.dumps(report, default=vars, ensure_ascii=False)


def hostile(word: str = ATTACK) -> dict[str, Any]:
    made = body()
    made["provenance"] = {"torch": word, "as_given": word, "notes": [word, 3, word * 200] * 20}
    return made


@pytest.mark.parametrize("name", OTHERS)
def test_a_checked_claim(name: str) -> None:
    report = certificate_report(body(name), check=VALID, measured=MEASURED, sha256="cd" * 32)
    text = text_of(report)
    facts = dict(report.facts.items)
    assert facts["Status"] == (WORD if name != "T9" else f"{WORD}, under assumptions")
    assert VALID["claim"] in text
    assert "0.50 s" in text
    assert "certified" in text
    assert "claimed" not in text
    assert "talweg-check certificate.talweg" in text
    assert "cd" * 32 in text
    assert "ab" * 32 in text
    assert ("rounding to nearest" in text) == (name == "T9")


@pytest.mark.parametrize("grade", ["arb", "float64"])
def test_a_check_in_binary64_is_called_so(grade: str) -> None:
    check = VALID | {"grade": grade, "reason": "every claim is confirmed, float64-verified"}
    text = text_of(certificate_report(body(), check=check))
    assert ("In its words: every claim is confirmed, float64-verified." in text) == (
        grade == "float64"
    )


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", ["T11", "T9"])
def test_the_word_is_kept_for_what_was_checked(name: str, check: dict[str, Any] | None) -> None:
    made = hostile(WORD) | {"theorem": name} if name == "T11" else body(name)
    report = certificate_report(made, file=f"{WORD}.x", check=check, measured=MEASURED)
    assert WORD not in text_of(report).replace(f"talweg-check {WORD}.x", "").replace(
        f"talweg check {WORD}.x", ""
    )
    assert "certified" not in text_of(report).replace("were not certified", "")
    assert "nothing confirmed" in text_of(report)


def test_statuses() -> None:
    status = {
        name: dict(certificate_report(body(), check=check).facts.items)["Status"]
        for name, check in CHECKS.items()
    }
    assert status == {
        "none": "Not checked", "skipped": "Not checked", "invalid": "INVALID",
        "incomplete": "Not confirmed", "another claim": "Not confirmed",
        "no claim": "Not confirmed", "unknown": "Not checked",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["the claim", "the semantics", "an assumption"])
def test_a_sentence_that_calls_itself_by_the_word_is_refused(word: str) -> None:
    made = body("T9")
    key = {"the claim": "claim", "the semantics": "semantics", "an assumption": "assumptions"}[word]
    made[key] = [f"{WORD}."] if key == "assumptions" else f"This is {WORD}."
    with pytest.raises(InputError, match="a text is none of the format's"):
        certificate_report(made)


def test_the_profile_is_integrated_exactly() -> None:
    profile = profile_of(read_claim(body(), "x"))
    # s = 1 - rho up to 1/16, then slope -2.
    assert profile.at(Fraction(0)) == (1, 0)
    assert profile.at(Fraction(1, 32)) == (Fraction(31, 32), Fraction(1, 32) - Fraction(1, 2048))
    s = 1 - Fraction(1, 16)
    area = Fraction(1, 16) - Fraction(1, 512)
    assert profile.at(Fraction(1, 16)) == (s, area)
    more = Fraction(1, 16)
    assert profile.at(Fraction(1, 8)) == (s - 2 * more, area + s * more - more**2)
    assert profile.at(Fraction(1, 4))[0] == s - 2 * Fraction(3, 16)


def test_what_rounding_takes_from_the_profile() -> None:
    at_start = profile_of(read_claim(body("T9"), "x")).at(Fraction(0))[0]
    assert at_start == 1 - Fraction(2 * 0.25) / Fraction(1.25)


def test_budgets() -> None:
    def needed(name: str) -> tuple[float, bool]:
        need, exact, _ = budget(read_claim(body(name), "x"))
        assert need is not None
        return float(need), exact

    assert needed("T11") == (0.1, True)
    assert needed("T4") == (0.1, True)
    assert needed("T7") == (pytest.approx(0.1 - (1e-4 * 10) ** 0.5), False)
    assert needed("T9") == (0.01, True)
    assert needed("T4 entropy") == (pytest.approx((2e-6 / 0.01) ** 0.5 / 0.9), False)
    loss = CrossEntropy("mean", 5, 2)
    assert needed("T13") == (pytest.approx(cross_entropy_budget(5.0, 2.5, loss).hi / 0.9), False)


def test_no_sentence_turns_the_criterion_round() -> None:
    """Integral and need agree in many digits: rounding them apart would read as a failure."""
    made = body()
    area = profile_of(read_claim(made, "x")).at(Fraction(1, 8))[1]
    made["claims"]["residual_norm_upper"] = float(area).hex()
    assert "no less than what is needed" in text_of(certificate_report(made))
    made["claims"]["residual_norm_upper"] = (float(area) * (1 - 1e-5)).hex()
    [found] = set(re.findall(r"at least ([0-9.e-]+); needed is at most ([0-9.e-]+)\. ",
                             text_of(certificate_report(made))))  # fmt: skip
    assert Fraction(found[0]) >= Fraction(found[1])
    made["claims"]["residual_norm_upper"] = (1.0).hex()
    assert "short of what is needed" in text_of(certificate_report(made))


def test_the_bound_of_the_loss() -> None:
    claim = read_claim(body(), "x")
    assert claim.start == Fraction(0.1) ** 2 / 10
    assert bound_at(claim, 1.0, 10) == pytest.approx(0.9**10)
    assert read_claim(body("T13"), "x").start == 1  # a mean over the samples


def test_every_row_of_the_halvings_is_a_bound() -> None:
    [figure] = [f for f in certificate_report(body()).figures if f.name == "envelope"]
    assert figure.table is not None
    for steps, loss in figure.table.rows:
        halvings = int(steps.replace(",", "")) // 7
        assert Fraction(loss) >= Fraction(0.1) ** 2 / 10 / 2**halvings


def test_a_loss_that_is_gone_in_one_step_is_not_drawn() -> None:
    made = body()
    made["claims"]["one_minus_rate"] = (1.0).hex()
    assert "is not drawn" in text_of(certificate_report(made, measured=MEASURED))
    made["claims"]["one_minus_rate"] = (1.0 - 2**-53).hex()
    assert "is not drawn" not in text_of(certificate_report(made, measured=MEASURED))


@pytest.mark.parametrize("scale", [1e-300, 1e150, 1e300])
def test_extreme_numbers(scale: float) -> None:
    made = body()
    claims = made["claims"]
    for key in ("sigma_min_lower", "jacobian_norm_upper", "residual_norm_upper", "halving_steps"):
        claims[key] = scale.hex()
    claims["one_minus_rate"] = (1e-300).hex()
    render(certificate_report(made, check=VALID, measured=MEASURED))


def test_the_step_is_never_rounded() -> None:
    """The rates are those of the step in the file; with another one they would not hold."""
    made = body()
    made["claims"]["step_size"] = (0.1 + 2**-40).hex()
    report = certificate_report(made, file="-a b.talweg", check=VALID)
    assert dict(report.facts.items)["Certified step, up to"] == repr(0.1 + 2**-40)
    assert "talweg-check './-a b.talweg'" in text_of(report)


def test_many_radii() -> None:
    made = body()
    made["claims"]["jacobian_lipschitz_upper"] = [
        [(2.0**-10 * i).hex(), float(i).hex()] for i in range(1, 3000)
    ]
    report = certificate_report(made)
    assert all(len(trace["x"]) < 500 for f in report.figures for trace in f.traces)
    assert all(len(f.table.rows) <= 15 for f in report.figures if f.table is not None)


@pytest.mark.parametrize("name", OTHERS)
def test_plotly_accepts_every_figure(name: str) -> None:
    report = certificate_report(body(name), check=VALID, measured=MEASURED)
    assert [f.name for f in report.figures] == [
        "profile", "criterion", "envelope", "measured", "landscape", "landscape-closer",
        "spectrum", "layers",
    ]  # fmt: skip
    for figure in report.figures:
        plain = json.loads(re.sub(r'"@[a-z0-9/.]+"', '"#123456"', json.dumps(
            {"data": list(figure.traces), "layout": figure.layout})))  # fmt: skip
        go.Figure(plain)
        assert len(figure.alternative) > 20
        assert figure.table is not None


def test_what_is_not_measured_is_left_out() -> None:
    report = certificate_report(body(), check=VALID)
    assert [f.name for f in report.figures] == ["profile", "criterion", "envelope"]
    assert "kernel" not in [section.anchor for section in report.sections]


def test_text_of_a_file_stays_text() -> None:
    shares = {"shares": [(ATTACK, 0.5), (WORD, 0.5)], "method": "bound", "theory": ATTACK,
              "rows": ATTACK, "of": 3, "named": ATTACK}  # fmt: skip
    measured = {"layers": shares, "left_out": [ATTACK],
                "eigenvalues": ["nan", 1.0, None], "losses": [("x", 1.0), (1, "inf")]}  # fmt: skip
    text = render(certificate_report(hostile(), file=f"{ATTACK}.talweg", measured=measured))
    page = Page(text)
    assert page.unbalanced == []
    assert len(page.scripts) == 3
    assert not page.all("img")
    assert not page.all("b")
    assert WORD not in text.split("<script")[-1]
    assert len(text) < 6_000_000


def test_cleaning() -> None:
    assert clean(f"a\x00b\u202ec {WORD}\n") == "a b c […]"
    assert len(clean("x" * 10**6)) == LONGEST_TEXT
    assert WORD not in clean(WORD[:3] + "\u200b" + WORD[3:])
    assert WORD not in clean(f"{WORD[:4]}{WORD}{WORD[4:]}")


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *where, key, value = path

    def change(made: dict[str, Any]) -> None:
        for step in where:
            made = made[step]
        if value is None:
            del made[key]
        else:
            made[key] = value

    return change


LISTED = "jacobian_lipschitz_upper"
MALFORMED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "theorem": (_set("theorem", "T99"), "no theorem 'T99'"),
    "theorem of a long name": (_set("theorem", "T" * 10**6), "no theorem 'TTT"),
    "loss": (_set("loss", "kind", "hinge"), "about the loss 'hinge'"),
    "scaling": (_set("loss", "scaling", ["mean"]), "the scaling of the loss"),
    "no claim": (_set("claims", "radius", None), "no 'radius'"),
    "nan": (_set("claims", "radius", "nan"), "does not read as one"),
    "inf": (_set("claims", "radius", "inf"), "does not read as one"),
    "too large": (_set("claims", "radius", "0x1p+5000"), "does not read as one"),
    "a number": (_set("claims", "radius", 1), "no hexadecimal float"),
    "long": (_set("claims", "radius", "0x1." + "0" * 99), "no hexadecimal float"),
    "negative": (_set("claims", "sigma_min_lower", "-0x1p+0"), "is not positive"),
    "gain": (_set("claims", "one_minus_rate", "0x1p+1"), "one_minus_rate is above 1"),
    "radius": (_set("claims", "radius", "0x1p+9"), "beyond the listed"),
    "no radii": (_set("claims", LISTED, []), "radii must be listed"),
    "many radii": (_set("claims", LISTED, [["0x1p+0", "0x1p+0"]] * (MOST_RADII + 1)),
                   "radii must be listed"),
    "triples": (_set("claims", LISTED, [["0x1p+0"] * 3]), "does not read as one"),
    "falling": (_set("claims", LISTED, [["0x1p+0", "0x1p+1"], ["0x1p+1", "0x1p+0"]]), "must grow"),
    "counts": (_set("counts", "samples", 0), "counts must be positive"),
    "true": (_set("counts", "samples", True), "counts must be positive"),
    "hash": (_set("hashes", "weights", "<b>" * 30), "hashes must be sha256"),
    "claim": (_set("claim", "x" * 10**6), "a text must have"),
    "letters": (_set("claim", "a\u202eb"), "a text is none"),
    "line": (_set("claim", "a\nb"), "a text is none"),
    "assumptions": (_set("assumptions", ["x"] * 99), "at most 20"),
    "not texts": (_set("assumptions", [[]]), "a text must have"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_one_message(name: str) -> None:
    change, words = MALFORMED[name]
    made = copy.deepcopy(body())
    change(made)
    with pytest.raises(InputError, match="a certificate of format 1 or 2 is required") as caught:
        certificate_report(made)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 700


def test_joined() -> None:
    parts = [certificate_report(body(), check=VALID, measured=MEASURED),
             certificate_report(body("T9"), file="b.talweg"),
             run_report(rows_of_descent(), title="a run")]  # fmt: skip
    assert joined_report(parts[:1], title="x") is parts[0]
    made = joined_report(parts, title="all")
    names = [f.name for f in made.figures]
    assert len(names) == len(set(names)) == sum(len(p.figures) for p in parts)
    anchors = [s.anchor for s in made.sections]
    assert len(anchors) == len(set(anchors))
    page = render(made)
    ids = re.findall(r' id="([^"]+)"', page.split('<script type="application/json"')[0])
    assert len(ids) == len(set(ids))
    assert made.sections[0].title == "Side by side"
    assert all(a <= b for a, b in itertools.pairwise([s.title[0] for s in made.sections[1:]]))


def test_joined_reports_of_one_kind_stand_side_by_side() -> None:
    parts = [certificate_report(body(), check=VALID),
             certificate_report(body("T9"), file="b.talweg"),
             run_report(rows_of_descent(), title="a run")]  # fmt: skip
    [table] = joined_report(parts, title="all").sections[0].parts
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["1. certificate.talweg", "2. b.talweg"]
    status, theorem, floor = (table.columns.index(n) for n in ("Status", "Theorem", "Floor within"))
    assert [row[theorem] for row in table.rows] == ["T11", "T9"]
    assert table.rows[0][status] != table.rows[1][status] == "Not checked"
    assert table.rows[0][floor] == ""
    assert table.rows[1][floor].endswith(" steps")
    assert "Side by side" not in [s.title for s in joined_report(parts[1:], title="x").sections]
