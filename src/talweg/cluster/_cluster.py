"""A Dask cluster as certificates use it: tasks sent, results kept or fetched, losses told.

Everything that stays on the cluster is the result of a task that the scheduler knows (also what
comes from here, which goes as an argument of a task that returns it). So a worker may be lost at
any moment, and what it held is computed again by the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from talweg._errors import ClusterError, InputError, MissingDependencyError, TalwegError
from talweg.cluster._code import code_digest
from talweg.cluster._tasks import same

Progress = Callable[[str], None]
Graph = dict[str, Any]
"""Tasks by key, each a tuple of a function and its arguments."""

ANSWER = 10.0
"""Seconds within which a scheduler has to answer, and to have a worker."""

LOOK = 1.0
"""Seconds between two looks at what is done."""

PATIENCE = 60.0
"""Seconds without any worker after which the work is given up."""

AT_ONCE = 64
"""Results fetched together."""


class Cluster:
    """A connection, for the length of one call.

    Args:
        client: ``distributed.Client``.
        say: Told of the progress of each stage.
    """

    def __init__(self, client: Any, say: Progress) -> None:
        self._client = client
        self._say = say

    def name(self, what: str) -> str:
        """A prefix of keys that no other work on this scheduler has.

        Args:
            what: Shown on the dashboard.
        """
        return f"{what}-{uuid.uuid4().hex[:16]}"

    def hold(self, what: str, things: Sequence[Any]) -> list[Any]:
        """Futures of things that live on the cluster from now on.

        Args:
            what: Shown on the dashboard.
            things: Sent one by one.
        """
        name = self.name(what)
        with _losses_told(), _large_on_purpose():
            return [
                self._client.submit(same, thing, key=f"{name}-{i}", pure=False)
                for i, thing in enumerate(things)
            ]

    def keep(self, graph: Graph, keys: Sequence[str], stage: str) -> list[Any]:
        """Compute, and leave the results where they are.

        Args:
            graph: The tasks; arguments may be keys of it and futures.
            keys: Whose results are wanted.
            stage: For the progress.

        Returns:
            The futures, finished.
        """
        with _losses_told():
            with _large_on_purpose():
                futures = self._client.get(graph, list(keys), sync=False)
            self._wait(futures, stage)
            return list(futures)

    def fetch(self, graph: Graph, keys: Sequence[str], stage: str) -> Iterator[Any]:
        """Compute, and give the results in the order of the keys.

        Args:
            graph: As for `keep`.
            keys: As for `keep`.
            stage: As for `keep`.
        """
        futures = self.keep(graph, keys, stage)
        for first in range(0, len(futures), AT_ONCE):
            some = futures[first : first + AT_ONCE]
            futures[first : first + AT_ONCE] = [None] * len(some)  # given back as they are read
            with _losses_told():
                results = self._gathered(some, stage)
            yield from results

    def _gathered(self, futures: Sequence[Any], stage: str) -> Any:
        """The results; what was lost since it was computed is waited for again."""

        async def gathered() -> Any:
            return await self._client.gather(futures, asynchronous=True)

        while True:
            try:
                return self._client.sync(gathered, callback_timeout=PATIENCE)
            except TimeoutError:
                if not self._client.nthreads():
                    raise self._alone(stage) from None

    def _wait(self, futures: Sequence[Any], stage: str) -> None:
        from distributed import wait

        alone_since: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                wait(list(futures), timeout=LOOK)
            # "lost" is a result whose worker is gone, and which the scheduler has made again.
            left = sum(future.status != "finished" for future in futures)
            failed = next((f for f in futures if f.status in ("error", "cancelled")), None)
            if failed is not None:
                failed.result()
                raise ClusterError(
                    "The scheduler of certify() must keep its tasks until the end; it dropped "
                    f"some while {stage}. Look at its log, and call certify again."
                )
            if left == 0:
                return
            self._say(f"{stage}: {len(futures) - left} of {len(futures)} tiles")
            if self._client.nthreads():
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > PATIENCE:
                raise self._alone(stage)

    @staticmethod
    def _alone(stage: str) -> ClusterError:
        return ClusterError(
            "The scheduler of certify() must have a worker; all of them have been gone for "
            f"{PATIENCE:.0f} s while {stage}. Start workers, and call certify again."
        )


@contextlib.contextmanager
def connected(address: str, say: Progress) -> Iterator[Cluster]:
    """A cluster for the length of a with block.

    Leaving it releases every task: what has not begun is not done, and results are dropped.

    Args:
        address: Of the scheduler, such as "tcp://host:8786".
        say: Told of the progress of each stage.

    Raises:
        InputError: Not an address, nothing answers, there is no worker, or one without talweg.
        MissingDependencyError: Dask is not installed.
        ClusterError: In the block: the scheduler, or every worker, was lost.
    """
    if not isinstance(address, str) or not address:
        raise InputError(
            "`scheduler` of certify() must be the address of a Dask scheduler, such as "
            f'"tcp://host:8786", or None; got {address!r}. Pass what `dask scheduler` prints.'
        )
    try:
        from distributed import Client
        from distributed.comm import resolve_address
    except ImportError as error:
        raise MissingDependencyError(
            "`scheduler` of certify() needs Dask, which is not installed. "
            "Run: pip install 'talweg[dask]', or leave scheduler out."
        ) from error
    say(f"connecting to {address}")
    with _quiet():
        try:
            resolve_address(address)  # what is no address at all leaves a client half-made
            client = Client(address, timeout=ANSWER, set_as_default=False, name="talweg")
        except (TimeoutError, OSError, ValueError, TypeError, ImportError) as error:
            raise InputError(
                "`scheduler` of certify() must be the address of a Dask scheduler that answers, "
                f'such as "tcp://host:8786"; none did at {address!r} within {ANSWER:.0f} s '
                f"({_short(error)}). Start one with `dask scheduler`, or leave scheduler out."
            ) from None
        try:
            with client.as_current():
                _require_workers(client, address)
                yield Cluster(client, say)
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=ANSWER)


def _require_workers(client: Any, address: str) -> None:
    """One worker at least, and all of them with the sources of this talweg."""
    try:
        client.wait_for_workers(1, timeout=ANSWER)
    except TimeoutError:
        raise InputError(
            f"`scheduler` of certify() must have a worker; {address!r} has none after "
            f"{ANSWER:.0f} s. Start some with `dask worker ADDRESS`."
        ) from None
    except OSError as error:
        raise _lost(error) from error
    try:
        codes = client.run(code_digest)
    except OSError as error:
        raise _lost(error) from error
    except Exception as error:  # a plain one, with the worker's error in its text
        raise InputError(
            "The workers of `scheduler` of certify() must have this talweg installed; at "
            f"{address!r} one says: {_short(error)}. Install it there."
        ) from error
    others = [worker for worker, code in codes.items() if code != code_digest()]
    if others:
        raise InputError(
            "The workers of `scheduler` of certify() must run the same talweg as the client; at "
            f"{address!r} other sources are on {', '.join(map(str, others[:3]))}. Install the same "
            "version there."
        )


@contextlib.contextmanager
def _losses_told() -> Iterator[None]:
    """What can go wrong with a cluster, or in a task, as one error of talweg's."""
    from concurrent.futures import CancelledError

    try:
        yield
    except (TalwegError, GeneratorExit):
        raise
    except (asyncio.CancelledError, CancelledError, Exception) as error:
        raise _lost(error) from error


def _lost(error: BaseException) -> ClusterError:
    return ClusterError(
        "The scheduler of certify() and a worker must stay reachable and run its tasks; that "
        f"failed: {_short(error)}. Look at their logs, and call certify again; nothing was written."
    )


@contextlib.contextmanager
def _large_on_purpose() -> Iterator[None]:
    """No advice to load data elsewhere: what a task holds here is what makes losses harmless."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own lines about a lost connection: the error that is raised says it once."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _short(error: BaseException) -> str:
    name, text = type(error).__name__, " ".join(str(error).split())[:200]
    if name == "Exception":  # Dask's wrapping of an error that could not be sent
        return text
    return f"{name}: {text}" if text else name
