"""Messages of the library's type system, made by hand: what structures become whose fields the compiler is to know."""

from __future__ import annotations

from types import ModuleType

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto


def files_of(*modules: ModuleType) -> list[FileDescriptorProto]:
    """The files behind modules that Protobuf's compiler made."""
    found = []
    for module in modules:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        found.append(file)
    return found


def map_values(field: FieldDescriptorProto, message: DescriptorProto, full_name: str) -> FieldDescriptorProto:
    """Makes of a field of a message, with this full name, a map by text; returns the field of its values, which needs a type."""
    # Protobuf derives the name of an entry from that of its field.
    name = f"{''.join(part[:1].upper() + part[1:] for part in field.name.split('_'))}Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    entry.field.add(name="key", number=1, label=optional, type=FieldDescriptorProto.TYPE_STRING)
    field.label, field.type = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{full_name}.{name}"
    return entry.field.add(name="value", number=2, label=optional)
