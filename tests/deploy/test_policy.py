"""Rules for deployment files beyond what their platforms check, and for each rule a mistake that breaks it."""

import pytest

from harness.planting import plant
from harness.policies import clouds, kubernetes, machine
from harness.policies.descriptions import Files, Judge, committed

PLATFORMS = {**machine.PLATFORMS, **kubernetes.PLATFORMS, **clouds.PLATFORMS}
"""The rules for each file, by the start of its path."""


def judge(place: str) -> Judge:
    [found] = {rules for start, rules in PLATFORMS.items() if place.startswith(start)}
    return found


def broken(place: str, files: Files) -> set[str]:
    """Return the rules that the deployment files of a platform break."""
    return {rule for rule, kept in judge(place)(files).items() if not kept}


@pytest.mark.parametrize("place", PLATFORMS)
def test_every_rule_is_kept(place: str) -> None:
    """The committed files keep every rule."""
    assert broken(place, committed()) == set()


MISTAKES = [*machine.MISTAKES, *kubernetes.MISTAKES, *clouds.MISTAKES]


@pytest.mark.parametrize(("file", "right", "wrong", "rule"), MISTAKES)
def test_a_broken_rule_is_named(file: str, right: str, wrong: str, rule: str) -> None:
    """A planted mistake breaks the rule that it should break."""
    assert rule in broken(file, committed() | {file: plant(committed()[file], right, wrong)})


def test_every_rule_can_be_broken() -> None:
    """Every rule has at least one mistake that breaks it."""
    rules = {(judge(place), rule) for place in PLATFORMS for rule in judge(place)(committed())}
    assert rules == {(judge(file), rule) for file, *_, rule in MISTAKES}
