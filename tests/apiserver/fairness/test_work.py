"""How many seats requests take."""

from __future__ import annotations

import pytest

from pilothouse.apiserver.fairness.work import ONE, Stored, Work, is_list, is_write, work_of_list, work_of_write
from pilothouse.apiserver.route import parse_query, request_info

PATH = "/api/v1/namespaces/a/pods"


@pytest.mark.parametrize(
    ("query", "stored", "most", "seats"),
    [
        ("", None, 10, 1),
        ("", Stored(0, 0), 10, 1),
        ("", Stored(10, 1000), 10, 1),
        ("", Stored(1000, 500), 10, 5),
        ("", Stored(1001, 500), 10, 6),
        ("", Stored(100_000, 4000), 0, 10),
        ("", Stored(100_000, 4000), 3, 3),
        ("limit=500", Stored(100_000, 1000), 0, 5),
        ("limit=500&resourceVersion=5", Stored(100_000, 10_000), 0, 50),
        ("limit=5000&resourceVersion=5", Stored(100_000, 10_000), 0, 100),
        ("resourceVersion=5&resourceVersionMatch=Exact", Stored(100_000, 4000), 0, 100),
        ("resourceVersion=5&resourceVersionMatch=NotOlderThan&limit=500", Stored(100_000, 4000), 0, 10),
        ("continue=x&limit=100&labelSelector=a", Stored(1000, 4000), 0, 20),
        ("fieldSelector=metadata.name%3Dp", Stored(100_000, 4000), 0, 1),
    ],
)
def test_a_list_takes_seats_by_what_it_holds_in_memory(query: str, stored: Stored, most: int, seats: int) -> None:
    parsed = parse_query(query)
    assert work_of_list(request_info("GET", PATH, parsed), parsed, stored, most) == Work(seats)


@pytest.mark.parametrize(
    ("watchers", "most", "work"),
    [
        (0, 0, ONE),
        (9, 0, ONE),
        (10, 0, Work(1, 1, 0.005)),
        (40, 0, Work(1, 4, 0.005)),
        (41, 0, Work(1, 5, 0.005)),
        (1000, 0, Work(1, 10, 0.05)),
        (1000, 4, Work(1, 4, 0.125)),
    ],
)
def test_a_write_takes_seats_by_who_watches(watchers: int, most: int, work: Work) -> None:
    assert work_of_write(watchers, most) == pytest.approx(work)


@pytest.mark.parametrize(
    ("method", "path", "query", "reads", "writes"),
    [
        ("GET", PATH, "", True, False),
        ("GET", PATH + "/p", "", False, False),
        ("GET", PATH, "watch=1", True, False),
        ("GET", PATH, "watch=1&resourceVersion=0", True, False),
        ("GET", PATH, "watch=1&resourceVersion=7", False, False),
        ("GET", PATH, "watch=1&resourceVersion=7&sendInitialEvents=true", True, False),
        ("POST", PATH, "", False, True),
        ("PATCH", PATH + "/p", "", False, True),
        ("DELETE", PATH, "", False, False),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/s/token", "", False, False),
        ("GET", "/healthz", "", False, False),
    ],
)
def test_what_counts_as_a_list_and_as_a_write(method: str, path: str, query: str, reads: bool, writes: bool) -> None:
    parsed = parse_query(query)
    info = request_info(method, path, parsed)
    assert (is_list(info, parsed), is_write(info)) == (reads, writes)
