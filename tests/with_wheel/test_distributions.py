"""Test the distributions: the installed wheel, and the source archive that these tests were unpacked from.

`make test-wheel` builds both into one directory and unpacks the source, without ``src``, beside them.
"""

from __future__ import annotations

import sysconfig
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import valence_integrations
from tests.pages import ROOT

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
GENERATED = ("__pycache__", ".pyc", ".egg-info", "/_build/", "/generated/", "/gallery/", ".sqlite3", ".venv", "dist/")


def test_tests_import_the_installed_package() -> None:
    assert Path(valence_integrations.__file__).is_relative_to(SITE_PACKAGES)
    assert not (ROOT / "src").exists()
    assert distribution("valence-integrations").read_text("direct_url.json").find(".whl") > 0


def test_wheel_contains_only_the_package() -> None:
    (wheel,) = ROOT.parent.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names}
    assert tops == {"valence_integrations"}
    assert {"valence_integrations/py.typed", "valence_integrations/report/style.css"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if any(mark in name for mark in GENERATED)]
    in_package = {name for name in names if ".dist-info/" not in name}
    assert all((SITE_PACKAGES / name).is_file() for name in in_package)


def test_source_archive_contains_build_and_test_files() -> None:
    (archive,) = ROOT.parent.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    needed = ["pyproject.toml", "PKG-INFO", "LICENSE", "README.md", "CHANGELOG.md", "docs/conf.py", "docs/index.md"]
    needed += ["src/valence_integrations/py.typed", "src/valence_integrations/report/style.css"]
    needed += ["tests/conftest.py", "tests/engine/test_engine.py"]
    needed += ["examples/01_quickstart.py", "examples/audio/call.mp3"]
    assert set(needed) <= names
    assert not [name for name in names if any(mark in f"/{name}" for mark in GENERATED)]
