"""What the page says in words beside the figures: signs, kinds of attack, terms, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import scale

#: A grade as a sign and words, so that it needs no colour.
GRADES = {
    "good": ("✓", "good"),
    "mixed": ("≈", "mixed"),
    "bad": ("✗", "bad"),
    "unknown": ("?", "not known"),
    "note": ("i", "for information"),
}

#: Words in an attack's name → what it does, in a sentence; the first that fits.
ATTACKS = (
    (("detect",), "Detector", "A network learns to tell protected pictures from originals."),
    (
        ("invers", "u-net", "unet", "undo"),
        "Learned inverse",
        "A network learns to turn a protected picture back into its original; then the unchanged referee reads it.",
    ),
    (
        ("invert", "turned", "flip"),
        "Inverted",
        "The attacker knows that answers may be turned over and turns them.",
    ),
    (
        ("probe", "linear"),
        "Linear probe",
        "A simple classifier is fitted to what a face matcher says of labelled protected pictures.",
    ),
    (
        ("neighbour",),
        "Nearest neighbours",
        "The labelled protected pictures that a face matcher finds most alike vote. No change that keeps the match "
        "defeats this: people who look alike to a matcher mostly share their gender.",
    ),
    (
        ("rbf", "kernel"),
        "RBF kernel",
        "A curved boundary is fitted to what a face matcher says of labelled protected pictures. What holds for the "
        "nearest neighbours holds for it.",
    ),
    (("cnn", "retrain"), "Retrained CNN", "A fresh network is trained from nothing on labelled protected pictures."),
    (
        ("jpeg", "blur", "noise", "resiz", "resize", "averag", "recover", "median", "smooth"),
        "Recovery",
        "The picture is first compressed, blurred, denoised, resized or averaged over several outputs, so that a fine "
        "change is washed out; then the unchanged referee reads it.",
    ),
)

#: Terms of the page; those of matching are ISO/IEC 19795-1's.
TERMS = {
    "Referee": "A model that only measures: it never trained anything of halfmask.",
    "Balanced accuracy": "The mean of the shares of right answers on women and on men; 50 % is guessing, and 0 % "
    "tells as much as 100 %, because answers can be turned over.",
    "ROC": "The curve of right against wrong alarms over all thresholds. A curve on the diagonal is guessing.",
    "AUC": "The area under the ROC: how often a man gets a higher score for “man” than a woman, or a pair of one "
    "person a higher score than a pair of two. 0.5 is guessing; 0 tells as much as 1.",
    "EER": "Equal error rate: the error at the threshold where both kinds of error are equally frequent.",
    "Error": "The share of wrong answers at the referee's own threshold, as in the SAN papers. High is not private: "
    "0.5 is.",
    "FMR": "False match rate: the share of pairs of different people that match by mistake. Thresholds that give an "
    "FMR are fixed on the originals.",
    "TMR": "True match rate: the share of pairs of one person that match, an original with a protected picture. A face "
    "that was lost does not match.",
    "Rank-1 identification rate": "The share of searches in a gallery of many people in which the right person scores "
    "highest. A face that was lost finds nobody.",
    "FPIR": "False positive identification rate: the share of searches of people outside the gallery that name "
    "somebody all the same.",
    "FNIR": "False negative identification rate: the share of searches of people in the gallery in which the right "
    "person stays below the threshold.",
    "Learned head": "A linear map that a recogniser learned from protected and original pictures of other people: each "
    "side is centred by its own mean, and the directions in which pictures of one person differ are whitened.",
    "Match probability": "1 / (1 + d²) of the distance d of two descriptors, as in the SAN reports.",
    "SSIM, PSNR": "Structural similarity (1 is equal) and peak signal-to-noise ratio (in decibel) of the aligned face.",
    "95 % interval": "The range that the figure takes when people are drawn anew from these, 95 times of 100 "
    "(bootstrap by person).",
    "Lost": "The face was found in the original and not again in the protected picture: a failure to enrol.",
}


def attack_kinds(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The kinds of attack among the rows, each with its sentence, in the order of the table."""
    kinds: dict[str, str] = {}
    for row in sorted(rows, key=scale.is_detector):
        name = str(row.get("attack", "")).lower()
        kinds |= next(({title: sentence} for words, title, sentence in ATTACKS if any(w in name for w in words)), {})
    return kinds


def thresholds() -> list[str]:
    """The thresholds behind the words of the verdict, as sentences made from the numbers themselves."""

    def auc(d: float) -> str:
        return f"AUC {0.5 + d / 2:.2f} or balanced accuracy {50 + 50 * d:.0f} %"

    return [
        f"An attribute is hardly read up to {auc(scale.READ_HARDLY)}, partly up to {auc(scale.READ_PARTLY)}, mostly up "
        f"to {auc(scale.READ_MOSTLY)}; the same distances below chance count alike. A referee nearer to chance than "
        f"{auc(scale.REFEREE_READS)} on the originals does not count.",
        f"Faces still match when the TMR loses at most {100 * scale.KEPT['tmr@0.01']:g} points at FMR 1 % and "
        f"{100 * scale.KEPT['tmr@0.001']:g} at FMR 0.1 %, mostly at {100 * scale.MOSTLY_KEPT['tmr@0.01']:g} and "
        f"{100 * scale.MOSTLY_KEPT['tmr@0.001']:g}. A matcher below {100 * scale.MATCHER_WORKS:g} % on the originals "
        "does not count.",
        f"A person is hardly recognised up to TMR {100 * scale.RECOGNISED_HARDLY:g} % at FMR 1 %, partly up to "
        f"{100 * scale.RECOGNISED_PARTLY:g} %, mostly up to {100 * scale.RECOGNISED_MOSTLY:g} %.",
        f"An attribute is kept when its balanced accuracy loses at most {100 * scale.ATTRIBUTE_KEPT:g} points, mostly "
        f"at {100 * scale.ATTRIBUTE_MOSTLY_KEPT:g}; the age at {scale.AGE_KEPT:g} and {scale.AGE_MOSTLY_KEPT:g} years "
        "more mean absolute error.",
        f"Pictures lose little from SSIM {scale.LOOKS_LITTLE:g} upward, something from {scale.LOOKS_SOME:g}. Up to "
        f"{100 * scale.LOST_FEW:g} % of lost faces and files are few.",
        f"“Fairly sure” needs {scale.SURE_PEOPLE} people and no deciding interval wider than "
        f"±{100 * scale.SURE_HALF_WIDTH:g} points, “roughly” {scale.ROUGH_PEOPLE} people and "
        f"±{100 * scale.ROUGH_HALF_WIDTH:g}. Groups are compared from {scale.GROUP_PEOPLE} people.",
        "Where the far end of a privacy figure's 95 % interval would earn a worse answer, it gives the grade, and the "
        "answer says “perhaps more”.",
    ]
