"""The two programs as processes: limited memory and time, devices, pipes, closed streams."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from generator import canonical
from tests.soundness.hostile.mutations import container
from tests.soundness.lies.drafts import genuine
from tests.soundness.shard import Shard, Tally

MEMORY = 2 * 2**30  # bytes of address space
PROCESSOR = 60  # seconds of processor time
WAIT = 90.0
CHECKER = [sys.executable, "-P", "-m", "talweg_check"]
TALWEG = [sys.executable, "-c", "from talweg.cli import main; main()"]
Built = tuple[list[str], tuple[int, ...], dict[str, object]]
Scenario = Callable[[Path], Built]


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _parts() -> tuple[bytes, bytes]:
    draft = genuine("T11")
    return canonical(draft.tree()), draft.blob()


def _good(folder: Path) -> str:
    (folder / "good.talweg").write_bytes(container(*_parts()))
    return str(folder / "good.talweg")


def _checked(path: str, *codes: int, **options: object) -> Built:
    return [*CHECKER, path, "--json"], codes, options


def _file(data: Callable[[], bytes], *codes: int) -> Scenario:
    def build(folder: Path) -> Built:
        (folder / "case.talweg").write_bytes(data())
        return _checked(str(folder / "case.talweg"), *codes)

    return build


def _sparse(folder: Path) -> Built:
    """A member of 12 GiB that the disk need not hold, declared honestly."""
    text, _ = _parts()
    size, path = 12 * 2**30, folder / "sparse.talweg"
    with path.open("wb") as file:
        name, other = b"certificate.json", b"arrays.safetensors"
        sizes = ((name, len(text), 0), (other, size, 30 + len(name) + len(text)))
        central = b""
        for label, length, offset in sizes:
            big = length >= 2**32
            extra = struct.pack("<2H2Q", 1, 16, length, length) if big else b""
            short = 2**32 - 1 if big else length
            crc = 0 if big else zlib.crc32(text)
            fields = (45 if big else 20, 0, 0, 0, 33, crc, short, short, len(label), len(extra))
            file.seek(offset)
            file.write(struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + label + extra)
            if not big:
                file.write(text)
            central += struct.pack("<4sH5H3I2H", b"PK\1\2", 45, *fields)
            central += struct.pack("<3H2I", 0, 0, 0, 0, offset) + label + extra
        position = 30 + len(name) + len(text) + 30 + len(other) + 20 + size
        file.seek(position)
        file.write(central)
        file.write(
            struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(central), position)
        )
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, position + len(central), 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), 2**32 - 1, 0))
    return _checked(str(path), 1, 3)


def _declared(rows: int, columns: int) -> Callable[[], bytes]:
    """A header that declares more than the file holds."""

    def data() -> bytes:
        text, blob = _parts()
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        begin = header["inputs"]["data_offsets"][0]
        header["inputs"] = {"dtype": "F64", "shape": [rows, columns],
                            "data_offsets": [begin, begin + 8 * rows * columns]}  # fmt: skip
        spoilt = json.dumps(header).encode()
        return container(text, len(spoilt).to_bytes(8, "little") + spoilt + blob[8 + length :])

    return data


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _link(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "link")
    return str(folder / "link")


def _npy(folder: Path, header: bytes, *codes: int) -> Built:
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (folder / "x.npy").write_bytes(body + bytes(64))
    x = str(folder / "x.npy")
    return [*CHECKER, _good(folder), "--inputs", x, "--targets", x], codes, {}


def _spec(body: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / "case.py").write_text(
            "import os, sys, time\nimport torch\nfrom torch import nn\n"
            f"def problem(width=8, seed=0):\n    {body}\n"
        )
        return f"{folder / 'case.py'}:problem"

    return write


FINE = (
    "return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), "
    "torch.eye(3), torch.zeros(3, 1)"
)
SCENARIOS: dict[str, Scenario] = {
    "a good file": lambda f: _checked(_good(f), 0),
    "no such file": lambda f: _checked(str(f / "none"), 2),
    "an empty name": lambda f: _checked("", 2),
    "a folder": lambda f: _checked(str(f), 2),
    "a name of 5,000 letters": lambda f: _checked("a" * 5000, 2),
    "a name that is no text": lambda f: _checked(os.fsdecode(b"\xff\xfe"), 2),
    "a link to itself": lambda f: _checked(_link(f), 2),
    "a pipe without a writer": lambda f: _checked(str(_fifo(f)), 2),
    "/dev/zero": lambda f: _checked("/dev/zero", 1, 2),
    "/dev/null": lambda f: _checked("/dev/null", 1, 2),
    "/dev/full": lambda f: _checked("/dev/full", 1, 2),
    "/dev/stdin": lambda f: _checked("/dev/stdin", 1, 2, stdin=subprocess.DEVNULL),
    "/proc/self/mem": lambda f: _checked("/proc/self/mem", 1, 2),
    "a sparse member of 12 GiB": _sparse,
    "a declared array of 2^62 rows": _file(_declared(2**62, 2**62), 1),
    "a declared array of 8 TiB": _file(_declared(2**20, 2**20), 1),
    "nested lists of 16 MiB": _file(lambda: container(b"[" * (2**24 - 1), b""), 1),
    "one text of 16 MiB": _file(lambda: container(b'"' + b"a" * (2**24 - 3) + b'"', b""), 1),
    "a million keys": _file(
        lambda: container(json.dumps({str(i): i for i in range(10**6)}).encode(), b""), 1),
    "a million numbers": _file(lambda: container(b"[" + b"0," * (2**23 - 2) + b"0]", b""), 1),
    "stdout closed": lambda f: ([*CHECKER, _good(f)], (0,), {"close": 1}),
    "stderr closed": lambda f: ([*CHECKER, str(f / "none")], (2,), {"close": 2}),
    "stdout full": lambda f: ([*CHECKER, _good(f)], (0,), {"stdout": "/dev/full"}),
    "no arguments": lambda f: (CHECKER, (2,), {}),
    "an unknown option": lambda f: ([*CHECKER, "x", "--fast"], (2,), {}),
    "inputs without targets": lambda f: ([*CHECKER, _good(f), "--inputs", "x"], (2,), {}),
    "npy: a huge shape": lambda f: _npy(
        f, b"{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 4), }\n", 2),
    "npy: a pickle": lambda f: _npy(
        f, b"{'descr': '|O', 'fortran_order': False, 'shape': (6, 4), }\n", 2),
    "npy: code": lambda f: _npy(f, b"{'descr': __import__('os').getcwd(), 'shape': ()}\n", 2),
    "npy: no shape": lambda f: _npy(f, b"{}\n", 2),
    "npy: rows of nothing": lambda f: _npy(
        f, b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4), }\n", 1, 2),
    "npy: a pipe": lambda f: (
        [*CHECKER, _good(f), "--inputs", (p := str(_fifo(f))), "--targets", p], (2,), {}),
    "npy: /dev/zero": lambda f: (
        [*CHECKER, _good(f), "--inputs", "/dev/zero", "--targets", "/dev/zero"], (2,), {}),
    "talweg check: a pipe": lambda f: ([*TALWEG, "check", str(_fifo(f))], (2,), {"wide": True}),
    "talweg check: /dev/zero": lambda f: ([*TALWEG, "check", "/dev/zero"], (2,), {"wide": True}),
    "talweg: stdout closed": lambda f: (
        [*TALWEG, "check", _good(f)], (0, 1, 2, 3), {"close": 1, "wide": True}),
    "talweg: SPEC a pipe": lambda f: (
        [*TALWEG, "measure", f"{_fifo(f)}:problem"], (2,), {"wide": True}),
    "talweg: SPEC /dev/zero": lambda f: (
        [*TALWEG, "measure", "/dev/zero:problem"], (2,), {"wide": True}),
    "talweg: interrupted": lambda f: (
        [*TALWEG, "certify", _spec("time.sleep(60)")(f)], (130,),
        {"signal": signal.SIGINT, "wide": True}),
    "talweg: a model that exits": lambda f: (
        [*TALWEG, "certify", _spec("sys.exit(0)")(f)], (2,), {"wide": True}),
    "talweg: a folder that cannot be written": lambda f: (
        [*TALWEG, "sweep", _spec(FINE)(f), "--grid", "lr=0.1", "--steps", "2", "--out",
         "/proc/none"], (2,), {"wide": True}),
}  # fmt: skip


def run(name: str) -> tuple[str | None, float]:
    """What is wrong with the way a scenario ended, and its seconds."""
    with tempfile.TemporaryDirectory() as place:
        command, codes, options = SCENARIOS[name](Path(place))
        streams: dict[str, object] = {"stdin": options.get("stdin", subprocess.DEVNULL)}
        target = options.get("stdout")
        closed = options.get("close")
        if closed is not None:
            shell = f'exec "$@" {closed}>&-'
            command = ["/bin/sh", "-c", shell, "sh", *command]
        if target is not None:
            command = ["/bin/sh", "-c", f'exec "$@" >{target}', "sh", *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                       "PYTHONFAULTHANDLER": ""}  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=place,
            preexec_fn=None if options.get("wide") else _limits, **streams,  # type: ignore[call-overload]
        )  # fmt: skip
        try:
            wanted = options.get("signal")
            if wanted is not None:
                time.sleep(8)
                process.send_signal(int(str(int(wanted))))  # type: ignore[call-overload]
            out, err = process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"{name}: no end within {WAIT} s", WAIT
        seconds = time.perf_counter() - start
    text = err.decode("utf-8", "replace")
    wrong = []
    if process.returncode not in codes:
        wrong.append(f"exit code {process.returncode}, not {codes}")
    if "Traceback" in text or "internal error" in text:
        wrong.append("a traceback")
    if process.returncode == 2 and closed != 2 and not text.strip():
        wrong.append("no message")
    if wrong:
        return f"{name}: {', '.join(wrong)}; {text.strip()[-200:]} {out[-100:]!r}", seconds
    return None, seconds


def _batch(seed: int, cases: int = 8) -> Tally:
    """Some of the scenarios, in turn; a case is one process."""
    names = list(SCENARIOS)
    chosen = [names[(seed * cases + i) % len(names)] for i in range(cases)]
    found = [run(name) for name in chosen]
    violations = tuple(wrong for wrong, _ in found if wrong is not None)
    return Tally(len(chosen), violations, (), dict(Counter(["processes"] * len(chosen))))


SHARDS: tuple[Shard, ...] = (
    Shard("hostile/processes", ("talweg_check", "talweg.cli"), len(SCENARIOS), _batch),
)
