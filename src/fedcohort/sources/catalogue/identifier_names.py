"""The 18 kinds of identifiers of HIPAA's Safe Harbor, by the names that columns have.

45 CFR 164.514(b)(2)(i), letters (A) to (R), and HHS' "Guidance Regarding Methods for
De-identification of Protected Health Information" of 26 November 2012. Column names are
known in English, German, French and Chinese; a name that only may be an identifier's counts
as one, for the site's rules can say `keep`.
"""

import re
import unicodedata
from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "A": "names",
    "B": "geography smaller than a state",
    "C": "dates and ages over 89",
    "D": "telephone numbers",
    "E": "fax numbers",
    "F": "e-mail addresses",
    "G": "social security and national numbers",
    "H": "medical record numbers",
    "I": "health plan numbers",
    "J": "account numbers",
    "K": "certificate and licence numbers",
    "L": "vehicles and their plates",
    "M": "device identifiers and serial numbers",
    "N": "web addresses",
    "O": "IP addresses",
    "P": "biometric identifiers",
    "Q": "photographs of a face",
    "R": "any other unique number or code",
}
"""Letter of 164.514(b)(2)(i) to what it is about."""

ZIP, BIRTH, AGE = "zip", "birth", "age"
"""Names within (B) and (C) that have rules of their own."""

