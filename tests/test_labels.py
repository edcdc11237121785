from __future__ import annotations

from dermlens.labels import BY_CODE, CLASSES, DIAGNOSES, ISIC_COLUMNS, full_name


def test_classes_are_the_published_seven_in_alphabetical_order():
    assert CLASSES == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert list(CLASSES) == sorted(CLASSES)


def test_isic_names_the_same_seven_in_another_order():
    assert sorted(column.lower() for column in ISIC_COLUMNS) == list(CLASSES)
    assert tuple(column.lower() for column in ISIC_COLUMNS) != CLASSES


def test_malignancy_is_stated_for_each_and_akiec_lies_between():
    assert {d.code for d in DIAGNOSES if d.malignant} == {"bcc", "mel"}
    assert {d.code for d in DIAGNOSES if d.in_situ} == {"akiec"}
    assert not BY_CODE["akiec"].malignant


def test_names():
    assert full_name("mel") == "melanoma"
    assert full_name("ACK") == "ACK"
