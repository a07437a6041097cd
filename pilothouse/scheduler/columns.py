"""The state of all nodes, in columns: one row a node, one numpy array a fact.

A filter or score is then a few vector operations over all nodes. Rows are reused when nodes go; `alive` tells which are in use. Texts
(label values, taint sets) are interned as small numbers; 0 stands for absent. `version[row]` grows with each change of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.meta import UID, Object
from pilothouse.api.placement import Amounts, HostPort, amounts
from pilothouse.scheduler.pod import PodInfo
from pilothouse.scheduler.tally import Query, Tallies

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

CPU, MEMORY, STORAGE = "cpu", "memory", "ephemeral-storage"
BASE_RESOURCES = (CPU, MEMORY, STORAGE)
FIRST_ROWS = 16


class Columns:
    """Nodes and what runs on them. Belongs to one event loop; plugins only read it."""

    def __init__(self) -> None:
        self.capacity = FIRST_ROWS
        self.names: list[str] = [""] * FIRST_ROWS
        self.rows: dict[str, int] = {}
        self.nodes: dict[str, Object] = {}
        self.alive: Mask = np.zeros(FIRST_ROWS, bool)
        self.unschedulable: Mask = np.zeros(FIRST_ROWS, bool)
        self.max_pods: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.pod_count: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.scored_cpu: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.scored_memory: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.taint_set: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.version: Counts = np.zeros(FIRST_ROWS, np.int64)
        self.allocatable: dict[str, Counts] = {name: np.zeros(FIRST_ROWS, np.int64) for name in BASE_RESOURCES}
        self.requested: dict[str, Counts] = {name: np.zeros(FIRST_ROWS, np.int64) for name in BASE_RESOURCES}
        self.labels: dict[str, Counts] = {}
        self.values: dict[str, int] = {}
        self.taint_sets: list[Sequence[Mapping[str, Any]]] = [()]
        self.ports: dict[int, list[HostPort]] = {}
        self.images: dict[str, dict[int, int]] = {}
        self.pods: dict[UID, tuple[PodInfo, str]] = {}
        self.tallies = Tallies(FIRST_ROWS)
        self._taint_set_ids: dict[str, int] = {"[]": 0}
        self._orphans: dict[str, set[UID]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    # Nodes

    def put_node(self, node: Object) -> None:
        """Add a node or take over its changes."""
        name = node["metadata"]["name"]
        row = self.rows.get(name)
        if row is None:
            row = self._new_row(name)
            for uid in self._orphans.pop(name, ()):
                self._count(self.pods[uid][0], row, 1)
        self.nodes[name] = node
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.unschedulable[row] = bool(spec.get("unschedulable"))
        self.taint_set[row] = self._taints(spec.get("taints") or ())
        self._set_allocatable(row, amounts(status.get("allocatable")))
        self._set_labels(row, node["metadata"].get("labels") or {})
        self._set_images(row, status.get("images") or ())
        self.version[row] += 1

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is None:
            return
        del self.nodes[name]
        orphans = {uid for uid, (_, node_name) in self.pods.items() if node_name == name}
        for uid in orphans:
            self._count(self.pods[uid][0], row, -1)
        if orphans:
            self._orphans[name] = orphans
        self.alive[row] = False
        self.names[row] = ""
        for column in (*self.labels.values(), *self.allocatable.values(), *self.requested.values()):
            column[row] = 0
        for sizes in self.images.values():
            sizes.pop(row, None)
        self.ports.pop(row, None)
        self.version[row] += 1

    def node_at(self, row: int) -> Object:
        return self.nodes[self.names[row]]

    def domains(self, key: str) -> Counts:
        """The interned value of a label on each node; 0 where a node lacks it."""
        column = self.labels.get(key)
        return column if column is not None else np.zeros(self.capacity, np.int64)

    # Pods

    def matching(self, query: Query) -> Counts:
        """How many pods on each node match a query."""
        return self.tallies.of(query, self._placed())

    def _placed(self) -> Iterator[tuple[PodInfo, int]]:
        for pod, node_name in self.pods.values():
            row = self.rows.get(node_name)
            if row is not None:
                yield pod, row

    def put_pod(self, pod: PodInfo, node_name: str) -> None:
        """Count a pod on a node, in the place of what was counted for it before."""
        self.remove_pod(pod.uid)
        self.pods[pod.uid] = (pod, node_name)
        row = self.rows.get(node_name)
        if row is None:
            self._orphans.setdefault(node_name, set()).add(pod.uid)
        else:
            self._count(pod, row, 1)

    def remove_pod(self, uid: UID) -> bool:
        """Count a pod no longer; whether it was counted."""
        entry = self.pods.pop(uid, None)
        if entry is None:
            return False
        pod, node_name = entry
        row = self.rows.get(node_name)
        if row is None:
            self._orphans.get(node_name, set()).discard(uid)
        else:
            self._count(pod, row, -1)
        return True

    def _count(self, pod: PodInfo, row: int, sign: int) -> None:
        for name, amount in pod.requests.items():
            self._resource(name)
            self.requested[name][row] += sign * amount
        self.pod_count[row] += sign
        self.scored_cpu[row] += sign * pod.scored_cpu_milli
        self.scored_memory[row] += sign * pod.scored_memory_bytes
        if pod.ports:
            used = self.ports.setdefault(row, [])
            for port in pod.ports:
                used.append(port) if sign > 0 else used.remove(port)
        self.tallies.count(pod, row, sign)
        self.version[row] += 1

    # Rows and columns

    def _new_row(self, name: str) -> int:
        free = np.flatnonzero(~self.alive)
        if not len(free):
            self._grow()
            free = np.flatnonzero(~self.alive)
        row = int(free[0])
        self.alive[row] = True
        self.names[row] = name
        self.rows[name] = row
        return row

    def _grow(self) -> None:
        old, self.capacity = self.capacity, self.capacity * 2

        def grown(column: NDArray[Any]) -> NDArray[Any]:
            larger = np.zeros(self.capacity, column.dtype)
            larger[:old] = column
            return larger

        for attribute in (
            "alive", "unschedulable", "max_pods", "pod_count", "scored_cpu", "scored_memory", "taint_set", "version",
        ):  # fmt: skip
            setattr(self, attribute, grown(getattr(self, attribute)))
        for columns in (self.allocatable, self.requested, self.labels):
            for name in columns:
                columns[name] = grown(columns[name])
        self.names += [""] * (self.capacity - old)
        self.tallies.grow(self.capacity)

    def _resource(self, name: str) -> None:
        if name not in self.allocatable:
            self.allocatable[name] = np.zeros(self.capacity, np.int64)
            self.requested[name] = np.zeros(self.capacity, np.int64)

    def _set_allocatable(self, row: int, values: Amounts) -> None:
        self.max_pods[row] = values.pop("pods", 0)
        for name in values:
            self._resource(name)
        for name, column in self.allocatable.items():
            column[row] = values.get(name, 0)

    def _set_labels(self, row: int, labels: Mapping[str, str]) -> None:
        for key in labels:
            if key not in self.labels:
                self.labels[key] = np.zeros(self.capacity, np.int64)
        for key, column in self.labels.items():
            value = labels.get(key)
            column[row] = 0 if value is None else self.values.setdefault(value, len(self.values) + 1)

    def _set_images(self, row: int, images: Sequence[Mapping[str, Any]]) -> None:
        for sizes in self.images.values():
            sizes.pop(row, None)
        for image in images:
            for name in image.get("names") or ():
                self.images.setdefault(name, {})[row] = image.get("sizeBytes", 0)

    def _taints(self, taints: Sequence[Mapping[str, Any]]) -> int:
        facts = [(taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")) for taint in taints]
        identity = repr(facts)
        number = self._taint_set_ids.setdefault(identity, len(self.taint_sets))
        if number == len(self.taint_sets):
            self.taint_sets.append([{"key": key, "value": value, "effect": effect} for key, value, effect in facts])
        return number
