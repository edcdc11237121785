"""Diagnoses as sources spell them, to ours, and guesses at columns that the user may confirm."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NoReturn

from dermlens.data.readers.account import Account
from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES
from dermlens.predict.sources.folders import Survey, image_id_of
from dermlens.predict.sources.tables import (
    JOINT,
    NEEDED,
    Problems,
    Sheet,
    check_map,
    is_telling,
    option,
    theirs,
)
from dermlens.predict.sources.vocabulary import age_of, is_missing, plain, sexes_of, site_of

# Diagnoses by their usual names, and what each of them belongs to.
#
# A diagnosis is a kind of others: Reed's nevus is a nevus, seborrheic keratosis is one of HAM10000's `bkl`.
# So a table is read by whatever list of classes is asked for: by the most specific of them that a name falls
# under.
#
# The seven are grouped as HAM10000 does (Tschandl et al. 2018, table 1): `akiec` are actinic keratoses and
# intraepithelial carcinomas, `bkl` seborrheic keratoses, solar lentigines and lichen-planus-like keratoses,
# `vasc` angiomas, angiokeratomas, pyogenic granulomas and haemorrhage. The ISIC archive files HAM10000's
# intraepithelial carcinomas as squamous cell carcinoma without a further word, so that name alone belongs to
# `akiec`; carcinomas that are said to be invasive, and keratoacanthomas, do not.
#
# Sources of names: HAM10000; the ISIC challenges of 2016 to 2020 and 2024; the ISIC archive's `diagnosis_1`
# to `diagnosis_5`; MILK10k; PAD-UFES-20; Derm7pt; BCN20000.


_TREE = """
mel: melanoma; mm; melanomas; malignant melanoma; malignes melanom; melanom; melanome; melanoma maligno;
  malignant melanocytic proliferations (melanoma); melanoma nos; mel nos
  > melanoma in situ: melanoma (in situ); mis; in situ melanoma
  > lentigo maligna: lentigo maligna melanoma; lm; lmm; melanoma in situ lentigo maligna type
  > melanoma invasive: invasive melanoma; melanoma (less than 0.76 mm); melanoma (0.76 to 1.5 mm); melanoma
    (more than 1.5 mm); superficial spreading melanoma; nodular melanoma; acral melanoma; ssm; melanoma
    superficial spreading; melanoma nodular; melanoma invasive superficial spreading; melanoma invasive
    nodular; acral lentiginous melanoma; amelanotic melanoma; desmoplastic melanoma; spitzoid melanoma
  > melanoma metastasis: metastatic melanoma; melanoma metastatic; melanoma metastases; cutaneous melanoma
    metastasis
nv: nevus; nevi; naevus; naevi; nævus; nævi; nev; melanocytic nevus; melanocytic nevi; melanocytic naevus;
  melanocytic naevi; mole; moles; nevus nos; nevus melanocytic; benign nevus; benign nevi; nevocytic nevus;
  navus; nevo; nevos; nevo melanocitico; navus melanozytar; navuszellnavus; nzn; pigmentnavus; nevus
  pigmentaire; melanozytarer navus; benign melanocytic proliferations
  > clark nevus: dysplastic nevus; dysplastic nevi; atypical nevus; atypical nevi; clark s nevus; nevus
    atypical; dn; nevus dysplastic; nevus clark
  > blue nevus: nevus blue; blue naevus; cellular blue nevus
  > congenital nevus: nevus congenital; congenital melanocytic nevus; cmn
  > dermal nevus: intradermal nevus; nevus nos dermal; nevus dermal; unna nevus; miescher nevus
  > junctional nevus: nevus nos junctional; nevus junctional
  > compound nevus: nevus nos compound; nevus compound
  > combined nevus: nevus combined
  > recurrent nevus: nevus recurrent or persistent; nevus recurrent; persistent nevus
  > reed or spitz nevus: reed nevus; spitz nevus; nevus spitz; nevus reed; spitz/reed nevus; spitzoid nevus;
    nevus spitzoid; pigmented spindle cell nevus
  > acral nevus: nevus acral
  > halo nevus: nevus halo
  > other nevus: nevus spilus; nevus bap 1 deficient; nevus balloon cell; nevus deep penetrating; nevus
    genital; nevus of special anatomic site; nevus special site; nevus agminated; nevus flexural site;
    meyerson nevus; nevus meyerson; nevus ota or ito
