"""Reads MVNX, the XML of Xsens: the origins of a suit's segments in metres, z up, and no markers.

`subject` tells person and frame rate, `segments` the order of the segments, and each `frame` of type "normal" their
positions; the poses that the suit was calibrated in are frames of other types. A frame's number is its `index`: those
that are left out are missing. Tags may be of any namespace. The file is read piece by piece, and one that declares a
document type is refused: entities are never expanded.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

import numpy as np

from gaitforge.ingest.lines import find_twice, to_numbers
from gaitforge.ingest.motion import Motion, Unusable
from gaitforge.ingest.options import ReadOptions
from gaitforge.ingest.times import fill_gaps, find_contradiction, place_by_number
from gaitforge.regular_file import open_regular

_PIECE_BYTES = 2**20
# expat would search a tag again for each piece of it
MOST_TAG_BYTES = 8 * 2**20
MOST_DEPTH = 100  # a position is the fifth tag
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
# Of others expat asks Python, and fails in other ways: they are read as UTF-8.
ENCODINGS = {
    "iso-8859-1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "windows-1252": "windows-1252",
}


def parse_mvnx(path: Path, options: ReadOptions) -> Iterator[Motion | Unusable]:
    """Yield the file's one motion; raises ValueError where the XML is damaged, or tells of two people."""
    fed = 0
    with open_regular(path, "The recordings file", "mend its path in the settings") as file:
        try:
            piece = file.read(_PIECE_BYTES)
            parser = expat.ParserCreate(_find_encoding(piece))
            contents = _Contents(path, parser, options)
            parser.buffer_text = True
            parser.StartElementHandler = contents.start
            parser.EndElementHandler = contents.end
            parser.CharacterDataHandler = contents.text
            parser.StartDoctypeDeclHandler = contents.refuse_doctype
            while piece:
                parser.Parse(piece, False)
                fed += len(piece)
                if fed - parser.CurrentByteIndex > MOST_TAG_BYTES:
                    raise ValueError(
                        f"{path} has a tag or a text of more than {MOST_TAG_BYTES:,} bytes, which is none of a "
                        "movement; fetch or write it again."
                    )
                piece = file.read(_PIECE_BYTES)
            parser.Parse(b"", True)
        except (expat.ExpatError, OSError) as error:
            raise ValueError(
                f"{path} is no XML or is damaged ({error}); fetch or write it again."
            ) from error
    yield contents.finish(fed)


def _find_encoding(begin: bytes) -> str:
    """Return in which encoding a file declares to be, where that is a known one; else UTF-8."""
    found = _DECLARED.match(begin)
    return ENCODINGS.get(found[1].decode("ascii").casefold(), "utf-8") if found else "utf-8"


class _Contents:
    """What was found so far, by the tags that are open."""

    def __init__(self, path: Path, parser: expat.XMLParserType, options: ReadOptions) -> None:
        self._path = path
        self._options = options
        self._parser = parser
        self._open: list[str] = []
        self._subjects = 0
        self._person = ""
        self._rate = ""
        self._segments: list[str] = []
        self._is_normal = False
        self._words: list[str] = []
        self._numbers = array("d")
        self._frames = 0
        self._indices = array("d")
        self._times_ms = array("d")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._open and name != "mvnx":
            raise ValueError(
                f"{self._path} begins with <{name[:20]}>, but an MVNX file begins with <mvnx>; write it again."
            )
        if name == "subject":
            self._subjects += 1
            if self._subjects > 1:
                raise ValueError(
                    f"{self._path} tells of two subjects, but a recording is of one person; give each a file of its "
                    "own."
                )
            self._person = attributes.get("label", "")
            self._rate = attributes.get("frameRate", "")
        elif name == "segment" and self._open[-1:] == ["segments"]:
            self._segments.append(attributes.get("label", ""))
        elif name == "frame":
            self._is_normal = attributes.get("type") == "normal"
            if self._is_normal:
                self._frames += 1
                told = [attributes.get("index", ""), attributes.get("time", "")]
                index, time = to_numbers(told, self._path, self._parser.CurrentLineNumber)
                self._indices.append(index)
                self._times_ms.append(time)
        self._open.append(name)
        if len(self._open) > MOST_DEPTH:
            raise ValueError(
                f"{self._path} has more than {MOST_DEPTH} tags within each other, which is no movement; fetch or "
                "write it again."
            )

    def text(self, text: str) -> None:
        if self._is_normal and self._open[-2:] == ["frame", "position"]:
            self._words.append(text)

    def end(self, tag: str) -> None:
        name = self._open.pop()
        if name == "position" and self._is_normal and self._open[-1:] == ["frame"]:
            words = "".join(self._words).split()
            self._words.clear()
            self._numbers.extend(to_numbers(words, self._path, self._parser.CurrentLineNumber))
            needed = 3 * len(self._segments)
            if len(self._numbers) != self._frames * needed:
                raise ValueError(
                    f"{self._path} has {len(words)} numbers in the positions of its normal frame {self._frames}, but "
                    f"its {len(self._segments)} segments need {needed}; write it again."
                )
        elif name == "frame":
            self._is_normal = False

    def refuse_doctype(self, *declared: object) -> NoReturn:
        raise ValueError(
            f"{self._path} declares a document type, which no MVNX file has and which could make it without end; "
            "fetch or write it again."
        )

    def finish(self, file_bytes: int) -> Motion | Unusable:
        """Return the motion of a file of so many bytes, once all of it is read."""
        if not self._segments or not self._subjects:
            raise ValueError(
                f"{self._path} has no subject with segments; write it again with segments and positions."
            )
        if len(self._numbers) != 3 * len(self._segments) * self._frames:
            raise ValueError(
                f"{self._path} has frames without a position; write it again with positions."
            )
        rate = to_numbers([self._rate], self._path, self._parser.CurrentLineNumber)[0]
        if not 0 < rate < math.inf:
            raise ValueError(
                f"{self._path} has {self._rate[:20]!r} as its frameRate, but it must be above 0 Hz; write it again."
            )
        if (twice := find_twice(self._segments)) is not None:
            return Unusable(reason=f"two segments have one name: {twice}")
        places_T = place_by_number(np.asarray(self._indices))
        if isinstance(places_T, Unusable):
            return places_T
        wrong = find_contradiction(rate, places_T, np.asarray(self._times_ms) / 1_000, 3)
        if wrong is not None and self._options.fps is None:
            return wrong
        with np.errstate(over="ignore", invalid="ignore"):
            positions_TVC = np.asarray(self._numbers).astype(np.float32)
        positions_TVC = positions_TVC.reshape(self._frames, len(self._segments), 3)
        return Motion(
            positions_TVC=fill_gaps(positions_TVC, places_T, self._path, file_bytes),
            points=tuple(self._segments),
            fps=rate,
            unit="m",
            up="z",
            person=self._person.strip(),
        )