# In small letters without accents; a word of several is written together, as its parts meet in a name.
_WORDS: Mapping[str, str] = {
    "A": """name firstname lastname middlename fullname givenname forename surname familyname maidenname
        nickname alias initials fname lname pname employer guardian nextofkin kin mothername fathername
        vorname nachname zuname familienname geburtsname rufname arbeitgeber angehoerige angehorige betreuer
        nom prenom prenoms patronyme nomdefamille nomdenaissance nomdusage employeur tuteur""",
    "B": """address addr street streetaddress city town village county precinct parish district suburb
        neighborhood neighbourhood geocode latitude longitude lat lon lng gps coordinates postcode postalcode
        postal zipplus4 residence birthplace placeofbirth hometown
        adresse anschrift strasse hausnummer ort wohnort stadt plz postleitzahl gemeinde landkreis kreis
        geburtsort ortsteil
        rue ville commune codepostal domicile quartier arrondissement departement lieudenaissance
        codecommune""",
    ZIP: "zip zipcode zip5 zip9 zip3 zcta",
    "C": """date dt day datetime timestamp dod deathdate admitdate dischargedate visitdate
        datum zeitpunkt aufnahme entlassung sterbedatum todesdatum
        jour deces datededeces dateadmission datesortie horodatage""",
    BIRTH: """dob birth birthdate birthday dateofbirth born yob birthyear yearofbirth bday
        geburtsdatum geburtstag gebdat geburtsjahr geboren
        naissance datenaissance datedenaissance ddn anneedenaissance""",
    AGE: "age ageyears ageinyears alter lebensalter jahrealt",
    "D": """phone telephone tel telno phoneno phonenumber mobile cellphone cellular pager contact
        telefon telefonnummer telefonnr rufnummer handy handynummer mobil mobilnummer
        portable telephoneportable numtel""",
    "E": "fax faxno faxnumber telefax faxnummer telecopie telecopieur",
    "F": "email mail emailaddress mailaddress emailadresse mailadresse courriel adressemail mel",
    "G": """ssn socialsecurity socialsecuritynumber nationalid nationalnumber nhsnumber nhsno passport
        passportno taxid tin
        sozialversicherungsnummer svnr rvnr rentenversicherungsnummer personalausweis ausweisnummer
        reisepass steuerid steuernummer ahv ahvnummer
        nir insee numerosecu securitesociale nss passeport carteidentite""",
    "H": """mrn medicalrecord medicalrecordno medicalrecordnumber medrec recordnumber recordno chartnumber
        hospitalnumber hospitalno patientnumber patientno patno unitnumber
        patientennummer patientennr patnr fallnummer fallnr aktenzeichen krankenaktennummer
        ipp nip numerodossier dossier numeropatient iep""",
    "I": """insurance insuranceno insurancenumber policy policyno policynumber beneficiary memberid
        memberno healthplan medicare medicaid mbi hicn subscriber
        versichertennummer versicherungsnummer versicherung krankenkasse kvnr kvnummer egk
        assurance mutuelle assure numeroassure""",
    "J": """account accountno accountnumber acct iban bic bank creditcard cardnumber billing
        konto kontonummer bankverbindung rechnungsnummer
        compte numerocompte banque rib""",
    "K": """license licence licenseno licencenumber licensenumber certificate certificateno dea npi
        driverslicense drivinglicence
        fuehrerschein fuhrerschein fuehrerscheinnummer zulassung approbation urkunde
        permis permisdeconduire certificat rpps""",
    "L": """vehicle vin licenseplate licenceplate numberplate plateno
        fahrzeug kennzeichen kfz kfzkennzeichen fahrgestellnummer
        vehicule immatriculation plaque""",
    "M": """device deviceid deviceserial serial serialno serialnumber udi imei implantid
        geraet gerat geraetenummer seriennummer seriennr geraeteid
        appareil numerodeserie""",
    "N": "url uri website webpage homepage web link hyperlink webseite internetseite siteweb site_web lien",
    "O": "ip ipaddress ipaddr ipv4 ipv6 ipadresse adresseip mac macaddress macadresse",
    "P": """biometric biometrics fingerprint voiceprint retinascan irisscan faceprint
        biometrie fingerabdruck stimmabdruck
        biometrique empreinte empreintes empreintevocale""",
    "Q": """photo photograph photos portrait face facephoto headshot mugshot picture selfie
        foto lichtbild passbild gesicht bildnis
        photographie visage""",
    "R": """id ids pid csn uid uuid guid identifier identifiers accession accessionno accessionnumber barcode
        username login userid nummer nr kennung kennnummer barcodenummer benutzername
        identifiant numero matricule codebarre""",
}
_ENDINGS: Mapping[str, str] = {
    "name": "A",
    "adresse": "B",
    "address": "B",
    "strasse": "B",
    "date": "C",
    "datum": "C",
    "time": "C",
    "nummer": "R",
    "telefon": "D",
    "nr": "R",
}
"""How words written together end: `patientname`, `admitdate`, `wohnadresse`."""
_NO_ENDINGS = frozenset({"candidate", "update", "validate", "consolidate", "mandate", "nr"})
_NUMBERED = ("id", "no", "num")
_ABOUT = """p patient patients pat pt person subject participant member client visit stay unitstay icustay
    patientunitstay patienthealthsystemstay healthsystemstay encounter enc episode admission adm hadm hosp
    hospital case record rec row event order sample specimen study series report note document doc caregiver
    provider physician doctor nurse staff employee user donor mother father baby newborn family household
    procedure transfer referral appointment claim bill invoice prescription rx"""
