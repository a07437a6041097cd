from __future__ import annotations

from typing import Any

import pytest

from pilothouse.main.flags import Flag, FlagError, HelpRequested, boolean, cidr, duration, listed, pairs, parse, port

FLAGS = (
    Flag("kubeconfig", "", "where"),
    Flag("leader-elect", True, "whether", boolean),
    Flag("secure-port", 6443, "port", port),
    Flag("period", 5.0, "how often", duration),
    Flag("key-file", (), "keys", repeated=True),
    Flag("modes", ("A",), "modes", listed),
)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ([], "secure_port", 6443),
        (["--secure-port=1"], "secure_port", 1),
        (["--secure-port", "2"], "secure_port", 2),
        (["--leader-elect"], "leader_elect", True),
        (["--leader-elect=false"], "leader_elect", False),
        (["--leader-elect", "--secure-port=3"], "secure_port", 3),
        (["--period=1m30s"], "period", 90.0),
        (["--key-file=a", "--key-file", "b"], "key_file", ["a", "b"]),
        (["--modes=B, C"], "modes", ("B", "C")),
        (["--kubeconfig=a=b"], "kubeconfig", "a=b"),
        (["--leader_elect=false"], "leader_elect", False),
    ],
)
def test_values(arguments: list[str], field: str, value: Any) -> None:
    assert getattr(parse("scheduler", FLAGS, arguments), field) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unheard-of=1"], "unknown flag: --unheard-of"),
        (["stray"], "takes flags only, not 'stray'"),
        (["--kubeconfig"], "flag needs an argument: --kubeconfig"),
        (["--secure-port=http"], 'invalid argument "http" for "--secure-port": must be a whole number'),
        (["--secure-port=70000"], "between 0 and 65535"),
        (["--leader-elect=maybe"], "must be true or false"),
        (["--period=5"], "with a unit"),
        (["--period=s"], "must be a duration"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(FlagError, match=message):
        parse("scheduler", FLAGS, arguments)


def test_help_names_every_flag() -> None:
    with pytest.raises(HelpRequested) as help_text:
        parse("scheduler", FLAGS, ["--help"])
    assert all(f"--{flag.name}" in str(help_text.value) for flag in FLAGS)


def test_a_flag_tells_whether_it_was_given() -> None:
    values = parse("scheduler", FLAGS, ["--secure-port=6443"])
    assert values.is_given("secure-port")
    assert not values.is_given("period")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("500ms", 0.5), ("2h", 7200), ("1.5s", 1.5), ("1h1m1s", 3661)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


def test_other_values() -> None:
    assert cidr("10.96.0.7/16") == "10.96.0.0/16"
    assert pairs("a=1,b=2") == {"a": "1", "b": "2"}
    with pytest.raises(ValueError):
        cidr("10.96.0.0/40")
    with pytest.raises(ValueError):
        pairs("a")
