"""Programs that are run by hand, and what builds the documentation."""
