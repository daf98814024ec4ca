"""The page Why: how the search's settings relate to its objectives."""
