"""Words for parts of the body in languages and scripts beyond those of DICOM's own terms.

Patterns of words as they stand after `body_part.folded`: capitals, without accents; other scripts are
decomposed in the same way when the patterns are compiled.
"""

from __future__ import annotations

from typing import Final

CHEST: Final = (
    # Latin script: Polish, Czech, Hungarian, Turkish, Finnish, Nordic, Dutch, Vietnamese, Malay, Baltic
    r"KLATK\w* PIERS|P[LŁ]UC|HRUDNI|\bPLIC|MELLKAS|\bTUDO|GOGUS|AKCIGER|KEUHKO|RINTAKE|BROSTKORG|BRYSTKASS"
    r"|BORSTKAS|\bLONGEN\b|\bNGUC\b|\bPHOI\b|\bPARU|\bDADA\b|PLAMAN|PULMAO|GRUDNI KOS|KRUTINES L|KRUSU KURV"
    r"|RINDKERE"
    # Cyrillic
    r"|ГРУДН\w* К(ЛЕТ|ЛІТ|ОШ)|ГРУДЕН КОШ|ГРЪДЕН КОШ|\bОГК\b|ЛЕГК(ИЕ|ИХ|ИЙ)\b|ЛЕГЕН(І|Ь|И)|ФЛЮОРОГР|БЯЛ ДРОБ"
    r"|ПЛУЋА"
    # Greek, Arabic, Persian, Hebrew
    r"|ΘΩΡΑΚ|ΠΝΕΥΜΟΝ|صدر|الرئ|رئة|رئت|قفسه سینه|חזה|ריאות|ריאה"
    # Chinese and Japanese (but not the thoracic spine), Korean, Thai, Hindi
    r"|胸(?!椎|腰)|肺|肋骨|縦隔|縱膈|纵隔|ムネ|흉부|가슴|흉곽|늑골|ทรวงอก|หน้าอก|ปอด|छाती|वक्ष|सीना"
)

# Words of the Latin script; a side may stand before them, as in `body_part`.
OTHER_LATIN: Final[dict[str, str]] = {
    "SPINE": r"COLUNA|COLOANA|KREGOS[LŁ]UP|OMURGA|SELKARANKA|GERINC|COT SONG|PATER(E|NI)|WERVEL|RYGGRAD",
    "SKULL": r"CZASZK|LEBK|KAFATAS|SCHEDEL|KALLO\b",
    "SHOULDER": r"OMBRO|BARKU\b|BARK\b|RAMENO|RAMENNI|OMUZ|SCHOUDER|OLKAP|SKULDER|AXEL\b|UMAR\b",
    "ELBOW": r"COTOVELO|[LŁ]OKIEC|LOKET|DIRSEK|KYYNAR|ELLEBOOG|ARMBAGE|COTUL",
    "WRIST": r"PUNHO|NADGARST|ZAPESTI|BILEK|RANNE|POLS\b|HANDLED|CO TAY",
    "HAND": r"D[LŁ]ON|RUKA\b|KASI\b|BAN TAY|TANGAN",
    "ABDOMEN": r"BRZUCH|BRICH|KARIN|VATSA|BUIK|\bBUK\b|\bBUNG\b|PERUT|ADDOME|VENTRE",
    "PELVIS": r"BACIA\b|MIEDNIC|PANEV|LEGEN\b|BEKKEN|BACKEN|LANTIO",
    "HIP": r"QUADRIL|BIODR|KYCL|KALCA|LONKKA|HEUP|HOFT|SOLD\b|PANGGUL|ANCA\b",
    "LEG": r"PERNA\b|UDO\b|BACAK|SAARI\b|BEEN\b|COXA\b",
    "KNEE": r"JOELHO|KOLAN|KOLEN|KOLJEN|TERD|DIZ\b|POLVI|KNA\b|KNAE\b|KNE\b|GENUNCHI|(DAU|KHOP) GOI"
    r"|LUTUT|GONAT",
    "ANKLE": r"TORNOZELO|KOSTK|KOTNIK|AYAK BILEGI|NILKKA|ENKEL|ANKEL|FOTLED|GLEZN|CO CHAN",
    "FOOT": r"STOPA\b|STOPY\b|CHODID|NOHA\b|AYAK\b|JALKA|VOET|FOT\b|BAN CHAN|PICIOR",
}

