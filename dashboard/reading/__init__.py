"""Work folders, read and checked."""
