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


def test_a_block_may_show_the_end_of_a_long_output() -> None:
    text = TEXT.replace("run: other", "run: other (last 2 lines)")
    [_, block] = read_blocks(text)
    assert (block.name, block.last) == ("other", 2)
    assert "$ make test\n...\nc\nd\n```" in write_blocks(text, {"other": ["a\nb\nc\nd\n"]})
    assert "$ make test\nc\nd\n```" in write_blocks(text, {"other": ["c\nd\n"]})


def test_an_output_with_a_fence_of_its_own_gets_a_longer_one() -> None:
    once = write_blocks(TEXT, {"two commands": ["\nsay:\n```\ncode\n```\n", "newer"]})
    assert "--collection c\nsay:\n```\ncode\n```\n\n$ graftwork status\nnewer\n````\n" in once
    assert "-->\n````console\n$ graftwork search" in once
    assert [block.commands for block in read_blocks(once)] == [block.commands for block in read_blocks(TEXT)]
    assert all_commands(once) == all_commands(TEXT)
    assert write_blocks(once, {"two commands": ["new\n", "newer"]}) == write_blocks(
        TEXT, {"two commands": ["new\n", "newer"]}
    )
