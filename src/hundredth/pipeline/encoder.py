"""What encoder training takes from benchmark folders and the user's files."""

from pathlib import Path

from hundredth.errors import UserError
from hundredth.ranking.pairs import ScoredPairs, read_scored_pairs
from hundredth.tasks.sts import read_sts_dev


def development_pairs(file: Path | None, senteval: Path | None) -> ScoredPairs | None:
    """Read the scored pairs by which the best step is chosen: a user's file, or STS-B's in SentEval's layout.

    Raises:
        UserError: both are named, or what is named cannot be read.
    """
    if file is not None and senteval is not None:
        raise UserError(f"the best step is to be chosen by two things, {file} and {senteval}: leave one out")
    if file is not None:
        return read_scored_pairs(file)
    if senteval is None:
        return None
    found = read_sts_dev(senteval)
    return ScoredPairs(found.first, found.second, found.scores)
