"""Where published data sets lie, what their files must hash to, and on what terms they are given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """The terms of a data set, in words that a person can decide on."""

    name: str
    meaning: str
    address: str


@dataclass(frozen=True)
class RemoteFile:
    """One file to download.

    Attributes:
        name: what it is called here; an archive (`.zip`) becomes a folder of its name without `.zip`.
        hosts: beginnings of its address; the next one is tried where one does not have the file.
        path: the rest of the address.
        size: in bytes, where published.
        md5, sha256: as published; a file with neither is recorded as unverified.
    """

    name: str
    hosts: tuple[str, ...]
    path: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def verified(self) -> bool:
        """Whether a check sum is published."""
        return bool(self.md5 or self.sha256)


@dataclass(frozen=True)
class Source:
    """A data set: its files, its terms and what to cite."""

    name: str
    licence: Licence
    citation: tuple[str, ...]
    remotes: tuple[RemoteFile, ...]


CC_BY_NC = Licence(
    "CC BY-NC 4.0",
    "free to use and share for non-commercial purposes, with attribution; models trained on it "
    "inherit the limit",
    "https://creativecommons.org/licenses/by-nc/4.0/",
)
DATAVERSE = ("https://dataverse.harvard.edu/api/access/datafile",)
ISIC = ("https://isic-challenge-data.s3.amazonaws.com", "https://isic-archive.s3.amazonaws.com/challenges")


def _isic(path: str) -> RemoteFile:
    """A file of the ISIC challenges, which publish no check sums."""
    return RemoteFile(path.rpartition("/")[2], ISIC, f"/{path}")


HAM10000_PAPER = (
    "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of multi-source "
    "dermatoscopic images of common pigmented skin lesions. Sci Data 5, 180161 (2018). "
    "doi:10.1038/sdata.2018.161"
)
ISIC2018_PAPER = (
    "Codella N, Rotemberg V, Tschandl P, et al. Skin Lesion Analysis Toward Melanoma Detection 2018: "
    "A Challenge Hosted by the International Skin Imaging Collaboration (ISIC). arXiv:1902.03368"
)

HAM10000 = Source(
    "ham10000",
    CC_BY_NC,
    (
        HAM10000_PAPER,
        "Lesion masks: Tschandl P, Rinner C, Apalla Z, et al. Human–computer collaboration for skin cancer "
        "recognition. Nat Med 26, 1229–1234 (2020). doi:10.1038/s41591-020-0942-0",
    ),
    (
        RemoteFile(
            "HAM10000_metadata.csv",
            DATAVERSE,
            # Without `format=original` Dataverse gives its own tab-separated export, of another check sum.
            "/4338392?format=original",
            690_218,
            "8f85fb1aa29d80a2797247e434deb79d",
            "de17ec44cb25ea9c3f6378ba18d69224c740afd62e86ec2edc6a894d6aa663d3",
        ),
        RemoteFile(
            "HAM10000_segmentations_lesion_tschandl.zip",
            DATAVERSE,
            "/3838943",
            10_808_743,
            "6e8d252e09cfdb0189199f15985a5b84",
        ),
        RemoteFile(
            "HAM10000_images_part_1.zip",
            DATAVERSE,
            "/3172585",
            1_366_522_108,
            "4639bfa73ab251610530a97c898e6e46",
            "6202a599129c2efe81c25aea8586d422eeda8a4fae5df49dd7b7bbf956d419db",
        ),
        RemoteFile(
            "HAM10000_images_part_2.zip",
            DATAVERSE,
            "/3172584",
            1_403_566_547,
            "da43d6cc50f6613013be07e8986b384b",
            "9677f30118c21ecc667a147de369d89acb25efab046fd32f6b13ad677ce2d6d0",
        ),
    ),
)

ISIC2018_VALIDATION = Source(
    "isic2018-validation",
    CC_BY_NC,
    (HAM10000_PAPER, ISIC2018_PAPER),
    (
        _isic("2018/ISIC2018_Task3_Validation_GroundTruth.zip"),
        _isic("2018/ISIC2018_Task3_Validation_Input.zip"),
    ),
)

ISIC2018_TEST = Source(
    "isic2018-test",
    CC_BY_NC,
    (HAM10000_PAPER, ISIC2018_PAPER),
    (
        # The challenge's own files have all 1,512 images; HAM10000's record has 1,511, and age, sex and site.
        _isic("2018/ISIC2018_Task3_Test_GroundTruth.zip"),
        RemoteFile("metadata/ISIC2018_Task3_Test_GroundTruth.csv", DATAVERSE, "/6924466?format=original"),
        _isic("2018/ISIC2018_Task3_Test_Input.zip"),
    ),
)

ISIC2019_TRAINING = Source(
    "isic2019-training",
    CC_BY_NC,
    (
        HAM10000_PAPER,
        "Codella N, Gutman D, Celebi ME, et al. Skin Lesion Analysis Toward Melanoma Detection: A Challenge "
        "at the 2017 International Symposium on Biomedical Imaging (ISBI). arXiv:1710.05006",
        "Combalia M, Codella N, Rotemberg V, et al. BCN20000: Dermoscopic Lesions in the Wild. "
        "arXiv:1908.02288",
    ),
    (
        _isic("2019/ISIC_2019_Training_GroundTruth.csv"),
        _isic("2019/ISIC_2019_Training_Metadata.csv"),
        _isic("2019/ISIC_2019_Training_Input.zip"),
    ),
)

SOURCES = {
    source.name: source for source in (HAM10000, ISIC2018_VALIDATION, ISIC2018_TEST, ISIC2019_TRAINING)
}
