"""A model card read back, and its numbers computed again from predictions with pandas and scikit-learn."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, precision_score, recall_score, roc_auc_score

from dermlens.predict.decision_document import DecisionDocument

SITES = {
    "head/neck": ("scalp", "face", "ear", "neck"),
    "anterior torso": ("chest", "abdomen"),
    "posterior torso": ("back",),
    "torso": ("trunk",),
    "upper extremity": ("upper extremity", "hand"),
    "lower extremity": ("lower extremity", "foot"),
    "palms/soles": ("acral",),
    "oral/genital": ("genital",),
    "unknown": ("unknown",),
}
GROUP = {word: group for group, words in SITES.items() for word in words}
SOUGHT = {
    "melanoma": ["mel"],
    "malignant, with akiec": ["akiec", "bcc", "mel"],
    "malignant, without akiec": ["bcc", "mel"],
}
FEWEST = 20


def sections(card: str) -> dict[str, str]:
    """Heading → text."""
    parts = re.split(r"^## (.+)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(text: str) -> list[pd.DataFrame]:
    """The tables of a section, cells as text."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [line.strip("|").split("|") for line in block.splitlines()]
        header, _, *rows = [[cell.strip() for cell in line] for line in lines]
        found.append(pd.DataFrame(rows, columns=header))
    return found


def role_of(text: str) -> str:
    """The role that a section is about."""
    return re.search(r"^Role (\w+)", text, flags=re.MULTILINE)[1]


def agrees(cell: str, expected: float) -> None:
    """The cell's first number is the expected one, to its digits; a dash stands for what is undefined."""
    if cell.startswith("–"):
        assert not np.isfinite(expected), (cell, expected)
        return
    output = re.match(r"−?\d+\.(\d+)", cell)
    assert output, (cell, expected)
    value = float(output[0].replace("−", "-"))
    assert abs(value - expected) <= 0.5 * 10 ** -len(output[1]) + 1e-9, (cell, expected)


class Oracle:
    """What the predictions of one role say."""

    def __init__(self, predictions: pd.DataFrame, role: str) -> None:
        self.everything = predictions
        self.classes = [name[2:] for name in predictions if name.startswith("p_")]
        self.part = predictions[predictions["role"] == role].reset_index(drop=True)
        self.p = self.part[[f"p_{code}" for code in self.classes]].to_numpy()
        self.target = self.part["target"]
        decided = "diagnosis" in self.part
        self.diagnosis = (
            self.part["diagnosis"] if decided else pd.Series(np.array(self.classes)[self.p.argmax(1)])
        )

    def recall(self, code: str, where: pd.Series | None = None) -> float:
        of_class = self.target == code if where is None else where & (self.target == code)
        return float((self.diagnosis[of_class] == code).mean())

    def mean_recall(self, where: pd.Series | None = None) -> float:
        return float(np.nanmean([self.recall(code, where) for code in self.classes]))

    def accuracy(self, where: pd.Series | None = None) -> float:
        right = self.target == self.diagnosis
        return float((right if where is None else right[where]).mean())

    def mean_auc(self) -> float:
        present = [code for code in self.classes if (self.target == code).any()]
        found = [roc_auc_score(self.target == code, self.part[f"p_{code}"]) for code in present]
        return float(np.mean(found))

    @property
    def kinds(self) -> list[str]:
        """What patients are grouped by."""
        return [
            "sex",
            "age",
            "site",
            *(["source"] if self.several else []),
            *(["skin tone"] if self.toned else []),
        ]

    @property
    def several(self) -> bool:
        return "source" in self.part and len(set(self.part["source"])) > 1

    @property
    def toned(self) -> bool:
        return "skin_tone" in self.part and pd.to_numeric(self.part["skin_tone"]).notna().any()

    def groups(self, kind: str) -> pd.Series:
        if kind in ("sex", "source"):
            return self.part[kind]
        if kind == "skin tone":
            names = {0: "0–2", 1: "0–2", 2: "0–2", 3: "3", 4: "4–5", 5: "4–5"}
            return pd.to_numeric(self.part["skin_tone"]).map(names).fillna("unknown")
        if kind == "site":
            return self.part["site"].map(GROUP)
        bands = pd.cut(self.part["age"], [0, 40, 60, np.inf], right=False, labels=["0–39", "40–59", "60+"])
        return bands.astype(object).where(bands.notna(), "unknown")

    def calibration(self, p: np.ndarray, *, even: bool) -> dict[str, float]:
        """ECE, log loss and Brier score; `even` gives every class the same weight."""
        count = self.target.map(self.target.value_counts())
        weight = 1 / count if even else pd.Series(1.0, self.part.index)
        right = np.array(self.classes)[p.argmax(1)] == self.target
        bins = pd.cut(pd.Series(p.max(1)), np.linspace(0, 1, 16))
        gap = (weight * (right - p.max(1))).groupby(bins, observed=True).sum().abs().sum() / weight.sum()
        truth = self.target.to_numpy()[:, None] == np.array(self.classes)
        return {
            "expected calibration error": float(gap),
            "log loss": log_loss(self.target, p, labels=self.classes, sample_weight=weight),
            "Brier score": float(np.average(((p - truth) ** 2).sum(1), weights=weight)),
        }


