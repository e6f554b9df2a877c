"""The texts that a job names: files on this computer, and datasets on the Hub, which are fetched first."""

from __future__ import annotations

from collections.abc import Sequence

from core.hub.names import DATASET
from core.progress import Progress
from core.texts import Text, files_as_texts


def given_texts(names: Sequence[str], purpose: str, progress: Progress) -> tuple[Text, ...]:
    """The texts in their order, () where none is named. purpose: `calibration` or `evaluation`.

    Called before anything heavy begins. Raises what core.hub.datasets.dataset_texts raises; whether a file can be read
    is found when it is read.
    """
    found: list[Text] = []
    for name in names:
        if name.startswith(DATASET):
            from core.hub.datasets import dataset_texts  # the Hub's client takes a while to import

            found += dataset_texts(name, purpose, progress)
        else:
            found += files_as_texts((name,))
    return tuple(found)
