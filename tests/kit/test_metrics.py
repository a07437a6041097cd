"""Prometheus' text format."""

from __future__ import annotations

from pilothouse.kit.metrics import Family, Histogram, process, render


def test_a_page() -> None:
    gauge = Family("g", "gauge", "A gauge").add(1).add(0.5, {"a": 'x"\\\n'}, at_ms=7)
    assert render([gauge, Family("empty", "gauge", "None")]).decode() == (
        '# HELP g A gauge\n# TYPE g gauge\ng 1\ng{a="x\\"\\\\\\n"} 0.5 7\n'
    )


def test_a_histogram_counts_what_is_at_most_each_bound() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.6, 3.0):
        histogram.observe(value)
    family = Family("h", "histogram", "H")
    histogram.add_to(family, {"a": "b"})
    assert family.lines[2:] == [
        'h_bucket{a="b",le="0.5"} 1',
        'h_bucket{a="b",le="1"} 2',
        'h_bucket{a="b",le="+Inf"} 3',
        'h_sum{a="b"} 4.1',
        'h_count{a="b"} 3',
    ]


def test_large_numbers_are_not_rounded() -> None:
    assert Family("g", "gauge", "G").add(25_769_803_776).lines[-1] == "g 25769803776"


def test_the_process_tells_of_itself() -> None:
    page = render(process(5.0)).decode()
    assert "\nprocess_start_time_seconds 5\n" in page
    assert "\nprocess_resident_memory_bytes " in page
