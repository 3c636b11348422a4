"""The search: rounds of attacks until the time is up or a violation is proved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from talweg._errors import InputError
from talweg.certificate import Certificate, Document, read_document
from talweg.falsification._ball_attacks import attack_ball
from talweg.falsification._board import Board, Effort
from talweg.falsification._chain import FloatChain
from talweg.falsification._descent import attack_descent
from talweg.falsification._exact import ExactChain
from talweg.falsification._float64_program import attack_float64_program
from talweg.falsification._result import Falsification
from talweg.falsification._start_attacks import attack_start
from talweg.falsification._stated import stated

Progress = Callable[[str], None]


class Search:
    """A search that can be asked at any time what it tried, also after an interrupt.

    Args:
        certificate: A file, or a certificate that holds a claim.
        seed: Of everything random.
        effort: How hard each round tries.
        progress: Called with a short text when a stage begins.

    Raises:
        CertificateFileError: The file is not a certificate of format 1.
        InputError: There is no claim to attack, or the file leaves its data out.
    """

    def __init__(
        self,
        certificate: str | Path | Certificate | Document,
        *,
        seed: int = 0,
        effort: Effort | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.stated = stated(_document(certificate))
        self.effort = effort or Effort()
        self.chain, self.exact = FloatChain(self.stated), ExactChain(self.stated)
        self.generator = torch.Generator().manual_seed(seed)
        self.board = Board(progress or (lambda _: None), math.inf)
        self.rounds = 0

    def run(self, *, seconds: float = math.inf, rounds: float = math.inf) -> Falsification:
        """Attack until the time is up, the rounds are over or a violation is proved.

        Args:
            seconds: Time; the attack that is running when it ends finishes its step.
            rounds: Rounds of all attacks.

        Returns:
            What was found and tried.
        """
        self.board.deadline = time.perf_counter() + seconds
        with torch.inference_mode(False), torch.enable_grad():
            self._attack(rounds)
        return self.result()

    def _attack(self, rounds: float) -> None:
        if self.rounds == 0:
            attack_start(self.stated, self.chain, self.exact, self.board)
        descend = attack_float64_program if self.stated.theorem == "T9" else attack_descent
        while self.rounds < rounds and not self.board.over():
            for attack in (descend, attack_ball):
                if not self.board.over():
                    attack(
                        self.stated, self.chain, self.exact, self.board, self.effort,
                        self.generator,
                    )  # fmt: skip
            self.rounds += not self.board.over()

    def result(self) -> Falsification:
        """What was found and tried until now."""
        lines = self.board.results()
        return Falsification(
            self.board.violation, lines, sum(line.points for line in lines),
            time.perf_counter() - self.board.begun, self.rounds, self.stated.theorem,
        )  # fmt: skip


def falsify(
    certificate: str | Path | Certificate,
    *,
    seconds: float = 60.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Falsification:
    """Search for a violation of a certificate's claims; float64 searches, Arb decides.

    A violation that is returned is proved. That none is found proves nothing: this is a test, not a
    check (`talweg-check` is), and it does not ask whether the file is well formed or its hashes
    right.

    Args:
        certificate: A `.talweg` file, or a certificate with status PROVED.
        seconds: How long to search; the search ends early when a violation is proved.
        seed: Of everything random.
        progress: Called with a short text when a stage begins.

    Returns:
        The violation, if any, and how close each attack came.

    Raises:
        CertificateFileError: The file is not a certificate of format 1.
        InputError: There is no claim to attack, an argument is out of range, or the file leaves its
            data out.
    """
    if not (isinstance(seconds, int | float) and 0.0 < seconds < math.inf):
        raise InputError(
            f"`seconds` of falsify must be a positive number; got {seconds!r}. Pass for example 60."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(
            f"`seed` of falsify must be an integer from 0 to 2^63 - 1; got {seed!r}. Pass 0."
        )
    return Search(certificate, seed=seed, progress=progress).run(seconds=seconds)


def _document(certificate: str | Path | Certificate | Document) -> Document:
    if isinstance(certificate, Document):
        return certificate
    if not isinstance(certificate, Certificate):
        return read_document(certificate)
    if certificate.document is None:
        raise InputError(
            f"`certificate` of falsify must hold a claim; this one is {certificate.status}: "
            f"{certificate.reason} Only claims that are proved can be attacked."
        )
    return certificate.document