def check_card(card: str, predictions: pd.DataFrame, decision: DecisionDocument | None = None) -> set[str]:
    """Compute the numbers of a card again.

    Args:
        card: its text.
        predictions: that it was made of.
        decision: that it tells of.

    Returns:
        The sections that were looked at.
    """
    found = sections(card)
    checks = {
        "Recall per class": _recall,
        "Recall in groups of patients": _groups,
        "Calibration": lambda text, table: _calibration(text, table, decision),
        "Operating points": lambda text, table: _operating(text, table, decision),
        "Sets and abstention": _sets,
        "Known failures": _failures,
    }
    for heading, check in checks.items():
        if heading in found:
            check(found[heading], predictions)
    return checks.keys() & found.keys()


def _recall(text: str, predictions: pd.DataFrame) -> None:
    oracle = Oracle(predictions, role_of(text))
    (table,) = tables(text)
    assert table["class"].tolist() == oracle.classes
    for row in table.to_dict("records"):
        assert int(row["n"]) == (oracle.target == row["class"]).sum()
        if int(row["n"]):
            of = {"labels": [row["class"]], "average": None, "zero_division": 0}
            agrees(row["recall"], recall_score(oracle.target, oracle.diagnosis, **of)[0])
            agrees(row["precision"], precision_score(oracle.target, oracle.diagnosis, **of)[0])
    output = re.search(
        r"^Mean recall (.+?); accuracy (.+?); expected calibration error (.+)\.$", text, re.MULTILINE
    )
    agrees(output[1], oracle.mean_recall())
    agrees(output[2], oracle.accuracy())
    agrees(output[3], oracle.calibration(oracle.p, even=False)["expected calibration error"])
    if "mel" in oracle.classes:
        melanoma = oracle.target == "mel"
        named = (melanoma & (oracle.diagnosis == "mel")).sum()
        assert f"{melanoma.sum()} images of melanoma, the model named {named}" in text


def _groups(text: str, predictions: pd.DataFrame) -> None:
    oracle = Oracle(predictions, role_of(text))
    kinds = [words.split(" (")[0] for words in re.findall(r"^By (.+):$", text, re.MULTILINE)]
    assert kinds == oracle.kinds
    for kind, table in zip(kinds, tables(text), strict=True):
        of_group = oracle.groups(kind)
        assert set(table.columns[1:]) == set(of_group)
        rows = table.set_index("score")
        for group in table.columns[1:]:
            inside = of_group == group
            assert int(rows.loc["images", group]) == inside.sum()
            agrees(rows.loc["accuracy", group], oracle.accuracy(inside) if inside.sum() >= FEWEST else np.nan)
            for code in oracle.classes:
                cell, n = rows.loc[f"recall of {code}", group].split(" n = ")
                assert int(n) == (inside & (oracle.target == code)).sum()
                agrees(cell, oracle.recall(code, inside) if int(n) >= FEWEST else np.nan)


def _calibration(text: str, predictions: pd.DataFrame, decision: DecisionDocument | None) -> None:
    oracle = Oracle(predictions, role_of(text))
    table, equal = tables(text)
    assert decision is not None
    prior, scaling = np.array(decision.prior.shares), decision.scaling
    even = _normal(oracle.p / prior)
    bias = np.zeros(len(prior)) if scaling.bias is None else np.array(scaling.bias)
    known = {
        ("own", "after"): oracle.p,
        ("equal", "after"): even,
        ("equal", "before"): _normal(np.exp(scaling.temperature * (np.log(even) - bias))),
    }
    for row in table.to_dict("records"):
        case = (row["case mix"], row["stage"])
        for name, expected in oracle.calibration(known[case], even=case[0] == "equal").items():
            agrees(row[name], expected)
    row = equal.set_index("source").loc["all"]
    expected = oracle.calibration(even, even=True)
    agrees(row["calibration error"], expected["expected calibration error"])
    agrees(row["log loss"], expected["log loss"])
    right = pd.Series(np.array(oracle.classes)[even.argmax(1)] == oracle.target)
    agrees(row["mean recall"], right.groupby(oracle.target).mean().mean())
    odds = logit(np.clip(even.max(1), 1e-6, 1 - 1e-6))
    weight = 1 / oracle.target.map(oracle.target.value_counts())
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], right, sample_weight=weight)
    agrees(row["slope"], float(line.coef_[0, 0]))
    agrees(row["intercept"], brentq(lambda a: float((weight * (right - expit(a + odds))).sum()), -10, 10))
    for code, share in zip(decision.classes, prior, strict=True):
        assert f"{code} {100 * share:.1f} %" in text


