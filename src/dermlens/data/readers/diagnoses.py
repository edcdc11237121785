"""Diagnoses by their usual names, what each of them belongs to, and one-hot columns named after them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from dermlens.data.readers.roles import ROLE_OF_WORD
from dermlens.labels import CLASSES
from dermlens.predict.sources.sheets import Sheet
from dermlens.predict.sources.tables import is_answers, theirs
from dermlens.predict.sources.vocabulary import is_missing, plain

# A diagnosis is a kind of others: Reed's nevus is a nevus, seborrheic keratosis is one of HAM10000's `bkl`.
# So a table is read by whatever list of classes is asked for: by the most specific of them that a name falls
# under.
#
# The seven are grouped as HAM10000 does (Tschandl et al. 2018, table 1): `akiec` are actinic keratoses and
# intraepithelial carcinomas, `bkl` seborrheic keratoses, solar lentigines and lichen-planus-like keratoses,
# `vasc` angiomas, angiokeratomas, pyogenic granulomas and haemorrhage.
#
# Squamous cell carcinoma without a further word is none of the seven: most of ISIC 2019's 628 are BCN20000's
# 431, which are invasive, MILK10k keeps invasive ones apart (`SCCKA`), and PAD-UFES-20 mixes both. The other
# 197 of ISIC 2019, and the archive's, are HAM10000's own intraepithelial carcinomas, filed under that name:
# its images are known by their ids, and stay `akiec`.
#
# Sources of names: HAM10000; the ISIC challenges of 2016 to 2020 and 2024; the ISIC archive's `diagnosis_1`
# to `diagnosis_5`; MILK10k; PAD-UFES-20; Derm7pt; BCN20000.


_TREE = """
mel: melanoma; melanome malin; melanome malins; melanomi; melanomen; maligne melanome; malign melanom;
  melanomas malignos; melanomi maligni; schwarzer hautkrebs; mm; melanomas; malignant melanoma; malignes
  melanom; melanom; melanome; melanoma maligno; malignant melanocytic proliferations (melanoma); melanoma nos;
  mel nos
  > melanoma in situ: melanom in situ; melanome in situ; melanoma in situ superficial spreading; melanoma in
    situ associated with a nevus; melanoma (in situ); mis; in situ melanoma
  > lentigo maligna: lentigo maligna melanoma; lm; lmm; melanoma in situ lentigo maligna type
  > melanoma invasive: melanoma invasive associated with a nevus; melanoma invasive on chronically sun exposed
    skin or lentigo maligna melanoma; superfiziell spreitendes melanom; nodulares melanom; invasive melanoma;
    melanoma (less than 0.76 mm); melanoma (0.76 to 1.5 mm); melanoma (more than 1.5 mm); superficial
    spreading melanoma; nodular melanoma; acral melanoma; ssm; melanoma superficial spreading; melanoma
    nodular; melanoma invasive superficial spreading; melanoma invasive nodular; acral lentiginous melanoma;
    amelanotic melanoma; desmoplastic melanoma; spitzoid melanoma
  > melanoma metastasis: metastatic melanoma; melanoma metastatic; melanoma metastases; cutaneous melanoma
    metastasis
