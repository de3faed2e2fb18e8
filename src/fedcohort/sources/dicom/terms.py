"""The defined terms that a de-identified file may hold as text: what the standard lists for each attribute.

Any other text is left out, also where PS3.15 would keep it, for a field of sixteen letters holds
a name as well. Terms are those of PS3.3 at the attribute (sections in brackets) and PS3.16.
"""

from collections.abc import Mapping

from fedcohort.sources.dicom.columns import BODY_PARTS, MODALITIES

_YES_NO = "YES NO"
_TERMS: Mapping[str, str] = {
    # General: C.7.3.1, C.7.6.1, C.7.6.2, C.7.6.3
    "Modality": MODALITIES,
    "BodyPartExamined": BODY_PARTS,
    "Laterality": "L R",
    "ImageLaterality": "L R U B",
    "FrameLaterality": "L R U B",
    "PatientPosition": "HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL",
    "PatientOrientation": "A P R L H F AL AR PL PR AH AF PH PF LH LF RH RF ARH ARF ALH ALF PRH PRF PLH PLF",
    "PhotometricInterpretation": "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT",
    "BurnedInAnnotation": _YES_NO,
    "QualityControlImage": _YES_NO,
    "LossyImageCompression": "00 01",
    "LossyImageCompressionMethod": "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 "
    "ISO_13818_2 ISO_14496_10",
    "PresentationLUTShape": "IDENTITY INVERSE",
    "PixelIntensityRelationship": "LIN LOG DISP",
    "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
    "RescaleType": "OD HU US MGML Z_EFF ED EDW HU_MOD PCT",
    "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR VOLUME ANGIO PERFUSION DIFFUSION "
    "PROJECTION STANDARD NONE MIXED M P R I OTHER SINGLE PLANE BIPLANE FLUID_ATTENUATED STATIC DYNAMIC GATED "
    "WHOLE BODY TOMO",
    "FrameType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR VOLUME NONE MIXED",
    "PixelPresentation": "MONOCHROME COLOR MIXED TRUE_COLOR COLOR_RANGE",
    "VolumetricProperties": "VOLUME SAMPLED DISTORTED MIXED",
    "VolumeBasedCalculationTechnique": "NONE MAX_IP MIN_IP MEAN_IP MULTIPLANAR_RESLICE VOLUME_RENDER MIXED",
    "ConversionType": "DV DI DF WSD SD SI DRW SYN",
    # MR: C.8.3.1
    "ScanningSequence": "SE IR GR EP RM",
    "SequenceVariant": "SK MTC SS TRSS SP MP OSP NONE",
    "ScanOptions": "PER RG CG PPG FC PFF PFP SP FS",
    "MRAcquisitionType": "2D 3D",
    "AngioFlag": "Y N",
    "InPlanePhaseEncodingDirection": "ROW COLUMN COL",
    "VariableFlipAngleFlag": "Y N",
    # CT: C.8.2.1
    "RotationDirection": "CW CC",
    "ExposureModulationType": "NONE",
    # X-ray and mammography: C.8.7, C.8.11
    "ViewPosition": "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO XCCL XCCM",
    "DetectorType": "DIRECT SCINTILLATOR STORAGE FILM",
    "PresentationIntentType": "FOR PRESENTATION|FOR PROCESSING",
    "PositionerType": "CARM COLUMN MAMMOGRAPHIC PANORAMIC CEPHALOSTAT RIGID NONE",
    "RadiationSetting": "SC GR",
    "RadiationMode": "CONTINUOUS PULSED",
    "BreastImplantPresent": _YES_NO,
    "Grid": "FIXED FOCUSED RECIPROCATING PARALLEL CROSSED NONE IN OUT",
    # PET and nuclear medicine: C.8.9.1, C.8.4
    "Units": "CNTS NONE CM2 CM2ML PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS GML "
    "STDDEV SUV",
    "CountsSource": "EMISSION TRANSMISSION",
    "DecayCorrection": "NONE START ADMIN",
    "CorrectedImage": "DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORM",
}
_SEVERAL = {"ImageType", "FrameType"}


def allowed(keyword: str, texts: tuple[str, ...]) -> list[str]:
    """The values that may stay: none when one is no term, but of image types the others."""
    line = _TERMS.get(keyword, "")
    terms = set(line.split("|") if "|" in line else line.split()) | {""}
    known_terms = [text for text in texts if text in terms]
    return known_terms if any(known_terms) and (len(known_terms) == len(texts) or keyword in _SEVERAL) else []
