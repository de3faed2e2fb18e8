"""Relapse and death after a transplant of bone marrow: 137 patients with leukaemia.

Klein and Moeschberger 1997, *Survival Analysis*, section 1.3: days, r of a relapse, d of a death in
remission, + where it went on.
"""

import pandas as pd

ALL = (
    "2081+ 1602+ 1496+ 1462+ 1433+ 1377+ 1330+ 996+ 226+ 1199+ 1111+ 530+ 1182+ 1167+ 418d 383r 276d 104r "
    "609r 172d 487d 662r 194d 230r 526d 122d 129r 74r 122r 86d 466d 192r 109r 55r 1d 107d 110r 332d"
)
LOW_RISK = (
    "2569+ 2506+ 2409+ 2218+ 1857+ 1829+ 1562+ 1470+ 1363+ 1030+ 860+ 1258+ 2246+ 1870+ 1799+ 1709+ 1674+ "
    "1568+ 1527+ 1324+ 957+ 932+ 847+ 848+ 1850+ 1843+ 1535+ 1447+ 1384+ 414d 2204d 1063d 481d 105d 641d "
    "390d 288d 421r 79d 748r 486r 48d 272r 1074d 381r 10d 53d 80d 35d 248r 704d 211r 219r 606r"
)
HIGH_RISK = (
    "2640+ 2430+ 2252+ 2140+ 2133+ 1238+ 1631+ 2024+ 1345+ 1136+ 845+ 422r 162d 84r 100r 2d 47r 242r 456r "
    "268r 318d 32r 467r 47r 390r 183d 105d 115r 164d 93r 120r 80d 677d 64r 168d 74d 16d 157r 625r 48r "
    "273r 63d 76r 113r 363d"
)


def marrow() -> pd.DataFrame:
    """A row a patient: days `t`, cause `e`, 1 of a relapse and 2 of a death, and the group `arm`."""
    causes = {"+": 0, "r": 1, "d": 2}
    arms = {"ALL": ALL, "AML low risk": LOW_RISK, "AML high risk": HIGH_RISK}
    rows = [
        {"arm": arm, "t": float(day[:-1]), "e": causes[day[-1]]}
        for arm, days in arms.items()
        for day in days.split()
    ]
    return pd.DataFrame(rows).assign(patient_id=[f"p{row:03d}" for row in range(len(rows))])