nv: nevus; common nevus; common nevi; common naevus;
  nei; neo; lunar; lunares; grain de beaute; grains de beaute; muttermal; muttermale; leberfleck;
  leberflecken; leberflecke; pinta; pintas; sinal; navi; nevus melanocitico; nevi melanocitici; nevus
  melanocytaire; nævus melanocytaire; nevo melanocitario; nevos melanociticos; nevus melanocytaires;
  melanozytare navi; melanositik nevus; melanositik nevusler; benler; melanozytarer nævus; pigmentmal;
  nevi; naevus; naevi; nævus; nævi; nev; melanocytic nevus; melanocytic nevi; melanocytic naevus; melanocytic
  naevi; mole; moles; nevus nos; nevus melanocytic; benign nevus; benign nevi; nevocytic nevus; navus; nevo;
  nevos; nevo melanocitico; navus melanozytar; navuszellnavus; nzn; pigmentnavus; nevus pigmentaire;
  melanozytarer navus; benign melanocytic proliferations
  > clark nevus: dysplastischer navus; atypischer navus; nevus dysplasique; nevo displasico; nevo displastico;
    displastik nevus; nevus atypical dysplastic or clark; dysplastic nevus; dysplastic nevi; atypical nevus;
    atypical nevi; clark s nevus; nevus atypical; dn; nevus dysplastic; nevus clark
  > blue nevus: nevus bleu; nevo azul; nevo blu; blauer navus; mavi nevus; blue nevus cellular; nevus blue
    cellular; nevus blue; blue naevus; cellular blue nevus
  > congenital nevus: naevus congenital; nevo congenito; konjenitaler navus; kongenitaler navus; konjenital
    nevus; nevus congenital melanocytic; nevus congenital; congenital melanocytic nevus; cmn
  > dermal nevus: intradermal nevus; nevus nos dermal; nevus dermal; unna nevus; miescher nevus
  > junctional nevus: nevus nos junctional; nevus junctional
  > compound nevus: nevus nos compound; nevus compound
  > combined nevus: nevus combined
  > recurrent nevus: nevus recurrent or persistent; nevus recurrent; persistent nevus
  > reed or spitz nevus: spitz navus; navus spitz; reed navus; nevo de spitz; nevo di spitz; nevus de spitz;
    reed nevus; spitz nevus; nevus spitz; nevus reed; spitz/reed nevus; spitzoid nevus; nevus spitzoid;
    pigmented spindle cell nevus
  > acral nevus: nevus acral
  > halo nevus: nevus halo
  > other nevus: nevus spilus; nevus bap 1 deficient; nevus balloon cell; nevus deep penetrating; nevus
    genital; nevus of special anatomic site; nevus special site; nevus agminated; nevus flexural site;
    meyerson nevus; nevus meyerson; nevus ota or ito
bcc: basal cell carcinoma; basalzellcarcinom; basalzellcarcinome; cbc; carcinomes basocellulaires; carcinomas
  basocelulares; carcinomi basocellulari; epitelioma basocellulare; epitelioma basocelular; bazal hucreli
  karsinom; bazal hucreli karsinomlar; basaliome; basal cell; weisser hautkrebs; basal cell carcinomas;
  basalioma; basaliom; basalzellkarzinom; basalzellkarzinome; bzk; basal cell carcinoma nos; carcinome
  basocellulaire; carcinoma basocelular; carcinoma basocellulare; basocellular
  > nodular bcc: basal cell carcinoma nodular; nodular basal cell carcinoma
  > superficial bcc: basal cell carcinoma morpheaform; basal cell carcinoma superficial; superficial basal
    cell carcinoma
  > infiltrating bcc: basal cell carcinoma infiltrating; basal cell carcinoma infiltrative
  > pigmented bcc: basal cell carcinoma pigmented; pigmented basal cell carcinoma
akiec: actinic keratoses and intraepithelial carcinoma; actinic keratosis / bowen s disease; actinic keratosis
  / bowen s disease (intraepithelial carcinoma); actinic keratoses and intraepithelial carcinomas; actinic
  keratosis or intraepithelial carcinoma; actinic keratoses and intraepithelial carcinoma / bowen s disease;
  indeterminate epidermal proliferations; actinic keratoses (solar keratoses) and intraepithelial carcinoma;
  actinic keratosis/intraepithelial carcinoma; actinic keratosis intraepithelial carcinoma; akbd
  > ak: aktinik keratoz; aktinik keratozlar; keratoses actiniques; queratosis actinicas; cheratosi attiniche;
    queratoses actinicas; ceratoses actinicas; keratosis actinica; solare keratose; actinic keratosis; actinic
    keratoses; ack; solar keratosis; solar keratoses; solar or actinic keratosis; aktinische keratose;
    aktinische keratosen; keratose actinique; queratosis actinica; cheratosi attinica; ceratose actinica;
    queratose actinica; actinic keratosis nos; actinic cheilitis
  > scc in situ: bowen hastaligi; malattia di bowen; doenca de bowen; carcinoma in situ; carcinome in situ;
    bowen; bowen disease; bowen s disease; bowens disease; morbus bowen; squamous cell carcinoma in situ;
    squamous cell carcinoma in situ bowens disease; squamous cell carcinoma in situ bowen s disease;
    intraepithelial carcinoma; intraepidermal carcinoma; iec; maladie de bowen; enfermedad de bowen
