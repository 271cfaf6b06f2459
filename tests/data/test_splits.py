from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from lesionseg.data.release.data_set_folder import Record, read_groups_of, write_lists
from lesionseg.data.release.listing import Listing, Pair
from lesionseg.data.release.splits import add_groups, note_shared_groups, random_splits, read_groups, with_validation
from lesionseg.data.sources import Source
from lesionseg.errors import DataError

HALVES = {"training": Fraction(1, 2), "validation": Fraction(1, 2)}
GROUPS = (("a", "p1"), ("1/b", "p1"), ("c", ""), ("-d", "+1 p"))
THIRDS = {"training": Fraction("0.5625"), "validation": Fraction("0.1875"), "test": Fraction("0.25")}


def pairs(count):
    source = Source(Path("raw"), "name", 0)
    return [Pair(f"ISIC_{number:07}", "training", source, source) for number in range(count)]


def grouped(count, groups):
    return [replace(pair, group=groups.get(pair.id, "")) for pair in pairs(count)]


def members(assigned):
    found = {}
    for pair in assigned:
        found.setdefault(pair.split, []).append(pair.id)
    return found


def sizes(assigned):
    return {split: len(ids) for split, ids in members(assigned).items()}


def test_sizes_are_the_fractions():
    assert sizes(random_splits(pairs(160), THIRDS)) == {"training": 90, "validation": 30, "test": 40}
    assert sizes(random_splits(pairs(40), {"training": Fraction("0.75"), "validation": Fraction("0.25")})) == {
        "training": 30,
        "validation": 10,
    }


def test_every_image_is_in_one_split_in_order():
    assigned = random_splits(pairs(50), THIRDS)
    assert sorted(pair.id for pair in assigned) == [pair.id for pair in pairs(50)]
    assert list(members(assigned)) == ["training", "validation", "test"]
    for ids in members(assigned).values():
        assert ids == sorted(ids)


def test_the_order_of_files_does_not_matter():
    assert random_splits(pairs(50)[::-1], THIRDS) == random_splits(pairs(50), THIRDS)


def test_seeds_differ_and_repeat():
    assert random_splits(pairs(50), HALVES, seed=1) == random_splits(pairs(50), HALVES, seed=1)
    assert random_splits(pairs(50), HALVES, seed=1) != random_splits(pairs(50), HALVES, seed=0)


def test_the_split_is_not_in_the_order_of_names():
    training = members(random_splits(pairs(200), HALVES))["training"]
    in_first_half = sum(id < "ISIC_0000100" for id in training)
    assert 35 < in_first_half < 65


def test_a_split_stays_the_same_in_later_versions():
    training = members(random_splits(pairs(6), HALVES))["training"]
    assert training == ["ISIC_0000000", "ISIC_0000002", "ISIC_0000003"]


def test_groups_stay_together():
    groups = {pair.id: f"patient {number // 4}" for number, pair in enumerate(pairs(60)) if number < 40}
    assigned = random_splits(grouped(60, groups), HALVES)
    splits_of = {}
    for pair in assigned:
        if pair.id in groups:
            splits_of.setdefault(groups[pair.id], set()).add(pair.split)
    assert len(splits_of) == 10
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert {split for splits in splits_of.values() for split in splits} == {"training", "validation"}
    assert abs(sizes(assigned)["training"] - 30) <= 4


def test_a_group_may_be_called_like_an_image():
    groups = {"ISIC_0000000": "ISIC_0000001"}
    assert len(random_splits(grouped(2, groups), HALVES)) == 2


def test_no_split_is_empty():
    assert sizes(random_splits(pairs(2), {"training": Fraction("0.75"), "validation": Fraction("0.25")})) == {
        "training": 1,
        "validation": 1,
    }
    with pytest.raises(DataError, match=r"3 images in 1 groups leave validation and test empty, .* Add images of"):
        random_splits(grouped(3, {pair.id: "one" for pair in pairs(3)}), THIRDS)


