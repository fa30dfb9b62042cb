from __future__ import annotations

from deploy.docs.blocks import all_commands, read_blocks, write_blocks

TEXT = """Before.

<!-- run: two commands -->
```console
$ graftwork search "a b" \\
    --collection c
old
$ graftwork status
older
```

<!-- run: other -->
```console
$ make test
```

```sh
graftwork up   # not generated
```
"""


def test_commands_are_found_with_their_continuations() -> None:
    blocks = read_blocks(TEXT)
    assert [block.name for block in blocks] == ["two commands", "other"]
    assert blocks[0].commands == ('graftwork search "a b" \\\n    --collection c', "graftwork status")


def test_only_named_blocks_change_and_writing_twice_changes_nothing() -> None:
    once = write_blocks(TEXT, {"two commands": ["new\n", "newer"]})
    assert "old\n" not in once
    assert '$ graftwork search "a b" \\\n    --collection c\nnew\n\n$ graftwork status\nnewer\n```' in once
    assert "$ make test\n```" in once
    assert write_blocks(once, {"two commands": ["new\n", "newer"]}) == once


def test_every_command_of_any_block_is_listed() -> None:
    assert all_commands(TEXT) == [
        'graftwork search "a b"      --collection c',
        "graftwork status",
        "make test",
        "graftwork up   # not generated",
    ]
