"""Evaluation of sentence encoders: likeness of sentences (STS), transfer tasks, alignment and uniformity."""