_ENTITIES = frozenset(_ABOUT.split())
"""What rows are about: their number, written together as in `patientunitstayid`, is a unique code."""
# Simplified and traditional; sought anywhere in a name, longer words first.
_CHINESE: Mapping[str, str] = {
    "A": "姓名 名字 姓氏 曾用名 联系人 聯絡人 监护人 監護人 家属 家屬 单位 單位",
    "B": "地址 住址 街道 城市 区县 籍贯 户籍 户口 邮编 郵編 邮政编码 郵遞區號 经度 纬度 村 乡镇 出生地",
    "C": "日期 时间 時間",
    BIRTH: "出生日期 生日 出生年月 出生",
    AGE: "年龄 年齡",
    "D": "电话 電話 手机 手機 联系方式",
    "E": "传真 傳真",
    "F": "邮箱 郵箱 电子邮件 電子郵件 邮件",
    "G": "身份证 身份證 社保 社会保障 护照 護照 税号",
    "H": "病历号 病歷號 病案号 病案號 住院号 住院號 门诊号 門診號 就诊卡 就诊号 就診號 登记号 登記號 流水号",
    "I": "医保 醫保 健保 保险 保險",
    "J": "账号 帳號 账户 帳戶 银行 銀行",
    "K": "执照 執照 驾照 駕照 证书 證書 证件 證件 驾驶证",
    "L": "车牌 車牌 车辆 車輛 车架号",
    "M": "设备 設備 序列号 序列號",
    "N": "网址 網址 网站 網站 主页",
    "O": "ip地址 ip位址",
    "P": "指纹 指紋 声纹 聲紋 虹膜 生物特征 掌纹",
    "Q": "照片 相片 头像 頭像 面部 人脸",
    "R": "编号 編號 号码 號碼 条码 條碼 标识",
}
_WORD_KIND = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_CHINESE_KIND = {word: kind for kind, words in _CHINESE.items() for word in words.split()}
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_a-zA-Z0-9]+")
_ELAPSED = """days months years weeks hours minutes since to until after before elapsed duration interval
    length stay los survival tage monate jahre dauer bis seit jours mois ans duree depuis delai 天数 时长"""
_LONGEST = 4


def kind_of_name(column: str) -> str | None:
    """Which identifier a column's name indicates: a letter of KINDS, ZIP, BIRTH or AGE; None for none.

    The strongest of its words counts: `birth_date` is a birth, `email_address` an e-mail address.
    """
    plain, parts = _plain(column), name_parts(column)
    kinds = [*_latin_kinds(parts), *_chinese_kinds(plain.lower())]
    specific = [kind for kind in kinds if kind not in ("R", "C", "B")]
    return next(iter([*specific, *(kind for kind in ("B", "C", "R") if kind in kinds)]), None)


def name_parts(column: str) -> list[str]:
    """The words of a name, in small letters without accents: `ageMonths` is age, months."""
    return [part.lower() for part in _PARTS.findall(_plain(column))]


def _plain(column: str) -> str:
    folded = unicodedata.normalize("NFKD", column.replace("ß", "ss"))
    return "".join(letter for letter in folded if not unicodedata.combining(letter))


def _latin_kinds(parts: list[str]) -> list[str]:
    kinds = []
    for length in range(_LONGEST, 0, -1):
        for start in range(len(parts) - length + 1):
            kind = _WORD_KIND.get("".join(parts[start : start + length]))
            kinds += [kind] if kind else []
    for part in parts:
        if (
            part.endswith(_NUMBERED)
            and part.removesuffix("id").removesuffix("no").removesuffix("num") in _ENTITIES
        ):
            kinds.append("R")
        ending = next((kind for text, kind in _ENDINGS.items() if part.endswith(text)), None)
        kinds += [ending] if ending and part not in _NO_ENDINGS else []
    return kinds


def _chinese_kinds(name: str) -> list[str]:
    return [kind for word, kind in sorted(_CHINESE_KIND.items(), key=_longest_first) if word in name]


def _longest_first(pair: tuple[str, str]) -> int:
    return -len(pair[0])


def tells_elapsed_time(column: str) -> bool:
    """Whether a name says how long, not when: such as `days_to_death` or `survival_time`."""
    parts = {part.lower() for part in _PARTS.findall(unicodedata.normalize("NFC", column))}
    return bool(parts & set(_ELAPSED.split()))


def is_survival_time(column: str) -> bool:
    """Whether a name is what survival data call the time of follow-up: `time`, `os_time`, `time (fu)`."""
    parts = {part.lower() for part in _PARTS.findall(unicodedata.normalize("NFC", column))}
    return "time" in parts and parts - {"time"} <= _FOLLOWED


_FOLLOWED = frozenset(["os", "pfs", "dfs", "rfs", "efs", "mfs", "fu", "follow", "followup", "up"])
