"""Markdown as text for a terminal."""

from __future__ import annotations

from store_workers.people.page import as_text

PAGE = """\
# Title

A [link](there.md#here), and words that go on until the line is longer than any terminal is wide.

- An item whose words go on until the line is longer than any terminal that people use is wide.

<!-- table: Settings -->

| field | type | default | meaning |
| --- | --- | --- | --- |
| `size` | integer |  | The size. |
| `level` | integer | `3` | One \\| two. |

<!-- end of table -->

| status | when | last line |
| --- | --- | --- |
| 0 | it worked | `FILE_UPLOADED` |

```json
{"a": "| not a table |"}
```
"""

TEXT = """\
# Title

A link, and words that go on until the line is longer than any terminal is
wide.

- An item whose words go on until the line is longer than any terminal that
  people use is wide.

  `size`  (integer)
    The size.
  `level`  (integer, default `3`)
    One | two.

  0
    when: it worked
    last line: `FILE_UPLOADED`

    {"a": "| not a table |"}"""


def test_a_page() -> None:
    assert as_text(PAGE) == TEXT
