"""Common types of the columns of several Arrow schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._arrow_columns import kind_of


def common_schema(schemas: Sequence[Any]) -> Any:
    """Return the first schema, with types to which those of all schemas can be converted, where there are any."""
    import pyarrow

    fields = []
    for field in schemas[0]:
        types = [field.type, *(s.field(field.name).type for s in schemas if s.names.count(field.name) == 1)]
        found = common_type(types)
        fields.append(field if found is None else field.with_type(found))
    return pyarrow.schema(fields)


def common_type(types: Sequence[Any]) -> Any:
    """Return a type of Arrow to which the given types can be converted without another meaning, or None.

    A column without values has the type null. Integers and floats have a common type, and so have strings and
    dictionaries of strings. Dictionaries of integers are categories, so they have none with numbers.
    """
    import pyarrow

    distinct = [
        t for number, t in enumerate(types) if t not in types[:number] and not pyarrow.types.is_null(t)
    ]
    if len(distinct) < 2:
        return distinct[0] if distinct else types[0]
    kinds = {kind_of(t) for t in distinct}
    if len(kinds) > 1 or None in kinds:
        return None
    is_dictionary = [pyarrow.types.is_dictionary(t) for t in distinct]
    inner = [t.value_type if is_one else t for t, is_one in zip(distinct, is_dictionary, strict=True)]
    if any(pyarrow.types.is_boolean(t) for t in inner):
        return None
    try:
        schemas = [pyarrow.schema([("", t)]) for t in inner]
        found = pyarrow.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError):
        return None
    return pyarrow.dictionary(pyarrow.int32(), found) if all(is_dictionary) else found


def cast_batch(batch: Any, schema: Any, names: Sequence[str]) -> Any:
    """Return the columns with the given names of a record batch, with their types in a schema."""
    import pyarrow

    columns = []
    for name in names:
        column, expected = batch.column(name), schema.field(name).type
        if column.type != expected:
            if pyarrow.types.is_dictionary(column.type) and column.type.value_type != expected:
                column = column.dictionary_decode()
            # Large integers lose digits as floats, as they would in X.
            column = column.cast(expected, safe=False)
        columns.append(column)
    return pyarrow.RecordBatch.from_arrays(columns, list(names))
