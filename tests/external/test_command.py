"""A command as segmenter or labeller: what it says is taken only if it is about the volume that it was given."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from node.errors import PluginError
from node.external import CommandLabeller, CommandSegmenter
from node.external.command import read_description
from node.findings import Side
from node.ports import PARTS
from tests.external import painted
from tests.external.painted import SPACING_MM

pytestmark = pytest.mark.slow  # a process each

COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
NIBABEL = """
import sys
import nibabel as nib, numpy as np
image = nib.load(sys.argv[1])
data = np.rint(np.asarray(image.dataobj) / 100)
"""


def segmented(path: Path):
    return CommandSegmenter.of(str(path)).segment(painted.volume(), spacing_mm=SPACING_MM)


def test_labels_become_muscles_of_their_side_and_the_canal(tmp_path: Path) -> None:
    found = segmented(painted.command(tmp_path))

    truth = painted.truth()
    assert np.array_equal(found.muscles == 1, np.isin(truth, (1, 3)))
    assert np.array_equal(found.muscles == 2, np.isin(truth, (2, 4)))
    assert np.array_equal(found.canal, truth == 5)
    assert np.array_equal(found.parts, np.where(truth < 5, truth, 0))
    assert found.bone is None
    assert found.accepted.all()
    assert found.confidence == "low"


def test_the_command_is_told_where_left_is(tmp_path: Path) -> None:
    # It does not look at the axes of the file, only at what NIfTI says of them: RAS+, x grows to the patient's right.
    script = (
        NIBABEL
        + """
ras = nib.as_closest_canonical(nib.Nifti1Image(data, image.affine))
there = np.asarray(ras.dataobj)
half = np.arange(there.shape[0])[:, None, None] >= there.shape[0] / 2
right = nib.Nifti1Image(np.where(there > 0, np.where(half, 2, 1), 0).astype(np.int16), ras.affine)
turn = nib.orientations.ornt_transform(nib.io_orientation(ras.affine), nib.io_orientation(image.affine))
nib.save(right.as_reoriented(turn), sys.argv[2])
"""
    )
    path = painted.command(
        tmp_path, script, command=[sys.executable, str(tmp_path / "script.py"), "{in}", "{out}"],
        labels={1: "muscle left", 2: "muscle right"},
    )  # fmt: skip

    found = segmented(path)

    columns = np.arange(found.muscles.shape[2])
    assert (found.muscles == 1)[..., columns < 60].sum() == 0
    assert (found.muscles == 2)[..., columns >= 60].sum() == 0
    assert (found.muscles == 1).any()


def test_a_command_that_swaps_the_sides_is_not_believed(tmp_path: Path) -> None:
    swapped = {label: name.translate({}) for label, name in painted.NAMES.items()}
    for label, other in ((1, 2), (2, 1), (3, 4), (4, 3)):
        swapped[label] = painted.NAMES[other]

    found = segmented(painted.command(tmp_path, labels=swapped))

    assert not found.accepted.any()
    assert "SEG-10" in {gate.code for gate in found.gates if not gate.passed}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("", "left no file out.nii.gz"),
        ("import sys; open(sys.argv[2], 'wb').write(b'this is no image' * 100)", "no NIfTI file"),
        ("import gzip, sys; gzip.open(sys.argv[2], 'wb').write(gzip.open(sys.argv[1]).read()[:5000])", "to the end"),
        ("import os, sys; os.symlink(sys.argv[1], sys.argv[2])", "left no file"),
        (COPY.replace("shutil.copy", "(lambda a, b: None)"), "left no file"),
    ],
)
def test_a_command_that_goes_wrong_is_told_in_words(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        segmented(painted.command(tmp_path, script))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nib.save(nib.Nifti1Image(data[:-1], image.affine), sys.argv[2])", "has the shape"),
        ("nib.save(nib.Nifti1Image(data, image.affine @ np.diag([-1, 1, 1, 1])), sys.argv[2])", "another affine"),
        ("image.affine[0, 3] += 5; nib.save(nib.Nifti1Image(data, image.affine), sys.argv[2])", "another affine"),
        ("nib.save(nib.Nifti1Image(data + 0.4, image.affine), sys.argv[2])", "whole numbers"),
        ("nib.save(nib.Nifti1Image(data - 1, image.affine), sys.argv[2])", "whole numbers"),
        ("nib.save(nib.Nifti1Image(data * np.nan, image.affine), sys.argv[2])", "other than labels"),
    ],
)
def test_a_result_of_another_geometry_or_without_labels_is_refused(tmp_path: Path, line: str, words: str) -> None:
    path = painted.command(
        tmp_path, NIBABEL + line, command=[sys.executable, str(tmp_path / "script.py"), "{in}", "{out}"]
    )

    with pytest.raises(PluginError, match=words):
        segmented(path)


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"""
import os, subprocess, sys, time
other = subprocess.Popen(["sleep", "300"], start_new_session=True)  # even one that leaves the process group
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{other.pid}} {{os.path.dirname(sys.argv[1])}}")
time.sleep(300)
"""
    path = painted.command(tmp_path, script, time_limit_s=3.0)

    with pytest.raises(PluginError, match="did not end within 3 s"):
        segmented(path)

    *started, folder = pids.read_text().split()
    assert not [one for one in started if Path(f"/proc/{one}").exists()]
    assert not Path(folder).exists()


def test_an_orphan_of_a_command_that_ended_well_is_killed_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        painted._READ_OFF
        + f"""
