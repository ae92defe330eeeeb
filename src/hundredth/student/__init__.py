"""The student: a small encoder that learns to classify and to search, pruned, trained and exported."""
