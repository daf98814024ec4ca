"""The colours and shapes that the charts of all pages share.

They are of middling lightness, so that they read on a light and on a dark page; orange is kept for
the answer, and for the model that a page is about.
"""

from __future__ import annotations

SEARCHED = "#3572c6"
CONFIRMED = "#dd6a1f"
TEACHER = "#7c828d"
TERM_COLOURS = (SEARCHED, CONFIRMED, "#3f9c72", "#a661b8", "#b98b15", "#4aa3b5", "#c1566b")
FAMILY_COLOURS = (SEARCHED, "#3f9c72", "#a661b8", "#8b8a2c", "#4aa3b5", "#c1566b")
FAMILY_SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "triangle-right")

MEASURES = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}
