"""The people of the demo houses, each with one sentence: tests speak of them by name."""

from dataclasses import dataclass

PASSWORD = "kanghu-demo-house"


@dataclass(frozen=True)
class Person:
    login: str
    name: str
    role: str
    branch: str | None
    does: str


LIN = Person("linxiaowen", "林晓雯", "FD", "SH01", "sits at the front desk of the postpartum centre")
ZHOU = Person("zhoumin", "周敏", "CS", "SH01", "answers clients and their complaints")
XU = Person("xujia", "许佳", "NL", "SH01", "leads the nurses of the postpartum centre")
HE = Person("hejing", "何静", "NS", "SH01", "nurses at night")
SUN = Person("sunli", "孙莉", "HR", None, "is the group's HR officer")
SHEN = Person("shenguoqiang", "沈国强", "DM", "SH01", "heads the nursing department")
GU = Person("guhaiyan", "顾海燕", "DM", "SH01", "heads customer service")
ZHAO = Person("zhaomingyuan", "赵明远", "BD", "SH01", "directs the postpartum centre")
QIAN = Person("qianfang", "钱芳", "FN", "SH01", "keeps the money of the postpartum centre")
WANG = Person("wangliqun", "王立群", "OW", None, "owns the group")
ZHENG = Person("zhenglan", "郑岚", "PO", None, "answers for personal information")
DU = Person("duwei", "杜薇", "NL", "HZ02", "leads the carers of the elder-care home")
WU = Person("wuhaifeng", "吴海峰", "BD", "HZ02", "directs the elder-care home")
FENG = Person("fengyue", "冯悦", "CS", "HZ02", "keeps in touch with the families")
CHEN = Person("chensiyuan", "陈思远", "DR", "CD03", "is the lead doctor of the clinic")
JIANG = Person("jiangxue", "蒋雪", "FD", "CD03", "advises the clients of the clinic")
LUO = Person("luokai", "罗凯", "BD", "CD03", "directs the clinic")
ADMIN = Person("admin", "admin", "ADMIN", None, "runs the machines and approves nothing")

CAST = (LIN, ZHOU, XU, HE, SUN, SHEN, GU, ZHAO, QIAN, WANG, ZHENG, DU, WU, FENG, CHEN, JIANG, LUO, ADMIN)

# Not of the demo houses: tests/admin_views/conftest.py gives these accounts.
AUDITOR = Person("auditor", "auditor", "AU", None, "sees everything, secrets masked, and changes nothing")
KEYHOLDER = Person("keyholder", "keyholder", "KEYS", None, "may do everything and sees every secret plainly")
VEILED = Person("veiled", "veiled", "VEILS", None, "may do everything and sees every secret on request alone")
