"""Body sites as tables of several languages write them, by the word that each is read as.

Words stand here in lower case, without accents, hyphens and underscores; `dermlens.data.vocabulary` looks
them up. Sources: HAM10000's `localization`; ISIC's `anatom_site_general` and `anatom_site_special`; MILK10k's
`site`; PAD-UFES-20's `region`; Derm7pt's `location`; BCN20000, which has ISIC's words.
"""

from __future__ import annotations

import re

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
  testa/collo; cabeca; cabeca e pescoco; cabeca/pescoco; hoofd; hoofd/hals; hoofd hals
scalp: capillitium; kopfhaut; cuir chevelu; cuero cabelludo; cuoio capelluto; couro cabeludo; hoofdhuid;
  occiput; vertex
face: facial; cheek; forehead; temple; chin; jaw; eyelid; eyebrow; eye; periocular; gesicht; wange; stirn;
  schlafe; schlaefe; kinn; augenlid; lid; visage; joue; tempe; menton; paupiere; cara; mejilla; frente;
  sien; parpado; viso; volto; guancia; fronte; tempia; mento; palpebra; rosto; bochecha; queixo; gezicht;
  wang; voorhoofd
ear: ears; auricle; ohr; ohren; ohrmuschel; oreille; oreja; orecchio; orelha; oor
neck: nape; throat; hals; nacken; cou; nuque; cuello; nuca; collo; pescoco; nek
nose: nasal; nase; nez; nariz; naso; neus
lip: lips; lippe; lippen; levre; levres; labio; labios; labbro; labbra; lippe oben; lip vermilion
anterior torso: anterior trunk; front of torso; front torso; torso anterior; vorderer rumpf; rumpf vorne;
  tronc anterieur; tronco anterior; tronco anteriore
chest: breast; thorax; sternum; brust; brustkorb; poitrine; sein; pecho; torax; mama; petto; torace; seno;
  peito; borst; decollete
abdomen: belly; stomach; abdominal; bauch; ventre; vientre; addome; barriga; buik; navel; umbilicus
posterior torso: posterior trunk; back of torso; torso posterior; buttock; buttocks; gluteal; gesass;
  gesaess; hinterer rumpf; rumpf hinten; tronc posterieur; tronco posterior; tronco posteriore; fesse;
  fesses; nalga; nalgas; gluteo; glutei; natica; nadega; nadegas; gluteos; bil; billen
back: upper back; lower back; mid back; middle back; rucken; ruecken; oberer rucken; unterer rucken; dos;
  espalda; espalda superior; espalda inferior; dorso; schiena; costas; rug; ryg; rygg; plecy
torso: truncus
trunk: rumpf; stamm; korperstamm; koerperstamm; tronc; tronco; romp; tulow
lateral torso: lateral trunk; flank; axilla; armpit; flanke; achsel; flanc; aisselle; flanco; axila; fianco;
  ascella; costado; oksel; flank/axilla
upper extremity: upper extremities; upper limb; upper limbs; shoulder; elbow; wrist; obere extremitat; obere
  extremitaet; obere extremitaten; schulter; ellbogen; ellenbogen; handgelenk; membre superieur; membres
  superieurs; epaule; coude; poignet; extremidad superior; extremidades superiores; miembro superior;
  miembros superiores; hombro; codo; muneca; arto superiore; arti superiori; spalla; gomito; polso; membro
  superior; membros superiores; ombro; cotovelo; punho; bovenste ledematen; schouder; elleboog; pols
arm: upper arm; arms; oberarm; arme; bras; brazo; brazos; braccio; braccia; braco; bracos; bovenarm
forearm: lower arm; forearms; unterarm; avant bras; antebrazo; avambraccio; antebraco; onderarm
hand: hands; finger; fingers; thumb; fingernail; fingernails; back of hand; hande; haende; daumen;
  handrucken; main; mains; doigt; doigts; mano; manos; dedo; mani; dito; mao; maos; dedo da mao; vinger
lower extremity: lower extremities; lower limb; lower limbs; leg; legs; lower leg; knee; shin; calf; ankle;
  hip; untere extremitat; untere extremitaet; untere extremitaten; bein; beine; unterschenkel; knie; wade;
  schienbein; knochel; knoechel; hufte; huefte; membre inferieur; membres inferieurs; jambe; jambes; genou;
  mollet; cheville; hanche; extremidad inferior; extremidades inferiores; miembro inferior; miembros
  inferiores; pierna; piernas; rodilla; pantorrilla; tobillo; cadera; arto inferiore; arti inferiori; gamba;
  gambe; ginocchio; polpaccio; caviglia; anca; membro inferior; membros inferiores; perna; pernas; joelho;
  panturrilha; tornozelo; quadril; onderste ledematen; been; benen; onderbeen; kuit; enkel; heup
thigh: thighs; upper leg; oberschenkel; cuisse; cuisses; muslo; muslos; coscia; cosce; coxa; coxas; dij;
  bovenbeen
foot: feet; toe; toes; toenail; toenails; heel; fuss; fusse; fuesse; zehe; zehen; ferse; pied; pieds;
  orteil; talon; pie; pies; pie/dedo; piede; piedi; pe; pes; calcanhar; voet; voeten
palms/soles: palms soles; palms and soles; palms or soles; palm; palms; sole; soles; acral palms or soles;
  acral palms soles; handflache; handflaeche; fusssohle; handflachen/fusssohlen; handflachen und fusssohlen;
  paume; paumes; plante; plantes; paumes/plantes; palma; palmas; planta; plantas; palmas/plantas; palmas y
  plantas; palme; piante; palmo/piante; palme/piante; palmas e plantas; handpalm; voetzool
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
    "die", "das",
})  # fmt: skip
"""What may stand beside a site and says only which side of the body it is on."""
