"""`metrics.json` in words: each metric with its protocol and what to compare it with."""

import dataclasses

NOT_MEASURED = "not measured; no reason was recorded"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the metric table; `value` is None where the metric is null, and `note` says why."""

    name: str
    value: str | None
    spread: str
    protocol: str
    note: str


@dataclasses.dataclass(frozen=True)
class Bar:
    """An attribute's accuracy next to chance, both in percent; `real` on real pictures."""

    name: str
    percent: float
    chance: float
    real: float | None


def metric_rows(metrics: dict) -> list[Row]:
    """The table of `metrics.json`, in reading order; shares are in percent there."""
    return [
        _r_precision(metrics, "r_precision", "R-precision, generated images"),
        _r_precision(metrics, "r_precision_real_images", "R-precision, real images"),
        _attribute_accuracy(metrics),
        _inception_score(metrics),
        _frechet_distance(metrics),
    ]


def attribute_bars(metrics: dict) -> list[Bar]:
    """One bar for each attribute of `attribute_accuracy`, in the file's order."""
    accuracy = metrics.get("attribute_accuracy") or {}
    real = metrics.get("attribute_accuracy_real_images") or {}
    return [Bar(name.replace("_", " "), entry["accuracy"], entry["chance"],
                real.get(name, {}).get("accuracy"))
            for name, entry in accuracy.items() if isinstance(entry, dict)]


def percent(value: float) -> str:
    """`74.2134` as `74.2 %`, with a no-break space."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """`4000` as `1 h 7 min`; never more than two units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _r_precision(metrics: dict, key: str, name: str) -> Row:
    values = metrics.get(key)
    if values is None:
        return _null_row(metrics, key, name)
    candidates = values["candidates"]
    protocol = (f"{values['num_images']:,} images; DAMSM must find the image's own caption among "
                f"{candidates:,} (1 true, {candidates - 1:,} mismatching); ± over folds of "
                f"{values['fold_size']:,}.")
    note = f"Chance {percent(100 / candidates)}."
    real = metrics.get("r_precision_real_images")
    if key == "r_precision":
        ceiling = f" Real images reach {percent(real['mean'])}." if real else ""
        note += ceiling + " This DAMSM also trained the generator, which flatters it."
    else:
        note += " How well DAMSM reads pictures it never saw: the ceiling for generated ones."
    return Row(name, percent(values["mean"]), f"± {values['std']:.1f}", protocol, note)


def _attribute_accuracy(metrics: dict) -> Row:
    key, name = "attribute_accuracy", "Attribute accuracy"
    values = metrics.get(key)
    if values is None:
        return _null_row(metrics, key, name)
    protocol = ("A classifier trained on real images only names each attribute of a generated "
                "image; right where it sees what the caption says. Mean over the colours of the "
                f"plumage{_with_beak(values)}.")
    real = metrics.get("attribute_accuracy_real_images")
    ceiling = f" On real images: {percent(real['mean'])}." if real else ""
    note = (f"Chance {percent(values['chance'])}: the same answers, sentences dealt out at random."
            f"{ceiling} It never saw the generator.")
    return Row(name, percent(values["mean"]), "", protocol, note)


def _with_beak(values: dict) -> str:
    if "mean_with_beak" not in values:
        return ""
    return f" (with the beak's: {percent(values['mean_with_beak'])})"


def _inception_score(metrics: dict) -> Row:
    key, name = "inception_score", "Inception Score"
    values = metrics.get(key)
    if values is None:
        return _null_row(metrics, key, name)
    parts = [f"{values['num_images']:,} images" if "num_images" in values else "",
             f"{values['splits']} splits" if "splits" in values else "",
             f"classifier {values['classifier']}" if "classifier" in values else ""]
    spread = f"± {values['std']:.2f}" if "std" in values else ""
    return Row(name, f"{values['mean']:.2f}", spread, _sentence(parts),
               "Higher is better; comparable only with the same classifier.")


def _frechet_distance(metrics: dict) -> Row:
    values = metrics.get("fid")
    if values is None:
        return _null_row(metrics, "fid", "FID")
    parts = [f"{values['num_images']:,} images", f"against {values['reference']}",
             f"weights {values['family']}"]
    return Row(f"FID ({values['family']})", f"{values['value']:.2f}", "", _sentence(parts),
               "Lower is better; comparable only within one family of weights.")


def _null_row(metrics: dict, key: str, name: str) -> Row:
    reason = (metrics.get("reasons") or {}).get(key, NOT_MEASURED)
    return Row(name, None, "", "", f"{reason[:1].upper()}{reason[1:]}")


def _sentence(parts: list[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
