"""RankCSE: sentence encoders that learn to rank the neighbours of a sentence as stronger models rank them."""

from hundredth.ranking.losses import consistency, info_nce, listmle, listnet

__all__ = ["consistency", "info_nce", "listmle", "listnet"]
