"""Each wrong twin is rejected by the tests that are named for it, and by an assertion: these tests test the tests."""

import pytest
from planting import CRASHED, PASSED, REFUTED, outcomes, planted
from twins import TWINS, Twin


def test_names_tell_the_twins_apart():
    assert len({twin.name for twin in TWINS}) == len(TWINS)


def test_the_package_itself_passes():
    """So where a twin fails, it was the copy that ran, and the patch that did it."""
    witnesses = sorted({test for twin in TWINS for test in twin.rejected_by})
    with planted() as folder:
        assert outcomes(folder, witnesses) == dict.fromkeys(witnesses, PASSED)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"twin: {twin.name}")
def test_twin_is_rejected(twin, record_property):
    with planted(twin) as folder:
        found = outcomes(folder, twin.rejected_by)
    rejected_by = [test for test in twin.rejected_by if found[test] == REFUTED]
    record_property("rejected_by", ", ".join(rejected_by))  # for the list at the end
    assert rejected_by and found == dict.fromkeys(twin.rejected_by, REFUTED)


@pytest.mark.parametrize(("wrong", "outcome"), [("return y + 0", PASSED), ("return y.no_such_name", CRASHED)])
def test_neither_a_harmless_change_nor_a_crash_is_a_rejection(wrong, outcome):
    twin, test = Twin("none", "", "convolution.py", "return y\n", f"{wrong}\n"), "test_convolution.py::test_by_hand"
    with planted(twin) as folder:
        assert outcomes(folder, [test]) == {test: outcome}


@pytest.mark.parametrize("right", ["no such line", "dilation"])
def test_a_patch_that_does_not_fit_is_refused(right):
    twin = Twin("misfit", "", "convolution.py", right, "dilations")
    with pytest.raises(ValueError, match="expected once"), planted(twin):
        pass


def test_a_patch_that_is_no_python_is_refused():
    with pytest.raises(SyntaxError), planted(Twin("misfit", "", "convolution.py", "return y\n", "return y +\n")):
        pass
