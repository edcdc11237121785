"""The words for a patient's age, sex and body site, one vocabulary for training and prediction.

Free of pandas. Words are compared in lower case, without accents, with underscores and hyphens as spaces.

Sites are read as a word of HAM10000, of the ISIC archive or of PAD-UFES-20, and each of those has a group:

    word                                 group            why
    scalp, face, ear, neck, nose, lip    head/neck        ISIC's group of that name
    chest, abdomen                       anterior torso   the front of the torso
    back                                 posterior torso  the back of the torso
    trunk, lateral torso                 torso            the side is not given, or is neither front nor back
    arm, forearm, hand                   upper extremity  where ISIC 2019 files HAM10000's hands
    thigh, foot                          lower extremity  where ISIC 2019 files HAM10000's feet
    acral                                palms/soles      in dermoscopy, the hairless skin of palms and soles
    genital                              oral/genital     ISIC's group of that name

A group is a word for itself. What no table here has is no site: the caller counts it as missing, and says so.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Set
from functools import lru_cache

# Body sites as tables of several languages write them, by the word that each is read as.
#
# Words stand here in lower case, without accents, hyphens and underscores;
# `dermlens.predict.sources.vocabulary` looks them up. Sources: HAM10000's `localization`; ISIC's
# `anatom_site_general` and `anatom_site_special`; MILK10k's `site`; PAD-UFES-20's `region`; Derm7pt's
# `location`; BCN20000, which has ISIC's words.


SITE_GROUPS = (
    "head/neck",
    "anterior torso",
    "posterior torso",
    "torso",
    "upper extremity",
    "lower extremity",
    "palms/soles",
    "oral/genital",
    "unknown",
)

GROUP_OF_SITE = {
    "scalp": "head/neck",
    "face": "head/neck",
    "ear": "head/neck",
    "neck": "head/neck",
    "nose": "head/neck",
    "lip": "head/neck",
    "chest": "anterior torso",
    "abdomen": "anterior torso",
    "back": "posterior torso",
    "trunk": "torso",
    "lateral torso": "torso",
    "hand": "upper extremity",
    "arm": "upper extremity",
    "forearm": "upper extremity",
    "foot": "lower extremity",
    "thigh": "lower extremity",
    "acral": "palms/soles",
    "genital": "oral/genital",
} | {group: group for group in SITE_GROUPS}
"""The group of each word that a site may be read as."""

_WORDS = """
head/neck: head; head neck; head and neck; head & neck; head neck face; kopf; kopf hals; kopf/hals; kopf und
  hals; tete; tete et cou; tete/cou; cabeza; cabeza y cuello; cabeza/cuello; testa; capo; testa e collo;
  testa/collo; cabeca; cabeca e pescoco; cabeca/pescoco; hoofd; hoofd/hals; hoofd hals; bas; bas boyun;
  bas/boyun
scalp: capillitium; kopfhaut; cuir chevelu; cuero cabelludo; cuoio capelluto; couro cabeludo; hoofdhuid;
  sacli deri; kafa derisi; occiput; vertex
face: facial; cheek; forehead; temple; chin; jaw; eyelid; eyebrow; eye; periocular; gesicht; wange; stirn;
  schlafe; schlaefe; kinn; augenlid; lid; visage; joue; tempe; menton; paupiere; cara; mejilla; frente;
  sien; parpado; viso; volto; guancia; fronte; tempia; mento; palpebra; rosto; bochecha; queixo; gezicht;
  wang; voorhoofd; yuz; alin; yanak; jawline; nasolabial; preauricular
ear: ears; auricle; ohr; ohren; ohrmuschel; oreille; oreja; orecchio; orelha; oor; kulak
neck: nape; throat; hals; nacken; cou; nuque; cuello; nuca; collo; pescoco; nek; boyun; ense; neck/nape;
  nape of neck; back of neck
nose: nasal; nase; nez; nariz; naso; neus; burun
lip: lips; lippe; lippen; levre; levres; labio; labios; labbro; labbra; lippe oben; lip vermilion; dudak
anterior torso: anterior trunk; front of torso; front torso; torso anterior; vorderer rumpf; rumpf vorne;
  tronc anterieur; tronco anterior; tronco anteriore; trunk anterior; trunk front; torso front; torso front
  top half; torso front bottom half; on govde; inguinal; groin; leiste; aine; ingle; inguine; virilha
