"""The container of a pod, as its node has it."""

import asyncio


class Container:
    """The container of a pod: what it printed, and whether it still runs."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.log = bytearray()
        self.ended = False
        self.lost = False
        self.message = ""
        self.restarts = 0
        self.started_at = ""
        self._news: list[asyncio.Future[None]] = []

    def tells(self) -> None:
        """Whoever follows the log reads on."""
        waiting, self._news = self._news, []
        for it in waiting:
            if not it.done():
                it.set_result(None)

    async def news(self) -> None:
        """Until more is printed, or the container has ended."""
        self._news.append(asyncio.get_running_loop().create_future())
        await self._news[-1]
