"""The page Compare: models side by side, and work folders side by side."""
