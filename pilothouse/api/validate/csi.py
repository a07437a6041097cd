"""The kinds by which CSI drivers say what they can do, and by which volumes are attached. Source: `pkg/apis/storage/validation`."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.shown import label_selector, maybe, shown
from pilothouse.api.validate.storage import check_inline_volume, check_parameters, check_provisioner
from pilothouse.api.validate.storage_source import check_csi_driver_name
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_immutable,
    check_name,
    check_not_negative,
    check_not_negative_quantity,
)

_SPEC, _STATUS = Path("spec"), Path("status")
_MAX_METADATA_BYTES, _MAX_MESSAGE_BYTES, _MAX_NODE_ID = 256 * 1024, 1024, 256
_LEAST_TOKEN_S, _MOST_TOKEN_S, _LEAST_UPDATE_S = 600, 1 << 32, 10
_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")
_DRIVER = {"Name": "", "NodeID": "", "TopologyKeys": None, "Allocatable": maybe({"Count": None})}
_TWO_SOURCES = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def validate_driver(driver: Part) -> list[FieldError]:
    errors: Errors = []
    spec = driver.get("spec") or {}
    for field, shown_as in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if field not in spec:
            errors.append(required(_SPEC.child(shown_as)))
    if "fsGroupPolicy" in spec and spec["fsGroupPolicy"] not in _POLICIES:
        errors.append(not_supported(_SPEC.child("fsGroupPolicy"), spec["fsGroupPolicy"], _POLICIES))
    _check_token_requests(spec.get("tokenRequests") or (), _SPEC.child("tokenRequests"), errors)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            errors.append(not_supported(_SPEC.child("volumeLifecycleModes"), mode, _MODES))
    if "seLinuxMount" not in spec:
        errors.append(required(_SPEC.child("seLinuxMount")))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _LEAST_UPDATE_S:
        text = f"must be greater than or equal to {_LEAST_UPDATE_S} seconds"
        errors.append(invalid(_SPEC.child("nodeAllocatableUpdatePeriodSeconds"), period, text))
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not spec.get("tokenRequests"):
        text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        errors.append(invalid(_SPEC.child("serviceAccountTokenInSecrets"), in_secrets, text))
    return errors


def _check_token_requests(requests: Sequence[Part], path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, request in enumerate(requests):
        audience, here = request.get("audience", ""), path.index(i).child("expirationSeconds")
        if audience in seen:
            errors.append(duplicate(path.index(i).child("audience"), audience))
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is None:
            continue
        if seconds < _LEAST_TOKEN_S:
            errors.append(invalid(here, seconds, "may not specify a duration less than 10 minutes"))
        if seconds > _MOST_TOKEN_S:
            errors.append(invalid(here, seconds, "may not specify a duration larger than 2^32 seconds"))


def validate_driver_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    check_immutable(spec.get("attachRequired"), before.get("attachRequired"), _SPEC.child("attachedRequired"), errors)
    path = _SPEC.child("volumeLifecycleModes")
    check_immutable(spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes"), path, errors)
    return errors


def validate_node(node: Part) -> list[FieldError]:
    """A CSINode."""
    errors: Errors = []
    seen: set[str] = set()
    for i, driver in enumerate((node.get("spec") or {}).get("drivers") or ()):
        path = _SPEC.child("drivers").index(i)
        name, identity = driver.get("name", ""), driver.get("nodeID", "")
        check_csi_driver_name(name, path.child("name"), errors)
        if not identity:
            errors.append(required(path.child("nodeID")))
        if len(identity) > _MAX_NODE_ID:
            errors.append(invalid(path.child("nodeID"), identity, f"must be {_MAX_NODE_ID} characters or less"))
        check_not_negative(driver.get("allocatable") or {}, "count", path.child("allocatable"), errors)
        if name in seen:
            errors.append(duplicate(path.child("name"), name))
        seen.add(name)
        _check_topology_keys(driver.get("topologyKeys") or (), path, errors)
    return errors


def _check_topology_keys(keys: Sequence[str], path: Path, errors: Errors) -> None:
    for i, key in enumerate(keys):
        if not key:
            errors.append(required(path))
        if key in keys[:i]:
            errors.append(duplicate(path, key))
        check_name(names.label_key, key, path, errors)


def validate_node_update(new: Part, old: Part) -> list[FieldError]:
    """How a driver is known on a node stays while it is there; how many volumes it can attach may change."""
    errors: Errors = []
    drivers = (new.get("spec") or {}).get("drivers") or ()
    for before in (old.get("spec") or {}).get("drivers") or ():
        for driver in drivers:
            if driver.get("name") != before.get("name"):
                continue
            now, then = ({**one, "allocatable": None} for one in (driver, before))
            if now != then:
                errors.append(invalid(_SPEC.child("drivers"), shown(now, _DRIVER), IMMUTABLE))
    return errors


def validate_capacity(capacity: Part) -> list[FieldError]:
    """A CSIStorageCapacity."""
    errors: Errors = []
    check_label_selector(capacity.get("nodeTopology"), Path("nodeTopology"), errors)
    check_name(names.dns_subdomain, capacity.get("storageClassName", ""), Path("storageClassName"), errors)
    if "capacity" in capacity:
        check_not_negative_quantity(capacity["capacity"], Path("capacity"), errors)
    return errors


def validate_capacity_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    topology, name = new.get("nodeTopology"), new.get("storageClassName", "")
    if topology != old.get("nodeTopology"):
        errors.append(invalid(Path("nodeTopology"), label_selector(topology), IMMUTABLE))
    check_immutable(name, old.get("storageClassName", ""), Path("storageClassName"), errors)
    return errors


def validate_attachment(attachment: Part) -> list[FieldError]:
    """A VolumeAttachment."""
    errors: Errors = []
    spec, status = attachment.get("spec") or {}, attachment.get("status") or {}
    check_csi_driver_name(spec.get("attacher", ""), _SPEC.child("attacher"), errors)
    source, path = spec.get("source") or {}, _SPEC.child("source")
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and name is None:
        errors.append(required(path, _TWO_SOURCES))
    elif inline is not None and name is not None:
        errors.append(field_forbidden(path, _TWO_SOURCES))
    elif inline is not None:
        check_inline_volume(inline, path.child("inlineVolumeSpec"), errors)
    elif not name:
        errors.append(required(path.child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
    check_name(names.dns_subdomain, spec.get("nodeName", ""), _SPEC.child("nodeName"), errors)
    _check_attachment_status(status, errors)
    if name is not None:
        check_name(names.dns_subdomain, name, path.child("persistentVolumeName"), errors)
    return errors


def _check_attachment_status(status: Part, errors: Errors) -> None:
    metadata = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _MAX_METADATA_BYTES:
        errors.append(too_long(_STATUS.child("attachmentMetadata"), _MAX_METADATA_BYTES))
    for field in ("attachError", "detachError"):
        fault, path = status.get(field) or {}, _STATUS.child(field)
        if len(fault.get("message", "").encode()) > _MAX_MESSAGE_BYTES:
            errors.append(too_long(path.child("message"), _MAX_METADATA_BYTES))
        code = fault.get("errorCode", 0)
        if code < 0:
            errors.append(invalid(path.child("errorCode"), code, names.between(0, 2**31 - 1)))


_ATTACHMENT = {"Attacher": "", "Source": {"PersistentVolumeName": None, "InlineVolumeSpec": None}, "NodeName": ""}


def validate_attachment_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    spec = new.get("spec")
    if spec != old.get("spec"):
        errors.append(invalid(_SPEC, shown(spec, _ATTACHMENT), IMMUTABLE))
    return errors


def validate_attachment_status_update(new: Part, old: Part) -> list[FieldError]:
    """The status is judged with the whole."""
    return [*validate_attachment(new), *validate_attachment_update(new, old)]


def validate_attributes_class(attributes: Part) -> list[FieldError]:
    """A VolumeAttributesClass."""
    errors: Errors = []
    check_provisioner(attributes.get("driverName", ""), Path("driverName"), errors)
    parameters = attributes.get("parameters") or {}
    check_parameters(parameters, Path("parameters"), errors)
    if not parameters:
        errors.append(required(Path("parameters"), "must contain at least one key/value pair"))
    return errors


def validate_attributes_class_update(new: Part, old: Part) -> list[FieldError]:
    return [
        field_forbidden(Path(field), f"updates to {field} are forbidden.")
        for field in ("driverName", "parameters")
        if new.get(field) != old.get(field)
    ]