chest: breast; thorax; sternum; brust; brustkorb; poitrine; sein; pecho; torax; mama; petto; torace; seno;
  peito; borst; decollete; dekollete; gogus; inframammary; torso front top third; clavicle; collarbone;
  schlusselbein
abdomen: belly; stomach; abdominal; bauch; ventre; vientre; addome; barriga; buik; navel; umbilicus; karin;
  torso front bottom third; torso front middle third
posterior torso: posterior trunk; back of torso; torso posterior; buttock; buttocks; gluteal; gesass;
  gesaess; hinterer rumpf; rumpf hinten; tronc posterieur; tronco posterior; tronco posteriore; fesse;
  fesses; nalga; nalgas; gluteo; glutei; natica; nadega; nadegas; gluteos; bil; billen; gluteal region;
  trunk posterior; trunk back; torso back; kalca; sacral; sacrum; kreuz; kreuzbein
back: upper back; lower back; mid back; middle back; rucken; ruecken; oberer rucken; unterer rucken; dos;
  espalda; espalda superior; espalda inferior; dorso; schiena; costas; rug; ryg; rygg; plecy; sirt; lumbar;
  lumbar region; lws; bws; lendenwirbelsaule; scapula; scapular; schulterblatt; omoplate; interscapular;
  torso back top third; torso back middle third; torso back bottom third
torso: truncus
trunk: rumpf; stamm; korperstamm; koerperstamm; tronc; tronco; romp; tulow; govde
lateral torso: lateral trunk; flank; axilla; armpit; flanke; achsel; flanc; aisselle; flanco; axila; fianco;
  ascella; costado; oksel; flank/axilla; axillary; koltuk alti
upper extremity: upper extremities; upper limb; upper limbs; shoulder; elbow; wrist; obere extremitat; obere
  extremitaet; obere extremitaten; schulter; ellbogen; ellenbogen; handgelenk; membre superieur; membres
  superieurs; epaule; coude; poignet; extremidad superior; extremidades superiores; miembro superior;
  miembros superiores; hombro; codo; muneca; arto superiore; arti superiori; spalla; gomito; polso; membro
  superior; membros superiores; ombro; cotovelo; punho; bovenste ledematen; schouder; elleboog; pols; kol;
  omuz; dirsek; bilek
arm: upper arm; arms; oberarm; arme; bras; brazo; brazos; braccio; braccia; braco; bracos; bovenarm; ust
  kol; left arm upper; right arm upper; arm upper
forearm: lower arm; forearms; unterarm; avant bras; antebrazo; avambraccio; antebraco; onderarm; on kol;
  proximal forearm; distal forearm; arm lower
hand: hands; finger; fingers; thumb; fingernail; fingernails; back of hand; hande; haende; daumen;
  handrucken; main; mains; doigt; doigts; mano; manos; dedo; mani; dito; mao; maos; dedo da mao; vinger; el;
  parmak; dorsum of hand; dorsal hand; hand dorsum
lower extremity: lower extremities; lower limb; lower limbs; leg; legs; lower leg; knee; shin; calf; ankle;
  hip; untere extremitat; untere extremitaet; untere extremitaten; bein; beine; unterschenkel; knie; wade;
  schienbein; knochel; knoechel; hufte; huefte; membre inferieur; membres inferieurs; jambe; jambes; genou;
  mollet; cheville; hanche; extremidad inferior; extremidades inferiores; miembro inferior; miembros
  inferiores; pierna; piernas; rodilla; pantorrilla; tobillo; cadera; arto inferiore; arti inferiori; gamba;
  gambe; ginocchio; polpaccio; caviglia; anca; membro inferior; membros inferiores; perna; pernas; joelho;
  panturrilha; tornozelo; quadril; onderste ledematen; been; benen; onderbeen; kuit; enkel; heup; bacak;
  diz; baldir; ayak bilegi; popliteal; leg lower
thigh: thighs; upper leg; oberschenkel; cuisse; cuisses; muslo; muslos; coscia; cosce; coxa; coxas; dij;
  bovenbeen; uyluk; leg upper
foot: feet; toe; toes; toenail; toenails; heel; fuss; fusse; fuesse; zehe; zehen; ferse; pied; pieds;
  orteil; talon; pie; pies; pie/dedo; piede; piedi; pe; pes; calcanhar; voet; voeten; ayak; ayak parmagi;
  dorsal foot; dorsum of foot; foot dorsum; nail; nagel
