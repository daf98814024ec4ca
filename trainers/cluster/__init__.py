"""Ray: machines started, joined and asked, and a run sent to them."""
