"""The life of objects of one kind: created, updated and deleted by the same rules for every kind.

A write is decided on a draft and then put into the store under the condition that nothing was written in between; if something was,
it is decided again on the new state. What differs between kinds is in their `Resource`; what needs other objects (allocating
addresses) is in a `Lifecycle`. Source: apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.path import Path, invalid, invalid_object
from pilothouse.api.resource import Resource
from pilothouse.api.view import json_copy
from pilothouse.apiserver import faults, ownership
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.attributes import Admission, Attributes, Operation
from pilothouse.apiserver.deletion import Step, check_preconditions, is_removed_by_update, plan_deletion
from pilothouse.apiserver.encode import encode
from pilothouse.apiserver.errors import unavailable
from pilothouse.apiserver.lifecycle import Lifecycle, NoLifecycle
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.translation import Translation
from pilothouse.apiserver.write import Change, Check, Deleted, Write
from pilothouse.kit.clock import Clock
from pilothouse.store.base import ABSENT, Revision, Store, StoreUnavailable, WriteConflict, key_of
from pilothouse.store.cached import Cached, splice
from pilothouse.store.cacher import Cacher
from pilothouse.store.encryption import EncryptedStore

UPDATE_ATTEMPTS = 5
GENERATE_NAME_ATTEMPTS = 8

_Outcome = TypeVar("_Outcome")


def _is_other(wire: bytes, present: Cached) -> bool:
    return wire is not present.wire


def _never(key: str) -> bool:
    return False


class Registry:
    """All objects of one kind. Objects that go in belong to the registry from then on."""

    def __init__(
        self,
        resource: Resource,
        store: Store,
        cacher: Cacher,
        *,
        clock: Clock,
        rng: random.Random,
        admission: Admission,
        lifecycle: Lifecycle | None = None,
        ttl_s: float | None = None,
        read: Callable[[Cached], Object] = Cached.object,
        translation: Translation | None = None,
    ) -> None:
        """`read` decodes a stored object, in the form that `resource` has; `translation` does where that is more than decoding."""
        self.resource = resource
        self.cacher = cacher
        self.admission = admission
        self._store = store
        self._clock = clock
        self._rng = rng
        self.lifecycle: Lifecycle = lifecycle or NoLifecycle()
        self._ttl_s = ttl_s
        self._is_stale = store.is_stale if isinstance(store, EncryptedStore) else _never
        self._read = read
        self._translation = translation
        self._stored_gvr = resource.stored_gvr
        self._has_status = resource.has_status

    async def get(self, namespace: str, name: str) -> Cached:
        """The object as it is now. Raises NotFound."""
        await self.cacher.fresh()
        cached = self.cacher.get(namespace, name)
        if cached is None:
            raise self.not_found(name)
        return cached

    def not_found(self, name: str, gvr: GVR | None = None) -> status.NotFound:
        """`gvr` is what the client calls the kind, if it has several names."""
        called = gvr or self.resource.gvr
        return status.not_found(called.plural, called.group, name)

    # Create

    async def create(self, obj: Object, write: Write) -> bytes:
        """Create an object that is loaded and defaulted; its wire form. Raises AlreadyExists, Invalid and what admission raises."""
        resource = self.resource
        metadata = obj.setdefault("metadata", {})
        rules.clear_system_fields(metadata)
        rules.set_namespace(metadata, write.namespace if resource.gvr.namespaced else "")
        self._drop_duplicate_owners(metadata, write)
        await self._track(None, obj, write)
        attributes = self._attributes("CREATE", write, obj=obj)
        await self._mutate(attributes, obj)
        base = metadata.get("generateName") if not metadata.get("name") else None
        for attempt in range(GENERATE_NAME_ATTEMPTS):
            rules.fill_system_fields(metadata, self._clock.now(), self._rng)
            if base:
                metadata["name"] = rules.generated_name(base, self._rng)
            try:
                return await self._create_once(obj, write, attributes)
            except status.AlreadyExists as error:
                if not metadata.get("generateName"):
                    raise
                if not base or attempt == GENERATE_NAME_ATTEMPTS - 1:
                    raise faults.no_name_found(self.resource.gvr, metadata["name"]) from error
        raise AssertionError("unreachable")

    async def _create_once(self, obj: Object, write: Write, attributes: Attributes) -> bytes:
        resource = self.resource
        metadata = obj["metadata"]
        if resource.has_generation:
            metadata["generation"] = 1
        if not metadata.get("name"):
            metadata["name"] = rules.new_uid(self._rng) if resource.invents_name else ""
            if not isinstance(self.lifecycle, NoLifecycle):
                # Nothing is taken from the rest of the cluster for what has no name.
                faults.refuse(self.resource, obj, faults.metadata_faults(self.resource, obj))
        undo = await self.lifecycle.creating(obj, dry_run=write.dry_run)
        written = False
        try:
            if resource.drop_disabled is not None:
                resource.drop_disabled(obj, None)
            resource.prepare_create(obj)
            faults.refuse_new(self.resource, obj, write)
            write.warnings += resource.warnings(obj)
            attributes.name = metadata["name"]
            await self.admission.validate(attributes)
            try:
                wire = await self._put_new(obj, write)
            except asyncio.CancelledError:
                # What was sent to the store may be written: what it uses is not given back.
                written = True
                raise
            written = True
        finally:
            if undo is not None:
                await (undo.commit() if written else undo.roll_back())
        return wire

    async def _put_new(self, obj: Object, write: Write) -> bytes:
        gvr = self.resource.gvr
        name = obj["metadata"]["name"]
        if obj["metadata"].pop("resourceVersion", None) and not write.dry_run:
            raise status.StatusError("resourceVersion should not be set on objects to be created", code=500)
        value = await self._encode(obj)
        namespace = write.namespace if gvr.namespaced else ""
        if write.dry_run:
            await self.cacher.fresh()
            if self.cacher.get(namespace, name) is not None:
                raise self._exists(namespace, name, write)
            return value
        key = key_of(gvr, namespace, name)
        try:
            revision = await self._store.put(key, value, expect=ABSENT, ttl_s=self._ttl_s)
        except WriteConflict:
            raise self._exists(namespace, name, write) from None
        except StoreUnavailable as error:
            raise unavailable(error) from error
        return splice(value, revision)

    def _exists(self, namespace: str, name: str, write: Write) -> status.AlreadyExists:
        gvr = write.gvr or self.resource.gvr
        error = status.already_exists(gvr.plural, gvr.group, name)
        present = self.cacher.get(namespace, name)
        if present is not None and "deletionTimestamp" in present.object()["metadata"]:
            error = status.AlreadyExists(
                f"object is being deleted: {error.message}", group=gvr.group, kind=gvr.plural, name=name
            )
        return error

    # Update

    async def update(self, change: Change, write: Write, *, check: Check | None = None, is_pure: bool = False) -> bytes:
        """Change an object by `change`; its wire form. `check` validates a subresource that the kind's declaration does not know.

        With `is_pure`, `change` leaves the object that it is given as it is, and its draft shares nothing with it but, in a write of
        the status, what `change` has not touched.

        If the new object has a resourceVersion it must be the present one. Raises NotFound, Conflict, Invalid and what admission and
        `change` raise.
        """
        return await self._retry(
            write, lambda present: self._update_once(present, change, write, check, is_pure=is_pure), _is_other
        )

    async def change(self, change: Change, write: Write) -> bytes:
        """The same for what the server itself decides, such as a binding: not admitted, not validated, no new generation."""
        return await self._retry(write, lambda present: self._change_once(present, change, write), _is_other)

    async def _retry(
        self,
        write: Write,
        once: Callable[[Cached], Awaitable[_Outcome]],
        has_written: Callable[[_Outcome, Cached], bool],
    ) -> _Outcome:
        """A first attempt may begin with what the cache has, since a write onto anything else fails; what does not write is asked again.

        Source: apiserver `pkg/storage/etcd3/store.go` (GuaranteedUpdate).
        """
        namespace = write.namespace if self.resource.gvr.namespaced else ""
        for attempt in range(UPDATE_ATTEMPTS):
            present = None if attempt or write.dry_run else self.cacher.get(namespace, write.name)
            is_fresh = present is None or not write.may_begin_with(present)
            if is_fresh:
                await self.cacher.fresh()
                present = self.cacher.get(namespace, write.name)
            if present is None:
                raise self.not_found(write.name, write.gvr)
            try:
                outcome = await once(present)
            except WriteConflict:
                if attempt == UPDATE_ATTEMPTS - 1:
                    raise self._modified(write.name) from None
            except status.StatusError:
                if is_fresh or await self._is_current(present):
                    raise
            except StoreUnavailable as error:
                raise unavailable(error) from error
            else:
                if is_fresh or has_written(outcome, present) or await self._is_current(present):
                    return outcome
        raise AssertionError("unreachable")

    async def _is_current(self, cached: Cached) -> bool:
        await self.cacher.fresh()
        return self.cacher.get(cached.namespace, cached.name) is cached

    async def _change_once(self, present: Cached, change: Change, write: Write) -> bytes:
        draft, old = await change(await self._load(present)), await self._load(present)
        if write.track is not None:
            await self._track(old, draft, write)
        return await self._replace(present, draft, old, write)

    async def _update_once(
        self, present: Cached, change: Change, write: Write, check: Check | None, *, is_pure: bool
    ) -> bytes:
        resource = self.resource
        old = await self._load(present)
        if is_pure:
            draft = await change(old)
            for key in ("metadata", "status"):
                part = draft.get(key)
                if part is not None and part is old.get(key):
                    draft[key] = dict(part)
        else:
            draft = await change(self._read(present) if self._translation is None else json_copy(old))
        metadata = draft.setdefault("metadata", {})
        self._check_identity(metadata, present, old, write)
        self._isolate(draft, old, write)
        rules.keep_system_fields(metadata, old["metadata"])
        self._drop_duplicate_owners(metadata, write)
        await self._track(old, draft, write)
        attributes = self._attributes("UPDATE", write, obj=draft, old=old)
        await self._mutate(attributes, draft)
        metadata = draft["metadata"]
        rules.keep_system_fields(metadata, old["metadata"])
        metadata["resourceVersion"] = present.resource_version
        undo = None
        written = False
        try:
            if not write.subresource:
                if resource.drop_disabled is not None:
                    resource.drop_disabled(draft, old)
                resource.prepare_update(draft, old)
                if resource.has_generation:
                    rules.bump_generation(draft, old)
                undo = await self.lifecycle.updating(draft, old, dry_run=write.dry_run)
                errors = faults.update_faults(resource, draft, old, write)
            elif write.subresource == "status":
                resource.prepare_status_update(draft, old)
                if resource.stamp_status is not None:
                    resource.stamp_status(draft, old, self._clock.now())
                errors = list(resource.validate_status_update(draft, old))
            else:
                if resource.has_generation:
                    rules.bump_generation(draft, old)
                errors = [] if check is None else list(check(draft, old))
            of_metadata = faults.metadata_update_faults(self.resource, draft, old, subresource=write.subresource)
            faults.refuse(self.resource, draft, [*of_metadata, *errors])
            if not write.subresource:
                write.warnings += resource.update_warnings(draft, old)
            await self.admission.validate(attributes)
            try:
                wire = await self._replace(present, draft, old, write)
            except asyncio.CancelledError:
                written = True
                raise
            written = True
        finally:
            if undo is not None:
                await (undo.commit() if written else undo.roll_back())
        return wire

    def _check_identity(self, metadata: Object, present: Cached, old: Object, write: Write) -> None:
        """Raises Conflict or Invalid if the update is meant for another state of the object, or another object."""
        revision = metadata.get("resourceVersion") or ""
        if not revision:
            if not self.resource.unconditional_update:
                fault = invalid(Path("metadata.resourceVersion"), 0, "must be specified for an update")
                raise invalid_object(self.resource.gvr.group, self.resource.gvr.plural, write.name, [fault])
        elif revision != present.resource_version:
            rules.check_resource_version(revision)
            raise self._modified(write.name)
        rules.set_namespace(metadata, write.namespace if self.resource.gvr.namespaced else "")

    def _modified(self, name: str) -> status.Conflict:
        return status.conflict(self.resource.gvr.plural, self.resource.gvr.group, name, status.OBJECT_MODIFIED)

    def _isolate(self, draft: Object, old: Mapping[str, Any], write: Write) -> None:
        """Leave to each of an object and its status only its own part."""
        if write.subresource == "status":
            for key in draft.keys() - {"status", "metadata"}:
                if key not in old:
                    del draft[key]
            for key in old.keys() - {"status", "metadata"}:
                draft[key] = old[key]
        elif self._has_status and not write.subresource:
            if "status" in old:
                draft["status"] = old["status"]
            else:
                draft.pop("status", None)

    async def _replace(self, present: Cached, draft: Object, old: Object, write: Write) -> bytes:
        """Store the draft of an update; or nothing, if it changes nothing; or remove it, if nothing holds it any more."""
        if is_removed_by_update(self.resource, draft, old):
            wire = splice(await self._encode(draft), present.revision)
            if not write.dry_run:
                await self._store.delete(present.key, expect=present.revision)
                await self.lifecycle.deleted(old)
            return wire
        ownership.keep_times(draft, old)
        if (
            draft == old
            and not self._is_stale(present.key)
            and (self._read is Cached.object or await self._is_stored_as(draft, present))
        ):
            return present.wire
        value = await self._encode(draft)
        if write.dry_run:
            return splice(value, present.revision)
        revision = await self._store.put(present.key, value, expect=present.revision, ttl_s=self._ttl_s)
        return splice(value, revision)

    async def _is_stored_as(self, draft: Object, present: Cached) -> bool:
        """Whether writing the draft would store what is stored: if not, an update that changes nothing migrates the object."""
        revision = draft["metadata"].get("resourceVersion")
        same = await self._encode(draft) == present.value()
        draft["metadata"]["resourceVersion"] = revision
        return same

    # Delete

    async def delete(self, write: Write, options: DeleteOptions) -> Deleted:
        """Delete an object, or begin to. Raises NotFound, Conflict and what admission raises."""
        write.is_repeatable = True
        return await self._retry(
            write,
            lambda present: self._delete_once(present, write, options),
            lambda deleted, present: deleted.is_gone or deleted.wire is not present.wire,
        )

    async def _delete_once(self, present: Cached, write: Write, options: DeleteOptions) -> Deleted:
        old = await self._load(present)
        check_preconditions(self.resource, old["metadata"], present.resource_version, options)
        attributes = self._attributes("DELETE", write, old=old)
        await self.admission.mutate(attributes)
        await self.admission.validate(attributes)
        plan = plan_deletion(self.resource, old, options, self._clock.now())
        if plan.step is Step.NOTHING:
            return Deleted(present.wire, is_gone=False)
        if plan.step is Step.REMOVE:
            if not write.dry_run:
                await self._store.delete(present.key, expect=present.revision)
                await self.lifecycle.deleted(old)
            return Deleted(present.wire, is_gone=True)
        is_gone = plan.step is Step.MARK_THEN_REMOVE
        marked = {**old, "metadata": plan.metadata}
        self.resource.mark_deleted(marked)
        if marked == old:
            return Deleted(present.wire, is_gone=False)
        value = await self._encode(marked)
        if write.dry_run:
            return Deleted(splice(value, present.revision), is_gone)
        revision = await self._store.put(present.key, value, expect=present.revision, ttl_s=self._ttl_s)
        if is_gone:
            await self._remove_marked(present.key, revision)
            await self.lifecycle.deleted(old)
        return Deleted(splice(value, revision), is_gone)

    async def _remove_marked(self, key: str, revision: Revision) -> None:
        try:
            await self._store.delete(key, expect=revision)
        except WriteConflict as error:
            if error.current != ABSENT:
                raise

    # Shared

    async def _load(self, present: Cached) -> Object:
        return self._read(present) if self._translation is None else await self._translation.read(present)

    async def _encode(self, obj: Object) -> bytes:
        """The bytes to store. The object loses its resourceVersion."""
        if self._translation is None:
            return encode(obj, self._stored_gvr)
        obj["metadata"].pop("resourceVersion", None)
        return encode(await self._translation.stored(obj), self._stored_gvr)

    async def _track(self, live: Mapping[str, Any] | None, draft: Object, write: Write) -> None:
        if write.track is None:
            ownership.untracked(live, draft)
        elif (tracked := write.track(live, draft, self._clock.now())) is not None:
            await tracked

    async def _mutate(self, attributes: Attributes, draft: Object) -> None:
        owners = draft["metadata"].get("managedFields")
        await self.admission.mutate(attributes)
        rules.set_namespace(draft["metadata"], attributes.namespace if self.resource.gvr.namespaced else "")
        ownership.after_admission(draft, owners, attributes.warnings)

    def _attributes(
        self, operation: Operation, write: Write, *, obj: Object | None = None, old: Mapping[str, Any] | None = None
    ) -> Attributes:
        return Attributes(
            operation,
            self.resource,
            write.gvr or self.resource.gvr,
            write.namespace,
            write.name,
            write.user,
            obj,
            old,
            write.subresource,
            write.options,
            write.dry_run,
            write.warnings,
            {} if write.annotations is None else write.annotations,
            translation=self._translation,
        )

    @staticmethod
    def _drop_duplicate_owners(metadata: Object, write: Write) -> None:
        if dropped := rules.deduplicate_owners(metadata):
            write.warnings.append(
                ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject "
                f"such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {', '.join(dropped)}"
            )