palms/soles: palms soles; palms and soles; palms or soles; palm; palms; sole; soles; acral palms or soles;
  acral palms soles; handflache; handflaeche; fusssohle; handflachen/fusssohlen; handflachen und fusssohlen;
  paume; paumes; plante; plantes; paumes/plantes; palma; palmas; planta; plantas; palmas/plantas; palmas y
  plantas; palme; piante; palmo/piante; palme/piante; palmas e plantas; handpalm; voetzool; sole of foot;
  palm of hand; plantar; palmar; avuc ici; ayak tabani
acral: acral nos; akral; acral site
oral/genital: oral or genital; oral genital; oral and genital; mucosa; mucosal; mucous membrane; oral;
  mouth; tongue; anogenital; perianal; anal; schleimhaut; mund; zunge; muqueuse; bouche; boca; mucosas;
  bocca; lingua; slijmvlies; mond
genital: genitals; genitalia; genital area; genital areas; genital region; penis; vulva; scrotum;
  genitalbereich; intimbereich; genitalien; organes genitaux; parties genitales; genitales; genitais;
  genitali; geslachtsdelen
"""
# A site, and the words that are read as it.

SITE_OF_WORD: dict[str, str] = {word: word for word in GROUP_OF_SITE if word != "unknown"} | {
    word: site
    for site, _, words in (entry.partition(": ") for entry in re.split(r"\n(?=\S)", _WORDS.strip()))
    for word in re.split(r";\s+", " ".join(words.split()))
}
"""What each word of the table, and each word that sites are read as, is read as."""

SIDES = frozenset({
    "left", "right", "l", "r", "links", "rechts", "linke", "rechte", "linker", "rechter", "linkes",
    "rechtes", "gauche",
    "droit", "droite", "izquierdo", "izquierda", "derecho", "derecha", "sinistro", "sinistra", "destro",
    "destra",
    "esquerdo", "esquerda", "direito", "direita", "linkerzijde", "rechterzijde", "the", "of", "der",
    "die", "das", "li", "re", "lt", "rt", "sag", "sol", "bilateral", "beidseits",
})  # fmt: skip
"""What may stand next to a site and says only which side of the body it is on."""


OLDEST = 120
MISSING = frozenset({
    "", "unknown", "na", "n/a", "nan", "none", "null", "<na>", "not reported", "#n/a", "n.a.", "n.d.",
    "nd", "nil",
    "unk", "missing", "not available", "not known", "not specified", "unspecified", "undefined", "?",
    ".", "...",
    "unbekannt", "keine angabe", "k.a.", "k. a.", "nicht bekannt", "inconnu", "inconnue", "non precise",
    "desconocido", "desconocida", "no consta", "sconosciuto", "sconosciuta", "non noto", "desconhecido",
    "desconhecida", "nao informado", "onbekend", "okand", "ukjent", "ukendt", "nieznane", "nieznana",
})  # fmt: skip
FEMALE = frozenset({
    "female", "f", "fem", "woman", "girl", "w", "weiblich", "frau", "femme", "feminin", "feminine", "mujer",
    "femenino", "femenina", "hembra", "donna", "femmina", "femminile", "mulher", "feminino", "feminina",
    "vrouw",
    "vrouwelijk", "kvinna", "kvinde", "kvinne", "kobieta", "zena", "weibl", "madchen",
    "maedchen", "fille", "nina",
    "bambina", "ragazza", "menina", "senora", "signora", "senhora", "madame", "mme", "mrs", "ms", "kadin",
    "kiz", "bayan", "\u5973", "\u5973\u6027", "\u0436", "\u0436\u0435\u043d",
})  # fmt: skip
MALE = frozenset({
    "male", "m", "masc", "man", "boy", "mannlich", "maennlich", "mann", "homme", "masculin", "hombre",
    "masculino",
    "varon", "uomo", "maschio", "maschile", "homem", "mannelijk", "mand", "mezczyzna", "muz",
    "mannl", "maennl", "herr", "junge", "knabe", "garcon", "nino", "bambino", "ragazzo", "menino", "senor",
    "signor",
    "senhor", "monsieur", "mr", "macho", "erkek", "bay",
    "\u7537", "\u7537\u6027", "\u043c", "\u043c\u0443\u0436",
})  # fmt: skip
NEITHER = frozenset({"other", "o", "x", "diverse", "divers", "diverso", "autre", "otro", "altro", "outro",
                     "intersex", "inter", "non binary", "nonbinary", "undisclosed", "ambiguous", "d",
                     "transgender", "trans",
                     "prefer not to say", "unbestimmt", "indeterminate", "m/f", "f/m", "m/w",
                     "u"})  # fmt: skip
"""Sexes that no encoder has a feature for: they count as unknown, and are counted."""

NUMBER = re.compile(r"[+-]?(\d+(?:[.,]\d+)?\.?|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.ASCII | re.IGNORECASE)
"""As tables write them, with a point or a comma; Python's own reader also takes 1_0 and digits of any
script."""
YEARS = (
    r"(?:y|yr|yrs|year|years|y\.?/?o\.?|jahr|jahre|jahren|j\.?|an|ans|ano|anos|anni|anno|jaar|ar|lat|let|yas)"
)
MONTHS = r"(?:m|mo|mon|mth|mths|month|months|monat|monate|mois|mes|meses|mesi|ay)\.?"
ABOUT = re.compile(
    r"^(?:~|\u2248|about|approx\.?|approximately|circa|ca\.?|c\.|etwa|env\.?|environ|aprox\.?|cerca de) ?"
)
YEAR_WORDS = re.compile(rf"(?:age |aged |alter )?(\d+(?:[.,]\d+)?) ?{YEARS}(?: old| alt)?", re.ASCII)
YEARS_AND_MONTHS = re.compile(
    rf"(\d+) ?{YEARS},? ?(?:and |und |et |y |e )?(\d+) ?{MONTHS}(?: old)?", re.ASCII
)
SHORTER = (
    (
        12.0,
        re.compile(
            r"(\d+(?:[.,]\d+)?) ?(?:mo|mon|mth|mths|month|months|monat|monate|mois|mes|meses|mesi|ay)\.?"
        ),
    ),
    (
        365.25 / 7,
        re.compile(r"(\d+(?:[.,]\d+)?) ?(?:w|wk|wks|week|weeks|woche|wochen|semaines|semanas|hafta)"),
    ),
    (365.25, re.compile(r"(\d+(?:[.,]\d+)?) ?(?:d|day|days|tag|tage|jours|dias|giorni|gun)")),
)
DURATION = re.compile(r"p(\d{1,3})([dwmy])", re.ASCII)
"""ISO 8601."""
DICOM_AGE = re.compile(r"(\d{3})([dwmy])", re.ASCII)
"""DICOM PS3.5 6.2, AS."""
PER_YEAR = {"d": 365.25, "w": 365.25 / 7, "m": 12.0, "y": 1.0}
RANGE = re.compile(
    rf"(\d+(?:\.\d+)?) ?(?:-|\u2013|\u2014|to|bis|a) ?(\d+(?:\.\d+)?) ?{YEARS}?"
    r"|[\[(] ?(\d+(?:\.\d+)?) ?(?:-|\u2013|\u2014|,|;) ?(\d+(?:\.\d+)?) ?[\])]",
    re.ASCII,
)
DECADE = re.compile(r"(\d0)'?s", re.ASCII)
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[ t].*)?|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}"
    r"|(?:19|20)\d{2}(?:0[1-9]|1[0-2])[0-3]\d"
    r"|\d{1,2}[-. ]?[a-z]{3,9}[-. ]?\d{2,4}|(?:19|20)\d{2}",
    re.ASCII,
)
"""Dates, and years of the calendar, as columns of births hold them."""
OPEN = re.compile(
    r"(?:>=?|\u2265|over|above|uber|ueber|plus de|mas de|oltre) ?(\d+(?:\.\d+)?)"
    r"|(\d+(?:\.\d+)?) ?"
    r"(?:\+|plus|and over|and older|or over|or older|und alter|und mehr|et plus|y mas|e oltre)"
)


def plain(word: object) -> str:
    """A word as it is compared: lower case, no accents, single spaces for underscores and hyphens.

    Empty for what is missing or no text at all.
    """
    return _plain_text(word) if isinstance(word, str) else ""


@lru_cache(maxsize=4096)  # a table says the same few words ten thousand times
def _plain_text(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold().replace("\N{LATIN SMALL LETTER DOTLESS I}", "i"))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[_-]", " ", bare.replace("\N{MIDDLE DOT}", " ")).split())


def is_missing(word: object) -> bool:
    """Whether a cell says that nothing is known."""
    return plain(word) in MISSING


def site_of(word: object) -> str | None:
    """A body site in HAM10000's, ISIC's or PAD-UFES-20's word for it.

    Args:
        word: of any table, in English, German, French, Spanish, Italian, Portuguese, Dutch or Turkish.

    Returns:
        `unknown` where the word says that nothing is known; None where it is not understood.
    """
    term = plain(word)
    if term in MISSING:
        return "unknown"
    if term in SITE_OF_WORD:
        return SITE_OF_WORD[term]
    # "left forearm" is a forearm
    bare = " ".join(part for part in re.split(r"[ ,.()]+", term) if part and part not in SIDES)
    found: str | None = SITE_OF_WORD.get(bare)
    return found


def group_of(site: object) -> str:
    """The shared group of a site; `unknown` for a word that is missing or not understood."""
    return GROUP_OF_SITE[site_of(site) or "unknown"]


def known_sites() -> tuple[str, ...]:
    """The words that sites are read as, in alphabetical order."""
    return tuple(sorted(word for word in GROUP_OF_SITE if word != "unknown"))


def sexes_of(words: Iterable[str]) -> dict[str, str | None]:
    """The sexes that the words of one column mean.

    A column is read as a whole: in Spanish and Portuguese, M with H is a woman, and M with F is a man.

    Args:
        words: the column's different cells.

    Returns:
        By word `female`, `male` or `unknown`; None where it is not understood.
    """
    words = list(words)
    letters = {plain(word) for word in words}
    return {word: _sex_of(plain(word), letters) for word in words}


def _sex_of(term: str, letters: Set[str]) -> str | None:
    term = term.rstrip(".")
    if term in MISSING or term in NEITHER:
        return "unknown"
    if term in ("e", "k") and letters <= {"e", "k", *MISSING, *NEITHER} and len(letters & {"e", "k"}) == 2:
        return "female" if term == "k" else "male"  # Turkish: erkek and kadın
    if term in FEMALE:
        return "female"
    if term == "h" and letters & {"f", "femme"}:
        return "male"
    if term == "m" and letters & {"h", "v"}:  # mujer, mulher; or with a Dutch vrouw a man
        return None
    return "male" if term in MALE else None


def is_no_sex_of_ours(word: object) -> bool:
    """Whether a word is a sex, but neither female nor male."""
    return plain(word).rstrip(".") in NEITHER


def age_of(word: object) -> float | None:
    """An age in years.

    Args:
        word: a number with a point or a comma; with a unit (`55 years`, `6 months`, DICOM's `055Y`, ISO
            8601's `P55Y`); a range, which is read as its middle (`40-45`, `40s`); or an open one, which is
            read as its end (`85+`). No date: an age is of the day of the photograph, which a birth does not
            tell.

    Returns:
        Years, NaN where the word says that nothing is known; None where it is not understood. A number may be
        out of range: whoever asks checks it.
    """
    text = str(word).strip()
    if is_missing(text):
        return math.nan
    if NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    term = unicodedata.normalize("NFKD", text.casefold())
    term = " ".join("".join(letter for letter in term if not unicodedata.combining(letter)).split())
    if not term.isascii() and not re.search("[\u2013\u2014\u2265]", term):
        return None
    if found := DICOM_AGE.fullmatch(term) or DURATION.fullmatch(term):
        return int(found[1]) / PER_YEAR[found[2]]
    term = ABOUT.sub("", term)
    if found := YEAR_WORDS.fullmatch(term) or re.fullmatch(r"(\d+(?:[.,]\d+)?)", term, re.ASCII):
        return _number(found[1])
    if found := YEARS_AND_MONTHS.fullmatch(term):
        return int(found[1]) + int(found[2]) / 12
    for per_year, pattern in SHORTER:
        if found := pattern.fullmatch(term):
            return _number(found[1]) / per_year
    if found := RANGE.fullmatch(term):
        low, high = _number(found[1] or found[3]), _number(found[2] or found[4])
        return (low + high) / 2 if low < high else None
    if found := DECADE.fullmatch(term):
        return _number(found[1]) + 5
    if found := OPEN.fullmatch(term):
        return _number(found[1] or found[2])
    return None


def is_date(word: object) -> bool:
    """Whether a word is a date or a year of the calendar, and so perhaps that of a birth."""
    return DATE.fullmatch(str(word).strip().casefold()) is not None


def is_number(word: str) -> bool:
    """Whether an age is given as a bare number, so that nothing was made of it."""
    return NUMBER.fullmatch(word.strip()) is not None


def _number(digits: str) -> float:
    return float(digits.replace(",", "."))
