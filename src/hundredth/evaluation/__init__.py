"""Evaluation: the controls side by side, over seeds, as a table, JSON and a report to look at."""
