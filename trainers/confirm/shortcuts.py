"""Write what recorded columns tell of the windows, and of the class."""

from __future__ import annotations

from collections.abc import Mapping

from gaitforge.provenance import Provenance
from gaitforge.quality import PREFIX
from gaitforge.recording import Value
from gaitforge.recording_files import DESCRIPTION
from gaitforge.records.json_file import Unreadable
from gaitforge.records.shortcuts import SHORTCUTS, ShortcutFacts
from gaitforge.shortcuts import FORMAT, find_shortcuts
from gaitforge.store import SkeletonStore
from gaitforge.work import SplitFolder, fingerprint
from trainers.training.window_folder import WindowFolder

SEED = 0  # of the random features


def write_shortcuts(
    windows: WindowFolder, store: SkeletonStore, folder: SplitFolder
) -> ShortcutFacts:
    """Write `confirm/shortcuts.json`, or keep it where it is of the same windows; training and validation people alone.

    The people to confirm are not looked at.
    """
    identity = fingerprint({"windows": windows.key, "seed": SEED, "format": FORMAT})
    try:
        kept = SHORTCUTS.find(folder.shortcuts)
    except Unreadable:  # it costs little
        kept = None
    if kept is not None and kept.identity == identity:
        return kept
    train, valid = windows.open_role("train"), windows.open_role("validation")
    # those of synthetic walkers are what their movement was made from
    columns = {} if store.info.read is None else read_columns(store)
    found = find_shortcuts((train, valid), columns, windows.classes, SEED)
    told = Provenance.of(
        identity, {"windows": windows.provenance}, {*train.persons, *valid.persons}
    )
    facts = ShortcutFacts(
        identity=identity, class_from_windows=found.label, columns=found.columns, says=found.says,
        sentence=found.sentence, provenance=told,
    )  # fmt: skip
    SHORTCUTS.write(folder.shortcuts, facts)
    return facts


def read_columns(store: SkeletonStore) -> Mapping[str, Mapping[str, Value]]:
    """Return the store's further columns by name: the value of each recording.

    Not those of how a recording was tracked, which are worked out from the recording itself.
    """
    index = store.read_index()
    recordings = list(map(str, index.column("recording").to_pylist()))
    names = [
        name
        for name in index.column_names
        if name not in DESCRIPTION and not name.startswith(PREFIX)
    ]
    return {
        name: dict(zip(recordings, index.column(name).to_pylist(), strict=True)) for name in names
    }
