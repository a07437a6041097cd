"""What the API's types are, and what follows from it for an object: reading, defaulting, checking.

The same engine serves built-in kinds and custom resources. A `Schema` is cheap to make; what it does is compiled when it is first done.
"""

from pilothouse.api.schema.schema import FieldValidation, Schema, schema_of

__all__ = ["FieldValidation", "Schema", "schema_of"]
