"""When those who were turned away may come again: the later, the more there were lately. Source: apiserver
`pkg/util/flowcontrol/dropped_requests_tracker.go`.
"""

from __future__ import annotations

from collections import deque

_LONGEST_S = 32


class Drops:
    """Of one priority level. Time is in whole seconds."""

    def __init__(self) -> None:
        self.retry_after_s = 1
        self._past: deque[tuple[int, int]] = deque()
        self._second = 0
        self._count = 0
        self._doubled_at = 0

    def note(self, now: int) -> None:
        """A request was turned away."""
        if now == self._second:
            self._count += 1
            return
        self._past.append((self._second, self._count))
        kept_s = min(2 * self.retry_after_s, _LONGEST_S)
        while self._past and self._second - self._past[0][0] > kept_s:
            self._past.popleft()
        self._second, self._count = now, 1
        self._update(now)

    def _update(self, now: int) -> None:
        lately = sum(count for second, count in self._past if now - self.retry_after_s <= second < now)
        if now - self._doubled_at >= self.retry_after_s and lately >= 3 * self.retry_after_s:
            self.retry_after_s = min(self.retry_after_s * 2, _LONGEST_S)
            self._doubled_at = now
        elif lately < self.retry_after_s and self.retry_after_s > 1:
            self.retry_after_s -= 1
