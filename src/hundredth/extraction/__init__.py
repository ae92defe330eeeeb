"""Extraction: an LLM's knowledge of a task, as labelled texts that it writes and soft labels that it gives."""
