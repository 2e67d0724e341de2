"""Text as programs save it: encodings and line ends."""

import pytest

from media.base.text import brief, decode_text

TEXT = "sep=;\nNäme;😀\n\nend"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_the_same_however_it_is_saved(encoding, newline):
    assert decode_text(TEXT.replace("\n", newline).encode(encoding)) == TEXT


def test_a_mark_is_no_part_of_the_text():
    assert decode_text("\ufeffa".encode("utf-16-be")) == "a"
    assert decode_text("\ufeff".encode()) == decode_text(b"") == ""


@pytest.mark.parametrize("content", ["é".encode("cp1252"), b"\xff\xfea", TEXT.encode("utf-32"), b"\xff\xfe\x00\xd8"])
def test_what_is_no_such_text_raises(content):
    with pytest.raises(UnicodeDecodeError):
        decode_text(content)


def test_what_the_user_wrote_is_repeated_on_one_line():
    assert brief("a\nb") == r"a\nb"
    assert brief("x" * 100) == "x" * 80 + "..."
