"""De-identification of a derived data set: the Basic Application Level Confidentiality Profile, PS3.15 Annex E, in part.

`ACTIONS` names the profile's action for the attributes that images of patients carry, as in table E.1-1: D a dummy value, Z an
empty one, X removed, U another UID. Whatever the table does not name goes by its group and kind (`_about_people`, `_BY_KIND`),
which removes more than the profile asks for; private attributes, curves and overlays are removed. UIDs become keyed hashes:
those of one key still belong together, and without the key nobody leads them back.

Not handled: what is burned into the pixels (names on ultrasound and scanned films), and faces that a volume of a head shows.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

import pydicom
from pydicom.dataelem import DataElement

METHOD = "medjax: PS3.15 Annex E Basic Profile in part; pixels not cleaned"
_D = "AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime StartAcquisitionDateTime EndAcquisitionDateTime"
_Z = """AccessionNumber PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID ContentDate ContentTime
ReferringPhysicianName ConsultingPhysicianName ContentCreatorName ContrastBolusAgent AcquisitionContextSequence
PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName
ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialCoordinatingCenterName"""
_X = """StudyDescription SeriesDescription ProtocolName InstitutionName InstitutionAddress InstitutionalDepartmentName
InstitutionCodeSequence InstitutionalDepartmentTypeCodeSequence StationName OperatorsName OperatorIdentificationSequence
NetworkID AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedPatientSequence ReferencedStudySequence
ReferencedPerformedProcedureStepSequence ReferencedPatientAliasSequence ReferencedPatientPhotoSequence
PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence PerformingPhysicianIdentificationSequence
ReferringPhysicianIdentificationSequence ReferringPhysicianTelephoneNumbers ConsultingPhysicianIdentificationSequence
ContentCreatorIdentificationCodeSequence PyramidDescription PyramidLabel TimezoneOffsetFromUTC IssuerOfPatientID
IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence GroupOfPatientsIdentificationSequence
OtherPatientIDs OtherPatientIDsSequence PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence
PatientSexNeutered PatientSize PatientWeight PatientSizeCodeSequence PatientTelephoneNumbers PatientTelecomInformation
InsurancePlanIdentification MilitaryRank BranchOfService MedicalRecordLocator MedicalAlerts Allergies CountryOfResidence
RegionOfResidence EthnicGroup EthnicGroupCodeSequence PatientAddress Occupation SmokingStatus PregnancyStatus
PatientReligiousPreference PatientSpeciesDescription PatientBreedDescription ResponsibleOrganization ResponsiblePersonRole
AcquisitionProtocolDescription DeviceSerialNumber UniqueDeviceIdentifier UDISequence GantryID GeneratorID
PlateID CassetteID DetectorID XRayDetectorID XRayDetectorLabel XRaySourceID TransducerIdentificationSequence
ContributingEquipmentSequence ContributionDescription AcquisitionDeviceProcessingDescription RequestedSeriesDescription
ModifyingDeviceID ModifiedImageDescription OriginalAttributesSequence ModifiedAttributesSequence
DigitalSignaturesSequence MACParametersSequence EncryptedAttributesSequence IconImageSequence DataSetTrailingPadding
StudyIDIssuer RequestingService RequestedProcedureDescription RequestedProcedureCodeSequence RequestedContrastAgent
ScheduledStudyLocation ReasonForStudy ReasonForVisit ReasonForVisitCodeSequence AdmissionID IssuerOfAdmissionID
IssuerOfAdmissionIDSequence RouteOfAdmissions CurrentPatientLocation PatientInstitutionResidence PatientState
SpecialNeeds ServiceEpisodeID ServiceEpisodeDescription IssuerOfServiceEpisodeID IssuerOfServiceEpisodeIDSequence
DischargeDiagnosisDescription RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepDescription
PerformedLocation PerformedStationName PerformedStationNameCodeSequence PerformedProtocolCodeSequence
PerformedStationGeographicLocationCodeSequence ScheduledProcedureStepID ScheduledProcedureStepDescription
ScheduledProcedureStepLocation ScheduledStationName ScheduledPerformingPhysicianIdentificationSequence PreMedication
RequestedProcedureID RequestedProcedureLocation ReasonForTheRequestedProcedure PatientTransportArrangements
ReasonForRequestedProcedureCodeSequence NamesOfIntendedRecipientsOfResults PersonIdentificationCodeSequence
IntendedRecipientsOfResultsIdentificationSequence ReasonForTheImagingServiceRequest OrderEntererLocation
OrderCallbackPhoneNumber OrderCallbackTelecomInformation ActualHumanPerformersSequence HumanPerformerOrganization
ConfidentialityConstraintOnPatientDataDescription SpecimenAccessionNumber SpecimenIdentifier ContainerIdentifier
SpecimenDescriptionSequence IssuerOfTheContainerIdentifierSequence BarcodeValue LabelText TopicTitle TopicSubject
TopicKeywords ClinicalTrialSeriesID ClinicalTrialSeriesDescription ClinicalTrialTimePointDescription
ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber AuthorObserverSequence
ParticipantSequence VerifyingObserverSequence ContentSequence GraphicAnnotationSequence CameraOwnerName LensSerialNumber
ResultsID ResultsIDIssuer InterpretationID InterpretationIDIssuer AnnotationGroupLabel StorageMediaFileSetID
DeviceDescription LongDeviceDescription FilterLookupTableDescription InstanceOriginStatus"""
ACTIONS = {name: action for action, names in (("D", _D), ("Z", _Z), ("X", _X)) for name in names.split()}
# The rest: persons, applications, ages, dates, times and free text are removed, UIDs replaced.
_BY_KIND = {vr: "X" for vr in ("PN", "AE", "AS", "DA", "DT", "TM", "LT", "ST", "UT", "UC", "UR", "UN")} | {"UI": "U"}
# Patients, trials, requests, visits, photographs, storage, signatures, queues, results: nothing there describes pixels.
_PEOPLE = (0x0010, 0x0012, 0x0016, 0x0032, 0x0038, 0x0088, 0x0400, 0x2100, 0x2200, 0x4000, 0x4008)
_PROCEDURES, _MEASURES = 0x0040, range(0x9000, 0xA000)  # a group of orders and reports, and its values of pixels
_UNITS = "MeasurementUnitsCodeSequence"
_DUMMIES = {"DT": "19000101000000", "DA": "19000101", "TM": "000000"}
_OVERLAYS, _CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)
_STANDARD_ROOT = "1.2.840.10008."


def hashed_uid(key: str, *names: str) -> str:
    """A UID that depends on the key and the names alone."""
    digest = hmac.new(key.encode(), "\0".join(names).encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def deidentify(dataset: pydicom.Dataset, *, key: str, keep: tuple[str, ...] = ()) -> None:
    """Applies the profile in place, sequences included, and says so in the data set.

    Args:
      dataset: without pixels or with them; they are not touched.
      key: UIDs of data sets treated with one key still refer to each other.
      keep: keywords at the top level whose values the caller wrote himself.
    """
    _clean(dataset, key, frozenset(keep))
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    if hasattr(dataset, "file_meta"):
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _clean(dataset: pydicom.Dataset, key: str, keep: frozenset[str]) -> None:
    for tag in list(dataset.keys()):
        if tag.is_private or tag.group in _OVERLAYS or tag.group in _CURVES:
            del dataset[tag]
            continue
        found = dataset[tag]
        if found.keyword in keep:
            continue
        action = ACTIONS.get(found.keyword) or ("X" if _about_people(found) else _BY_KIND.get(found.VR, ""))
        if action == "X" or not found.keyword:  # what no dictionary knows may be anything
            del dataset[tag]
        elif action == "Z":
            dataset[tag] = DataElement(tag, found.VR, [] if found.VR == "SQ" else "")
        elif action == "D":
            dataset[tag] = DataElement(tag, found.VR, _DUMMIES[found.VR])
        elif action == "U":
            found.value = _other_uid(found.value, key)
        elif found.VR == "SQ":
            for item in found.value:
                _clean(item, key, frozenset())


def _about_people(element: DataElement) -> bool:
    tag = element.tag
    return tag.group in _PEOPLE or (tag.group == _PROCEDURES and tag.elem not in _MEASURES and element.keyword != _UNITS)


def _other_uid(value: object, key: str) -> object:
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return [_other_uid(x, key) for x in value]
    text = str(value or "")
    return text if not text or text.startswith(_STANDARD_ROOT) else hashed_uid(key, text)