def test_a_validation_is_taken_from_training_in_whole_groups():
    test = [replace(pair, id=f"t{pair.id}", split="test") for pair in pairs(3)]
    of_one = grouped(9, {pair.id: "one" for pair in pairs(3)})
    made = with_validation([*of_one, *test], Fraction("0.3"))
    assert sizes(made) == {"training": 6, "validation": 3, "test": 3}
    assert len({pair.split for pair in made if pair.group == "one"}) == 1
    assert made[-3:] == test
    assert made[:9] == random_splits(of_one, {"training": Fraction("0.7"), "validation": Fraction("0.3")})
    assert with_validation([*of_one, *test], Fraction("0.3"), seed=1) != made
    with pytest.raises(DataError, match=r"--validation: there are 3 validation images already .*Leave it out"):
        with_validation(made, Fraction("0.3"))
    with pytest.raises(DataError, match=r"--validation: 0 images in 0 groups leave training and validation empty"):
        with_validation(test, Fraction("0.3"))


def table(tmp_path, text):
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_are_read_as_ham10000_writes_them(tmp_path):
    path = table(
        tmp_path, "lesion_id,image_id,dx\nHAM_1,ISIC_1,nv\nHAM_1,ISIC_2,nv\nHAM_2,ISIC_3,mel\nHAM_9,other,mel\n"
    )
    assert read_groups(path, ["ISIC_1", "ISIC_2", "ISIC_3"]) == {
        "ISIC_1": "HAM_1",
        "ISIC_2": "HAM_1",
        "ISIC_3": "HAM_2",
    }


def test_images_go_by_name_path_or_file(tmp_path):
    path = table(tmp_path, "\ufeffimage_id,patient_id\nISIC_1.jpg,p1\n2/ISIC_2,p2\nISIC_2,p3\n")
    assert read_groups(path, ["1/ISIC_1", "2/ISIC_2"]) == {"1/ISIC_1": "p1", "2/ISIC_2": "p2"}


def test_groups_are_read_as_an_audit_writes_them(tmp_path):
    path = table(tmp_path, "id,group,split,path\npart_1/a,g,,x\nb,g,,y\nc,,,z\n")
    assert read_groups(path, ["a", "b", "c"]) == {"a": "g", "b": "g"}
    with pytest.raises(DataError, match="1 of 1 images have no row"):
        read_groups(path, ["part_2/a"])


def test_groups_of_an_audit_go_by_paths_where_ids_differ(tmp_path):
    path = table(
        tmp_path,
        "id,group,dataset,path\nnevus/1,g,A,A/nevus/train/1.png\nmel/1,h,A,A/mel/train/1.png\n1,i,B,B/1.png\n",
    )
    whole = {"nevus/train/1": "g", "mel/train/1": "h"}
    assert read_groups(path, [*whole]) == whole
    assert read_groups(path, ["nevus/1", "1"]) == {"nevus/1": "g", "1": "i"}


def test_the_column_of_groups_is_chosen(tmp_path):
    path = table(tmp_path, "isic_id,patient_id,lesion_id,site\na,p,l,s\n")
    assert read_groups(path, ["a"], "lesion_id") == {"a": "l"}
    assert read_groups(path, ["a"], "site") == {"a": "s"}
    with pytest.raises(DataError, match=r"columns are isic_id, patient_id, lesion_id, site, .* with --group-column"):
        read_groups(path, ["a"])
    with pytest.raises(DataError, match=r"expected one of image_id, .* and person"):
        read_groups(path, ["a"], "person")


@pytest.mark.parametrize("text", ["", "image_id\na\n", "name,lesion_id\na,l\n"])
def test_columns_that_are_not_there(tmp_path, text):
    with pytest.raises(DataError, match=r"groups\.csv: the columns are"):
        read_groups(table(tmp_path, text), ["a"])


def test_images_without_row_or_with_two_groups(tmp_path):
    path = table(tmp_path, "image_id,lesion_id\na,1\na,1\nb,1\nb,2\n")
    assert read_groups(path, ["a"]) == {"a": "1"}
    with pytest.raises(DataError, match=r"1 of 2 images have more than one lesion_id \(b\), expected one row"):
        read_groups(path, ["a", "b"])
    with pytest.raises(DataError, match=r"2 of 3 images have no row \(c, d\), expected one row for each image_id"):
        read_groups(path, ["a", "c", "d"])


