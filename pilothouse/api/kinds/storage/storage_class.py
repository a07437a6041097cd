"""StorageClass."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, View, flag, is_default_class, text
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _name(obj: View, now: float) -> str:
    default = any(is_default_class(obj, annotation) for annotation in _DEFAULT)
    return f"{obj['metadata']['name']}{' (default)' if default else ''}"


STORAGE_CLASS = Resource(
    gvr.STORAGE_CLASSES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("sc",),
    has_generation=False,
    columns=(
        Column("Name", _name, format="name"),
        text("Provisioner", "provisioner"),
        text("ReclaimPolicy", "reclaimPolicy", empty="Delete"),
        text("VolumeBindingMode", "volumeBindingMode", empty="Immediate"),
        flag("AllowVolumeExpansion", "allowVolumeExpansion", type="string"),
        AGE,
    ),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.storage", "validate_storage_class"),
    validate_update=Deferred("pilothouse.api.validate.storage", "validate_storage_class_update"),
)
