"""What one run of a page hands to the next."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.small_line import PATIENCE_S


def page() -> None:
    import streamlit as st

    from dashboard.frame.view import hold

    made = st.session_state.setdefault("made", [])
    of = st.session_state.setdefault("of", (1,))

    def make() -> int:
        made.append(of)
        return len(made)

    st.text(str(hold("count", of, make)))


def test_what_has_not_changed_is_not_made_again() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE_S).run().run()
    assert (app.text[0].value, app.session_state["made"]) == ("1", [(1,)])


def test_what_is_of_something_else_is_made_anew() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE_S).run()
    app.session_state["of"] = (2,)
    app.run().run()
    assert (app.text[0].value, app.session_state["made"]) == ("2", [(1,), (2,)])
