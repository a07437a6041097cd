"""etcd's messages, as far as they are used here.

The table names messages, fields, numbers and types; classes are made of it at run time, so that protobuf's C code reads and writes them.
Fields have explicit presence. Source: etcd's `kv.proto` and `rpc.proto` (packages mvccpb, etcdserverpb), 3.4 to 3.6.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_TABLE = """
KeyValue: key=1 bytes, create_revision=2 int64, mod_revision=3 int64, version=4 int64, value=5 bytes, lease=6 int64
Event: type=1 int32, kv=2 KeyValue, prev_kv=3 KeyValue
ResponseHeader: cluster_id=1 uint64, member_id=2 uint64, revision=3 int64, raft_term=4 uint64
RangeRequest: key=1 bytes, range_end=2 bytes, limit=3 int64, revision=4 int64, serializable=7 bool, keys_only=8 bool, count_only=9 bool
RangeResponse: header=1 ResponseHeader, kvs=2 *KeyValue, more=3 bool, count=4 int64
PutRequest: key=1 bytes, value=2 bytes, lease=3 int64, prev_kv=4 bool
PutResponse: header=1 ResponseHeader, prev_kv=2 KeyValue
DeleteRangeRequest: key=1 bytes, range_end=2 bytes, prev_kv=3 bool
DeleteRangeResponse: header=1 ResponseHeader, deleted=2 int64, prev_kvs=3 *KeyValue
RequestOp: request_range=1 RangeRequest, request_put=2 PutRequest, request_delete_range=3 DeleteRangeRequest
ResponseOp: response_range=1 RangeResponse, response_put=2 PutResponse, response_delete_range=3 DeleteRangeResponse
Compare: result=1 int32, target=2 int32, key=3 bytes, version=4 int64, create_revision=5 int64, mod_revision=6 int64
TxnRequest: compare=1 *Compare, success=2 *RequestOp, failure=3 *RequestOp
TxnResponse: header=1 ResponseHeader, succeeded=2 bool, responses=3 *ResponseOp
CompactionRequest: revision=1 int64, physical=2 bool
CompactionResponse: header=1 ResponseHeader
WatchRequest: create_request=1 WatchCreateRequest
WatchCreateRequest: key=1 bytes, range_end=2 bytes, start_revision=3 int64, progress_notify=4 bool, prev_kv=6 bool, fragment=8 bool
WatchResponse: header=1 ResponseHeader, watch_id=2 int64, created=3 bool, canceled=4 bool, compact_revision=5 int64, \
cancel_reason=6 string, fragment=7 bool, events=11 *Event
LeaseGrantRequest: TTL=1 int64, ID=2 int64
LeaseGrantResponse: header=1 ResponseHeader, ID=2 int64, TTL=3 int64, error=4 string
StatusRequest:
StatusResponse: header=1 ResponseHeader, version=2 string, dbSize=3 int64, leader=4 uint64, raftIndex=5 uint64, raftTerm=6 uint64
"""

EQUAL = 0
GREATER = 1
"""`Compare.result`."""
TARGET_VERSION = 0
TARGET_MOD = 2
"""`Compare.target`."""
DELETE = 1
"""`Event.type`; 0 is a put."""


class Messages:
    """One class for every message, as an attribute: `messages.RangeRequest(key=b"a")`, `messages.RangeResponse.FromString`."""

    def __init__(self) -> None:
        file = FileDescriptorProto(name="etcd.proto", package="etcd", syntax="proto2")
        for line in _TABLE.strip().splitlines():
            name, _, fields = line.partition(":")
            message = file.message_type.add(name=name)
            for field in filter(None, fields.strip().split(", ")):
                _add_field(message, field)
        pool = DescriptorPool()
        pool.Add(file)
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        try:
            descriptor = self._pool.FindMessageTypeByName(f"etcd.{name}")
        except KeyError:
            raise AttributeError(name) from None
        made = GetMessageClass(descriptor)
        setattr(self, name, made)
        return made


def _add_field(message: Any, text: str) -> None:
    """`kvs=2 *KeyValue`: a name, a number and a type; the star means repeated."""
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(" ")
    field = message.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.LABEL_REPEATED if kind[0] == "*" else FieldDescriptorProto.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".etcd.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
