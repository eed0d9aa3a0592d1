"""The data-protection officer's monthly report: collected, counted, drawn, and printed on one page."""
