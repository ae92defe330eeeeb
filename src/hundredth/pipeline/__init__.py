"""The run: from a labelled file and an LLM to a deployable model, in stages that can be stopped and resumed."""