bcc: basal cell carcinoma; basal cell carcinomas; basalioma; basaliom; basalzellkarzinom;
  basalzellkarzinome; bzk; basal cell carcinoma nos; carcinome basocellulaire; carcinoma basocelular;
  carcinoma basocellulare; basocellular
  > nodular bcc: basal cell carcinoma nodular; nodular basal cell carcinoma
  > superficial bcc: basal cell carcinoma superficial; superficial basal cell carcinoma
  > infiltrating bcc: basal cell carcinoma infiltrating; basal cell carcinoma infiltrative
  > pigmented bcc: basal cell carcinoma pigmented; pigmented basal cell carcinoma
akiec: actinic keratoses and intraepithelial carcinoma; actinic keratosis / bowen s disease; actinic
  keratosis / bowen s disease (intraepithelial carcinoma); actinic keratoses and intraepithelial carcinomas;
  actinic keratosis or intraepithelial carcinoma; actinic keratoses and intraepithelial carcinoma / bowen s
  disease; indeterminate epidermal proliferations; actinic keratoses (solar keratoses) and intraepithelial
  carcinoma; actinic keratosis/intraepithelial carcinoma; actinic keratosis intraepithelial carcinoma; akbd
  > ak: actinic keratosis; actinic keratoses; ack; solar keratosis; solar keratoses; solar or actinic
    keratosis; aktinische keratose; aktinische keratosen; keratose actinique; queratosis actinica; cheratosi
    attinica; ceratose actinica; queratose actinica; actinic keratosis nos; actinic cheilitis
  > scc in situ: bowen; bowen disease; bowen s disease; bowens disease; morbus bowen; squamous cell
    carcinoma in situ; squamous cell carcinoma in situ bowens disease; squamous cell carcinoma in situ bowen
    s disease; intraepithelial carcinoma; intraepidermal carcinoma; iec; maladie de bowen; enfermedad de
    bowen
  > scc: squamous cell carcinoma; squamous cell carcinomas; squamous cell carcinoma nos; spinaliom;
    plattenepithelkarzinom; carcinome epidermoide; carcinoma espinocelular; carcinoma spinocellulare;
    carcinoma de celulas escamosas
bkl: benign keratosis; benign keratosis like lesion; benign keratosis like lesions; benign keratoses; blk;
  benign epidermal proliferations; benign keratosis like lesions (solar lentigines / seborrheic keratoses
  and lichen planus like keratoses); pigmented benign keratosis; benign keratosis (solar lentigo /
  seborrheic keratosis / lichen planus like keratosis)
  > sk: seborrheic keratosis; seborrheic keratoses; seborrhoeic keratosis; seborrhoeic keratoses; sek;
    verruca seborrhoica; seborrhoische keratose; seborrhoische keratosen; keratose seborrheique; queratosis
    seborreica; cheratosi seborroica; ceratose seborreica; queratose seborreica; seborrheic keratosis
    irritated; seborrheic keratosis clonal; basal cell papilloma
  > sl: solar lentigo; solar lentigines; lentigo solaris; lentigo senilis; senile lentigo; actinic lentigo;
    lentigo simplex or solar; lentigo actinico; lentigo solare; lentigo solar
  > lplk: lichen planus like keratosis; lichenoid keratosis; lichenoid keratoses; benign lichenoid
    keratosis; lichen planus like keratoses
df: dermatofibroma; dermatofibromas; dermatofibrom; histiocytoma; fibrous histiocytoma; benign fibrous
  histiocytoma; dermatofibrome; histiozytom; benign soft tissue proliferations fibro histiocytic
vasc: vascular; vascular lesion; vascular lesions; vl; vasculare lasion; gefasslasion; lesion vasculaire;
  lesion vascular; lesione vascolare; lesao vascular; benign soft tissue proliferations vascular; vascular
  skin lesion
  > angioma: hemangioma; haemangioma; angiomas; hemangiomas; cherry angioma; hemangiom; hamangiom; angiom;
    hemangiome
  > angiokeratoma: angiokeratomas; angiokeratom
  > pyogenic granuloma: granuloma pyogenicum; pyogenic granulomas; lobular capillary hemangioma
  > hemorrhage: haemorrhage; hematoma; subcorneal hemorrhage; trauma hemorrhage; subungual hematoma
