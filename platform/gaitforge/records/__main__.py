"""Write the JSON Schemas of the public files: python -m gaitforge.records [FOLDER]"""

from __future__ import annotations

import sys
from pathlib import Path

from gaitforge.records import PUBLIC
from gaitforge.work import as_json

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def main(folder: Path) -> None:
    """Write the JSON Schema of each public file into a folder, as `<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in PUBLIC.items():
        (folder / f"{name}.json").write_bytes(as_json(file.json_schema()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMAS)
