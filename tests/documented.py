"""Tables in the documentation that tests make, and hold against what is written there."""

import os
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
REWRITE = "GEOUNET_REWRITE"


def hold_table(page: str, name: str, rows: list[tuple[str, ...]]) -> None:
    """Check that a page has a table, between the comments `name` and `/name`.

    With GEOUNET_REWRITE=1 the table is put there first.

    Args:
        page: Name of the page in `docs`.
        name: Of the table.
        rows: The heading and then the rows, as text.
    """
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    heading, *body = ["| " + " | ".join(row) + " |" for row in rows]
    table = "\n".join([heading, "|---" * len(rows[0]) + "|", *body]) + "\n"
    before, _, rest = text.partition(begin)
    found, _, after = rest.partition(end)
    assert after, f"{path.name} has no place for the table {name}"
    if os.environ.get(REWRITE):
        path.write_text(before + begin + table + end + after, encoding="utf-8")
        found = table
    assert found == table, (
        f"docs/{page}, table {name}, is not what is measured: look at the difference, and if that "
        "is right, make coastlines-tables"
    )
