"""PolicyRules: what they allow, whether some cover others, and how they are shown. Pure.

Source: `pkg/apis/rbac/v1/evaluation_helpers.go`, component-helpers `auth/rbac/validation/policy_comparator.go`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION, Attributes, Decision, Verdict

Rule = Mapping[str, Any]
_KEYS = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")
_SHOWN = ("APIGroups", "Resources", "NonResourceURLs", "ResourceNames", "Verbs")


class RuleSet:
    """Rules compiled for lookups: after its first time a question costs one or two dict lookups.

    `origin` says where a rule comes from; it becomes the reason of a decision.
    """

    __slots__ = ("_answers", "_paths", "_resources", "origins", "rules")

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.origins: list[str] = []
        self._resources: dict[tuple[str, str, str], list[tuple[frozenset[str], Decision]]] = {}
        self._paths: list[tuple[frozenset[str], tuple[str, ...], Decision]] = []
        self._answers: dict[tuple[str, str, str, str], Decision | list[tuple[frozenset[str], Decision]]] = {}

    def add(self, rules: Iterable[Rule], origin: str) -> None:
        decision = Decision(Verdict.ALLOW, f"RBAC: allowed by {origin}" if origin else "")
        for rule in rules:
            self.rules.append(rule)
            self.origins.append(origin)
            verbs = rule.get("verbs") or ()
            if urls := rule.get("nonResourceURLs"):
                self._paths.append((frozenset(verbs), tuple(urls), decision))
            names = frozenset(rule.get("resourceNames") or ())
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    for verb in verbs:
                        self._resources.setdefault((verb, group, resource), []).append((names, decision))

    def decide(self, attributes: Attributes) -> Decision:
        """ALLOW with its reason, or NO_OPINION."""
        _, verb, group, _, resource, subresource, _, name, path, _, _ = attributes
        if path:
            return self._decide_path(verb, path)
        question = (verb, group, resource, subresource)
        answer = self._answers.get(question)
        if answer is None:
            answer = self._answers[question] = self._resolve(*question)
        if isinstance(answer, Decision):
            return answer
        return next((decision for names, decision in answer if name in names), NO_OPINION)

    def _resolve(
        self, verb: str, group: str, resource: str, subresource: str
    ) -> Decision | list[tuple[frozenset[str], Decision]]:
        resources = [resource, "*"] if not subresource else [f"{resource}/{subresource}", "*", f"*/{subresource}"]
        named = []
        for rule_verb in (verb, "*"):
            for rule_group in (group, "*"):
                for rule_resource in resources:
                    for names, decision in self._resources.get((rule_verb, rule_group, rule_resource), ()):
                        if not names:
                            return decision
                        named.append((names, decision))
        return named or NO_OPINION

    def _decide_path(self, verb: str, path: str) -> Decision:
        for verbs, urls, decision in self._paths:
            if (verb in verbs or "*" in verbs) and any(_url_matches(url, path) for url in urls):
                return decision
        return NO_OPINION


def allows(rules: Iterable[Rule], attributes: Attributes) -> bool:
    compiled = RuleSet()
    compiled.add(rules, "")
    return compiled.decide(attributes).verdict is ALLOW.verdict


def _url_matches(rule_url: str, path: str) -> bool:
    return rule_url in ("*", path) or (rule_url.endswith("*") and path.startswith(rule_url.rstrip("*")))


def missing(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Object]:
    """The parts of `wanted` that `owned` does not cover, each of one verb, group, resource, name; in order."""
    held = list(owned)
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(rule_, part) for rule_ in held)]


def _parts(rule: Rule) -> Iterable[Object]:
    names = rule.get("resourceNames") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule.get("verbs") or ():
                part = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                if not names:
                    yield part
                for name in names:
                    yield {**part, "resourceNames": [name]}
    for url in rule.get("nonResourceURLs") or ():
        for verb in rule.get("verbs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [url]}


def _covers(owner: Rule, part: Rule) -> bool:
    """Whether one rule allows all of a part that `_parts` gives."""
    verbs: Sequence[str] = owner.get("verbs") or ()
    if "*" not in verbs and part["verbs"][0] not in verbs:
        return False
    if part.get("nonResourceURLs"):
        return any(_url_matches(url, part["nonResourceURLs"][0]) for url in owner.get("nonResourceURLs") or ())
    groups, resources = owner.get("apiGroups") or (), owner.get("resources") or ()
    if "*" not in groups and part["apiGroups"][0] not in groups:
        return False
    resource = part["resources"][0]
    _, has_subresource, subresource = resource.partition("/")
    if "*" not in resources and resource not in resources and not (has_subresource and f"*/{subresource}" in resources):
        return False
    owner_names, names = owner.get("resourceNames") or (), part.get("resourceNames")
    return not owner_names or (names is not None and names[0] in owner_names)


def compact(rules: Iterable[Rule]) -> list[Object]:
    """Rules that differ only in their verbs put together, as far as they name one group, one resource and one name."""
    merged: dict[tuple[str, str, str], Object] = {}
    others = []
    for rule in rules:
        groups: Sequence[str] = rule.get("apiGroups") or ()
        resources: Sequence[str] = rule.get("resources") or ()
        names: Sequence[str] = rule.get("resourceNames") or ()
        if rule.get("nonResourceURLs") or len(groups) != 1 or len(resources) != 1 or len(names) > 1:
            others.append(dict(rule))
            continue
        key = (groups[0], resources[0], names[0] if names else "")
        into = merged.setdefault(key, {**rule, "verbs": []})
        into["verbs"] = [*into["verbs"], *(verb for verb in rule["verbs"] if verb not in into["verbs"])]
    return [*merged.values(), *others]


def show(rule: Rule) -> str:
    """`{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    parts = (f"{shown}:{_quoted(rule[key])}" for key, shown in zip(_KEYS, _SHOWN, strict=True) if rule.get(key))
    return "{" + ", ".join(parts) + "}"


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(json.dumps(value) for value in values) + "]"
