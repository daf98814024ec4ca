"""What every page is given, and the frame it stands in."""
