"""The declaration of a kind: all that differs between one kind and another, in one record.

The generic registry serves every kind from its record; a field left at its default means the generic behaviour. Hooks are pure
functions on drafts and run in the order of the fields below. Kinds are declared in `api/kinds/<group>/<kind>.py` and listed, in the
order of discovery, in `api/kinds/table.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_ONLY_VERBS = ("get", "list")
CREATE_ONLY = ("create",)

View = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the server-side table. `cell` gives its value; `priority` 1 shows it only with `-o wide`."""

    name: str
    cell: Callable[[View, float], Any]
    """Takes the object and the time now (seconds since the epoch)."""
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource. `kind` is what it speaks, if that is not the parent (`Scale` of `autoscaling/v1`, `Eviction` of `policy/v1`)."""

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    kind: str = ""
    group: str = ""
    version: str = ""
    passes_methods: bool = False
    """Whether requests of any method, also such as OPTIONS that are no verb, go on to what is behind it."""


class Dependents(Enum):
    """What the deletion of an object does with the objects that it owns, unless it says."""

    DELETED = "deleted"
    ORPHANED = "orphaned"
    """Kept, as the first versions of some APIs had it: v1 ReplicationControllers, batch/v1 Jobs."""
    NONE = "none"
    """Nothing is owned; what a deletion says about it does not count."""


class MetadataChecks(Enum):
    """What a kind's own validation makes of an object's metadata. What is wrong there is told once for each look at it."""

    NONE = "none"
    """Of a new object it makes nothing either: the generic validation comes after it."""
    CHANGE = "change"
    """It compares an update's with what was there."""
    AS_NEW = "as new"
    """It sees in an update a new object."""
    BOTH = "both"