def test_an_empty_group_is_no_group(tmp_path):
    path = table(tmp_path, "image_id,lesion_id\n" + "".join(f"{pair.id},\n" for pair in pairs(4)))
    assert read_groups(path, [pair.id for pair in pairs(4)]) == {}
    listing = Listing([], pairs(4))
    add_groups(listing, path)
    assert sizes(random_splits(listing.pairs, HALVES)) == {"training": 2, "validation": 2}
    assert listing.notes == [f"{path}: 4 images have an empty group, each counts as one"]


def test_groups_in_several_splits_are_noted(tmp_path):
    listing = Listing([tmp_path], [replace(pair, split="test") for pair in pairs(1)] + pairs(4)[1:])
    rows = zip(pairs(4), ("p1", "p1", "p2", "p2"), strict=True)
    add_groups(listing, table(tmp_path, "image_id,patient_id\n" + "".join(f"{pair.id},{p}\n" for pair, p in rows)))
    note_shared_groups(listing)
    assert listing.notes == [f"{tmp_path}: 1 of 2 groups have images in several splits (p1)"]


def test_the_index_keeps_groups(tmp_path):
    records = [Record(id, "training", f"{id}.jpg", f"{id}.png", 4, 3, 0.5, 1, group=group) for id, group in GROUPS]
    write_lists(tmp_path, records)
    assert (tmp_path / "index.csv").read_text().splitlines()[0].endswith(",components,group")
    assert read_groups_of(tmp_path) == {"a": "p1", "1/b": "p1", "-d": "+1 p"}
    assert read_groups_of(tmp_path / "none") == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        "image_id,lesion_id\r\na,Läsion\r\nb,Läsion\r\nc,x\r\n",
        "image_id;lesion_id;age\na;Läsion;1,5\nb;Läsion;2,5\nc;x;0\n",
        "sep=;\nimage_id;lesion_id\na;Läsion\nb;Läsion\nc;x\n",
        "sep=\t\r\nimage_id\tlesion_id\r\na\tLäsion\r\nb\tLäsion\r\nc\tx\r\n",
        "sep=comma\nimage_id,lesion_id\na,Läsion\nb,Läsion\nc,x\n",
        "image_id\tlesion_id\na\tLäsion\nb\tLäsion\nc\tx\n",
        'image_id, lesion_id\na, Läsion\nb, "Läsion"\nc, x\n\n',
        "Image_ID , Lesion_ID\na.jpg , Läsion\nb.JPG, Läsion\nclinic\\c.png, x\n",
        '"image_id";"lesion_id"\n"a";"Läsion"\n"b";"Läsion"\n"c";"x"\n',
    ],
)
def test_tables_are_read_as_programs_write_them(tmp_path, text, encoding):
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode(encoding))
    ids = ["a", "b", "clinic/c"]
    assert read_groups(path, ids) == {"a": "Läsion", "b": "Läsion", "clinic/c": "x"}


def test_what_was_read_is_shown(tmp_path):
    with pytest.raises(DataError, match=r"1 of 1 images have no row \(a\), .* its first are x 1, x 2 and 1 more"):
        read_groups(table(tmp_path, "image_id;lesion_id\nx 1;1\nx 2;2\nx 3;3\n"), ["a"])
    with pytest.raises(DataError, match=r"the columns are Bild, lesion_id, .* Call the column of the images image_id"):
        read_groups(table(tmp_path, "Bild;lesion_id\nx;1\n"), ["a"])


def test_a_spreadsheet_file_is_no_table(tmp_path):
    (tmp_path / "groups.csv").write_bytes(b"PK\x03\x04\x14\0\0\0")
    with pytest.raises(DataError, match="it holds zero bytes, expected a table as text"):
        read_groups(tmp_path / "groups.csv", ["a"])
