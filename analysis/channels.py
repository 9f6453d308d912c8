"""A bounded queue between two threads, which also carries its end, errors, and that nobody reads any more."""

import threading
from collections import deque
from typing import Any

END = object()  # what `get` returns when nothing more comes


class Closed(Exception):
    """The reader of a channel has gone; whoever writes stops."""


class Channel:
    """First in, first out, at most `size` items waiting. For one writer and one reader."""

    def __init__(self, size: int):
        self._size = size
        self._items: deque = deque()
        self._change = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Any) -> None:
        """Waits while the channel is full. Raises Closed when the reader has gone."""
        with self._change:
            self._change.wait_for(lambda: self._closed or len(self._items) < self._size)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._change.notify_all()

    def offer(self, item: Any) -> bool:
        """Puts `item` if there is room, and says whether there was. Raises Closed when the reader has gone."""
        with self._change:
            if self._closed:
                raise Closed
            if len(self._items) >= self._size:
                return False
            self._items.append(item)
            self._change.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; `error` is raised to the reader after what was put before."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()

    def get(self) -> Any:
        """The next item, or END. Raises the writer's error."""
        with self._change:
            self._change.wait_for(lambda: self._items or self._ended)
            if self._items:
                item = self._items.popleft()
                self._change.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return END

    def close(self) -> None:
        """The reader goes: what waits is thrown away, and the writer is told at its next item."""
        with self._change:
            self._closed = True
            self._items.clear()
            self._change.notify_all()