import subprocess
open({str(pids)!r}, "w").write(str(subprocess.Popen(["sleep", "300"], start_new_session=True).pid))
"""
    )
    assert segmented(painted.command(tmp_path, script)).accepted.all()

    assert not Path(f"/proc/{pids.read_text()}").exists()


def test_a_command_can_not_fill_the_disk(tmp_path: Path) -> None:
    script = "import sys\nwith open(sys.argv[2], 'wb') as file:\n    while True: file.write(bytes(1 << 20))"

    with pytest.raises(PluginError, match=r"signal 25|exit status 1"):  # SIGXFSZ; Python ignores it and fails to write
        segmented(painted.command(tmp_path, script, largest_file_mb=3))


def test_the_folder_is_the_nodes_own_and_goes(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"""
import os, sys
folder = os.path.dirname(sys.argv[1])
open(os.path.join(folder, "more"), "w").close()
open({str(seen)!r}, "w").write(" ".join([
    folder, *(oct(os.stat(os.path.join(folder, one)).st_mode & 0o777) for one in (".", "more"))]))
raise SystemExit(1)
"""
    with pytest.raises(PluginError):
        segmented(painted.command(tmp_path, script))

    folder, *modes = seen.read_text().split()
    assert modes == ["0o700", "0o600"]
    assert not Path(folder).exists()


def test_what_a_command_prints_goes_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    segmented(painted.command(tmp_path, painted._READ_OFF + "print('a name'); print('another', file=sys.stderr)"))

    assert capfd.readouterr() == ("", "")


def test_a_labeller_names_bodies_between_discs_and_says_by_what_it_counts(tmp_path: Path) -> None:
    labels = {1: "L3/L4", 2: "L4/L5", 3: "L4", 4: "L2/L3", 5: "L3"}
    path = painted.command(tmp_path, labels=labels, basis="counted by the painter")
    discs = np.zeros((60, 40, 5), np.float32)
    for label, row in ((2, 6), (1, 24), (4, 42)):
        discs[row : row + 4, 10:20] = 100 * label
    discs[11:16, 12:38] = 300  # the whole of L4, whose arch reaches far back

    found = CommandLabeller.of(str(path)).label(discs, spacing_mm=(2.0, 2.0, 4.0))

    assert found.basis == "counted by the painter"
    middles = {one.name: one.index for one in found.points}
    assert middles["L4"] == (16.5, 14.5, 2.0)
    assert middles["L3"] == (34.5, 14.5, 2.0)
    assert set(middles) == {"L2/L3", "L3", "L3/L4", "L4", "L4/L5"}


def test_a_program_that_is_not_installed_is_told(tmp_path: Path) -> None:
    path = painted.command(tmp_path, command=["no-such-program", "{in}"])

    with pytest.raises(PluginError, match=r"cannot be started \(No such file"):
        segmented(path)


@pytest.mark.parametrize("name", ["totalsegmentator-mr", "mrsegmentator", "musclemap"])
def test_the_shipped_segmenters_name_both_sides(name: str) -> None:
    found = CommandSegmenter.of(name)

    names = set(found.description.meanings.values())
    assert {"muscle left", "muscle right"} <= names or {"multifidus left", "multifidus right"} <= names
    for label, meaning in found.description.meanings.items():
        partner = meaning.replace("left", "right")
        if partner != meaning:
            assert partner in (found.description.meanings.get(label + 1), found.description.meanings.get(label - 1))


def test_the_shipped_labeller_names_every_vertebra_and_disc() -> None:
    names = set(CommandLabeller.of("totalspineseg").description.meanings.values())

    assert len(names) == 24 + 23
    assert {"C1", "T12", "L5", "L5/S1", "C2/C3"} <= names


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"result": "../out.nii.gz"}, "within the folder"),
        ({"result": "/etc/passwd"}, "within the folder"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"command": []}, "command: "),
        ({"labels": {1: "biceps left"}}, "not 'biceps left'"),
        ({"labels": {1: "muscle left"}}, "both sides"),
        ({"labels": {0: "muscle left"}}, "labels"),
    ],
)
def test_a_description_with_a_fault_is_refused_in_words(tmp_path: Path, changed: dict, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        CommandSegmenter.of(str(painted.command(tmp_path, **changed)))


def test_a_labeller_that_does_not_say_by_what_it_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="basis"):
        CommandLabeller.of(str(painted.command(tmp_path, labels={1: "L4"})))


def test_the_version_changes_with_the_description(tmp_path: Path) -> None:
    versions = {read_description(str(painted.command(tmp_path, time_limit_s=limit)))[1] for limit in (10.0, 20.0, 20.0)}

    assert len(versions) == 2
    assert all(one.startswith("1.0 (") for one in versions)


def test_our_other_children_are_left_alone(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(300)
    try:
        segmented(painted.command(tmp_path))
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_every_part_has_a_name_for_a_label_file() -> None:
    from node.analysis.labelled import codes_of

    names = [f"{muscle} {side}" for muscle, side in PARTS.values()]
    assert codes_of(dict(enumerate(names, start=1))) == {label: label for label in PARTS}
    assert {side for _, side in PARTS.values()} == set(Side)
