"""Run folders become tidy tables, tables figures, figures a page. No torch."""
