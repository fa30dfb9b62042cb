"""Containers of Office Open XML (DOCX, XLSX): opened without trust in what they say about themselves."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal
from xml.etree.ElementTree import ParseError as XmlError
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from indexer.parsers.base import ParseError, RawDocument, SplitFailure, WholeFile

OLE2 = bytes.fromhex("d0cf11e0a1b11ae1")  # Office 97-2003, and any Office file with a password
ZIP = b"PK\x03\x04"
OfficeKind = Literal["docx", "xlsx"]

_TYPES = "[Content_Types].xml"
_MAIN_TYPES: dict[OfficeKind, bytes] = {
    "docx": b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    "xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
}
_MACRO_TYPES: dict[OfficeKind, bytes] = {
    "docx": b"application/vnd.ms-word.document.macroEnabled.main+xml",
    "xlsx": b"application/vnd.ms-excel.sheet.macroEnabled.main+xml",
}
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/(\w+)")  # the names of ISO/IEC 29500 Strict
_TRANSITIONAL = rb"http://schemas.openxmlformats.org/\1/2006/\2"
_KINDS: tuple[OfficeKind, ...] = ("docx", "xlsx")
_FOLDERS: dict[bytes, OfficeKind] = {b"word/": "docx", b"xl/": "xlsx"}
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")  # [MS-OFFCRYPTO] 2.3.4.4
_ENCRYPTED_FLAG = 0x1
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # APPNOTE.TXT 4.3.7
_TYPES_BYTES = 64 * 1024  # far above what any list of parts needs
_PARTS = (".xml", ".rels")


class OfficeFile(WholeFile):
    """Splitting for a container whose document counts by the size of its text once it is unpacked."""

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield the whole file; nothing is unpacked for it.

        Raises:
            ParseError: Not a container, packed or unpacked larger than `max_bytes`.
        """
        for raw in super().split(stream, max_bytes=max_bytes):
            if isinstance(raw, RawDocument):
                with _opened(raw.content) as container:
                    size = sum(entry.file_size for entry in container.infolist() if _is_part(entry.filename))
                if size > max_bytes:
                    raise ParseError(
                        f"its text is {size} bytes when unpacked, more than the limit of {max_bytes} bytes "
                        "(max_document_bytes)"
                    )
            yield raw


def unpacked(content: bytes, kind: OfficeKind) -> io.BytesIO:
    """Return the container with its XML unpacked and everything else (pictures, macros, fonts) emptied.

    No part gives more bytes than it declares, which `OfficeFile.split` held against the limit.

    Raises:
        ParseError: Not such a container, damaged, with a password, or with XML that defines entities.
    """
    stored = io.BytesIO()
    with _opened(content) as container, ZipFile(stored, "w", ZIP_STORED) as out:
        entries = {entry.filename: entry for entry in container.infolist()}
        if _TYPES not in entries:
            raise ParseError(f"it is a zip file, but no Office document: it has no {_TYPES}")
        for name, entry in entries.items():
            part = _read(container, entry) if _is_part(name) else b""
            if name == _TYPES:
                if _main_kind(part) != kind:
                    raise ParseError(f"it is an Office file without the main part of a .{kind}")
                part = part.replace(_MACRO_TYPES[kind], _MAIN_TYPES[kind])
            out.writestr(name, part)
    stored.seek(0)
    return stored


def sniff_kind(head: bytes) -> OfficeKind | None:
    """Return what the first bytes of a zip file show: its list of parts, else the folders of its first parts."""
    place = 0
    while head[place : place + 4] == ZIP and place + _LOCAL_HEADER.size <= len(head):
        _, _, _, method, _, _, _, packed, _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(head, place)
        name_at = place + _LOCAL_HEADER.size
        data_at = name_at + name_bytes + extra_bytes
        name = head[name_at : name_at + name_bytes]
        if name == _TYPES.encode():
            return _main_kind(_first_bytes(head[data_at:], method))
        for folder, kind in _FOLDERS.items():
            if name.startswith(folder):
                return kind
        place = data_at + packed if packed else head.find(ZIP, data_at)
        if place < 0:
            return None
    return None


def _main_kind(types: bytes) -> OfficeKind | None:
    return next((kind for kind in _KINDS if _MAIN_TYPES[kind] in types or _MACRO_TYPES[kind] in types), None)


def _first_bytes(data: bytes, method: int) -> bytes:
    if method != ZIP_DEFLATED:
        return data
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _TYPES_BYTES)
    except zlib.error:
        return b""


def _opened(content: bytes) -> ZipFile:
    if content.startswith(OLE2):
        if _ENCRYPTED_PACKAGE in content:
            raise ParseError("it is encrypted and needs a password; save it without one")
        raise ParseError("it is an Office file of 97-2003 (OLE2) by another name; save it as .docx or .xlsx")
    try:
        return ZipFile(io.BytesIO(content))
    except (BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
        raise ParseError(f"its zip container is damaged or cut off ({error})") from error


def _is_part(name: str) -> bool:
    return name.lower().endswith(_PARTS)


def _read(container: ZipFile, entry: ZipInfo) -> bytes:
    """Unpack one part; a read of a stated length unpacks no more than that, one without would unpack everything."""
    if entry.flag_bits & _ENCRYPTED_FLAG:
        raise ParseError(f"its part {entry.filename} is encrypted and needs a password")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ParseError(
            f"its part {entry.filename} is packed by method {entry.compress_type}, which Office never uses"
        )
    try:
        with container.open(entry) as stream:
            part = stream.read(entry.file_size + 1)
        for _ in iterparse(io.BytesIO(part), events=("start",)):
            break  # entities are defined before the first element or nowhere
    except DefusedXmlException as error:
        raise ParseError(f"its part {entry.filename} defines XML entities, which Office never does") from error
    except (BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, struct.error, XmlError) as error:
        raise ParseError(f"its part {entry.filename} is damaged ({error})") from error
    return _STRICT.sub(_TRANSITIONAL, part)
