"""The channel layer of full mode."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import redis
from channels_redis.pubsub import RedisPubSubChannelLayer

PAUSE_SECONDS = 0.1


class RedisChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # channels_redis ships no types
    """Channels' layer over Redis' pub/sub, for which a connection that broke since it was last used is no error.

    The first subscription after that fails and connects anew, or meets the receiver, which is just doing so: the first
    page that opened a socket after a restart of Redis was turned away. And what cannot be subscribed to is not kept:
    else each page that tries while Redis is away would leave a queue behind.
    """

    async def new_channel(self, prefix: str = "specific.") -> str:
        layer = self._get_layer()
        name = f"{layer.prefix}{prefix}{uuid.uuid4().hex}"
        try:
            await _twice(lambda: layer._subscribe_to_channel(name))
        except BaseException:
            layer.channels.pop(name, None)
            raise
        return name

    async def group_add(self, group: str, channel: str) -> None:
        layer = self._get_layer()
        try:
            await _twice(lambda: layer.group_add(group, channel))
        except BaseException:
            layer.groups.get(layer._get_group_channel_name(group), set()).discard(channel)
            raise


async def _twice(ask: Callable[[], Awaitable[None]]) -> None:
    try:
        await ask()
    except (redis.ConnectionError, RuntimeError):
        await asyncio.sleep(PAUSE_SECONDS)
        await ask()