-: unk; unknown; miscellaneous; misc; other; others; other diagnosis; none of the others; not classified;
  unclassified
  > invasive scc: squamous cell carcinoma invasive; invasive squamous cell carcinoma; sccka; scc/ka;
    malignant epidermal proliferations; squamous cell carcinoma keratoacanthoma; squamous cell
    carcinoma/keratoacanthoma
  > keratoacanthoma: ka; keratoacanthomas; keratoakanthom
  > inflammatory: inf; inflammatory or infectious; inflammatory or infectious diseases; inflammation;
    infectious
  > benign other: ben oth; benign other; other benign; other benign proliferations including collision
    tumors; exogenous
  > malignant other: mal oth; malignant other; other malignant; other malignant proliferations including
    collision tumors; malignant adnexal epithelial proliferations; malignant soft tissue proliferations;
    merkel cell carcinoma
  > scar: scars; narbe; cicatrix; cicatrice; cicatriz
  > lentigo: lentigo nos; lentigo simplex; lentigines; ink spot lentigo; simple lentigo
  > melanosis: mucosal melanotic macule; melanotic macule; cafe au lait macule; labial melanotic macule;
    ephelis; ephelides
  > atypical melanocytic proliferation: amp; atypical melanocytic proliferations; indeterminate melanocytic
    proliferations; atypical intraepithelial melanocytic proliferation; atypical spitz tumor; aimp;
    melanocytoma
  > collision: collision tumor; collision at least one malignant proliferation; collision only benign
    proliferations; collision tumors; collision at least one indeterminate proliferation
  > adnexal tumor: benign adnexal epithelial proliferations; sebaceous hyperplasia; trichilemmoma; poroma;
    pilomatricoma; trichoepithelioma; adnexal; benign adnexal epithelial proliferations follicular; benign
    adnexal epithelial proliferations sebaceous; benign adnexal epithelial proliferations apocrine or
    eccrine
  > cyst: epidermal cyst; infundibular or epidermal cyst; flat infundibular cyst; cysts; trichilemmal cyst;
    milium
  > wart: verruca; verruca vulgaris; viral wart; warts; molluscum; molluscum contagiosum
  > soft tissue: lipoma; neurofibroma; fibroepithelial polyp; skin tag; acrochordon; fibroma; angiofibroma;
    leiomyoma; benign soft tissue proliferations; fibrous papule; juvenile xanthogranuloma; supernumerary
    nipple; benign soft tissue proliferations neural; benign soft tissue proliferations fatty
  > epidermal nevus: nevus sebaceous; nevus epidermal; sebaceous nevus; nevus lipomatosus superficialis;
    nevus comedonicus
  > clear cell acanthoma: porokeratosis; acanthoma; large cell acanthoma; warty dyskeratoma
  > indeterminate: indeterminate lesion
