from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.parsers.pod_codes import plain


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        ("plain text", "plain text"),
        ("B<bold> and I<slanted> and F<file> and S<no break>", "bold and slanted and file and no break"),
        ("C<$x E<lt> $y>", "$x < $y"),
        ("C<< $a <=> $b >>", "$a <=> $b"),
        ("C<<< a << b >> c >>>", "a << b >> c"),
        ("C<< -> >>", "->"),
        ("B<outer I<inner C<code>> tail>", "outer inner code tail"),
        ("B<< I<a> C<< b > c >> >>", "a b > c"),
        ("a < b and b > a", "a < b and b > a"),
        ("STDIN<fine> but not lower<case>", "STDIfine but not lower<case>"),
        ("X<index entry>word Z<>end", "word end"),
        ("E<gt>E<verbar>E<sol>E<eacute>E<233>E<0xE9>E<0351>", ">|/éééé"),
        ("E<nosuchname>", "nosuchname"),
        ("L<perlfunc>", "perlfunc"),
        ("L<the manual|perlfunc>", "the manual"),
        ('L<perlop/"Quote and Quote-like Operators">', '"Quote and Quote-like Operators" in perlop'),
        ("L</Sorting>", '"Sorting"'),
        ("L<< sort { $a <=> $b }|perlfunc/sort >>", "sort { $a <=> $b }"),
        ("L<C<printf>|perlfunc/printf>", "printf"),
        ("L<https://perl.org/a|b>", "https://perl.org/a"),
        ("L<https://perl.org/docs/>", "https://perl.org/docs/"),
        ("L<perlop/C<qw>>", '"qw" in perlop'),
        ("never B<closed here", "never closed here"),
        ("C<<  spaced   >>", "spaced"),
    ],
)
def test_formatting_codes(pod: str, text: str) -> None:
    assert plain(pod) == text


@given(st.text(alphabet='BCLEXZ<>|/ ab"', max_size=60))
def test_any_text_ends(pod: str) -> None:
    assert len(plain(pod)) <= len(pod) + 8 * pod.count("L")


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    assert "deep" in plain("B<" * 5000 + "deep" + ">" * 5000)