bkl: benign keratosis; benign keratosis like lesion; benign keratosis like lesions; benign keratoses; blk;
  benign epidermal proliferations; benign keratosis like lesions (solar lentigines / seborrheic keratoses and
  lichen planus like keratoses); pigmented benign keratosis; benign keratosis (solar lentigo / seborrheic
  keratosis / lichen planus like keratosis)
  > sk: seborrhoeische keratose; seborrhoeische keratosen; alterswarze; alterswarzen; seboreik keratoz;
    keratoses seborrheiques; queratosis seborreicas; cheratosi seborroiche; queratoses seborreicas; ceratoses
    seborreicas; keratosis seborreica; verruca seborreica; verruga seborreica; verrue seborrheique; seborrheic
    keratosis; seborrheic keratoses; seborrhoeic keratosis; seborrhoeic keratoses; sek; verruca seborrhoica;
    seborrhoische keratose; seborrhoische keratosen; keratose seborrheique; queratosis seborreica; cheratosi
    seborroica; ceratose seborreica; queratose seborreica; seborrheic keratosis irritated; seborrheic
    keratosis clonal; basal cell papilloma
  > sl: lentigo actinique; lentigo solaire; lentigines solaires; altersfleck; altersflecken; flat melanotic
    pigmentations not melanocytic nevus solar lentigo; solar lentigo; solar lentigines; lentigo solaris;
    lentigo senilis; senile lentigo; actinic lentigo; lentigo simplex or solar; lentigo actinico; lentigo
    solare; lentigo solar
  > lplk: lichen planus like keratosis; lichenoid keratosis; lichenoid keratoses; benign lichenoid keratosis;
    lichen planus like keratoses
df: dermatofibroma; histiocytofibrome; dermatofibromi; dermatofibrome s; dermato fibroma; dermatofibrom lar;
  dermatofibroma atypical; dermatofibromas; dermatofibrom; histiocytoma; fibrous histiocytoma; benign fibrous
  histiocytoma; dermatofibrome; histiozytom; benign soft tissue proliferations fibro histiocytic
vasc: vascular; vaskulare lasionen; gefasslasionen; lesions vasculaires; lesiones vasculares; lesioni
  vascolari; lesoes vasculares; vaskuler lezyon; vaskuler lezyonlar; vascular lesion nos; vaskular; vascolare;
  vasculaire; vascular lesion; vascular lesions; vl; vasculare lasion; gefasslasion; lesion vasculaire; lesion
  vascular; lesione vascolare; lesao vascular; benign soft tissue proliferations vascular; vascular skin
  lesion
  > angioma: angiome; angiomi; hemangiomas; hemanjiom; hemanjiyom; anjiyom; blutschwamm; hemangioma hobnail;
    lymphangioma; arterio venous malformation; hemangioma; haemangioma; angiomas; cherry angioma; hemangiom;
    hamangiom; angiom; hemangiome
  > angiokeratoma: angiokeratomas; angiokeratom
  > pyogenic granuloma: granuloma pyogenicum; pyogenic granulomas; lobular capillary hemangioma
  > hemorrhage: haemorrhage; hematoma; subcorneal hemorrhage; trauma hemorrhage; subungual hematoma