"""
# Two levels: a class of HAM10000's, or `-` for what is in none of them, and behind `>` what belongs to it.


def _read_tree() -> tuple[dict[str, str], dict[str, str | None]]:
    """The diagnosis of each name, and what each diagnosis belongs to."""
    of_name: dict[str, str] = {}
    parents: dict[str, str | None] = {}
    top = ""
    entries = re.split(r"\n(?=\S)|\n  (?=>)", _TREE.strip())
    for entry in entries:
        head, _, names = entry.partition(":")
        key = head.removeprefix(">").strip()
        if not head.startswith(">"):
            top = key
        parents[key] = top if key != top else None
        for name in (key, *names.replace("\n", " ").split(";")):
            if name != "-" and (said := _plain(name)):
                assert of_name.setdefault(said, key) == key, f"{said} is of {key} and of {of_name[said]}"
    return of_name, parents


def _plain(name: str) -> str:
    """A name as it is compared: as `plain`, without punctuation at the ends of its words."""
    return " ".join(re.sub(r"[,.'\u2019:]", " ", plain(name)).split())


_OF_NAME, _PARENTS = _read_tree()
OUTSIDE = "-"


def is_diagnosis(name: str) -> bool:
    """Whether a name is that of a diagnosis, in one of the seven classes or outside them."""
    return _plain(name) in _OF_NAME


def class_of(name: str, classes: Collection[str]) -> str | None:
    """The class that a diagnosis falls under.

    Args:
        name: as a table has it.
        classes: the classes, by any of their names.

    Returns:
        The class that has this very name, whatever its case, underscores and hyphens; else the most specific
        one that the diagnosis is a kind of; None where there is none, or no diagnosis has this name.
    """
    return _class_of(_plain(name), tuple(classes))


@lru_cache(maxsize=4096)  # a table says the same few names ten thousand times
def _class_of(said: str, classes: tuple[str, ...]) -> str | None:
    for code in classes:
        if _plain(code) == said:
            return code
    by_key = {_OF_NAME.get(_plain(code), ""): code for code in reversed(classes)}
    return next((by_key[key] for key in _upwards(_OF_NAME.get(said)) if key in by_key), None)


def _upwards(key: str | None) -> Iterator[str]:
    """A diagnosis, and what it belongs to."""
    while key is not None and key != OUTSIDE:
        yield key
        key = _PARENTS[key]


# Diagnoses of a source, to the codes of the class list.


BINARY = ("benign", "malignant")
"""The two classes of ISIC 2016, and of tables and folders that say no more."""
NO_DIAGNOSIS = "unknown"
"""How an empty diagnosis is named in a label map."""


def classes_of(classes: Sequence[str] | None, labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """The class list: as given; else the seven or, where a label map leads outside them, its targets.

    Raises:
        UserError: the label map leads to a class that the given list lacks.
    """
    targets = {target for target in (labels or {}).values() if target}
    if classes is None:
        classes = sorted(targets) if targets - set(CLASSES) else CLASSES
    for source, target in (labels or {}).items():
        if target and target not in classes:
            raise UserError(
                f"label map: '{source}' leads to '{target}', which is no class{nearest(target, classes)}"
            )
    return tuple(classes)


def is_binary(words: Iterable[str]) -> bool:
    """Whether a source says benign or malignant and no more."""
    said = {plain(word) for word in words if word}
    return bool(said) and said <= set(BINARY)


class Diagnoses:
    """Reads the diagnoses of a source.

    Args:
        classes: the codes that are valid.
        labels: codes by the source's diagnoses; an empty one leaves the images out, `unknown` stands for no
            diagnosis.
        account: takes what was read as another word, and what was left out.
        problems: takes what is no diagnosis.
    """

    def __init__(
        self, classes: Sequence[str], labels: Mapping[str, str], account: Account, problems: Problems
    ) -> None:
        self._classes, self._labels = classes, labels
        self._account, self._problems = account, problems
        self._plain_labels = {plain(word): code for word, code in labels.items()}

    def code_of(self, word: str, further: Sequence[str], where: str) -> str | None:
        """The class of a diagnosis: by the label map, else by its name, else by what further columns say.

        Returns:
            None for an image that is left out; empty where the diagnosis is a problem.
        """
        said = [unicodedata.normalize("NFC", one) for one in (word, *further) if one]
        if not said:
            if NO_DIAGNOSIS in self._labels:
                return self._taken("", self._labels[NO_DIAGNOSIS])
            self._problems.add(
                f"no diagnosis; every image needs one of {', '.join(self._classes)}",
                where,
                f"--skip {NO_DIAGNOSIS}",
            )
            return ""
        for one in said:
            code = self._of(one)
            if code is not None:
                return self._taken(one, code)
        outside = next((one for one in said if is_diagnosis(one) or is_missing(one)), None)
        if outside is not None:
            return self._taken(outside, "")
        close = nearest(plain(said[0]), self._classes)
        self._problems.add(
            f"diagnosis '{said[0]}' is not known{close}, or a label map that says what it is, or leaves "
            "it out",
            where,
            option("--label", close.removeprefix("; nearest: ").split(", ")[0], said[0])
            if "nearest" in close
            else f"--skip {shlex.quote(said[0])}",
        )
        return ""

    def _of(self, word: str) -> str | None:
        """The class of a word; empty where the label map drops it."""
        if word in self._labels:
            return self._labels[word]
        if plain(word) in self._plain_labels:
            return self._plain_labels[plain(word)]
        return class_of(word, self._classes)

    def _taken(self, word: str, code: str) -> str | None:
        if not code:
            self._account.left_out[word or NO_DIAGNOSIS] += 1
            return None
        if plain(word) != plain(code):
            self._account.map("dx", word or NO_DIAGNOSIS, code)
        return code


# Which column holds what, by its cells: said to the user as an option, never acted upon.


ENOUGH = 0.5
"""Share of a column's cells that must be understood for it to be named."""
AGE_NAMES = {
    "age",
    "alter",
    "edad",
    "eta",
    "idade",
    "leeftijd",
    "alder",
    "ans",
    "jahre",
    "lebensalter",
    "wiek",
}


