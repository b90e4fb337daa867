"""The RSGI application that granian serves: an event loop reads requests, threads answer them.

Under granian's WSGI a thread reads the body itself and waits for the slowest client. Here the event
loop reads each body under a deadline, and a thread gets whole requests only (decision 17).
"""

import asyncio
import logging
from collections import deque
from math import inf
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from django.conf import settings
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from groupbuy.bodies import MAX_BODY, MAX_UPLOAD, BodyError, BodyFault
from groupbuy.wsgi import respond

logger = logging.getLogger(__name__)

BODY_SECONDS = 5.0  # for a body to arrive
SLOWEST = 50_000  # bytes a second; each part of a long body extends its deadline at this rate
MAX_HELD = MAX_UPLOAD  # bytes of long bodies that a process holds at once
TICK = 0.25  # seconds between two looks at the deadlines


class Request:
    """A request and its body, as far as it has arrived."""

    __slots__ = (
        "answered",
        "body",
        "complete_at",
        "deadline",
        "fault",
        "protocol",
        "scope",
        "task",
    )

    def __init__(self, scope: Scope, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop):
        self.scope, self.protocol = scope, protocol
        self.body: bytes | bytearray = b""
        self.fault: BodyError | None = None
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.deadline = loop.time() + BODY_SECONDS
        self.complete_at = 0.0
        self.answered = loop.create_future()


class Application:
    """The RSGI application; one for each process."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._requests: set[Request] = set()
        self._complete: SimpleQueue[Request] = SimpleQueue()
        self._faulty: SimpleQueue[Request] = SimpleQueue()
        self._answered: deque[Request] = deque()  # by the threads

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watcher = loop.create_task(self._watch())
        # Faults have a thread of their own: hundreds that end at once delay no other request.
        for queue in [self._faulty, *[self._complete] * self._threads]:
            Thread(target=self._work, args=(queue,), daemon=True).start()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        request = Request(scope, protocol, self._loop)
        self._requests.add(request)
        try:
            try:
                await self._read(request)
            except BodyError as error:
                request.body, request.fault = b"", error
            request.deadline, request.complete_at = inf, monotonic()
            (self._faulty if request.fault else self._complete).put(request)
            self._end_answered()
            await request.answered  # granian answers 500 for an application that returns before
        finally:
            self._requests.remove(request)

    async def _read(self, request: Request) -> None:
        """Read the body; raise BodyError."""
        headers = request.scope.headers
        length = int(headers.get("content-length", 0))
        try:
            if "transfer-encoding" in headers or length > MAX_BODY:
                await self._read_parts(request, length)
            elif length:
                request.body = await request.protocol()
        except asyncio.CancelledError:
            raise BodyError(BodyFault.SLOW) from None
        except ProtocolClosed:
            raise BodyError(BodyFault.CUT_OFF) from None

    async def _read_parts(self, request: Request, length: int) -> None:
        """Read a body that is long or of unknown length, up to the limit of the request's path."""
        limit, fault = MAX_UPLOAD, BodyFault.UPLOAD_TOO_LARGE
        if request.scope.path.startswith("/api/"):
            limit, fault = MAX_BODY, BodyFault.TOO_LARGE
        if length > limit:
            raise BodyError(fault)
        request.body, ends = bytearray(), 0
        async for part in request.protocol:
            request.body += part
            request.deadline += len(part) / SLOWEST
            ends += not part
            if len(request.body) > limit:
                raise BodyError(fault)
            if len(request.body) > MAX_BODY and self._held() > MAX_HELD:
                raise BodyError(BodyFault.BUSY)
        # granian ends a body with one empty part, and a broken one (or one with trailers) with two.
        if ends > 1 or len(request.body) < length:
            raise BodyError(BodyFault.CUT_OFF)

    def _held(self) -> int:
        sizes = (len(request.body) for request in self._requests)
        return sum(size for size in sizes if size > MAX_BODY)

    async def _watch(self) -> None:
        """Cut overdue bodies."""
        while True:
            await asyncio.sleep(TICK)
            self._end_answered()
            now = self._loop.time()
            for request in self._requests:
                if request.task and request.deadline < now:
                    request.task.cancel()

    def _end_answered(self) -> None:
        """Resume __rsgi__() for each request that a thread has answered.

        Called by the next request and by _watch(), because waking the loop for each answer takes
        5 % of a trial's processor time.
        """
        while self._answered:
            self._answered.popleft().answered.set_result(None)

    def _work(self, queue: SimpleQueue[Request]) -> None:
        while True:
            request = queue.get()
            try:
                body = bytes(request.body)
                respond(request.scope, request.protocol, body, request.fault, request.complete_at)
            except BaseException:  # granian may raise anything, and the thread has to go on
                logger.exception("no answer to %r", request.scope.path)
            request.body = b""  # so that _held() counts only unanswered requests
            self._answered.append(request)


application = Application(settings.WEB_THREADS)
