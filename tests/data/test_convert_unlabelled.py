"""Images without masks on their way into a data set folder, and folders that are all test."""

from drawn_release import failure, image_bytes, index, mask_bytes, tree, write_pairs


def test_images_without_masks_go_to_a_folder_of_their_own(tmp_path, out, run):
    raw = write_pairs(tmp_path / "raw", {f"{id}.jpg": image_bytes(n) for n, id in enumerate("abc")}, {})
    write_pairs(raw, {}, {"b.png": mask_bytes(1)})
    code, stdout, stderr = run(raw, out, "--layout", "pairs", "--allow-unlabelled", "--split", "0,0,1")
    assert code == 0, stderr
    assert stdout.splitlines()[-1] == f"Made {out}: 1 test, 2 unlabelled (files: 4 copied)"
    assert list(index(out)) == ["b"]
    assert set(tree(out)) == {
        *("index.csv", "look.html", "splits/test.txt", "images/test/b.jpg", "annotations/test/b.png"),
        *("images/unlabelled/a.jpg", "images/unlabelled/c.jpg"),
    }
    assert (out / "images/unlabelled/c.jpg").read_bytes() == image_bytes(2)


def test_a_broken_image_without_a_mask_is_told(tmp_path, out, run):
    raw = write_pairs(
        tmp_path / "raw", {"a.jpg": image_bytes(0), "b.jpg": image_bytes(1)[:200]}, {"a.png": mask_bytes(0)}
    )
    (line,) = failure(run, out, raw, out, "--layout", "pairs", "--allow-unlabelled")
    assert line.startswith(f"{raw / 'images'}: 1 of 2 files: ")
    assert "(b.jpg)" in line
