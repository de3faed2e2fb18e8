"""`images`: BreastMNIST over three hospitals, `cnn_medical` federated against the same network pooled.

780 ultrasound images of 28 x 28 pixels with the split of their authors (Yang et al. 2023; ResNet-18 on
them: test AUC .901), written as DICOM secondary captures and imported from there. Hospitals differ in size
and in how many of their images are malignant. Both sides train by SGD, pooled as one hospital; the
hospitals take two epochs a round and twice the step. Rounds, steps and penalty of each side, and those of
private training, were chosen on the validation images (`scripts/bench images -- --choose`, seeds that are
not reported), the network by folds over training and validation images, too; docs/benchmarks.md tells what
was tried, and how often the test images were scored. Choosing is not counted in epsilon.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import fedcohort as fc
from benchmarks.harness import at_least, data_folder, emit, reported, say, within
from fedcohort.analyses.encode import Encoder
from fedcohort.analyses.model_of import model_of
from fedcohort.engines.local import run_local
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort, Study
from fedcohort.table import SPLITS, Table

SEEDS, FIRST_CHOOSING_SEED = 10, 1000
TABLE, FILES, SIZE = "images", "dicom", 28
SETS = {"train": "train", "val": "valid", "test": "test"}
FINDINGS = ("malignant", "benign")
"""As BreastMNIST numbers them; benign or normal."""
SHARES = {"hospital_a": (0.55, 0.45), "hospital_b": (0.25, 0.33), "hospital_c": (0.2, 0.22)}
"""Of the malignant and of the benign images."""

SGD = {"learning_rate": 0.02, "l2": 0.02, "batch_size": 16, "rounds": 60, "average_rounds": 20}
POOLED, FEDERATED = SGD, {**SGD, "local_epochs": 2, "learning_rate": 0.04}
PRIVATE = {"algorithm": "fedsgd", "rounds": 100, "learning_rate": 2.0}
PRIVACY = fc.Privacy(epsilon=8.0, delta=1e-3, clip=0.5, evaluate_every=1000)

Loaders = Mapping[str, Callable[[Cohort, int, bool], Table]]
Settings = Mapping[str, object]


def hospital_databases(data: Path, into: Path) -> dict[str, Path]:
    """A database a hospital, by the road of any hospital: DICOM files, de-identified on their import."""
    draw = np.random.default_rng(0)
    for name in SHARES:
        (into / FILES / name).mkdir(parents=True)
    with np.load(data / "medmnist" / "breastmnist.npz") as arrays:
        for theirs, ours in SETS.items():
            images, labels = arrays[f"{theirs}_images"], arrays[f"{theirs}_labels"]
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                share = [shares[int(label)] for shares in SHARES.values()]
                patient = f"{ours}-{index:04}"
                file = into / FILES / str(draw.choice(list(SHARES), p=share)) / f"{patient}.dcm"
                write_capture(file, image, patient, FINDINGS[int(label)], ours)
    return {name: imported(into / FILES / name, into / f"{name}.db") for name in SHARES}


def write_capture(file: Path, pixels: NDArray[np.uint8], patient: str, finding: str, part: str) -> None:
    """A secondary capture (DICOM PS3.3, A.8.1) with its finding as a comment and its set as a description."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[patient])
    image = FileDataset(str(file), {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientID, image.Modality, image.ConversionType = patient, "US", "WSD"
    image.ImageComments, image.SeriesDescription, image.BurnedInAnnotation = finding, part, "NO"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PixelData = pixels.tobytes()
    image.save_as(file, enforce_file_format=True)


def imported(folder: Path, database: Path) -> Path:
    """Import a hospital's images; its key is fixed, so that patients have the same order in every run."""
    from fedcohort.sources.deidentify.rule_set import RuleSet
    from fedcohort.sources.deidentify.rules import Rules
    from fedcohort.sources.dicom.columns import DicomColumn
    from fedcohort.sources.dicom.options import DicomOptions
    from fedcohort.sources.dicom.pixels import Rendering
    from fedcohort.sources.dicom.source import IMAGE_ID, dicom_source
    from fedcohort.sources.importer.pipeline import import_source

    columns = {
        "finding": DicomColumn(keyword="ImageComments", levels=FINDINGS),
        "set": DicomColumn(keyword="SeriesDescription", levels=tuple(SETS.values())),
    }
    options = DicomOptions(table=TABLE, rendering=Rendering(height=SIZE, width=SIZE), columns=columns)
    source, keys = dicom_source(folder, options), {TABLE: [IMAGE_ID]}
    report = import_source(source, database, RuleSet(Rules(), b"k" * 32), keys=keys)
    if report.refused.total():
        raise SystemExit(f"{folder}: {report.refused.total()} images refused")
    return database


def loaders_of(databases: Mapping[str, Path]) -> Loaders:
    """What selects each hospital's cohort."""
    offered = {TABLE: ["image", "finding", "set"]}

    def load(database: Path, cohort: Cohort, seed: int, private: bool) -> Table:
        return load_cohort(database, cohort, seed, offered, private=private)

    return {name: partial(load, database) for name, database in databases.items()}


def study_of(settings: Settings, seed: int, privacy: fc.Privacy | None = None) -> Study:
    """The study of one side."""
    columns = {"image": fc.Image(SIZE, SIZE)}
    label = fc.Binary("finding", positive="malignant", negative="benign")
    cohort = fc.Cohort(table=TABLE, columns=columns, label=label, split="set")
    train = fc.Train.model_validate({"model": "cnn_medical", "importance": False, **settings})
    return fc.Study(
        name="BreastMNIST", cohort=cohort, analysis=train, privacy=privacy, seed=seed, min_sites=1
    )


def weights_of(study: Study, loaders: Loaders) -> NDArray[np.float32]:
    """The trained model."""
    return run_local(study, loaders, lambda rows: None).state.arrays["weights"].astype(np.float32)


def auc_of(study: Study, loaders: Loaders, weights: NDArray[np.float32], split: str) -> float:
    """ROC AUC on all hospitals' images of one set, outside the study."""
    score, label = [], []
    encoder = Encoder(study.cohort, np.zeros(0), np.zeros(0))
    model = model_of(study, "cnn_medical")
    for load in loaders.values():
        table = load(study.cohort, study.seed, study.privacy is not None)
        held = np.flatnonzero(table.split == SPLITS[split])
        score.append(model.predict(weights, encoder.inputs(table)[held])[:, 0])
        label.append(encoder.targets(table)[held])
    return float(roc_auc_score(np.concatenate(label), np.concatenate(score)))


def measured(
    settings: Settings, loaders: Loaders, seeds: Sequence[int], split: str, privacy: fc.Privacy | None = None
) -> NDArray[np.float64]:
    """(seeds,): AUC of one side on one set."""
    found = []
    for seed in seeds:
        study = study_of(settings, seed, privacy)
        found.append(auc_of(study, loaders, weights_of(study, loaders), split))
        say(f"images: seed {seed}, {split} AUC {found[-1]:.3f}")
    return np.array(found)


def half_width(values: NDArray[np.float64]) -> float:
    """Half of the mean's 95 % confidence interval over seeds (Student's t)."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def interval(values: NDArray[np.float64]) -> str:
    """The interval in words."""
    return f"95 % interval of the mean {values.mean():.3f} +- {half_width(values):.3f}"


def choose(hospitals: Loaders, pooled: Loaders, seeds: int) -> None:
    """Validation AUC of the settings that were tried; prints no test figure."""
    tried = range(FIRST_CHOOSING_SEED, FIRST_CHOOSING_SEED + seeds)
    for name, side, grid, privacy in (
        ("pooled", pooled, [{**POOLED, "l2": penalty} for penalty in (0.003, 0.01, 0.02, 0.03)], None),
        ("federated", hospitals, [{**FEDERATED, "learning_rate": rate} for rate in (0.02, 0.04)], None),
        ("epsilon 8", hospitals, [{**PRIVATE, "learning_rate": rate} for rate in (0.5, 1.0, 2.0)], PRIVACY),
    ):
        for settings in grid:
            values = measured(settings, side, tried, "valid", privacy)
            claim = f"images: validation AUC, {name}, {settings}"
            emit(reported(claim, float(values.mean()), None, ""))


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--choose", action="store_true", help="validation AUC of settings; no claim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        databases = hospital_databases(data_folder(options.data), Path(scratch))
        whole = imported(Path(scratch) / FILES, Path(scratch) / "pooled.db")
        hospitals, pooled = loaders_of(databases), loaders_of({"pooled": whole})
        if options.choose:
            choose(hospitals, pooled, options.seeds)
        else:
            claims(hospitals, pooled, range(options.seeds))


def claims(hospitals: Loaders, pooled: Loaders, seeds: Sequence[int]) -> None:
    """Test AUC of both sides and of private training, means over seeds with their intervals."""
    name = f"images: BreastMNIST, three hospitals under masks, {len(seeds)} seeds"
    whole = measured(POOLED, pooled, seeds, "test")
    emit(at_least(f"{name}, pooled test AUC, {interval(whole)}", float(whole.mean()), 0.901, "", 0.88))
    parts = measured(FEDERATED, hospitals, seeds, "test")
    claim = f"{name}, federated test AUC against pooled, {interval(parts)}, of the difference "
    claim += f"{(parts - whole).mean():+.3f} +- {half_width(parts - whole):.3f}"
    emit(within(claim, float(parts.mean()), float(whole.mean()), "", 0.02))
    private = measured(PRIVATE, hospitals, seeds, "test", PRIVACY)
    claim = f"{name}, epsilon 8, delta 1e-3, test AUC, {interval(private)}"
    emit(reported(claim, float(private.mean()), float(whole.mean()), ""))


if __name__ == "__main__":
    main()
