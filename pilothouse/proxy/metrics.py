"""The proxy's numbers, under upstream's names, in Prometheus' text format."""

from __future__ import annotations

from pilothouse.proxy.health import Answer

_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384)


class ProxyMetrics:
    """Counts passes over the rules."""

    def __init__(self) -> None:
        self.failures = 0
        self._last = 0.0
        self._count = 0
        self._sum_s = 0.0
        self._buckets = [0] * len(_BUCKETS_S)

    def synced(self, now: float, duration_s: float) -> None:
        """A pass has ended well."""
        self._last = now
        self._count += 1
        self._sum_s += duration_s
        for index, bound in enumerate(_BUCKETS_S):
            if duration_s <= bound:
                self._buckets[index] += 1

    def render(self) -> str:
        duration = "kubeproxy_sync_proxy_rules_duration_seconds"
        lines = [
            f"# HELP {duration} SyncProxyRules latency in seconds",
            f"# TYPE {duration} histogram",
            *(
                f'{duration}_bucket{{le="{bound}"}} {count}'
                for bound, count in zip(_BUCKETS_S, self._buckets, strict=True)
            ),
            f'{duration}_bucket{{le="+Inf"}} {self._count}',
            f"{duration}_sum {self._sum_s}",
            f"{duration}_count {self._count}",
        ]
        for name, kind, help, value in (
            ("last_timestamp_seconds", "gauge", "The last time proxy rules were successfully synced", self._last),
            ("nftables_sync_failures_total", "counter", "Cumulative proxy nftables sync failures", self.failures),
        ):
            full = f"kubeproxy_sync_proxy_rules_{name}"
            lines += [f"# HELP {full} {help}", f"# TYPE {full} {kind}", f"{full} {value}"]
        return "\n".join([*lines, ""])

    def respond(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(200, self.render().encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/proxyMode":
            return Answer(200, b"nftables", "text/plain; charset=utf-8")
        return Answer(404, b"404 page not found\n", "text/plain; charset=utf-8")