def _normal(p: np.ndarray) -> np.ndarray:
    return p / p.sum(1, keepdims=True)


def _operating(text: str, predictions: pd.DataFrame, decision: DecisionDocument | None) -> None:
    named, *points = tables(text)
    for row in named.to_dict("records"):
        oracle = Oracle(predictions, row["role"])
        assert int(row["images"]) == len(oracle.part)
        agrees(row["mean recall"], oracle.mean_recall())
        agrees(row["accuracy"], oracle.accuracy())
        agrees(row["melanoma recall"], oracle.recall("mel"))
        agrees(row["mean AUC"], oracle.mean_auc())
    oracle = Oracle(predictions, role_of(text))
    if decision is not None:
        assert set(named["role"]) == set(predictions["role"])
        _suspicion(oracle, points.pop(0), decision)
        if "source" in points[0]:
            points.pop(0)
        assert ("skin tone" in points[0]) == oracle.toned
        if oracle.toned:
            _by_tone(oracle, points.pop(0), decision)
    fixed, aimed, *benefits = points
    for table in benefits:
        _benefit(oracle, table)
    assert set(fixed["detected"]) == set(SOUGHT)
    for row in fixed.to_dict("records"):
        _rates(oracle, row, float(row["probability at least"]), row["sensitivity"], row["specificity"])
    for row in aimed.to_dict("records"):
        codes = SOUGHT[row["detected"]]
        other = Oracle(predictions, row["fixed on"].split(" (")[0])
        scores = np.sort(
            other.part.loc[other.target.isin(codes), [f"p_{code}" for code in codes]].sum(axis=1)
        )
        threshold = scores[::-1][int(np.ceil(float(row["aim"]) * len(scores) - 1e-9)) - 1]
        agrees(row["threshold"], threshold)
        _rates(oracle, row, threshold, row["sensitivity reached"], row["specificity"])


def _benefit(oracle: Oracle, table: pd.DataFrame) -> None:
    assert table["detected"].unique().tolist() == list(SOUGHT)
    for row in table.to_dict("records"):
        codes, threshold = SOUGHT[row["detected"]], float(row["threshold"].split()[0]) / 100
        caught = oracle.part[[f"p_{code}" for code in codes]].to_numpy().sum(axis=1) >= threshold
        sought = oracle.target.isin(codes).to_numpy()
        odds = threshold / (1 - threshold)
        agrees(row["model"], (caught & sought).mean() - odds * (caught & ~sought).mean())
        agrees(row["act on all"], sought.mean() - odds * (~sought).mean())
        agrees(row["act on none"], 0.0)