-: unk; unknown; miscellaneous; misc; other; others; other diagnosis; none of the others; not classified;
  unclassified
  > invasive scc: squamous cell carcinoma invasive; invasive squamous cell carcinoma; sccka; scc/ka; malignant
    epidermal proliferations; squamous cell carcinoma keratoacanthoma; squamous cell carcinoma/keratoacanthoma
  > scc: squamous cell carcinoma; squamous cell carcinomas; squamous cell carcinoma nos; spinaliom; cutaneous
    scc; cscc; plattenepithelkarzinom; stachelzellkarzinom; stachelzellkrebs; carcinome epidermoide; carcinoma
    espinocelular; carcinoma spinocellulare; carcinoma squamocellulare; carcinoma de celulas escamosas;
    carcinoma epidermoide; skuamoz hucreli karsinom; yassi hucreli karsinom
  > keratoacanthoma: keratoacanthome; queratoacantoma; cheratoacantoma; keratoakantom; ka; keratoacanthomas;
    keratoakanthom
  > inflammatory: inf; inflammatory or infectious; inflammatory or infectious diseases; inflammation;
    infectious
  > benign other: ben oth; other benign; other benign proliferations including collision tumors; exogenous
  > malignant other: kaposi sarcoma; paget disease; sebaceous carcinoma; cutaneous metastasis; malignant
    adnexal epithelial proliferations follicular; mastocytosis; lymphocytic proliferations; atypical
    fibroxanthoma; cutaneous lymphoma; mal oth; other malignant; other malignant proliferations including
    collision tumors; malignant adnexal epithelial proliferations; malignant soft tissue proliferations;
    merkel cell carcinoma
  > scar: scars; narbe; cicatrix; cicatrice; cicatriz
  > lentigo: lentigo nos; lentigo simplex; lentigines; ink spot lentigo; simple lentigo
  > melanosis: mucosal melanosis; flat melanotic pigmentations not melanocytic nevus; mucosal melanotic
    macule; melanotic macule; cafe au lait macule; labial melanotic macule; ephelis; ephelides
  > atypical melanocytic proliferation: atypical melanocytic neoplasm; amp; atypical melanocytic
    proliferations; indeterminate melanocytic proliferations; atypical intraepithelial melanocytic
    proliferation; atypical spitz tumor; aimp; melanocytoma
  > collision: collision tumor; collision at least one malignant proliferation; collision only benign
    proliferations; collision tumors; collision at least one indeterminate proliferation
  > adnexal tumor: sebaceous adenoma; hidradenoma; benign adnexal epithelial proliferations; sebaceous
    hyperplasia; trichilemmoma; poroma; pilomatricoma; trichoepithelioma; adnexal; benign adnexal epithelial
    proliferations follicular; benign adnexal epithelial proliferations sebaceous; benign adnexal epithelial
    proliferations apocrine or eccrine
  > cyst: trichilemmal or isthmic catagen or pilar cyst; epidermal cyst; infundibular or epidermal cyst; flat
    infundibular cyst; cysts; trichilemmal cyst; milium
  > wart: verruca; verruca vulgaris; viral wart; warts; molluscum; molluscum contagiosum
  > soft tissue: angiofibroma or fibrous papule; lipoma; neurofibroma; fibroepithelial polyp; skin tag;
    acrochordon; fibroma; angiofibroma; leiomyoma; benign soft tissue proliferations; fibrous papule; juvenile
    xanthogranuloma; supernumerary nipple; benign soft tissue proliferations neural; benign soft tissue
    proliferations fatty
  > epidermal nevus: nevus sebaceous; nevus epidermal; sebaceous nevus; nevus lipomatosus superficialis; nevus
    comedonicus
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
            if name != "-" and (word := _plain(name)):
                assert of_name.setdefault(word, key) == key, f"{word} is of {key} and of {of_name[word]}"
    return of_name, parents


