"""What a tuning leaves in a model's folder: the settings before and after, so that it can be undone."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hundredth.errors import UserError
from hundredth.files import write_text
from hundredth.folders import model_folder
from hundredth.runtime import CalibrationInfo, DevInfo, Manifest, RetrievalInfo

_CARD = "README.md"
_TUNED = "\nTuned anew on "


@dataclass(frozen=True)
class Setting:
    """K, t, lambda and the calibration temperature, and how they do on the texts that they were judged by.

    `ece` is the expected calibration error, `ece_before` that without the calibration.
    """

    k: int
    temperature: float
    weight: float
    calibration: float
    accuracy: float
    log_likelihood: float
    ece: float
    ece_before: float

    @property
    def shown(self) -> str:
        """The settings, without how they do."""
        return _shown(RetrievalInfo(self.k, self.temperature, self.weight), self.calibration)


@dataclass(frozen=True)
class Tuned:
    """What `tune` has done: on how many texts, and the settings before and after.

    Where what would have been chosen is the same, or clearly less likely, it is `rejected`, and the settings stay.
    """

    texts: int
    before: Setting
    after: Setting
    rejected: Setting | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the settings with what they come to, a line each, and whether they stay as they were."""
        second = ("after", self.after) if self.rejected is None else ("chosen", self.rejected)
        shown = [
            f"{name:<7}{one.shown}: accuracy {one.accuracy:.3f}, log-likelihood {one.log_likelihood:.3f}, "
            f"calibration error {one.ece:.3f} on {self.texts} texts"
            for name, one in (("before", self.before), second)
        ]
        if self.rejected is None:
            return shown
        why = "the same are chosen again" if self.rejected == self.before else "the others are clearly less likely"
        return [*shown, f"the settings stay as they were: {why} on these texts"]


@dataclass(frozen=True)
class Untuned:
    """What `untune` has done: the settings that hold again."""

    retrieval: RetrievalInfo
    calibration: CalibrationInfo

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self.retrieval), "calibration": self.calibration.temperature}

    def line(self) -> str:
        """Return them as a line."""
        return f"back   {_shown(self.retrieval, self.calibration.temperature)}"


def untune(folder: Path) -> Untuned:
    """Put back the settings, and the record of texts, that the last `tune` of a model folder replaced.

    Raises:
        UserError: the model was not tuned, or this is undone already.
    """
    folder = model_folder(folder)
    manifest = Manifest.read(folder)
    tuned = manifest.provenance.get("tuned")
    previous = tuned.get("previous") if isinstance(tuned, dict) else None
    if not previous:
        raise UserError(f"{folder} keeps no settings from before a tuning: there is nothing to undo")
    retrieval = RetrievalInfo(**previous["retrieval"])
    calibration = CalibrationInfo(**previous["calibration"])
    dev = previous["dev"]
    numbers = (tuple(dev[name]) for name in ("threshold", "answered", "wrong", "similarity"))
    provenance = {name: value for name, value in manifest.provenance.items() if name != "tuned"}
    if previous["tuned"] is not None:
        provenance["tuned"] = previous["tuned"]
    _write(
        folder,
        replace(
            manifest,
            retrieval=retrieval,
            calibration=calibration,
            dev=DevInfo(dev["texts"], *numbers),
            provenance=provenance,
        ),
    )
    return Untuned(retrieval, calibration)


def _shown(retrieval: RetrievalInfo, calibration: float) -> str:
    return (
        f"K {retrieval.k}, t {retrieval.temperature:g}, lambda {retrieval.weight:g}, calibration {calibration:.3g}"
    )


def save_tuning(folder: Path, manifest: Manifest, found: Tuned, record: DevInfo) -> None:
    """Write a tuned model's settings, the record (see `dev_record`) of its texts, and what `untune` puts back."""
    after, earlier = found.after, manifest.provenance.get("tuned")
    retrieval, calibration = RetrievalInfo(after.k, after.temperature, after.weight), after.calibration
    previous = {
        "retrieval": asdict(manifest.retrieval),
        "calibration": asdict(manifest.calibration),
        "dev": asdict(manifest.dev),
        # One step back is enough: without this each tuning would keep all those before it.
        "tuned": {**earlier, "previous": None} if earlier else None,
    }
    tuned = {
        "on": datetime.now(UTC).date().isoformat(),
        "texts": found.texts,
        "before": asdict(found.before),
        "after": asdict(after),
        "previous": previous,
    }
    provenance = {**manifest.provenance, "tuned": tuned}
    made = replace(manifest, retrieval=retrieval, calibration=CalibrationInfo(calibration), dev=record)
    _write(folder, replace(made, provenance=provenance))


def _write(folder: Path, manifest: Manifest) -> None:
    """Write hundredth.json, and say in the model card what it says of a tuning."""
    card = folder / _CARD
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    text = text.partition(_TUNED)[0]
    if tuned := manifest.provenance.get("tuned"):
        setting = _shown(manifest.retrieval, manifest.calibration.temperature)
        text += f"{_TUNED}{tuned['on']}, on {tuned['texts']} labelled texts: {setting}. "
        if "ece" in tuned["after"]:  # earlier versions did not measure it
            after = tuned["after"]
            text += (
                f"Calibration error on these {after['ece']:.3f} (before calibration {after['ece_before']:.3f}). "
            )
        text += "The numbers above are from before.\n"
    write_text(card, text)
    manifest.write(folder)
