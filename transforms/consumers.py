"""The sockets: news about a member's jobs, and the live preview of an open editor.

A socket that is refused is accepted and closed with a code, since a browser cannot read why a handshake
failed: 4401 nobody is signed in, 4404 there is nothing here for this member.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db.utils import DatabaseError
from django.utils import timezone

from accounts.models import User
from gallery.models import Image
from transforms import metrics
from transforms.errors import InvalidParams, NotReady, TransformError
from transforms.estimates import Outlook, outlooks
from transforms.events import group_of
from transforms.models import ACTIVE, Job
from transforms.previews import Editor, PreviewLane, artist, open_editor, warm, wish_from
from transforms.projections import needs_projection
from transforms.pulse import pulse
from transforms.representation import jobs_as_data, outlook_as_data

SIGNED_OUT = 4401
NOT_FOUND = 4404
TOO_LONG = 1009
TRY_AGAIN_LATER = 1013
MAX_MESSAGE_CHARACTERS = 16_384
SNAPSHOT_JOBS = 30
OUTLOOK_EVERY_SECONDS = 3.0
SNAPSHOT_AGE = timedelta(hours=1)
NEEDS_PROJECTION = "needs-projection"


class MemberConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """A socket for somebody who is signed in. Accepts JSON objects, of a bounded length."""

    user: User
    label = ""
    """What /metrics calls sockets of this kind."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with metrics.open_socket(self.label):
            await super().__call__(scope, receive, send)

    async def connect(self) -> None:
        await self.accept()
        user = self.scope.get("user")
        if not isinstance(user, User) or not user.is_active:
            await self.close(SIGNED_OUT)
            return
        self.user = user
        await self.welcome()

    async def welcome(self) -> None:
        """The member is known: say hello."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > MAX_MESSAGE_CHARACTERS:
            await self.close(TOO_LONG)
            return
        try:
            message = json.loads(text_data, parse_constant=_refuse_constant)
            if not isinstance(message, dict):
                raise ValueError
        except (ValueError, RecursionError):
            await self.say({"type": "error", "seq": None, "text": "This message is not a JSON object."})
            return
        await self.hear(message)

    async def hear(self, message: dict[str, Any]) -> None:
        """A message of the page."""

    async def say(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message))


class JobsConsumer(MemberConsumer):
    """All jobs of the member: a snapshot first, then each change, and now and then how long what is not over will take.

    Says nothing to what it hears.
    """

    label = "jobs"
    group = ""
    telling: asyncio.Task[None] | None = None
    active: set[str]

    async def welcome(self) -> None:
        self.group = group_of(self.user.pk)
        # Joined before the look at the database, so that nothing falls in between; sequences sort it out.
        await self.channel_layer.group_add(self.group, self.channel_name)
        pulse().join(self.look_again)
        await self._show_all()

    async def _show_all(self) -> None:
        jobs = await database_sync_to_async(snapshot)(self.user)
        await self.say({"type": "snapshot", "jobs": jobs})
        self.active = {job["id"] for job in jobs if job["state"] in ACTIVE}
        self._tell_outlooks()

    async def look_again(self) -> None:
        """News may have been missed: a new snapshot. If that is not to be had either, the page shall connect anew."""
        try:
            await self._show_all()
        except DatabaseError:
            await self.close(TRY_AGAIN_LATER)

    async def disconnect(self, code: int) -> None:
        if self.telling is not None:
            self.telling.cancel()
        pulse().leave(self.look_again)
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def job_changed(self, event: dict[str, Any]) -> None:
        job = event["job"]
        await self.say({"type": "job", "job": job})
        if job["state"] in ACTIVE:
            self.active.add(job["id"])
            self._tell_outlooks()
        else:
            self.active.discard(job["id"])

    def _tell_outlooks(self) -> None:
        if self.active and (self.telling is None or self.telling.done()):
            self.telling = asyncio.create_task(self._keep_telling())

    async def _keep_telling(self) -> None:
        """A place in line changes without any change of the job: tell, for as long as something waits or runs."""
        while self.active:
            await asyncio.sleep(OUTLOOK_EVERY_SECONDS)
            known = frozenset(self.active)
            try:
                news = await database_sync_to_async(outlook_news)(self.user)
            except DatabaseError:
                continue  # it may be back next time
            still = {job["id"] for job in news}
            if known & self.active - still:
                await self._show_all()  # the news that a job is over was lost on its way
                continue
            self.active = still
            await self.say({"type": "outlook", "jobs": news})


def outlook_news(user: User) -> list[dict[str, Any]]:
    """What can be told of the future of all jobs of a member that are not over."""
    jobs = list(Job.objects.visible_to(user).active().defer("preview"))
    found = outlooks(jobs)
    return [{"id": str(job.pk), **outlook_as_data(job, found.get(job.pk, Outlook()))} for job in jobs]


def snapshot(user: User) -> list[dict[str, Any]]:
    """What runs and waits, and what ended in the last hour: the newest thirty, all active ones among them."""
    mine = Job.objects.visible_to(user).defer("preview")
    active = list(mine.active().order_by("-created_at", "-id"))
    ended = list(
        mine.exclude(pk__in=[job.pk for job in active])
        .filter(finished_at__gt=timezone.now() - SNAPSHOT_AGE)
        .order_by("-finished_at")[: max(0, SNAPSHOT_JOBS - len(active))]
    )
    return jobs_as_data(sorted(active + ended, key=lambda job: job.created_at, reverse=True))


class TransformConsumer(MemberConsumer):
    """The live preview of one picture. Frames are binary messages, see `transforms.previews.binary_frame`."""

    label = "editor"
    editor: Editor | None = None
    lane: PreviewLane | None = None
    warming: asyncio.Task[None] | None = None

    async def welcome(self) -> None:
        try:
            hello = await database_sync_to_async(self._open)()
        except Image.DoesNotExist:
            await self.close(NOT_FOUND)
            return
        except (NotReady, TransformError) as error:
            hello = {"type": "unavailable", "reason": str(error)}
        if self.editor is not None:
            self.lane = PreviewLane(self._send, partial(artist().draw, self.editor))
            self.warming = asyncio.create_task(warm(self.editor))
        await self.say(hello)

    def _open(self) -> dict[str, Any]:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        image = Image.objects.visible_to(self.user).get(pk=pk)
        if needs_projection(image):
            return {"type": "unavailable", "reason": NEEDS_PROJECTION}
        editor = open_editor(self.user, pk)
        hello = editor.describe()
        self.editor = editor
        return hello

    async def hear(self, message: dict[str, Any]) -> None:
        if self.editor is None or self.lane is None:
            return
        try:
            self.lane.offer(wish_from(self.editor, message))
        except InvalidParams as error:
            seq = message.get("seq")
            known = seq if isinstance(seq, int) and not isinstance(seq, bool) else None
            await self.say({"type": "error", "seq": known, "text": str(error)})

    async def disconnect(self, code: int) -> None:
        if self.lane is not None:
            self.lane.close()
        if self.warming is not None:
            self.warming.cancel()

    async def _send(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes):
            await self.send(bytes_data=message)
        else:
            await self.say(message)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON.")