def _plain(name: str) -> str:
    """A name as it is compared: as `plain`, without punctuation at the ends of its words."""
    return " ".join(re.sub(r"[,.'\u2019:]", " ", plain(name)).split())


_OF_NAME, _PARENTS = _read_tree()
OUTSIDE = "-"

BINARY = ("benign", "malignant")
"""The two classes of ISIC 2016, and of tables and folders that say no more."""
_BINARY_NAMES = {
    "benign": "benign benigne benignes benigna benignas benigno benignos benigni benignant gutartig gutartige"
    " benin benins begnin beningo selim iyi_huylu",
    "malignant": "malignant maligne malignes maligna malignas maligno malignos maligni malign bosartig"
    " bosartige boesartig boesartige malin malins habis kotu_huylu cancer",
}
_BINARY_OF = {name.replace("_", " "): code for code, names in _BINARY_NAMES.items() for name in names.split()}
DECORATION = frozenset({
    "image", "images", "img", "imgs", "photo", "photos", "foto", "fotos", "bild", "bilder", "picture",
    "pictures", "pic", "pics", "class", "classe", "classes", "klasse", "clase", "sinif", "cases", "falle",
    "lesion", "lesions", "lasion", "lasionen", "lesiones", "lesioni", "lesoes", "lezyon", "lezyonlar",
    "label", "cls", "dermoscopy", "dermoscopic", "dermatoskopie", "jpg", "png",
})  # fmt: skip
"""Words that may stand beside a diagnosis in the name of a folder and say nothing of it."""

HAM10000_IDS = range(24306, 34321)
"""The numbers of HAM10000's 10,015 images in the ISIC archive, without a gap."""


def is_diagnosis(name: str) -> bool:
    """Whether a name is that of a diagnosis, in one of the seven classes or outside them."""
    return _key(_plain(name)) is not None


def binary_of(name: str) -> str | None:
    """Benign or malignant, by a word of several languages; None for any other word."""
    return next((_BINARY_OF[form] for form in _forms(_plain(name)) if form in _BINARY_OF), None)


def is_bare_carcinoma(name: str) -> bool:
    """Whether a name is that of squamous cell carcinoma, and says not whether it is invasive."""
    return _key(_plain(name)) == "scc"


def is_of_ham10000(image: str) -> bool:
    """Whether an image is one of HAM10000's, by its name in the ISIC archive."""
    found = re.fullmatch(
        r"ISIC_(\d{7})(?:_downsampled)?(?:\.\w{3,4})?", image.replace("\\", "/").rpartition("/")[2]
    )
    return found is not None and int(found[1]) in HAM10000_IDS


def contradict(one: str, other: str) -> bool:
    """Whether two names are of different classes of the seven."""
    codes = class_of(one, CLASSES), class_of(other, CLASSES)
    return None not in codes and codes[0] != codes[1]


def class_of(name: str, classes: Collection[str]) -> str | None:
    """The class that a diagnosis falls under.

    Args:
        name: as a table has it, or a folder: `01_melanoma`, `mel images` and `Melanoma (MEL)` are names of
            melanoma.
        classes: the classes, by any of their names.

    Returns:
        The class that has this very name, whatever its case, underscores and hyphens; else the most specific
        one that the diagnosis is a kind of; None where there is none, or no diagnosis has this name.
    """
    return _class_of(_plain(name), tuple(classes))


@lru_cache(maxsize=4096)  # a table says the same few names ten thousand times
def _class_of(word: str, classes: tuple[str, ...]) -> str | None:
    by_key = {_OF_NAME.get(_plain(code), ""): code for code in reversed(classes)}
    by_binary = {_BINARY_OF.get(_plain(code), ""): code for code in reversed(classes)}
    for form in _forms(word):
        for code in classes:
            if _plain(code) == form:
                return code
        if (binary := _BINARY_OF.get(form)) in by_binary:
            return by_binary[binary]
        if form in _OF_NAME:
            return next((by_key[key] for key in _upwards(_OF_NAME[form]) if key in by_key), None)
    key = _key(word)
    return next((by_key[one] for one in _upwards(key) if one in by_key), None)


