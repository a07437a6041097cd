"""What is missing is named by its package."""

from __future__ import annotations

from pilothouse.main.runtime.requirements import Requirement, explain, missing_packages


def test_only_what_is_missing_is_named() -> None:
    requirements = (
        Requirement("coreutils", programs=("sh",)),
        Requirement("no-program", programs=("sh", "pilothouse-has-no-such-program")),
        Requirement("no-plugin", plugins=("pilothouse-has-no-such-plugin",)),
        Requirement("no-library", libraries=("pilothouse-has-no-such-library",)),
    )
    assert missing_packages(requirements) == ("no-program", "no-plugin", "no-library")


def test_the_sentence_says_what_to_run() -> None:
    assert "apt-get install --no-install-recommends containerd runc`" in explain(["containerd", "runc"])
    assert "lacks the package runc," in explain(["runc"])