def _judged(oracle: Oracle, decision: DecisionDocument) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Suspicion at the reference prior, another way round from the shown probabilities; malignant, benign."""
    found = decision.suspicion
    q = _normal(oracle.p / np.array(decision.prior.shares) * np.array(found.reference.shares))
    score = q[:, [oracle.classes.index(code) for code in found.malignant]].sum(1)
    malignant = oracle.target.isin(found.malignant).to_numpy()
    benign = ~malignant & ~oracle.target.isin(found.premalignant).to_numpy()
    return score, malignant, benign


def _by_tone(oracle: Oracle, table: pd.DataFrame, decision: DecisionDocument) -> None:
    """At the mark that catches most; images whose skin tone is unknown are a row of their own."""
    score, malignant, benign = _judged(oracle, decision)
    flagged = score >= decision.suspicion.marks[-1].threshold
    of_group = oracle.groups("skin tone").to_numpy()
    assert table["skin tone"].tolist() == sorted(set(of_group))
    for row in table.to_dict("records"):
        inside = of_group == row["skin tone"]
        for name, those in {"malignant": malignant & inside, "benign": benign & inside}.items():
            assert int(row[name]) == those.sum()
            agrees(row[f"{name} flagged"], flagged[those].mean() if those.any() else np.nan)


def _suspicion(oracle: Oracle, table: pd.DataFrame, decision: DecisionDocument) -> None:
    found = decision.suspicion
    score, malignant, benign = _judged(oracle, decision)
    for row, mark in zip(table.to_dict("records"), found.marks, strict=True):
        caught, false = (score >= mark.threshold)[malignant].mean(), (score >= mark.threshold)[benign].mean()
        agrees(row["malignant flagged"], caught)
        agrees(row["benign flagged"], false)
        between = oracle.target.isin(found.premalignant).to_numpy()
        agrees(row["pre-malignant flagged"], (score >= mark.threshold)[between].mean())
        for prevalence in (0.01, 0.04, 0.1):
            ppv = prevalence * caught / (prevalence * caught + (1 - prevalence) * false)
            assert abs(float(row[f"PPV at {100 * prevalence:g} %"].split()[0]) - 100 * ppv) <= 0.51


def _rates(oracle: Oracle, row: dict[str, str], threshold: float, sensitivity: str, specificity: str) -> None:
    codes = SOUGHT[row["detected"]]
    caught = oracle.part[[f"p_{code}" for code in codes]].to_numpy().sum(axis=1) >= threshold
    sought = oracle.target.isin(codes).to_numpy()
    agrees(sensitivity, caught[sought].mean())
    agrees(specificity, (~caught)[~sought].mean())


def _sets(text: str, predictions: pd.DataFrame) -> None:
    oracle = Oracle(predictions, role_of(text))
    part = oracle.part.assign(members=oracle.part["set"].str.split("|"))
    covered = pd.Series([row.target in row.members for row in part.itertuples()])
    size, abstained = part["members"].str.len(), part["uncertain"] == "yes"
    (table,) = tables(text)
    assert table["class"].tolist() == [*oracle.classes, "all"]
    for row in table.to_dict("records"):
        everything = row["class"] == "all"
        inside = pd.Series(True, part.index) if everything else oracle.target == row["class"]
        assert int(row["n"]) == inside.sum()
        kept = oracle.mean_recall(~abstained) if everything else oracle.recall(row["class"], ~abstained)
        for name, expected in {
            "coverage": covered[inside].mean(),
            "mean size of the set": size[inside].mean(),
            "abstained": abstained[inside].mean(),
            "recall where it answers": kept,
        }.items():
            agrees(row[name], expected)
    agrees(re.search(r"abstains from (\S+)", text)[1], abstained.mean())
    agrees(re.search(r"accuracy is (\S+)", text)[1], oracle.accuracy(~abstained))
    for reason, n in re.findall(r"“([^”]+)” (\d+)", text):
        assert int(n) == part["reason"].str.contains(reason, regex=False).sum()
    melanoma, named = oracle.target == "mel", oracle.diagnosis == "mel"
    fate = {
        r"Of (\d+) melanomas": melanoma,
        r"melanomas, (\d+) are named": melanoma & named,
        r"; (\d+) are not named but in the set": melanoma & ~named & covered,
        r"abstains from (\d+), and": melanoma & ~named & ~covered & abstained,
        r"and (\d+) are missed": melanoma & ~named & ~covered & ~abstained,
    }
    for words, those in fate.items():
        assert int(re.search(words, text)[1]) == those.sum(), words


def _failures(text: str, predictions: pd.DataFrame) -> None:
    oracle = Oracle(predictions, role_of(text))
    confused, classes, *groups = tables(text)
    wrong = oracle.target != oracle.diagnosis
    counts = (oracle.target[wrong] + ">" + oracle.diagnosis[wrong]).value_counts()
    shown = {
        f"{row['true class']}>{row['named']}": int(row["images"].split(" of ")[0])
        for row in confused.to_dict("records")
    }
    assert sorted(shown.values()) == sorted(counts.nlargest(len(shown)))
    assert {pair: counts[pair] for pair in shown} == shown
    for row in confused.to_dict("records"):
        assert int(row["images"].split(" of ")[1]) == (oracle.target == row["true class"]).sum()
    recalls = pd.Series({code: oracle.recall(code) for code in oracle.classes}).dropna()
    assert recalls[classes["class"]].tolist() == recalls.nsmallest(len(classes)).tolist()
    for row in classes.to_dict("records"):
        agrees(row["recall"], recalls[row["class"]])
    found = {}
    for kind in oracle.kinds:
        of_group = oracle.groups(kind)
        for group in of_group.unique():
            for code in oracle.classes:
                inside = of_group == group
                if (inside & (oracle.target == code)).sum() >= FEWEST:
                    found[code, f"{kind} {group}"] = oracle.recall(code, inside)
    assert bool(groups) == bool(found)
    for table in groups:
        lowest = [found[row["class"], row["group"]] for row in table.to_dict("records")]
        assert lowest == sorted(found.values())[: len(lowest)]
        for row, expected in zip(table.to_dict("records"), lowest, strict=True):
            agrees(row["recall"], expected)
        assert f"The lowest of {len(found)} such recalls" in text