def refuse_columns(
    sheet: Sheet,
    found: Survey,
    columns: Mapping[str, str] | None,
    classes: Collection[str],
    labels: Mapping[str, str],
) -> NoReturn:
    """Say which columns a table lacks, and which of its own could be meant.

    Raises:
        UserError: always.
    """
    check_map(columns)
    for named in (columns or {}).values():
        for part in [named] if named in sheet.header else named.split(JOINT):
            sheet.column(part.strip())  # which says that there is none
    if image_id_of(sheet.header[0]) in found.images:
        raise UserError(
            f"{sheet.path} names no columns: its first row is of image {sheet.header[0]}; put a row with "
            "image_id, dx and so on above it"
        )
    lacking = [ours for ours in NEEDED if theirs(sheet.header, ours, columns) is None]
    guessed = guess_columns(sheet, found, classes, labels)
    options = [option("--column", ours, name) for ours, name in guessed.items()]
    if "dx" in guessed:
        words = dict.fromkeys(cell for cell in sheet.column(guessed["dx"]) if not is_missing(cell))
        unknown = [word for word in words if word not in labels and class_of(word, classes) is None]
        options += [option("--label", "CLASS", word) for word in unknown[:5]]
    unsure = [ours for ours in lacking if ours not in guessed]
    options += [f"--column {ours}=…" for ours in unsure]
    raise UserError(
        f"{sheet.path} has no column for {' and '.join(lacking)}; it has {', '.join(sheet.header)}: say "
        "which one "
        f"holds it with a column map; perhaps {' '.join(options)}"
    )


def guess_columns(
    sheet: Sheet,
    found: Survey,
    classes: Collection[str],
    labels: Mapping[str, str],
    taken: Collection[str] = (),
) -> dict[str, str]:
    """Columns whose cells are what ours hold, by ours; those that a table is read by already are left out.

    Args:
        sheet: the table.
        found: the images.
        classes: the classes.
        labels: class by the source's diagnosis.
        taken: columns that are read already.
    """
    tests: dict[str, Callable[[str], bool]] = {
        "image_id": lambda cell: image_id_of(cell) in found.images,
        "dx": lambda cell: cell in labels or class_of(cell, classes) is not None,
        "sex": lambda cell: sexes_of([cell])[cell] not in (None, "unknown"),
        "site": lambda cell: site_of(cell) not in (None, "unknown"),
    }
    free = [name for name in sheet.header if name and name not in taken]
    guessed: dict[str, str] = {}
    for ours, test in tests.items():
        if theirs(sheet.header, ours) is not None:
            continue
        shares = {
            name: _share(sheet.column(name), test) for name in free if ours == "dx" or not is_telling(name)
        }
        best = max(shares, key=lambda name: shares[name], default="")
        if best and shares[best] >= ENOUGH:
            guessed[ours] = best
            free.remove(best)
    if theirs(sheet.header, "age") is None:
        aged = (name for name in free if plain(name).split(" ")[0] in AGE_NAMES)
        if name := next((name for name in aged if _share(sheet.column(name), _is_age) >= ENOUGH), None):
            guessed["age"] = name
    return guessed


def _is_age(cell: str) -> bool:
    age = age_of(cell)
    return age is not None and 0 <= age <= 120


def _share(cells: Sequence[str], test: Callable[[str], bool]) -> float:
    """The share of the cells that say something and pass."""
    said = [cell for cell in cells if not is_missing(cell)]
    results = {cell: test(cell) for cell in set(said)}
    return sum(results[cell] for cell in said) / len(said) if said else 0.0