@lru_cache(maxsize=4096)
def _key(word: str) -> str | None:
    """The diagnosis that a name stands for: as it is, bare, or given twice as in `mel - melanoma`."""
    for form in _forms(word):
        if form in _OF_NAME:
            return _OF_NAME[form]
    words = re.sub(r"[()\[\]/]", " ", word).split()
    for at in range(1, len(words)):
        first, second = " ".join(words[:at]), " ".join(words[at:])
        keys = [_OF_NAME.get(first), _OF_NAME.get(second)]
        if keys[0] is not None and second in _BINARY_OF:
            return keys[0]
        if keys[0] is not None and keys[1] is not None:
            if keys[1] == keys[0] or keys[0] in _upwards(keys[1]):
                return keys[1]
            if keys[1] in _upwards(keys[0]):
                return keys[0]
    return None


def _forms(cell: str) -> Iterator[str]:
    """A name, and what is left of it without a number before it and words that say nothing of a diagnosis."""
    yield cell
    words = re.sub(r"^\d+[ )]*", "", cell).split()
    if bare := " ".join(word for word in words if word not in DECORATION and word not in ROLE_OF_WORD):
        yield bare


def _upwards(key: str | None) -> Iterator[str]:
    """A diagnosis, and what it belongs to."""
    while key is not None and key != OUTSIDE:
        yield key
        key = _PARENTS[key]


# Ground truth as one-hot columns: the ISIC challenges' and MILK10k's, and that of any list of classes.


ISIC_2017 = {"melanoma", "seborrheic_keratosis"}
"""Its third class, nevus, has no column: it is where both are 0."""
YES = frozenset({"true", "t", "yes", "y", "x", "ja", "j", "oui", "o", "si", "s", "sim", "evet"})
NO = frozenset({"", "false", "f", "no", "n", "nein", "non", "nao", "hayir"})


def hot(cell: str) -> bool | None:
    """Whether a cell of a one-hot column is 1, in digits or in a word; None where it is neither 1 nor 0."""
    word = plain(cell)
    if word in YES or word in NO:
        return word in YES
    try:
        number = float(cell.replace(",", "."))
    except ValueError:
        return False if is_missing(cell) else None
    return bool(number) if number in (0, 1) else None


def unknown_hot(sheet: Sheet, codes: Collection[str] = ()) -> list[str]:
    """Columns of a one-hot truth that are named after no diagnosis: 1 where no other is, else 0.

    Args:
        sheet: the table.
        codes: its columns that are diagnoses; where there are none, all rows must have their 1 in what is
            found.
    """
    cells = {name: [hot(cell) for cell in sheet.column(name)] for name in sheet.header if name}
    known = [cells[code] for code in codes]
    taken = [any(row) for row in zip(*known, strict=True)] if known else [False] * len(sheet.rows)
    found = []
    for name, column in cells.items():
        if (
            name in codes
            or None in column
            or not any(column)
            or any(map(lambda one, two: one and two, column, taken))
        ):
            continue
        found.append(name)
        taken = [bool(one or two) for one, two in zip(taken, column, strict=True)]
    return found if all(taken) and (codes or len(found) > 1) else []


def hot_columns(header: Sequence[str], classes: Collection[str] = ()) -> list[str]:
    """The columns of a one-hot truth: those named after a diagnosis or one of the classes."""
    wanted = {plain(code) for code in classes}
    return [name for name in header if plain(name) in wanted or is_diagnosis(name)]


def is_onehot(header: Sequence[str], classes: Collection[str] = ()) -> bool:
    """Whether a file with this header can be read here."""
    keyed = theirs(header, "image_id") or theirs(header, "lesion_id")
    return (
        keyed is not None
        and theirs(header, "dx") is None
        and not is_answers(header)
        and len(hot_columns(header, classes)) >= 2
    )