# Other scripts have no side in front, and some no spaces.
OTHER_SCRIPTS: Final[dict[str, str]] = {
    "SPINE": r"脊椎|頚椎|頸椎|颈椎|胸椎|腰椎|脊柱"
    r"|仙椎|仙骨|骶|尾骨|尾椎|척추|경추|흉추|요추|천추|ПОЗВОН|ХРЕБ(Е|Т)"
    r"|ГРЪБНА|ΣΠΟΝΔΥΛ"
    r"|ΑΥΧΕΝΙΚ|عمود فقر|العمود الفقر|فقرات|עמוד שדר|עמוד השדר|สันหลัง|रीढ",
    "SKULL": r"頭蓋|颅|顱|頭部|头颅|头部|두개|두부|ЧЕРЕП|ΚΡΑΝΙ|جمجم|גולגולת|กะโหลก|खोपड",
    "FACE": r"副鼻腔|鼻骨|鼻窦|鼻竇|眼眶|眼窩|부비동|ПАЗУХ|جيوب",
    "TEETH": r"歯|牙齿|牙齒|치아|ЗУБ",
    "NECK": r"頚部|頸部|颈部|경부|\bШЕ(Я|И)\b",
    "BREAST": r"乳房|乳腺|유방|МОЛОЧН",
    "SHOULDER": r"肩|鎖骨|锁骨|어깨|견관절|쇄골|ПЛЕЧЕВ|КЛЮЧИ|ΩΜΟ(Σ|Υ)\b|كتف|כתף|ไหล่|कंध",
    "ELBOW": r"肘|팔꿈치|주관절|ЛОКТ|ЛІКТ|ΑΓΚΩΝ|مرفق|كوع|מרפק|ข้อศอก|कोहनी",
    "ARM": r"上腕|前腕|上臂|前臂|肱骨|尺骨|桡骨|橈骨|상완|전완|ПРЕДПЛЕЧ|ПЕРЕДПЛ",
    "WRIST": r"手関節|手首|腕关节|腕關節|손목|완관절|ЛУЧЕЗАП|ΚΑΡΠ(Ο|Ω)|معصم|رسغ|ข้อมือ|कलाई",
    "HAND": r"手部|手指|指骨|左手|右手|両手|双手|손가락|수부|\bКИСТ|ΧΕΡΙ|اليد|כף יד|ฝ่ามือ|हाथ",
    "ABDOMEN": r"腹(?!臥|卧)|복부|БРЮШН|ЧЕРЕВН|ЖИВОТ|КОРЕМ|ΚΟΙΛΙ|بطن|בטן|ช่องท้อง|पेट",
    "PELVIS": r"骨盤|骨盆|골반|\bТАЗ(А|У)?\b|ΛΕΚΑΝ|ΠΥΕΛ|حوض|אגן|เชิงกราน|श्रोण",
    "HIP": r"股関節|髋|髖|고관절|ТАЗОБЕДР|КУЛЬШ|ΙΣΧΙ|ورك|ירך|สะโพก|कूल्ह",
    "LEG": r"下腿|大腿|小腿|脛|胫|腓骨|股骨|대퇴|경골|하지|ГОЛЕН(И|Ь)|БЕДР|ΜΗΡ|ΚΝΗΜ|ساق|فخذ|שוק|ต้นขา|जांघ",
    "KNEE": r"膝|무릎|슬관절|КОЛЕН|КОЛІН|КОЛЯН|ΓΟΝΑΤ|ركب|زانو|ברך|ברכ|เข่า|घुटन",
    "ANKLE": r"足関節|足首|踝|발목|족관절|ГОЛЕНОСТ|ГОМІЛКОВ|ΠΟΔΟΚΝΗΜ|كاحل|קרסול|ข้อเท้า|टखन",
    "FOOT": r"足部|足趾|趾|跟骨|踵|左足|右足|両足|双足|족부|발가락|СТОП(А|Ы)\b"
    r"|ПЯТ(КА|ОЧН)|ΠΟΔΙ\b|قدم|כף רגל|เท้า|पैर",
}  # fmt: skip
