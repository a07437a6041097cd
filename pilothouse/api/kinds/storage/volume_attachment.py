"""VolumeAttachment."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, flag, text
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

VOLUME_ATTACHMENT = Resource(
    gvr.VOLUME_ATTACHMENTS,
    metadata_checks=MetadataChecks.AS_NEW,
    subresources=(STATUS,),
    has_generation=False,
    unconditional_update=False,
    columns=(
        NAME,
        text("Attacher", "spec", "attacher", format="name"),
        text("PV", "spec", "source", "persistentVolumeName"),
        text("Node", "spec", "nodeName"),
        flag("Attached", "status", "attached"),
        AGE,
    ),
    prepare_create=clears_status(gvr.VOLUME_ATTACHMENTS),
    returns_deleted=True,
    validate=Deferred("pilothouse.api.validate.csi", "validate_attachment"),
    validate_update=Deferred("pilothouse.api.validate.csi", "validate_attachment_update"),
    validate_status_update=Deferred("pilothouse.api.validate.csi", "validate_attachment_status_update"),
)
