"""Looks at all objects of a pickle once: none may hold itself, be nested too deep, or unfold to absurd numbers."""

from collections.abc import Iterator

from ganworks.importing.records import Module, Network
from ganworks.importing.refusal import MAX_NESTING, MAX_OBJECTS, OBJECT_BYTES, Budget, Refused


def check_graph(root: object, budget: Budget) -> None:
    """
    Refused if an object holds itself, if objects are nested more than MAX_NESTING deep, or if they would be more than
    MAX_OBJECTS once those that are shared were written out (a "memo bomb"). Takes time in proportion to what is there.
    """
    sizes: dict[int, int] = {}  # of what is done, by identity, with shared objects counted each time
    path: list[tuple[object, Iterator[object]]] = [(root, parts(root))]
    open_now, totals = {id(root)}, [1]
    while path:
        value, rest = path[-1]
        part = next((item for item in rest if isinstance(item, list | tuple | dict | Module | Network)), None)
        if part is None:
            path.pop()
            open_now.discard(id(value))
            total = totals.pop()
            sizes[id(value)] = total
            if totals:
                totals[-1] += total
            if total > MAX_OBJECTS:
                raise Refused(f"it would unfold to more than {MAX_OBJECTS:,} objects")
        elif id(part) in open_now:
            raise Refused("an object in it holds itself")
        elif id(part) in sizes:
            totals[-1] += sizes[id(part)]
        elif len(path) >= MAX_NESTING:
            raise Refused(f"its objects are nested more than {MAX_NESTING} deep")
        else:
            budget.spend(OBJECT_BYTES)  # for what is noted of it here
            path.append((part, parts(part)))
            open_now.add(id(part))
            totals.append(1 + len(part) if isinstance(part, list | tuple | dict) else 1)


def parts(value: object) -> Iterator[object]:
    """What an object holds."""
    if isinstance(value, Module | Network):
        return iter((value.state,))
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value) if isinstance(value, list | tuple) else iter(())
