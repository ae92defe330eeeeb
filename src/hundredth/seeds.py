"""What a seed may be: a number that every library's generator takes, also after a run has made others from it."""

from typing import Annotated

from pydantic import Field

MOST = 2**31 - 1
Seed = Annotated[int, Field(ge=0, le=MOST)]