STATUS = Subresource("status")
SCALE = Subresource("scale", kind="Scale", group="autoscaling", version="v1")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale subresource finds its values.

    `selector` leads to a label selector object, to a map if `selector_is_map`, or to a text; empty: there is none.
    """

    replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")
    selector_is_map: bool = False
    needs_replicas: bool = False
    """Whether an object without a number of replicas has no scale."""


def _nothing(draft: Object) -> None:
    return None


def _nothing_update(draft: Object, old: View) -> None:
    return None


def _valid(obj: View) -> Sequence[FieldError]:
    return ()


def _valid_update(new: View, old: View) -> Sequence[FieldError]:
    return ()


def _no_conditions(obj: View) -> Sequence[Object]:
    return ()


def _free(obj: View) -> bool:
    return False


def _no_warnings(obj: View) -> Sequence[str]:
    return ()


def _no_update_warnings(new: View, old: View) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server serves it."""

    gvr: GVR
    """The identity at the version that is stored."""
    other_versions: tuple[GVR, ...] = ()
    """Further identities of the same objects, converted by `api/convert`."""
    withheld: frozenset[GVR] = frozenset()
    """Those of the identities that are not served."""
    singular: str = ""
    """Empty: the kind in lower case."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    scale: ScalePaths | None = None
    columns: tuple[Column, ...] = ()
    """Columns after which the generic Age column is *not* added; empty means Name and Age."""
    row_conditions: Callable[[View], Sequence[Object]] = _no_conditions
    """Conditions of a table's row, by which clients tell what is over."""
    selectable: Mapping[str, Callable[[View], str]] = field(default_factory=dict)
    """Field selectors beyond `metadata.name` and `metadata.namespace`."""
    name_rule: str = "dns-subdomain"
    """How names are validated: `dns-subdomain`, `long-name`, `dns-label`, `dns-1035`, `path-segment`, `own`."""
    checks_base_name: bool = True
    """Whether the beginning of a name that is to be generated is validated so as well, not only the name."""
    metadata_checks: MetadataChecks = MetadataChecks.CHANGE
    """How the kind's own validation looks at the metadata of an update, which the generic one has looked at already."""
    is_checked_twice: bool = False
    """Whether what is wrong with an update is found twice, as upstream does where a check of changes begins with one of the whole."""
    invents_name: bool = False
    """Whether an object without any name gets one, a UUID."""

    default: Callable[[Object], None] = _nothing
    """Defaults that the schema's table cannot express (they depend on other fields). Changes the draft."""
    read: Callable[[Object], None] | None = None
    """For a kind that is not built in: drops unknown fields from an object and gives it its defaults, in place."""
    drop_disabled: Callable[[Object, View | None], None] | None = None
    """Drops fields of features that are off, unless the old object has them; takes the draft and, for an update, the old object."""
    prepare_create: Callable[[Object], None] = _nothing
    """Clears what a client may not set and derives what the server sets."""
    prepare_update: Callable[[Object, View], None] = _nothing_update
    """The same for an update of the main resource; takes the draft and the old object."""
    prepare_status_update: Callable[[Object, View], None] = _nothing_update
    """The same for the status subresource; the generic code has already restored everything but status and metadata."""
    stamp_status: Callable[[Object, View, float], None] | None = None
    """Writes down when things of a new status came to be, where the client does not say; takes the draft, the old object and the time."""
    validate: Callable[[View], Sequence[FieldError]] = _valid
    validate_update: Callable[[View, View], Sequence[FieldError]] = _valid_update
    """Immutable fields and transitions; takes the new and the old object. `validate` runs as well."""
    validate_as: Callable[[GVR, View, View | None], Sequence[FieldError]] | None = None
    """Further faults that depend on the version that the client speaks; takes it, the new object as it is stored and, for an update,
    the old one."""
    validate_status_update: Callable[[View, View], Sequence[FieldError]] = _valid_update
    warnings: Callable[[View], Sequence[str]] = _no_warnings
    """Deprecated or doubtful use in a new object, for `Warning` headers."""
    update_warnings: Callable[[View, View], Sequence[str]] = _no_update_warnings
    """The same for an update; takes the new and the old object."""
    deprecation: str = ""
    """A warning that goes with every request for the kind, such as `v1 Endpoints is deprecated in v1.33+; …`."""

    stored_version: str = ""
    """The version that objects are stored at, where it is not that of `gvr`."""
    served_versions: Sequence[str] = ()
    """Of a custom kind: all versions at which it is served, in the order of its definition."""
    merges_strategically: bool = True
    """Whether strategic merge patches are understood."""
    ratchets: bool = False
    """Whether `validate_update` alone judges an update, so that what was stored before a rule came may stay."""
    knows_finalizers: bool = True
    """Whether a finalizer without a domain must be one of Kubernetes' own."""
    has_generation: bool = True
    """Whether `metadata.generation` counts changes of the spec."""
    unconditional_update: bool = True
    """Whether an update without a resourceVersion is accepted."""
    create_on_update: bool = False
    """Whether an update of an object that does not exist creates it."""
    returns_deleted: bool = False
    """Whether a deletion answers with the object that is gone, rather than with a Status."""
    grace_period_s: Callable[[View, int | None], int] | None = None
    """Graceful deletion: the grace period of an object, given what the client names. None means objects go at once."""
    is_held: Callable[[View], bool] = _free
    """Whether something other than `metadata.finalizers` keeps an object whose deletion was asked for."""
    dependents: Dependents = Dependents.DELETED
    """What becomes of an object's dependents when a deletion does not say."""
    orphans_warning: str = ""
    """What a client is told whose deletion does not say."""
    mark_deleted: Callable[[Object], None] = _nothing
    """What changes, beyond the metadata, when the deletion of an object that stays for a while begins."""
    secret: bool = False
    """Whether values are sensitive (encryption at rest, never logged)."""

    @property
    def served(self) -> tuple[GVR, ...]:
        """The identities at which clients find the objects."""
        own = (self.gvr, *self.other_versions)
        return tuple(gvr for gvr in own if gvr not in self.withheld) if self.withheld else own

    @property
    def singular_name(self) -> str:
        return self.singular or self.gvr.kind.lower()

    @property
    def stored_gvr(self) -> GVR:
        """The identity at the version that is stored."""
        return self.gvr._replace(version=self.stored_version) if self.stored_version else self.gvr

    @property
    def is_stored(self) -> bool:
        """Whether objects of the kind exist, rather than being answered at once (reviews, bindings)."""
        return "get" in self.verbs

    @property
    def has_status(self) -> bool:
        return any(subresource.name == "status" for subresource in self.subresources)
