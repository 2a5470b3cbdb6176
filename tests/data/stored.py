"""PNGs whose pixels have as many bits as Pillow never writes."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6


def write_png(path: Path, values: NDArray[np.integer], bits: int, kind: int = GREY) -> None:
    """`values`, H W or H W channels, of 1, 2, 4, 8 or 16 bits each."""
    of_bits = np.unpackbits(values.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    rows = np.packbits(of_bits.reshape(len(values), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = {b"IHDR": header, b"IDAT": pixels, b"IEND": b""}
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks.items()))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write_tiff(path: Path, values: NDArray[np.integer]) -> None:
    """`values`, H W 3, of 16 bits each; Pillow writes no such file."""
    height, width = values.shape[:2]
    pixels = values.astype("<u2").tobytes()
    three = 8 + len(pixels)  # where the bits of the three channels stand
    tags = {
        256: width,
        257: height,
        258: three,
        259: 1,
        262: 2,
        273: 8,
        277: 3,
        278: height,
        279: len(pixels),
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
        for tag, value in tags.items()
    )
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, three + 6) + pixels + struct.pack("<3H", 16, 16, 16) + directory
    )
