"""The rules for metadata that hold for every kind: what the server sets, what a client may not change.

Source: apiserver `pkg/registry/rest/{create,update,meta}.go`. Functions change the drafts they are given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from pilothouse.api.meta import Object, format_time
from pilothouse.api.status import BadRequest, StatusError

_WIPED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
_OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"
_SUFFIX_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_GENERATED_BASE_LIMIT = 58


def clear_system_fields(metadata: Object) -> None:
    """Take out of a new object what only the server sets."""
    for field in _WIPED:
        metadata.pop(field, None)


def fill_system_fields(metadata: Object, now: float, rng: random.Random) -> None:
    metadata["creationTimestamp"] = format_time(now)
    metadata["uid"] = new_uid(rng)


_VARIANTS = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}


def new_uid(rng: random.Random) -> str:
    """A random (version 4) UUID."""
    text = rng.randbytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[12:15]}-{_VARIANTS[text[30]]}{text[15:18]}-{text[18:30]}"


def generated_name(base: str, rng: random.Random) -> str:
    """`base` with a random suffix, at most 63 characters long."""
    return base[:_GENERATED_BASE_LIMIT] + "".join(rng.choices(_SUFFIX_CHARACTERS, k=_SUFFIX_LENGTH))


_OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"


def set_namespace(metadata: Object, namespace: str) -> None:
    """Give the object the namespace of its request (empty for a cluster-scoped kind). Raises BadRequest if it names another."""
    own = metadata.get("namespace") or ""
    if own == namespace:
        if not own:
            metadata.pop("namespace", None)
        return
    if own and namespace:
        raise BadRequest(_OTHER_NAMESPACE)
    if namespace:
        metadata["namespace"] = namespace
    else:
        del metadata["namespace"]


def check_name(obj: Mapping[str, Any], namespace: str, name: str) -> None:
    """Check the name and namespace of an update's object against its URL. Raises BadRequest."""
    metadata = obj.get("metadata") or {}
    if namespace and (metadata.get("namespace") or namespace) != namespace:
        raise BadRequest(_OTHER_NAMESPACE)
    own = metadata.get("name") or ""
    if own != name:
        if not own:
            raise no_name(name)
        raise BadRequest(f"the name of the object ({own}) does not match the name on the URL ({name})")


def no_name(name: str) -> BadRequest:
    """For an object that does not tell its name, though the path does."""
    return BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")


def check_resource_version(text: str) -> None:
    """Raises what upstream makes of one that is no number: an error of the server."""
    if text.isascii() and text.isdigit():
        if int(text) >= 2**64:
            raise StatusError(f'strconv.ParseUint: parsing "{text}": value out of range', code=500)
    else:
        shown = json.dumps(text, ensure_ascii=False)
        raise StatusError(f"strconv.ParseUint: parsing {shown}: invalid syntax", code=500)


def keep_system_fields(metadata: Object, old: Mapping[str, Any]) -> None:
    """Carry over to an update what only the server sets; managedFields apart.

    The marks of a deletion that did not happen are left, for the validation to refuse.
    """
    if not metadata.get("uid"):
        metadata["uid"] = old.get("uid", "")
    if "creationTimestamp" in old:
        metadata["creationTimestamp"] = old["creationTimestamp"]
    if "deletionTimestamp" in old:
        metadata["deletionTimestamp"] = old["deletionTimestamp"]
    if "deletionGracePeriodSeconds" in old:
        metadata.setdefault("deletionGracePeriodSeconds", old["deletionGracePeriodSeconds"])
    if "generation" in old:
        metadata["generation"] = old["generation"]
    else:
        metadata.pop("generation", None)
    metadata.pop("selfLink", None)


def deduplicate_owners(metadata: Object) -> list[str]:
    """Drop owner references that are there twice; the UIDs of those that were."""
    references = metadata.get("ownerReferences")
    if not references or len(references) < 2:
        return []
    kept: list[Any] = []
    dropped = []
    for reference in references:
        if reference in kept:
            dropped.append(str(reference.get("uid", "")))
        else:
            kept.append(reference)
    if dropped:
        metadata["ownerReferences"] = kept
    return dropped


def bump_generation(new: Object, old: Mapping[str, Any]) -> None:
    """Count a change of anything but metadata and status."""
    if any(
        new.get(key) != old.get(key)
        for key in new.keys() | old.keys()
        if key not in ("metadata", "status", "kind", "apiVersion")
    ):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
