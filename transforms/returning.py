"""UPDATE ... RETURNING, which Django's `update` does not know: a change and a look at the changed rows, in one statement."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery

Row = TypeVar("Row", bound=Model)


def update_returning(rows: QuerySet[Row], fields: Collection[str], **changes: Any) -> list[Row]:
    """What `rows.update(**changes)` does, on a query of one table. Gives the changed rows as they are now.

    `fields` are the names of their columns that are read, the key among them; all others are deferred.
    """
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(changes)
    compiler = query.get_compiler(rows.db)
    statement, params = compiler.as_sql()
    columns = [field.column for field in rows.model._meta.concrete_fields if field.attname in fields]
    returning = ", ".join(map(compiler.connection.ops.quote_name, columns))
    return list(rows.model._base_manager.using(rows.db).raw(f"{statement} RETURNING {returning}", params))
